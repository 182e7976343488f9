"""Integers of 128 bits, each as two of 64: the high half and the low one."""

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing import signature
from numba.extending import lower_builtin, type_callable
from numba.np.arrayobj import make_array

from .lanes import BYTES

__all__ = ["LANES", "halves", "times_plus", "walk"]

LANES = 16  # two registers of 64 bytes, so that one need not wait for itself

_WIDE = ir.IntType(128)


def halves(number: int) -> tuple[np.uint64, np.uint64]:
    """The halves of a number below 2^128; not for use in kernels."""
    return np.uint64(number >> 64), np.uint64(number & (2**64 - 1))


def times_plus(x_high, x_low, y_high, y_low, z_high, z_low):
    """x y + z mod 2^128."""
    x, y, z = (int(high) << 64 | int(low) for high, low in ((x_high, x_low), (y_high, y_low), (z_high, z_low)))
    return halves((x * y + z) % 2**128)


@type_callable(times_plus)
def _type_of_halves(context):
    pair = types.UniTuple(types.uint64, 2)
    return lambda x_high, x_low, y_high, y_low, z_high, z_low: signature(pair, *[types.uint64] * 6)


@lower_builtin(times_plus, *[types.uint64] * 6)
def _compiled_times_plus(context, builder, signature, values):
    def joined(high, low):
        high = builder.shl(builder.zext(high, _WIDE), ir.Constant(_WIDE, 64))
        return builder.or_(high, builder.zext(low, _WIDE))

    x, y, z = (joined(*values[i : i + 2]) for i in (0, 2, 4))
    found = builder.add(builder.mul(x, y), z)
    parts = (builder.lshr(found, ir.Constant(_WIDE, 64)), found)
    return cgutils.pack_array(builder, [builder.trunc(part, ir.IntType(64)) for part in parts])


def walk(bits, groups, high, low, jump):
    """Numbers of PCG64 from LANES states side by side, whose halves are `high` and `low` (LANES,), groups of LANES at a time.

    Each state s gives its number, rotr(high ^ low, high >> 58), and goes on by M s + c; jump (4,) has the halves of M, then
    those of c. True, and done, where registers have 64 bytes; else nothing is done.
    """
    return False


@type_callable(walk)
def _type_of_walk(context):
    return lambda bits, groups, high, low, jump: signature(types.boolean, bits, types.int64, high, low, jump)


@lower_builtin(walk, types.Array, types.int64, types.Array, types.Array, types.Array)
def _compiled_walk(context, builder, signature, values):
    if BYTES < 64:
        return context.get_constant(types.boolean, False)
    kinds = signature.args
    pointer = {i: make_array(kinds[i])(context, builder, values[i]).data for i in (0, 2, 3, 4)}
    number = ir.IntType(64)
    vector = ir.VectorType(number, LANES)

    def splat(value):
        nothing = ir.Constant(vector, ir.Undefined)
        one = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))

    def constant(value):
        return ir.Constant(vector, [value] * LANES)

    def load(at):
        found = builder.load(builder.bitcast(at, vector.as_pointer()))
        found.align = 8
        return found

    def store(value, at):
        builder.store(value, builder.bitcast(at, vector.as_pointer())).align = 8

    rotated = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fshr.v{LANES}i64"
    )
    M_high, M_low, c_high, c_low = (
        splat(builder.load(builder.gep(pointer[4], [ir.Constant(number, i)]))) for i in range(4)
    )
    limb, half = constant(2**32 - 1), constant(32)
    M_0, M_1 = builder.and_(M_low, limb), builder.lshr(M_low, half)
    kept = [cgutils.alloca_once(builder, vector) for _ in range(2)]
    for variable, at in zip(kept, (pointer[2], pointer[3]), strict=True):
        builder.store(load(at), variable)
    with cgutils.for_range(builder, values[1]) as loop:
        h, l = (builder.load(variable) for variable in kept)
        mixed = builder.xor(h, l)
        there = builder.gep(pointer[0], [builder.mul(loop.index, ir.Constant(number, LANES))])
        store(builder.call(rotated, [mixed, mixed, builder.lshr(h, constant(58))]), there)
        # l M_low, all of its 128 bits, by limbs of 32; and h M_low + l M_high, the lower 64
        l_0, l_1 = builder.and_(l, limb), builder.lshr(l, half)
        p_00, p_01 = builder.mul(l_0, M_0), builder.mul(l_0, M_1)
        p_10, p_11 = builder.mul(l_1, M_0), builder.mul(l_1, M_1)
        middle = builder.add(builder.lshr(p_00, half), builder.and_(p_01, limb))
        middle = builder.add(middle, builder.and_(p_10, limb))
        upper = builder.add(builder.lshr(p_01, half), builder.lshr(p_10, half))
        upper = builder.add(builder.add(upper, builder.lshr(middle, half)), p_11)
        lower = builder.or_(builder.shl(middle, half), builder.and_(p_00, limb))
        upper = builder.add(upper, builder.add(builder.mul(h, M_low), builder.mul(l, M_high)))
        lower = builder.add(lower, c_low)
        carry = builder.zext(builder.icmp_unsigned("<", lower, c_low), vector)
        builder.store(builder.add(builder.add(upper, c_high), carry), kept[0])
        builder.store(lower, kept[1])
    for variable, at in zip(kept, (pointer[2], pointer[3]), strict=True):
        store(builder.load(variable), at)
    return context.get_constant(types.boolean, True)
