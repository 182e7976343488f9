"""The argument types that the GPU's kernels are launched with: test_cuda_compiled.py compiles for them."""

import numba
from numba import boolean, float32, float64, int8, int32, int64, uint64
from numba.np.numpy_support import from_dtype


def signatures(f):
    """Name -> argument types, for parameters of float32 or float64."""
    x, i8, i32, i64 = f[::1], int8[::1], int32[::1], int64[::1]
    codes, matrix, word = (i32, i32, x, i8), (x, int64, int64), (uint64,) * 4
    return {
        "dense.forward_block": (x,) * 5 + (int64,) * 3 + (x,) * 3 + (boolean,),
        "dense.step_block": (x,) * 6 + (int64,) * 3 + (x,) * 4 + (int64, boolean),
        "coded.forward_block": (x,) * 4 + codes + (int64,) * 2 + (x,) * 3 + (int64,),
        "coded.step_block": (x,) * 5 + codes + (x,) + (int64,) * 2 + (x,) * 4 + (int64,) * 2,
        "products.product_tile": (x, *matrix, *matrix) + (int64,) * 4,
        "products.column_sums_block": (x, x) + (int64,) * 3,
        "descent.descend": (x,) * 4 + (f, f, i32),
        "descent.judge": (i64, float64[::1], int64, x, float64, i32),
        "descent.commit": (x, x, i64, int64),
        "memory.find_not_finite": (i32, x),
        "memory.convert": (x, (float64 if f == float32 else float32)[::1]),
        "sampling.draw_tasks": (i32, x, i32, i32, *word),
        "sampling.draw_tasks_in_order": (i32, i64, i32, i32, *word, x),
        "sampling.draw_tokens": (*codes, i32, x, i64, int64, float64, int64, int64, float64, *word),
    }


def name_of(kernel):
    """The name of a kernel in that table."""
    return f"{kernel.py_func.__module__.rpartition('.')[2]}.{kernel.py_func.__name__}"


def type_of(argument):
    """The type by which a kernel is compiled for an argument."""
    if hasattr(argument, "copy_to_host"):
        assert argument.ndim == 1 and argument.is_c_contiguous()
        return from_dtype(argument.dtype)[::1]
    return numba.typeof(argument)
