"""Prompts on the unit sphere, drawn in compiled code: directions and classes from NumPy's random numbers.

A block of b prompts lies by tokens, entries, prompts: x (N+1, d, b), and classes (N, b), the query last. What is done
for one prompt is done for all of a block by the same instruction. A number of 64 bits makes a class, c = floor(K h / 2^32) of
its upper half h, or two normal numbers, by Box and Muller's formula of its upper half h and its lower half k,

    r = sqrt(-2 log((h + 1/2) / 2^32)),     angle = 2 pi (k / 2^32 - 1/2),     r cos(angle), r sin(angle)

and d of these, over their norm, a direction. The logarithm is 2 artanh(s) by its series, sine and cosine are those of a
quarter of the angle by Taylor's, doubled twice: no instruction depends on a number's value, and all run in vector registers.
"""

import math

import numpy as np

from ..address import apart
from ..compile import kernel
from ..memory import empty
from ..random import fill, seed

__all__ = ["BLOCK", "begin", "draw", "draw_block", "make_room"]

BLOCK = 32  # prompts whose numbers stay in a cache
_32, _52 = np.uint64(32), np.uint64(52)
_LOWER = np.uint64(2**32 - 1)
_ROOT = np.uint64(0x3FE6A09E667F3BCD)  # sqrt(1/2)
_UP = np.uint64(0x3FF0000000000000 - 0x3FE6A09E667F3BCD)
_FRACTION = np.uint64(2**52 - 1)
_LOG_2 = math.log(2)
_SIN = tuple((-1) ** k / math.factorial(2 * k + 1) for k in range(9))
_COS = tuple((-1) ** k / math.factorial(2 * k) for k in range(9))


@kernel
def begin(entropy):
    """The generator (4,) of a key, for entropy = words(key)."""
    generator = empty(4, np.uint64)
    seed(generator, entropy)
    return generator


@apart
@kernel
def draw(inputs, classes, entropy, K):
    """Fill inputs (n, N+1, d) and classes (n, N) of n prompts, block after block; K = 0: labels -1 and +1."""
    n, rows, d = inputs.shape
    generator = begin(entropy)
    x = empty((rows, d, BLOCK), np.float64)
    labels = empty((rows - 1, BLOCK), np.int64)
    room = make_room(rows - 1, d)
    for lo in range(0, n, BLOCK):
        draw_block(x, labels, generator, K, room)  # of whose prompts the last ones may be left over
        for i in range(min(BLOCK, n - lo)):
            for j in range(rows):
                for k in range(d):
                    inputs[lo + i, j, k] = x[j, k, i]
            for j in range(rows - 1):
                classes[lo + i, j] = labels[j, i]


@kernel
def make_room(N, d):
    """Room for `draw_block`: numbers of 64 bits, and four rows of as many of them as make normal numbers."""
    pairs = (N + 1) * ((d + 1) // 2) * BLOCK
    return empty(pairs + N * BLOCK, np.uint64), empty((4, pairs), np.uint64)


@apart
@kernel
def draw_block(x, classes, generator, K, room):
    """Fill x (N+1, d, BLOCK) and classes (N, BLOCK) by the generator's next numbers: those of the classes come first."""
    bits, four = room
    rows, d, b = x.shape
    fill(bits, generator)
    n = (rows - 1) * b
    ints = classes.reshape(-1)
    if K == 0:
        for i in range(n):
            ints[i] = 2 * np.int64(bits[i] >> np.uint64(63)) - 1
    else:
        for i in range(n):
            ints[i] = np.int64(((bits[i] >> _32) * np.uint64(K)) >> _32)
    pairs = bits[n:]
    normals(four, pairs)
    half = (d + 1) // 2
    first, second = four[0].view(np.float64), four[1].view(np.float64)
    norms = four[2].view(np.float64)[:b]
    flat = x.reshape(-1)
    for j in range(rows):
        norms[:] = 0.0
        for k in range(d):
            y = (first if k % 2 == 0 else second)[(j * half + k // 2) * b :]
            for i in range(b):
                norms[i] += y[i] * y[i]
        for i in range(b):
            norms[i] = 1.0 / np.sqrt(norms[i])
        for k in range(d):
            y = (first if k % 2 == 0 else second)[(j * half + k // 2) * b :]
            to = flat[(j * d + k) * b :]
            for i in range(b):
                to[i] = y[i] * norms[i]


@kernel
def normals(four, bits):
    """Two normal numbers of each number of 64 bits, in rows 0 and 1 of `four` (4, n), as float64; rows 2 and 3 are room."""
    n = bits.shape[0]
    first, second, third, fourth = four[0], four[1], four[2], four[3]
    f, g, h, p = first.view(np.float64), second.view(np.float64), third.view(np.float64), fourth.view(np.float64)
    for i in range(n):
        f[i] = (np.float64(np.uint32(bits[i] >> _32)) + 0.5) * 2.0**-32  # w
        g[i] = np.float64(np.uint32(bits[i] & _LOWER)) * 2.0**-32 - 0.5  # turns
    for i in range(n):  # w = 2^e m, sqrt(1/2) <= m < sqrt(2)
        t = first[i] + _UP
        h[i] = np.float64(np.int32(t >> _52) - np.int32(1023))
        fourth[i] = (t & _FRACTION) + _ROOT
    for i in range(n):
        e, m = h[i], p[i]
        s = (m - 1.0) / (m + 1.0)
        z = s * s
        y = 1 / 21
        y = y * z + 1 / 19
        y = y * z + 1 / 17
        y = y * z + 1 / 15
        y = y * z + 1 / 13
        y = y * z + 1 / 11
        y = y * z + 1 / 9
        y = y * z + 1 / 7
        y = y * z + 1 / 5
        y = y * z + 1 / 3
        y = y * z + 1.0
        f[i] = np.sqrt(-2.0 * (e * _LOG_2 + 2.0 * s * y))  # r
    for i in range(n):
        a = g[i] * (math.pi / 2)  # a quarter of the angle
        z = a * a
        s = _SIN[8]
        s = s * z + _SIN[7]
        s = s * z + _SIN[6]
        s = s * z + _SIN[5]
        s = s * z + _SIN[4]
        s = s * z + _SIN[3]
        s = s * z + _SIN[2]
        s = s * z + _SIN[1]
        s = (s * z + 1.0) * a
        c = _COS[8]
        c = c * z + _COS[7]
        c = c * z + _COS[6]
        c = c * z + _COS[5]
        c = c * z + _COS[4]
        c = c * z + _COS[3]
        c = c * z + _COS[2]
        c = c * z + _COS[1]
        c = c * z + 1.0
        s, c = 2.0 * s * c, 1.0 - 2.0 * s * s
        s, c = 2.0 * s * c, 1.0 - 2.0 * s * s
        r = f[i]
        f[i] = r * c
        g[i] = r * s
