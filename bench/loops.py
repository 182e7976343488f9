"""Compiled loops of one kind of work each, done `times` over: what `limits` times. Indices are unsigned, as the kernels'."""

import numpy as np

from nlicl.kernels.compile import kernel
from nlicl.kernels.layers.attention import softmax
from nlicl.kernels.products import add_product


@kernel
def triad(a, b, c, times):
    """a = b + c / 2 for three arrays of one length: reads two numbers and writes one."""
    half = a.dtype.type(0.5)
    for _ in range(times):
        for i in range(a.shape[0]):
            a[i] = b[i] + half * c[i]


@kernel
def read(a, times):
    """The sum of an array: reads it, writes nothing."""
    total = a.dtype.type(0)
    for _ in range(times):
        for i in range(a.shape[0]):
            total += a[i]
    return total


@kernel
def products(C, A, B, times):
    """C += A B."""
    for _ in range(times):
        add_product(C, A, B)


@kernel
def exponentials(s, times):
    """The kernels' softmax, in place."""
    for _ in range(times):
        softmax(s)


@kernel
def gather(s, x, index, times):
    """s_t = x[index_t]: look-ups that read."""
    for _ in range(times):
        for t in range(s.shape[0]):
            s[t] = x[np.uint32(index[t])]


@kernel
def scatter(x, s, index, times):
    """x[index_t] += s_t: look-ups that write."""
    for _ in range(times):
        for t in range(s.shape[0]):
            x[np.uint32(index[t])] += s[t]
