"""Kernels that others have inside: the same numbers, nothing kept of them, and no reference lost or held."""

import gc
import weakref

import numpy as np
import pytest
from child import python
from hypothesis import given
from hypothesis import strategies as st
from llvmlite import ir
from numba.core import types
from numba.core.registry import cpu_target
from numba.core.runtime import _nrt_python, rtsys
from numba.core.runtime.context import NRTContext

from nlicl.kernels import compile, inside

pytestmark = pytest.mark.compiled

ARRAYS = [
    types.Array(dtype, n, layout)
    for dtype in (types.float64, types.int8)
    for n, layout in ((0, "C"), (1, "C"), (3, "A"))
]
KINDS = st.recursive(
    st.sampled_from([*ARRAYS, types.int64, types.boolean, types.none]),
    lambda kinds: st.lists(kinds, max_size=3).map(lambda some: types.BaseTuple.from_types(tuple(some))),
    max_leaves=6,
)


def usual(context, builder, kind, value):
    """What numba says of itself: every member is taken out and looked at."""
    model = context._context.data_model_manager[kind]
    found = [(kind, model.get_nrt_meminfo(builder, value))] if model.has_nrt_meminfo() else []
    for inner, taken_from in model.traverse(builder):
        found += usual(context, builder, inner, taken_from(value))
    return found


def place(value):
    """Where in the whole an extracted value lies."""
    return (*place(value.aggregate), *value.indices) if isinstance(value, ir.instructions.ExtractValue) else ()


@given(kind=KINDS)
def test_all_that_is_counted_is_found_and_in_order(kind):
    context = NRTContext(cpu_target.target_context, True)
    builder = ir.IRBuilder(ir.Function(ir.Module(), ir.FunctionType(ir.VoidType(), ()), "f").append_basic_block())
    whole = ir.Constant(cpu_target.target_context.get_value_type(kind), ir.Undefined)
    found = [
        [(counted, place(value)) for counted, value in all_of(context, builder, kind, whole)]
        for all_of in (inside.counted, usual)
    ]
    assert found[0] == found[1]
    assert NRTContext.get_meminfos is inside.counted


@compile.kernel
def rows_of(pair, n):
    kept = (np.empty(n), pair)
    for i in range(n):
        kept[0][i] = pair[0][i] + pair[1][0, i]
    return (kept, pair[1][:1]) if n > 2 else (kept, pair[1])


def test_no_array_is_lost_or_held():
    """Tuples of arrays within tuples, views, and new arrays: what is returned lives, and what nobody has any more does not."""
    _nrt_python.memsys_enable_stats()
    before = rtsys.get_allocation_stats()
    a, b = np.arange(5.0), np.arange(10.0).reshape(2, 5)
    (total, (one, other)), view = rows_of((a, b), 5)
    alive = weakref.ref(b)
    del b
    gc.collect()
    assert np.array_equal(total, [0, 2, 4, 6, 8]) and np.array_equal(view, [[0, 1, 2, 3, 4]])
    assert np.array_equal(one, a) and alive() is not None
    del total, one, other, view
    gc.collect()
    after = rtsys.get_allocation_stats()
    _nrt_python.memsys_disable_stats()
    assert alive() is None
    assert after.mi_alloc - before.mi_alloc == after.mi_free - before.mi_free > 0


@pytest.mark.parametrize("order", [("forward", "scores"), ("scores", "forward")])
def test_called_by_python_and_by_kernels(tmp_path, order):
    """Whichever comes first, both are right, and of a kernel that only others called no file is kept."""
    code = f"""
import numpy as np
from nlicl.kernels import compile
from nlicl.kernels.layers import mlp
H_T, a, C = np.linspace(-1, 1, 12).reshape(3, 4), np.array([1.0, -1, 2, 0.5]), np.linspace(0, 2, 6).reshape(2, 3)
U, F = np.empty((2, 4)), np.empty(2)
expected = np.maximum(C @ H_T, 0) @ a
for name in {order}:
    if name == "forward":
        mlp.forward(U, F, C, H_T, a)
    else:
        mlp.scores(F, C @ H_T, a)
    print(np.allclose(F, expected, rtol=1e-14), len(mlp.scores.overloads), len(mlp.forward.overloads))
print(sum("mlp.scores" in path.name for path in compile.cache_folder().rglob("*.nbc")))
"""
    lines = python(code, NUMBA_CACHE_DIR=str(tmp_path)).splitlines()
    expected = ["True 0 1", "True 1 1", "1"] if order[0] == "forward" else ["True 1 0", "True 1 1", "1"]
    assert lines == expected
