"""Counters that several threads share: instructions that no other thread comes between. In plain Python, where nobody else is
at work, they are what they look like."""

from numba.core import types
from numba.core.typing import signature
from numba.extending import lower_builtin, type_callable
from numba.np.arrayobj import make_array

__all__ = ["add", "read"]


def add(state, i, n):
    """state[i] += n for an array of int64 (k,); returns what it was."""
    before = state[i]
    state[i] += n
    return before


def read(state, i):
    """state[i], as it is now."""
    return state[i]


def _place(context, builder, kind, value, i):
    data = make_array(kind)(context, builder, value).data
    return builder.gep(data, [i])


@type_callable(add)
def _type_of_sum(context):
    return lambda state, i, n: signature(types.int64, state, types.int64, types.int64)


@type_callable(read)
def _type_of_number(context):
    return lambda state, i: signature(types.int64, state, types.int64)


@lower_builtin(add, types.Array, types.int64, types.int64)
def _compiled_add(context, builder, signature, values):
    place = _place(context, builder, signature.args[0], values[0], values[1])
    return builder.atomic_rmw("add", place, values[2], "seq_cst")


@lower_builtin(read, types.Array, types.int64)
def _compiled_read(context, builder, signature, values):
    place = _place(context, builder, signature.args[0], values[0], values[1])
    return builder.load_atomic(place, "seq_cst", 8)
