"""Integers of 128 bits, each as two of 64: the high half and the low one."""

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, overload

__all__ = ["halves", "times_plus"]

_WIDE = ir.IntType(128)


def halves(number: int) -> tuple[np.uint64, np.uint64]:
    """The halves of a number below 2^128; not for use in kernels."""
    return np.uint64(number >> 64), np.uint64(number & (2**64 - 1))


def times_plus(x_high, x_low, y_high, y_low, z_high, z_low):
    """x y + z mod 2^128."""
    x, y, z = (int(high) << 64 | int(low) for high, low in ((x_high, x_low), (y_high, y_low), (z_high, z_low)))
    return halves((x * y + z) % 2**128)


@intrinsic
def _times_plus(typing, x_high, x_low, y_high, y_low, z_high, z_low):
    def generate(context, builder, signature, values):
        def joined(high, low):
            high = builder.shl(builder.zext(high, _WIDE), ir.Constant(_WIDE, 64))
            return builder.or_(high, builder.zext(low, _WIDE))

        x, y, z = (joined(*values[i : i + 2]) for i in (0, 2, 4))
        found = builder.add(builder.mul(x, y), z)
        parts = (builder.lshr(found, ir.Constant(_WIDE, 64)), found)
        return cgutils.pack_array(builder, [builder.trunc(part, ir.IntType(64)) for part in parts])

    return types.UniTuple(types.uint64, 2)(*[types.uint64] * 6), generate


@overload(times_plus, inline="never")
def _choose(x_high, x_low, y_high, y_low, z_high, z_low):
    return lambda x_high, x_low, y_high, y_low, z_high, z_low: _times_plus(x_high, x_low, y_high, y_low, z_high, z_low)
