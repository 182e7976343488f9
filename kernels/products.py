"""Small matrix products, accumulating. BLAS is not used: its threads and ours would fight over the cores."""

from types import FunctionType

import numpy as np
from numpy.typing import NDArray

from . import vectors
from .address import apart
from .compile import kernel, launch
from .memory import empty, zeros

__all__ = [
    "add_large_product",
    "add_product",
    "add_rows",
    "are_finite",
    "cut",
    "is_large",
    "map_block",
    "map_block_back",
    "map_rows",
    "map_rows_back",
    "row_products",
    "transpose",
    "transposed",
]

_TILE = 8  # rows that a product takes at a time
_SQUARE = 16  # rows and columns that are transposed at a time
_WORTH_A_THREAD = 2_000_000  # multiply-adds: a tenth of a millisecond
_WORTH_PACKING = 4_000_000
_WIDE, _MOST_PARTS = 32, 8  # of C along its longer side: each copies the other factor anew
_PANELS, _DEPTH, _ROWS = 16, 128, 16
_FEW = 4  # rows that go one by one: less than half a tile


def is_large(rows: int, k: int, n: int) -> bool:
    """Whether `add_large_product` of (rows, k) by (k, n) copies factors or takes more than one thread."""
    return rows * k * n >= min(_WORTH_PACKING, 2 * _WORTH_A_THREAD)


def add_large_product(C: NDArray, A: NDArray, B: NDArray) -> None:
    """C += A B as `add_product`, to the same bits, on as many threads as are worth it; not for use in kernels.

    A and B may be transposed views.
    """
    (rows, k), n = A.shape, B.shape[1]
    if rows * k * n >= _WORTH_PACKING and min(rows, n) >= _FEW:
        parts = max(1, min(max(rows, n) // _WIDE, rows * k * n // _WORTH_A_THREAD, _MOST_PARTS))
        launch(add_packed_parts, parts, C, A, B, parts)
    else:
        B = B if B.flags.c_contiguous else transposed(B.T)
        parts = max(1, min(rows // _TILE, rows * k * n // _WORTH_A_THREAD))
        if parts == 1:
            add_product_rows(0, 1, C, A, B, 1)  # a microsecond less than by `launch`
        else:
            launch(add_product_rows, parts, C, A, B, parts)


def map_rows(Y: NDArray, X: NDArray, W: NDArray) -> None:
    """Y_n = W X_n for each row: Y (b, m), X (b, k), W (m, k); on threads as above, not for use in kernels.

    Nothing of the size of W is transposed.
    """
    (b, k), m = X.shape, len(W)
    if b < _FEW:
        parts = max(1, min(m // _TILE, b * k * m // _WORTH_A_THREAD))
        launch(map_few_rows, parts, Y, X, W, parts)
    else:
        Y_T = np.zeros((m, b), Y.dtype)
        add_large_product(Y_T, W, X.T)
        transpose(Y, Y_T)


def map_rows_back(X: NDArray, Y: NDArray, W: NDArray) -> None:
    """X_n = W^T Y_n for each row, X (b, k), Y (b, m), W (m, k): the transpose of `map_rows`."""
    X[:] = 0
    if len(X) < _FEW:
        map_few_rows_back(X, Y, W)
    else:
        add_large_product(X, Y, W)


@apart
@kernel
def add_product(C, A, B):
    """C += A B for C (r, n), A (r, k), B (k, n). C and B row by row in memory; A may be a transposed view."""
    if not vectors.add_product(C, A, B):
        for i in range(C.shape[0]):
            for p in range(A.shape[1]):
                for j in range(C.shape[1]):
                    C[i, j] += A[i, p] * B[p, j]


@apart
@kernel
def map_block(Y, X, W):
    """`map_rows`, for use in kernels."""
    if X.shape[0] < _FEW:
        map_few_rows(0, 1, Y, X, W, 1)
    else:
        X_T = empty((X.shape[1], X.shape[0]), X.dtype)
        Y_T = zeros((Y.shape[1], Y.shape[0]), Y.dtype)
        transpose(X_T, X)
        add_product(Y_T, W, X_T)
        transpose(Y, Y_T)


@apart
@kernel
def map_block_back(X, Y, W):
    """`map_rows_back`, for use in kernels."""
    X[:] = 0
    if X.shape[0] < _FEW:
        map_few_rows_back(X, Y, W)
    else:
        add_product(X, Y, W)


@kernel
def add_product_rows(first, last, C, A, B, parts):
    """Of the rows of C, cut into so many parts between tiles, those of the parts first .. last - 1."""
    lo, hi = cut(first, C.shape[0], parts, _TILE), cut(last, C.shape[0], parts, _TILE)
    add_product(C[lo:hi], A[lo:hi], B)


@kernel
def cut(part, n, parts, tile):
    """Where a part begins if n rows or columns are cut into so many parts between tiles; n where `part` is `parts`."""
    return part * n // (parts * tile) * tile if part < parts else n


@kernel
def add_packed_parts(first, last, C, A, B, parts):
    """Of C, cut into so many parts along its longer side, those first .. last - 1."""
    rows, n = C.shape
    lo, hi = cut(first, max(rows, n), parts, _WIDE), cut(last, max(rows, n), parts, _WIDE)
    if n > rows:
        add_packed_product(C[:, lo:hi], A[:, :], B[:, lo:hi])
    else:
        add_packed_product(C[lo:hi, :], A[lo:hi, :], B[:, :])


@kernel
def add_packed_product(C, A, B):
    """C += A B to the bits of `add_product`. Blocks of B, and of A where it is a transposed view, are copied to where their
    rows lie side by side: as they come, a tile's rows may lie pages apart, and then share a few places of a cache."""
    rows, n = C.shape
    k = A.shape[1]
    width = 2 * vectors.BYTES // C.itemsize
    panels = empty((_PANELS, _DEPTH + 1, width), C.dtype)
    left, left_T = empty((_ROWS, _DEPTH + width), C.dtype), empty((_DEPTH, _ROWS), C.dtype)
    for j in range(0, n, _PANELS * width):
        for p in range(0, k, _DEPTH):
            depth = min(_DEPTH, k - p)
            columns = min(_PANELS * width, n - j)
            pack(panels, B[p : p + depth, j : j + columns])
            for i in range(0, rows, _ROWS):
                b = min(_ROWS, rows - i)
                if A.strides[0] < A.strides[1]:
                    copy_rows(left_T[:depth, :b], A[i : i + b, p : p + depth].T)
                    A_i = left_T[:depth, :b].T
                else:
                    copy_rows(left[:b, :depth], A[i : i + b, p : p + depth])
                    A_i = left[:b, :depth]
                for q in range(0, columns, width):
                    add_panel(C[i : i + b, j + q : j + min(q + width, columns)], A_i, panels[q // width, :depth])


@kernel
def pack(panels, B):
    """Columns of B (k, n), some side by side in each of the panels (., k, width)."""
    k, n = B.shape
    width = panels.shape[2]
    if B.strides[0] < B.strides[1] or not vectors.pack(panels, B):
        for j in range(n):
            panel = panels[j // width]
            for p in range(k):
                panel[p, j % width] = B[p, j]


@kernel
def copy_rows(C, A):
    """C = A, both (r, n), the numbers of a row side by side in both."""
    if vectors.copy_rows(C, A):
        return
    for i in range(A.shape[0]):
        for j in range(A.shape[1]):
            C[i, j] = A[i, j]


@kernel
def add_panel(C, A, B):
    """C += A B for as many columns of B (k, .) as C (r, n) has. B row by row in memory, and each row of C."""
    if not vectors.add_panel(C, A, B):
        for i in range(C.shape[0]):
            for p in range(A.shape[1]):
                for j in range(C.shape[1]):
                    C[i, j] += A[i, p] * B[p, j]


@kernel
def map_few_rows(first, last, Y, X, W, parts):
    """Y_n = W X_n, one by one, of the rows of W, cut into so many parts between tiles, those of first .. last - 1."""
    lo, hi = cut(first, W.shape[0], parts, _TILE), cut(last, W.shape[0], parts, _TILE)
    for n in range(X.shape[0]):
        row_products(Y[n, lo:hi], W[lo:hi], X[n])


@kernel
def map_few_rows_back(X, Y, W):
    """X_n += W^T Y_n, one by one."""
    for n in range(X.shape[0]):
        add_rows(X[n], Y[n], W)


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
    """T = A^T for T (k, r), A (r, k). By squares: whole cache lines of both are used while they are there."""
    if vectors.transpose(T, A):
        return
    rows, columns = A.shape
    for i in range(0, rows, _SQUARE):
        for j in range(0, columns, _SQUARE):
            for column in range(j, min(j + _SQUARE, columns)):
                for row in range(i, min(i + _SQUARE, rows)):
                    T[column, row] = A[row, column]


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


@kernel
def all_finite(V, W, X, Y, z):
    """Whether four matrices and a vector hold neither: the parameters of a transformer, in one call."""
    return (
        finite(V.reshape(-1))
        and finite(W.reshape(-1))
        and finite(X.reshape(-1))
        and finite(Y.reshape(-1))
        and finite(z)
    )


def are_finite(*arrays: NDArray) -> bool:
    """Whether these packed arrays of float32 or float64 hold neither NaN nor infinity."""
    if isinstance(finite, FunctionType):
        with np.errstate(invalid="ignore"):  # 0 times infinity
            return all(finite(array.reshape(-1)) for array in arrays)
    if len(arrays) == 5 and [array.ndim for array in arrays] == [2, 2, 2, 2, 1]:
        return bool(all_finite(*arrays))  # one call for the parameters of the transformer
    return all(finite(array.reshape(-1)) for array in arrays)
