"""Vectors by hand: the inner loops that are most of the time, as instructions on whole registers.

LLVM's own vectorisation uses half a register where it fears for the clock, and leaves rows that are no multiple of its
stride, as d = 60, to a scalar loop: a factor 2 to 4 at these sizes. What a function means stands where it is used, as
plain loops, which is what complex numbers and `source` run; tests hold the two against each other:

    if not vectors.add_product(C, A, B):  # False where there are no such instructions
        for i in range(C.shape[0]): ...

Each number of a product is a sum in the order of the loops, one fused multiply-add after the other: its bits depend neither
on the width of a register nor on where in the matrix it stands. Sums over a vector (`row_products`, `softmax`) do.

Numba promises nothing about what this folder takes from inside of it, beside `type_callable` and `lower_builtin` of
`numba.extending`: `numba.core.cgutils`, `numba.np.arrayobj.make_array`, the types' `bitwidth` and `layout`, and that code is
made by llvmlite's `ir.IRBuilder`. Hence the upper bound on numba's version in pyproject.toml: the newest that the tests have
been run with.
"""

from .attention import attend, attend_backward
from .counters import add, read
from .elementwise import gelu, gelu_backward, softmax
from .lanes import BYTES
from .products import add_panel, add_product, add_rows, copy_rows, pack, row_products, transpose
from .tables import LONGEST_TABLE, PADDING, look_up, softmax_backward_rows, softmax_rows

__all__ = [
    "BYTES",
    "LONGEST_TABLE",
    "PADDING",
    "add",
    "add_panel",
    "add_product",
    "add_rows",
    "attend",
    "attend_backward",
    "copy_rows",
    "gelu",
    "gelu_backward",
    "look_up",
    "pack",
    "read",
    "row_products",
    "softmax",
    "softmax_backward_rows",
    "softmax_rows",
    "transpose",
]
