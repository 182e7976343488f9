"""Arrays that kernels make: NumPy's functions of these names, by names of our own.

Numba compiles NumPy's as functions of their own, once more for each kind of array and of caller. These are a few instructions
where they are called: a first run of `nlicl train` compiles 27 functions in place of 62, and 7% fewer instructions. What they
make is the same.

Numba promises nothing about what it makes arrays with: `_empty_nd_impl`, and how that is given shapes.
"""

import numpy as np
from numba.core import cgutils, types
from numba.core.typing.npydecl import parse_dtype
from numba.extending import lower_builtin, type_callable
from numba.np.arrayobj import _empty_nd_impl, _parse_empty_args, _parse_empty_like_args

__all__ = ["empty", "empty_like", "zeros", "zeros_like"]


def empty(shape, dtype):
    """An array of this shape, an integer or a tuple of such, whose numbers are to be written before they are read."""
    return np.empty(shape, dtype)


def zeros(shape, dtype):
    """An array of zeros."""
    return np.zeros(shape, dtype)


def empty_like(array):
    """As `empty`, of the shape and dtype of another array."""
    return np.empty_like(array)


def zeros_like(array):
    """As `zeros`, of the shape and dtype of another array."""
    return np.zeros_like(array)


def _of_shape(context):
    def result(shape, dtype):
        axes = 1 if isinstance(shape, types.Integer) else shape.count
        return types.Array(parse_dtype(dtype), axes, "C")

    return result


def _like(context):
    def result(array):
        return array.copy(layout="F" if array.layout == "F" else "C", readonly=False)

    return result


def _compiled(function, kind, arguments, filled):
    """Say what the function's result is, and what it compiles to."""
    type_callable(function)(kind)

    @lower_builtin(function, types.VarArg(types.Any))
    def generate(context, builder, signature, values):
        array = _empty_nd_impl(context, builder, *arguments(context, builder, signature, values))
        if filled:
            cgutils.memset(builder, array.data, builder.mul(array.itemsize, array.nitems), 0)
        return array._getvalue()


_compiled(empty, _of_shape, _parse_empty_args, False)
_compiled(zeros, _of_shape, _parse_empty_args, True)
_compiled(empty_like, _like, _parse_empty_like_args, False)
_compiled(zeros_like, _like, _parse_empty_like_args, True)
