"""The argument types that the GPU's kernels are launched with: test_cuda_compiled.py compiles for them."""

import numba
from numba import boolean, float32, float64, int8, int32, int64, uint64
from numba.np.numpy_support import from_dtype


def signatures(f):
    """Name -> argument types, for parameters of float32 or float64."""
    x, i8, i32, i64 = f[::1], int8[::1], int32[::1], int64[::1]
    codes, matrix, word = (i32, i32, x, i8), (x, int64, int64), (uint64,) * 4
    return {
        "_dense_forward": (x,) * 5 + (int64,) * 3 + (x,) * 3 + (boolean,),
        "_dense_step": (x,) * 6 + (int64,) * 3 + (x,) * 4 + (int64, boolean),
        "_coded_forward": (x,) * 4 + codes + (int64,) * 2 + (x,) * 3 + (int64,),
        "_coded_step": (x,) * 5 + codes + (x,) + (int64,) * 2 + (x,) * 4 + (int64,) * 2,
        "_product": (x, *matrix, *matrix) + (int64,) * 4,
        "_column_sums": (x, x) + (int64,) * 3,
        "_descend": (x,) * 4 + (f, f, i32),
        "_judge": (i64, float64[::1], int64, x, float64, i32),
        "_commit": (x, x, i64, int64),
        "_finite": (i32, x),
        "_convert": (x, (float64 if f == float32 else float32)[::1]),
        "_tasks": (i32, x, i32, i32, *word),
        "_tasks_in_order": (i32, i64, i32, i32, *word, x),
        "_tokens": (*codes, i32, x, i64, int64, float64, int64, int64, float64, *word),
    }


def type_of(argument):
    """The type by which a kernel is compiled for an argument."""
    if hasattr(argument, "copy_to_host"):
        assert argument.ndim == 1 and argument.is_c_contiguous()
        return from_dtype(argument.dtype)[::1]
    return numba.typeof(argument)
