"""Small matrix products, accumulating. BLAS is not used: its threads and ours would fight over the cores."""

import numpy as np
from numpy.typing import NDArray

from . import vectors
from .compile import kernel, launch

__all__ = [
    "add_large_product",
    "add_product",
    "add_rows",
    "are_finite",
    "row_products",
    "transpose",
    "transposed",
]

_TILE = 8  # rows that a product takes at a time
_WORTH_A_THREAD = 2_000_000  # multiply-adds: a tenth of a millisecond


def add_large_product(C: NDArray, A: NDArray, B: NDArray) -> None:
    """C += A B as `add_product`, to the same bits, on as many threads as are worth it; not for use in kernels."""
    rows, k = A.shape
    parts = max(1, min(rows // _TILE, rows * k * B.shape[1] // _WORTH_A_THREAD))
    launch(add_product_rows, parts, C, A, B, parts)


@kernel
def add_product(C, A, B):
    """C += A B for C (r, n), A (r, k), B (k, n). C and B row by row in memory; A may be a transposed view."""
    if not vectors.add_product(C, A, B):
        for i in range(C.shape[0]):
            for p in range(A.shape[1]):
                for j in range(C.shape[1]):
                    C[i, j] += A[i, p] * B[p, j]


@kernel
def add_product_rows(first, last, C, A, B, parts):
    """Of the rows of C, cut into so many parts between tiles, those of the parts first .. last - 1."""
    rows = C.shape[0]
    lo = first * rows // (parts * _TILE) * _TILE
    hi = last * rows // (parts * _TILE) * _TILE if last < parts else rows
    add_product(C[lo:hi], A[lo:hi], B)


@kernel
def add_rows(c, w, P):
    """c += sum_i w_i P[i] for c (n,), w (k,), P (k, n): a weighted sum of rows."""
    if not vectors.add_rows(c, w, P):
        for i in range(P.shape[0]):
            for j in range(P.shape[1]):
                c[j] += w[i] * P[i, j]


@kernel
def row_products(s, P, u):
    """s_i = P[i] . u (no conjugation) for s (k,), P (k, n), u (n,)."""
    if not vectors.row_products(s, P, u):
        for i in range(P.shape[0]):
            total = u.dtype.type(0)
            for j in range(P.shape[1]):
                total += P[i, j] * u[j]
            s[i] = total


@kernel
def transpose(T, A):
    """T = A^T for T (k, r), A (r, k)."""
    for i in range(A.shape[0]):
        for j in range(A.shape[1]):
            T[j, i] = A[i, j]


def transposed(A: NDArray) -> NDArray:
    """A^T as an array of its own; not for use in kernels."""
    T = np.empty((A.shape[1], A.shape[0]), A.dtype)
    transpose(T, A)
    return T


@kernel
def finite(x):
    """Whether x (n,) holds neither NaN nor infinity: 0 x is 0 of every other number, and NaN of those."""
    total = x.dtype.type(0)
    for i in range(x.shape[0]):
        total += x[i] * x.dtype.type(0)
    return total == 0


def are_finite(*arrays: NDArray) -> bool:
    """Whether these packed arrays of float32 or float64 hold neither NaN nor infinity."""
    with np.errstate(invalid="ignore"):  # 0 times infinity, where kernels run as plain Python
        return all(finite(array.reshape(-1)) for array in arrays)
