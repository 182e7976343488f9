"""How instructions by hand become part of a kernel: the decorator `instructions`, and arrays as it hands them on."""

import functools
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import lower_builtin, type_callable
from numba.np.arrayobj import make_array

from .lanes import Lanes, index

__all__ = ["instructions"]


class _Array:
    """An array argument: its shape, and pointers into it."""

    def __init__(self, builder, data, shape, strides):
        self.builder, self.data, self.shape, self.strides = builder, data, shape, strides

    @classmethod
    def of(cls, context, builder, kind, value, packed):
        """An array of numba's. Of one that is packed, the step from number to number is a constant: it takes no register."""
        array = make_array(kind)(context, builder, value)
        shape, strides = (cgutils.unpack_tuple(builder, part, kind.ndim) for part in (array.shape, array.strides))
        return cls(builder, array.data, shape, _strides(kind, strides, packed))

    @property
    def values(self):
        """What `received` makes it from."""
        return [self.data, *self.shape, *self.strides]

    @classmethod
    def received(cls, builder, kind, arguments, packed):
        """The same array from the arguments of a function, an iterator of `values`."""
        data = next(arguments)
        shape, strides = ([next(arguments) for _ in range(kind.ndim)] for _ in range(2))
        return cls(builder, data, shape, _strides(kind, strides, packed))

    def at(self, *where):
        offset = index(0)
        for i, stride in zip(where, self.strides, strict=True):
            offset = self.builder.add(offset, self.builder.mul(index(i), stride))
        return cgutils.pointer_add(self.builder, self.data, offset)


def _strides(kind, strides, packed):
    return [*strides[:-1], index(kind.dtype.bitwidth // 8)] if packed else strides


def instructions(
    *strided: str,
    integers: Mapping[str, types.Integer] = MappingProxyType({}),
    called: bool = False,
    needs: bool = True,
) -> Callable[[Callable[..., None]], Callable[..., bool]]:
    """Decorator for `emit(lanes, *arguments)`: a function that runs these instructions, and is True, in compiled code on
    arrays of float32 or float64; everywhere else it does nothing, and is False.

    Arguments are arrays of one dtype, but for `integers`, which are arrays of their own or numbers, and those not named in
    `strided` are packed. With `called`, the instructions stand once in a compiled module, as a function that is called: what
    has many products compiles in a third of the time. Their bits must then not depend on what surrounds them, as sums over a
    register do. Without what it `needs` of the machine, it is False.
    """

    def decorate(emit: Callable[..., None]) -> Callable[..., bool]:
        expects = list(inspect.signature(emit).parameters.values())[1:]
        names = [each.name for each in expects]

        def function(*arguments):
            return False

        @type_callable(function)
        def of(context):
            def result(*arguments):
                if runs(arguments):
                    for name, kind in zip(names, arguments, strict=True):
                        check(name, kind, integers.get(name, arguments[0].dtype))
                return types.boolean

            result.pysig = inspect.Signature(expects)
            return result

        def runs(kinds):
            return needs and isinstance(kinds[0].dtype, types.Float)

        def check(name, kind, expected):
            if isinstance(kind, types.Integer) and isinstance(expected, types.Integer):
                return
            if kind.dtype != expected or (kind.layout != "C" and name not in strided):
                raise TypeError(f"{emit.__name__}: {name} is {kind}; expected {expected}, row by row in memory.")

        @lower_builtin(function, types.VarArg(types.Any))  # type: ignore[attr-defined]
        def generate(context, builder, signature, values):
            kinds = signature.args
            if runs(kinds):
                packed = [name not in strided for name in names]
                given = zip(kinds, values, packed, strict=True)
                arrays = [_operand(context, builder, *each) for each in given]
                if called:
                    operands = [value for array in arrays for value in getattr(array, "values", [array])]
                    builder.call(_function(emit, context, builder.module, kinds, packed, operands), operands)
                else:
                    emit(Lanes(context, builder, kinds[0].dtype), *arrays)
            return context.get_constant(types.boolean, runs(kinds))

        return functools.wraps(emit)(function)

    return decorate


def _operand(context, builder, kind, value, packed):
    """An array, or an integer as an index."""
    if isinstance(kind, types.Integer):
        return context.cast(builder, value, kind, types.int64)
    return _Array.of(context, builder, kind, value, packed)


def _function(emit, context, module, kinds, packed, operands):
    """The instructions as a function of a module, made where there is none yet."""
    name = f"nlicl.{emit.__name__}.{kinds[0].dtype}." + "".join("01"[each] for each in packed)
    found = module.globals.get(name)
    if found is None:
        found = ir.Function(module, ir.FunctionType(ir.VoidType(), [value.type for value in operands]), name)
        found.linkage = "linkonce_odr"
        found.attributes.add("noinline")
        builder = ir.IRBuilder(found.append_basic_block())
        arguments = iter(found.args)
        arrays = [
            next(arguments) if isinstance(kind, types.Integer) else _Array.received(builder, kind, arguments, each)
            for kind, each in zip(kinds, packed, strict=True)
        ]
        emit(Lanes(context, builder, kinds[0].dtype), *arrays)
        builder.ret_void()
    return found
