"""Counters that several threads share: instructions that no other thread comes between. In plain Python, where nobody else is
at work, they are what they look like."""

from numba.core import types
from numba.extending import intrinsic, overload
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


@intrinsic
def _add(typing, state, i, n):
    def generate(context, builder, signature, values):
        place = _place(context, builder, signature.args[0], values[0], values[1])
        return builder.atomic_rmw("add", place, values[2], "seq_cst")

    return types.int64(state, types.int64, types.int64), generate


@intrinsic
def _read(typing, state, i):
    def generate(context, builder, signature, values):
        place = _place(context, builder, signature.args[0], values[0], values[1])
        return builder.load_atomic(place, "seq_cst", 8)

    return types.int64(state, types.int64), generate


@overload(add)
def _compiled_add(state, i, n):
    return lambda state, i, n: _add(state, i, n)


@overload(read)
def _compiled_read(state, i):
    return lambda state, i: _read(state, i)
