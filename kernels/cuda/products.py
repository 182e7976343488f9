"""Matrix products and sums over prompts on a GPU, each in an order that its sizes settle.

What is summed is split into ranges; each range is summed by one thread, or by threads in a fixed order, and the ranges are
added in order.
"""

from typing import Any

from .block import u32
from .compile import SIMULATED, THREADS, blocks, cuda, kernel, launch
from .memory import flat, scratch

__all__ = ["Matrix", "column_sums", "matrix", "product", "ranges_of"]

SIDE = 2 if SIMULATED else 16  # of the square block that makes products, each of its threads a square of
EACH = 4  # by so many entries
TILE = SIDE * EACH
DEEP = 4 if SIMULATED else 16  # rows or columns that it reads at a time
WIDE = 2 if SIMULATED else 32  # columns that a block sums
TALL = THREADS // WIDE
RANGE = 8 if SIMULATED else 512  # prompts to a range, at least
MAX_RANGES = 256


@kernel
def product_tile(C, A, a_row, a_column, B, b_row, b_column, rows, inner, columns, n_ranges):
    """C (n_ranges, rows, columns) flat: A B over each range of the inner index, for matrices of any strides.

    A block makes a tile of C, and each of its threads a square of that.
    """
    shared = cuda.shared.array(0, C.dtype)
    left, right = shared[: DEEP * TILE], shared[DEEP * TILE :]
    mine = cuda.local.array((EACH, EACH), C.dtype)
    x, y = cuda.threadIdx.x % SIDE, cuda.threadIdx.x // SIDE
    top, edge = cuda.blockIdx.x * TILE, cuda.blockIdx.y * TILE
    begin = cuda.blockIdx.z * inner // n_ranges
    end = (cuda.blockIdx.z + 1) * inner // n_ranges
    zero = C.dtype.type(0)
    for p in range(EACH):
        for q in range(EACH):
            mine[p, q] = zero
    for deep in range(begin, end, DEEP):
        for e in range(cuda.threadIdx.x, DEEP * TILE, SIDE * SIDE):
            k, i = e // TILE, e % TILE
            inside = deep + k < end
            left[e] = A[(top + i) * a_row + (deep + k) * a_column] if inside and top + i < rows else zero
            right[e] = B[(deep + k) * b_row + (edge + i) * b_column] if inside and edge + i < columns else zero
        cuda.syncthreads()
        for k in range(DEEP):
            for p in range(EACH):
                for q in range(EACH):
                    mine[p, q] += left[u32(k * TILE + p * SIDE + y)] * right[u32(k * TILE + q * SIDE + x)]
        cuda.syncthreads()
    for p in range(EACH):
        for q in range(EACH):
            i, j = top + p * SIDE + y, edge + q * SIDE + x
            if i < rows and j < columns:
                C[(cuda.blockIdx.z * rows + i) * columns + j] = mine[p, q]


@kernel
def column_sums_block(sums, X, rows, columns, n_ranges):
    """sums (n_ranges, columns) flat: over each range of the rows of X (rows, columns) flat."""
    partial = cuda.shared.array(0, X.dtype)
    x, y = cuda.threadIdx.x % WIDE, cuda.threadIdx.x // WIDE
    j = cuda.blockIdx.x * WIDE + x
    total = X.dtype.type(0)
    if j < columns:
        for i in range(cuda.blockIdx.y * rows // n_ranges + y, (cuda.blockIdx.y + 1) * rows // n_ranges, TALL):
            total += X[i * columns + j]
    partial[cuda.threadIdx.x] = total
    cuda.syncthreads()
    if y == 0 and j < columns:
        for other in range(1, TALL):
            total += partial[other * WIDE + x]
        sums[cuda.blockIdx.y * columns + j] = total


def ranges_of(n: int) -> int:
    """Into how many ranges n prompts are split: a function of their number alone."""
    return max(1, min(MAX_RANGES, n // RANGE))


class Matrix:
    """A matrix on the GPU: `array` flat, and how far apart its rows and its columns are. `.T` is the same memory."""

    def __init__(self, array: Any, shape: tuple[int, int], strides: tuple[int, int] | None = None) -> None:
        self.array, self.shape, self.strides = array, shape, strides or (shape[1], 1)

    @property
    def T(self) -> "Matrix":
        """Its transpose."""
        rows, columns = self.shape
        return Matrix(self.array, (columns, rows), (self.strides[1], self.strides[0]))


def matrix(array: Any) -> Matrix:
    """An array of two axes as a `Matrix`."""
    return Matrix(flat(array), array.shape)


def product(A: Matrix, B: Matrix, out: Any = None, n_ranges: int = 1) -> Matrix:
    """A B as a `Matrix`, in the flat array `out` or in scratch; over so many ranges of the inner index, added in order."""
    (rows, inner), columns = A.shape, B.shape[1]
    dtype = A.array.dtype
    out = scratch(rows * columns, dtype) if out is None else out
    partials = out if n_ranges == 1 else scratch(n_ranges * rows * columns, dtype)
    grid = (blocks(rows, TILE), blocks(columns, TILE), n_ranges)
    shape = (rows, inner, columns, n_ranges)
    room = 2 * DEEP * TILE * dtype.itemsize
    launch(
        product_tile, grid, partials, A.array, *A.strides, B.array, *B.strides, *shape, threads=SIDE * SIDE, shared=room
    )
    if n_ranges > 1:
        column_sums(out, partials, n_ranges, rows * columns)
    return Matrix(out, (rows, columns))


def column_sums(out: Any, X: Any, rows: int, columns: int) -> None:
    """out (columns,) = the sums over the rows of X (rows, columns) flat, in two steps where there are many."""
    room = THREADS * X.dtype.itemsize
    n_ranges = ranges_of(rows)
    if n_ranges > 1:
        sums = scratch(n_ranges * columns, X.dtype)
        launch(column_sums_block, (blocks(columns, WIDE), n_ranges), sums, X, rows, columns, n_ranges, shared=room)
        X, rows = sums, n_ranges
    launch(column_sums_block, (blocks(columns, WIDE), 1), out, X, rows, columns, 1, shared=room)
