"""Li et al.'s prompts, drawn on a GPU: `sampling.decode` on the numbers of NumPy's PCG64, each found by itself.

128 bits of the generator's state are four limbs of 32.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .. import sampling
from ..random import MULTIPLIER
from .compile import blocks, cuda, device, kernel, launch, scalar
from .memory import empty, flat

__all__ = ["Sampler"]

_token = scalar(sampling.token)


_MULTIPLIER_HIGH, _MULTIPLIER_LOW = MULTIPLIER
_0, _1, _11, _32, _58, _63, _64 = map(np.uint64, (0, 1, 11, 32, 58, 63, 64))
_LIMB = np.uint64(2**32 - 1)


@device
def _limbs(x, high, low):
    x[0], x[1], x[2], x[3] = low & _LIMB, low >> _32, high & _LIMB, high >> _32


@device
def _times_plus(x, y, z):
    """x <- x y + z mod 2^128; x may be y or z, or both."""
    out = cuda.local.array(4, np.uint64)
    for i in range(4):
        out[i] = z[i]
    for i in range(4):
        carry = _0
        for j in range(4 - i):
            t = x[i] * y[j] + out[i + j] + carry  # at most 2^64 - 1
            out[i + j] = t & _LIMB
            carry = t >> _32
    for i in range(4):
        x[i] = out[i]


@device
def _bits(state_high, state_low, increment_high, increment_low, n):
    """The generator's 64 bits number n, from 0: its state after n+1 steps s <- M s + c, shuffled."""
    none, x = cuda.local.array(4, np.uint64), cuda.local.array(4, np.uint64)
    M, c = cuda.local.array(4, np.uint64), cuda.local.array(4, np.uint64)
    _limbs(none, _0, _0)
    _limbs(x, state_high, state_low)
    _limbs(M, _MULTIPLIER_HIGH, _MULTIPLIER_LOW)
    _limbs(c, increment_high, increment_low)
    n += 1
    while n > 0:  # M, c: those of 1, 2, 4, .. steps
        if n % 2 == 1:
            _times_plus(x, M, c)
        _times_plus(c, M, c)
        _times_plus(M, M, none)
        n //= 2
    bits = ((x[3] ^ x[1]) << _32) | (x[2] ^ x[0])
    by = x[3] >> (_58 - _32)
    return (bits >> by) | (bits << ((_64 - by) & _63))


@device
def _half(state_high, state_low, increment_high, increment_low, n):
    """32 bits number n: of each 64 the lower ones first."""
    bits = _bits(state_high, state_low, increment_high, increment_low, n // 2)
    return bits & _LIMB if n % 2 == 0 else bits >> _32


@device
def _too_low(product, k):
    """Whether 32 bits times k, as a number below k, are to be thrown away, so that all are as likely (Lemire)."""
    return (product & _LIMB) < ((_LIMB + _1) - k) % k


@kernel
def draw_tasks(task, z, again, pairs, state_high, state_low, increment_high, increment_low):
    """task (n, 2) flat and z (n,), as `rng.integers(len(pairs), size=n)` and `rng.choice([1, -1], size=n)` have them, unless a
    number is thrown away: then again[0] = 1."""
    p, n, k = cuda.grid(1), z.shape[0], pairs.shape[0] // 2
    if p < n:
        which, first = 0, 0
        if k > 1:
            product = _half(state_high, state_low, increment_high, increment_low, p) * np.uint64(k)
            which, first = np.int64(product >> _32), n
            if _too_low(product, np.uint64(k)):
                again[0] = 1
        task[2 * p], task[2 * p + 1] = pairs[2 * which], pairs[2 * which + 1]
        high = _half(state_high, state_low, increment_high, increment_low, first + p) >> np.uint64(31)
        z[p] = 1 if high == _0 else -1


@kernel
def draw_tasks_in_order(task, used, again, pairs, state_high, state_low, increment_high, increment_low, z):
    """used[0], how many numbers of 64 bits that took; and all of it anew, one by one, if a number was to be thrown away."""
    n, k = z.shape[0], pairs.shape[0] // 2
    if again[0] == 0:
        used[0] = (n + 1) // 2 if k == 1 else n
    else:
        at = 0
        for p in range(n):
            product = _half(state_high, state_low, increment_high, increment_low, at) * np.uint64(k)
            at += 1
            while _too_low(product, np.uint64(k)):
                product = _half(state_high, state_low, increment_high, increment_low, at) * np.uint64(k)
                at += 1
            which = np.int64(product >> _32)
            task[2 * p], task[2 * p + 1] = pairs[2 * which], pairs[2 * which + 1]
        for p in range(n):
            high = _half(state_high, state_low, increment_high, increment_low, at) >> np.uint64(31)
            z[p] = 1 if high == _0 else -1
            at += 1
        used[0] = (at + 1) // 2
        again[0] = 0


@kernel
def draw_tokens(relevant, irrelevant, kappa, sign, task, z, used, rows, alpha, M1, M2, K, s_high, s_low, i_high, i_low):
    """Codes (n, l+1) flat, as `sampling.decode` makes them of `rng.random((n, l+1, 2))`."""
    e = cuda.grid(1)
    if e < relevant.shape[0]:
        p, t = e // rows, e % rows
        at = used[0] + 2 * e
        which = (_bits(s_high, s_low, i_high, i_low, at) >> _11) * (1.0 / 2**53)
        rest = (_bits(s_high, s_low, i_high, i_low, at + 1) >> _11) * (1.0 / 2**53)
        relevant[e], irrelevant[e], kappa[e], sign[e] = _token(
            which, rest, task[2 * p], task[2 * p + 1], alpha, M1, M2, K
        )
        if t == rows - 1:  # the query
            relevant[e] = task[2 * p] if z[p] > 0 else task[2 * p + 1]
            sign[e] = 0


class Sampler:
    """Prompts of Li et al.'s law, drawn on the GPU: those that `li2024.Problem.sample` draws, kappa up to rounding."""

    def __init__(
        self, pairs: ArrayLike, n: int, length: int, alpha: float, M1: int, M2: int, K: float, dtype: DTypeLike
    ) -> None:
        """n prompts of `length` contexts for tasks among `pairs` (k, 2); alpha, M1, M2 and K as in `sampling.decode`."""
        rows = length + 1
        self.pairs = cuda.to_device(np.ascontiguousarray(pairs, np.int32).reshape(-1))
        self.settings = (rows, float(alpha), M1, M2, float(K))
        self.relevant, self.irrelevant = empty((n, rows), np.int32), empty((n, rows), np.int32)
        self.kappa, self.sign, self.labels = empty((n, rows), dtype), empty((n, rows), np.int8), empty(n, dtype)
        self.task, self.used = empty(2 * n, np.int32), empty(1, np.int64)
        self.again = cuda.to_device(np.zeros(1, np.int32))

    def draw(self, key: int | Sequence[int]) -> tuple[Any, Any, Any, Any, Any]:
        """relevant, irrelevant, kappa, sign, labels of the seed `key`; they are there until the next call."""
        state = np.random.PCG64(np.random.SeedSequence(key)).state["state"]
        words = [np.uint64(w) for value in (state["state"], state["inc"]) for w in (value >> 64, value & (2**64 - 1))]
        n, e = self.labels.size, self.relevant.size
        launch(draw_tasks, blocks(n), self.task, self.labels, self.again, self.pairs, *words)
        launch(draw_tasks_in_order, 1, self.task, self.used, self.again, self.pairs, *words, self.labels, threads=1)
        codes = map(flat, (self.relevant, self.irrelevant, self.kappa, self.sign))
        launch(draw_tokens, blocks(e), *codes, self.task, self.labels, self.used, *self.settings, *words)
        return self.relevant, self.irrelevant, self.kappa, self.sign, self.labels
