"""Uniform numbers into codes: two a token, each used to its last bit. Which numbers depends on a seed, never on threads.

Legend   n prompts, l+1 tokens each;   M1 relevant patterns, then M2 irrelevant ones, in the dictionary's order;
         task (n, 2): patterns a and b of each prompt;   z (n,): +1 where the query carries mu_a, -1 where mu_b
"""

import numpy as np

from .address import apart
from .compile import kernel
from .memory import empty
from .random import below, fill, seed, uniform

__all__ = ["decode", "draw", "token"]

_int = np.int32  # by a name of its own: where this source runs on a GPU, np is another module
_NUMBERS = 1024  # of 64 bits, made at a time: they are in the first-level cache when they are decoded


@apart
@kernel
def draw(relevant, irrelevant, kappa, sign, z, entropy, pairs, alpha, M1, M2, K):
    """Fill codes (n, l+1) and z (n,) with what `decode` makes of the numbers of NumPy's generator of the key `entropy`.

    With rng = numpy.random.default_rng(key) and entropy = words(key), the tasks are pairs[rng.integers(k, size=n)] of `pairs`
    (k, 2), z is rng.choice([1, -1], size=n), and `decode` gets rng.random((n, l+1, 2)).
    """
    n, rows = relevant.shape
    generator = empty(4, np.uint64)
    block = max(1, _NUMBERS // (2 * rows))
    bits = empty(max(n, 2 * block * rows), np.uint64)
    which, second = empty(n, np.int64), empty(n, np.int64)
    seed(generator, entropy)
    count = (n + 1) // 2 if pairs.shape[0] == 1 else n
    fill(bits[:count], generator)
    count, at = below(which, pairs.shape[0], bits, count, 0, generator)
    below(second, 2, bits, count, at, generator)
    for p in range(n):
        z[p] = 1 - 2 * second[p]
    order = empty(M1, np.int32)
    for lo in range(0, n, block):
        hi = min(lo + block, n)
        some = bits[: 2 * rows * (hi - lo)]
        fill(some, generator)
        # a value each token, whatever its case: jumps between cases that are as good as random would be guessed wrongly
        choices(relevant[lo:hi].reshape(-1), sign[lo:hi].reshape(-1), some, alpha, M1)
        rests(irrelevant[lo:hi].reshape(-1), kappa[lo:hi].reshape(-1), some, M1, M2, K)
        for p in range(lo, hi):
            a, b = pairs[which[p], 0], pairs[which[p], 1]
            put_in_order(order, a, b)
            for t in range(rows):
                relevant[p, t] = order[np.uint32(relevant[p, t])]
            relevant[p, rows - 1] = b if second[p] else a  # the query
            sign[p, rows - 1] = 0


@kernel
def choices(choice, sign, bits, alpha, M1):
    """choice, sign (k,) as `chosen` has them, of every other one of the numbers in bits (2 k,)."""
    scale = (M1 - 2) / (1 - alpha) if alpha < 1 else 0.0
    for t in range(choice.shape[0]):
        choice[t], sign[t] = chosen(uniform(bits[2 * t]), alpha, scale, M1)


@kernel
def rests(irrelevant, kappa, bits, M1, M2, K):
    """irrelevant, kappa (k,) as `mixed_in` has them, of the numbers between those that `choices` takes."""
    for t in range(irrelevant.shape[0]):
        irrelevant[t], kappa[t] = mixed_in(uniform(bits[2 * t + 1]), M1, M2, K)


@kernel
def put_in_order(order, a, b):
    """order (M1,): the relevant patterns by the number that `chosen` gives them: a, b, and the others."""
    first, last = min(a, b), max(a, b)
    order[0], order[1] = a, b
    for i in range(order.shape[0] - 2):
        order[i + 2] = i + (i >= first) + (i + 1 >= last)


@kernel
def decode(relevant, irrelevant, kappa, sign, uniform, task, z, alpha, M1, M2, K):
    """Fill relevant, irrelevant, kappa, sign (n, l+1) from numbers `uniform` (n, l+1, 2) in [0, 1)."""
    n, rows = relevant.shape
    for p in range(n):
        a, b = task[p, 0], task[p, 1]
        for t in range(rows):
            relevant[p, t], irrelevant[p, t], kappa[p, t], sign[p, t] = token(
                uniform[p, t, 0], uniform[p, t, 1], a, b, alpha, M1, M2, K
            )
        relevant[p, rows - 1] = a if z[p] > 0 else b  # the query
        sign[p, rows - 1] = 0


@kernel
def token(which, rest, a, b, alpha, M1, M2, K):
    """relevant, irrelevant, kappa, sign of a context from two numbers in [0, 1).

    It carries mu_a or mu_b with probability alpha/2 each, every other relevant pattern with (1 - alpha)/(M1 - 2); its
    label is +1 on mu_a, -1 on mu_b and a coin on others. The irrelevant pattern is uniform, kappa ~ U(-K, K). Where a number
    settles an index, what is left of it is uniform again, and settles the next: the coin, and kappa.
    """
    scale = (M1 - 2) / (1 - alpha) if alpha < 1 else 0.0
    choice, sign = chosen(which, alpha, scale, M1)
    irrelevant, kappa = mixed_in(rest, M1, M2, K)
    i, first, last = choice - 2, min(a, b), max(a, b)
    relevant = i + (i >= first) + (i + 1 >= last)
    return (a if choice == 0 else b if choice == 1 else relevant), irrelevant, kappa, sign


@kernel
def chosen(which, alpha, scale, M1):
    """Which relevant pattern, 0 for a, 1 for b, 2 .. M1 - 1 for the others in order, and its label.

    scale (1 - alpha) = M1 - 2.
    """
    left = max(which - alpha, 0.0) * scale
    other = min(_int(left), _int(M1 - 3))  # < 1 may round to 1
    coin = _int(1) if left - other < 0.5 else _int(-1)
    case = _int(which >= alpha / 2) + _int(which >= alpha)
    return (other + _int(2) if which >= alpha else case), (coin if which >= alpha else _int(1) - _int(2) * case)


@kernel
def mixed_in(rest, M1, M2, K):
    """The irrelevant pattern, and kappa."""
    index = min(_int(rest * M2), _int(M2 - 1))
    return _int(M1) + index, K * (2 * (rest * M2 - index) - 1)
