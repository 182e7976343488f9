"""NumPy's random numbers in compiled code: `SeedSequence` and `PCG64`, to the bit.

A generator is four numbers of 64 bits, `generator` (4,): the high and the low half of the state s that its next number is made
of, and of its increment c. A step is s <- M s + c mod 2^128, and k steps are as cheap as one:

    s <- M^k s + (1 + M + .. + M^(k-1)) c

A step has to wait for the one before. So `fill` walks several states side by side, each by as many steps at a time: sixteen in
vector registers where these have 64 bytes, else four. NumPy makes
numbers below k of 32 bits (Lemire), of each 64 the lower ones first, and numbers in [0, 1) of the upper 53 of 64.

The algorithms: O'Neill, "PCG: a family of simple fast space-efficient statistically good algorithms for random number
generation", 2014, and "Developing a seed_seq alternative", 2015.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .compile import kernel
from .memory import empty, zeros
from .vectors.integers import LANES, halves, times_plus, walk

__all__ = ["MULTIPLIER", "below", "fill", "seed", "uniform", "words"]

_BITS = 2**128 - 1
_M = 0x2360ED051FC65DA44385DF649FCCF645


MULTIPLIER = halves(_M)
_M_HIGH, _M_LOW = MULTIPLIER
_M4_HIGH, _M4_LOW = halves(_M**4 & _BITS)
_C4_HIGH, _C4_LOW = halves((1 + _M + _M**2 + _M**3) & _BITS)
_ML_HIGH, _ML_LOW = halves(_M**LANES & _BITS)
_CL_HIGH, _CL_LOW = halves(sum(_M**i for i in range(LANES)) & _BITS)
_WORTH = 4 * LANES  # numbers, from which on the states of all lanes are worth finding
_0, _1, _2, _3, _11, _16, _32, _58, _63, _64 = map(np.uint64, (0, 1, 2, 3, 11, 16, 32, 58, 63, 64))
_LIMB = np.uint64(2**32 - 1)
# of SeedSequence; the last is minus its second factor of a mixture
_A, _A_TIMES, _B, _B_TIMES, _MIX, _MIX_TOO = map(
    np.uint64, (0x43B0D7E5, 0x931E8875, 0x8B51F9DD, 0x58F38DED, 0xCA01F9DD, 2**32 - 0x4973F715)
)


def words(key: Sequence[int]) -> NDArray[np.uint32]:
    """The integers of a key as NumPy's SeedSequence reads them: in words of 32 bits, the lower ones first."""
    found: list[int] = []
    for number in key:
        found.append(number & 0xFFFFFFFF)
        while number := number >> 32:
            found.append(number & 0xFFFFFFFF)
    return np.array(found, np.uint32)


# ---- Seeds


@kernel
def seed(generator, entropy):
    """Fill generator (4,) as `PCG64(SeedSequence(key))` begins, for entropy (n,) = words(key)."""
    pool = zeros(4, np.uint64)
    n = entropy.shape[0]
    constant = _A
    for i in range(4):
        pool[i], constant = hashed(np.uint64(entropy[i]) if i < n else _0, constant, _A_TIMES)
    for i in range(4):
        for j in range(4):
            if i != j:
                value, constant = hashed(pool[i], constant, _A_TIMES)
                pool[j] = mixed(pool[j], value)
    for i in range(4, n):
        for j in range(4):
            value, constant = hashed(np.uint64(entropy[i]), constant, _A_TIMES)
            pool[j] = mixed(pool[j], value)
    constant = _B
    for i in range(4):  # 64 bits of the first state, high and low, and of the increment
        low, constant = hashed(pool[2 * i % 4], constant, _B_TIMES)
        high, constant = hashed(pool[(2 * i + 1) % 4], constant, _B_TIMES)
        generator[i] = (high << _32) | low
    c_high, c_low = (generator[2] << _1) | (generator[3] >> _63), (generator[3] << _1) | _1
    high, low = times_plus(_0, _1, c_high, c_low, generator[0], generator[1])
    high, low = times_plus(high, low, _M_HIGH, _M_LOW, c_high, c_low)
    generator[0], generator[1] = times_plus(high, low, _M_HIGH, _M_LOW, c_high, c_low)  # of the first number
    generator[2], generator[3] = c_high, c_low


@kernel
def hashed(value, constant, factor):
    """SeedSequence's hash of 32 bits, and its next constant."""
    value = value ^ constant
    constant = (constant * factor) & _LIMB
    value = (value * constant) & _LIMB
    return value ^ (value >> _16), constant


@kernel
def mixed(x, y):
    """SeedSequence's mixture of twice 32 bits."""
    value = (((_MIX * x) & _LIMB) + ((_MIX_TOO * y) & _LIMB)) & _LIMB
    return value ^ (value >> _16)


# ---- Numbers


@kernel
def fill(bits, generator):
    """bits (n,): the generator's next n numbers of 64 bits."""
    done = 0
    if bits.shape[0] >= _WORTH:
        done = fill_groups(bits, generator)
    n = bits.shape[0] - done
    c_high, c_low = generator[2], generator[3]
    d_high, d_low = times_plus(c_high, c_low, _C4_HIGH, _C4_LOW, _0, _0)
    h0, l0 = generator[0], generator[1]
    h1, l1 = times_plus(h0, l0, _M_HIGH, _M_LOW, c_high, c_low)
    h2, l2 = times_plus(h1, l1, _M_HIGH, _M_LOW, c_high, c_low)
    h3, l3 = times_plus(h2, l2, _M_HIGH, _M_LOW, c_high, c_low)
    for i in range(0, n - 3, 4):
        to = np.uint64(done + i)  # unsigned: it is not asked whether it counts from the end
        bits[to], bits[to + _1] = shuffled(h0, l0), shuffled(h1, l1)
        bits[to + _2], bits[to + _3] = shuffled(h2, l2), shuffled(h3, l3)
        h0, l0 = times_plus(h0, l0, _M4_HIGH, _M4_LOW, d_high, d_low)
        h1, l1 = times_plus(h1, l1, _M4_HIGH, _M4_LOW, d_high, d_low)
        h2, l2 = times_plus(h2, l2, _M4_HIGH, _M4_LOW, d_high, d_low)
        h3, l3 = times_plus(h3, l3, _M4_HIGH, _M4_LOW, d_high, d_low)
    for i in range(done + n - n % 4, done + n):
        bits[i] = shuffled(h0, l0)
        h0, l0 = times_plus(h0, l0, _M_HIGH, _M_LOW, c_high, c_low)
    generator[0], generator[1] = h0, l0


@kernel
def fill_groups(bits, generator):
    """The numbers that `walk` makes, in groups of `LANES`, where it makes any; returns how many."""
    high, low, jump = empty(LANES, np.uint64), empty(LANES, np.uint64), empty(4, np.uint64)
    c_high, c_low = generator[2], generator[3]
    jump[0], jump[1] = _ML_HIGH, _ML_LOW
    jump[2], jump[3] = times_plus(c_high, c_low, _CL_HIGH, _CL_LOW, _0, _0)
    high[0], low[0] = generator[0], generator[1]
    for i in range(1, LANES):
        high[i], low[i] = times_plus(high[i - 1], low[i - 1], _M_HIGH, _M_LOW, c_high, c_low)
    groups = bits.shape[0] // LANES
    if not walk(bits, groups, high, low, jump):
        return 0
    generator[0], generator[1] = high[0], low[0]
    return groups * LANES


@kernel
def shuffled(high, low):
    """A state's number of 64 bits."""
    bits, by = high ^ low, high >> _58
    return (bits >> by) | (bits << ((_64 - by) & _63))


@kernel
def uniform(bits):
    """A number in [0, 1) of 64 bits."""
    return (bits >> _11) * (1.0 / 2**53)


@kernel
def below(numbers, k, bits, count, at, generator):
    """numbers (n,): integers below k, 1 <= k < 2^32, each as likely; returns `count` and `at` as they are afterwards.

    bits[:count] are the last numbers of 64 bits that were made, and `at` is how many of their halves are used up. Where they
    are all used, one more is made.
    """
    if k == 1:  # which takes none
        for i in range(numbers.shape[0]):
            numbers[i] = 0
        return count, at
    k = np.uint64(k)
    least = ((_LIMB + _1) - k) % k  # products below it are thrown away, so that all are as likely
    for i in range(numbers.shape[0]):
        product = _0
        while True:
            if at == 2 * count:
                fill(bits[:1], generator)
                count, at = 1, 0
            pair = bits[at // 2]
            product = (pair >> _32 if at % 2 == 1 else pair & _LIMB) * k
            at += 1
            if (product & _LIMB) >= least:
                break
        numbers[i] = product >> _32
    return count, at
