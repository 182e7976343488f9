"""Uniform numbers into codes: two a token, each used to its last bit. Which numbers depends on a seed, never on threads.

Legend   n prompts, l+1 tokens each;   M1 relevant patterns, then M2 irrelevant ones, in the dictionary's order;
         task (n, 2): patterns a and b of each prompt;   z (n,): +1 where the query carries mu_a, -1 where mu_b
"""

from .compile import kernel

__all__ = ["decode", "token"]


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
    index = min(int(rest * M2), M2 - 1)
    kappa = K * (2 * (rest * M2 - index) - 1)
    if which < alpha / 2:
        relevant, sign = a, 1
    elif which < alpha:
        relevant, sign = b, -1
    else:
        which = (which - alpha) / (1 - alpha) * (M1 - 2)
        relevant = min(int(which), M1 - 3)  # an index among the M1 - 2 patterns other than a and b; < 1 may round to 1
        sign = 1 if which - relevant < 0.5 else -1
        if relevant >= min(a, b):
            relevant += 1
        if relevant >= max(a, b):
            relevant += 1
    return relevant, M1 + index, kappa, sign
