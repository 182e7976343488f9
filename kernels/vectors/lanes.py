"""Instructions on vectors of one float type, as wide as the machine's registers."""

from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba.core import cgutils
from numba.core import config as numba_config

__all__ = ["BYTES", "INT", "REGISTERS", "Lanes", "Value", "index"]

Value = Any  # of llvmlite, which says little of its types

INDEX = ir.IntType(64)
INT = ir.IntType(32)


def _registers() -> tuple[int, int]:
    """The width of a vector register on the machine that numba compiles for, in bytes, and how many there are."""
    config: Any = numba_config  # its settings come to be when it is imported
    features = config.CPU_FEATURES
    if features is None:
        features = llvmlite.binding.get_host_cpu_features().flatten()
    if "+avx512f" in features:
        return 64, 32
    if "+avx" in features:
        return 32, 16
    return 16, 16 if llvmlite.binding.get_process_triple().startswith(("x86", "i686")) else 32


BYTES, REGISTERS = _registers()


class Lanes:
    """Instructions on vectors of one float type, a thin layer over llvmlite's builder."""

    def __init__(self, context: Any, builder: Any, dtype: Any, count: int | None = None) -> None:
        self.context, self.builder, self.dtype = context, builder, dtype
        self.scalar = context.get_data_type(dtype)
        self.bits = dtype.bitwidth
        self.count = count or 8 * BYTES // self.bits
        self.type = ir.VectorType(self.scalar, self.count)
        self.suffix = f"v{self.count}f{self.bits}"
        self.zero = self.constant(0.0)

    def narrow(self, count: int) -> "Lanes":
        """Instructions on vectors of `count` numbers of the same type."""
        return Lanes(self.context, self.builder, self.dtype, count)

    # ---- values

    def constant(self, value: float, kind: Any = None) -> Value:
        """`value` in every lane."""
        kind = kind or self.scalar
        return ir.Constant(ir.VectorType(kind, self.count), [ir.Constant(kind, value)] * self.count)

    def splat(self, x: Value) -> Value:
        """The scalar x in every lane."""
        nothing = ir.Constant(ir.VectorType(x.type, self.count), ir.Undefined)
        one = self.builder.insert_element(nothing, x, ir.Constant(INT, 0))
        return self.builder.shuffle_vector(one, nothing, self.constant(0, INT))

    def variable(self, value: Value) -> Value:
        """Something that changes in a loop: `get` and `set` it. LLVM keeps it in a register."""
        pointer = cgutils.alloca_once(self.builder, value.type)
        self.builder.store(value, pointer)
        return pointer

    def get(self, variable: Value) -> Value:
        return self.builder.load(variable)

    def set(self, variable: Value, value: Value) -> None:
        self.builder.store(value, variable)

    def first(self, left: Value) -> Value:
        """A mask: true in the first `left` lanes."""
        order = ir.Constant(ir.VectorType(INT, self.count), [ir.Constant(INT, i) for i in range(self.count)])
        return self.builder.icmp_signed("<", order, self.splat(self.builder.trunc(left, INT)))

    # ---- memory

    def load(self, pointer: Value, mask: Value | None = None) -> Value:
        """Consecutive numbers; zeros where the mask is false, and memory there is not touched."""
        pointer = self.builder.bitcast(pointer, self.type.as_pointer())
        if mask is None:
            value = self.builder.load(pointer)
            value.align = self.bits // 8
            return value
        align = ir.Constant(INT, self.bits // 8)
        return self._call(f"llvm.masked.load.{self.suffix}.p0", self.type, pointer, align, mask, self.zero)

    def store(self, value: Value, pointer: Value, mask: Value | None = None) -> None:
        """Consecutive numbers; nothing where the mask is false."""
        pointer = self.builder.bitcast(pointer, self.type.as_pointer())
        if mask is None:
            self.builder.store(value, pointer).align = self.bits // 8
        else:
            align = ir.Constant(INT, self.bits // 8)
            self._call(f"llvm.masked.store.{self.suffix}.p0", ir.VoidType(), value, pointer, align, mask)

    def prefetch(self, pointer: Value) -> None:
        """Ask for the cache line at `pointer`, which need not be memory of ours: nothing happens where it is not."""
        pointer = self.builder.bitcast(pointer, ir.IntType(8).as_pointer())
        read, keep, data = ir.Constant(INT, 0), ir.Constant(INT, 3), ir.Constant(INT, 1)
        self._call("llvm.prefetch.p0", ir.VoidType(), pointer, read, keep, data)

    # ---- arithmetic

    def _call(self, name: str, result: Any, *arguments: Value) -> Value:
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), arguments)

    def multiply_add(self, x: Value, y: Value, z: Value) -> Value:
        """x y + z, rounded once where the machine can."""
        return self._call(f"llvm.fmuladd.{self.suffix}", self.type, x, y, z)

    def round(self, x: Value) -> Value:
        """The nearest whole numbers."""
        return self._call(f"llvm.rint.{self.suffix}", self.type, x)

    def choose(self, x: Value, y: Value, places: list[int]) -> Value:
        """The numbers at these places of x, and, counted on, of y."""
        kind = ir.VectorType(INT, len(places))
        return self.builder.shuffle_vector(x, y, ir.Constant(kind, [ir.Constant(INT, k) for k in places]))

    def sums(self, rows: list[Value]) -> list[Value]:
        """Vectors whose lanes, one after the other, are the sums of the vectors in `rows` (a power of two of them).

        Neighbours are added, two vectors into one, until a lane is a row's sum.
        """
        parts = self.count  # lanes that a row's sum is spread over
        while parts > 1:
            if len(rows) > 1:
                rows = [self._neighbours(x, y) for x, y in zip(rows[::2], rows[1::2], strict=True)]
            else:
                rows = [self._neighbours(rows[0], None)]
            parts //= 2
        return rows

    def _neighbours(self, x: Value, y: Value | None) -> Value:
        lanes = x.type.count * (1 if y is None else 2)
        y = ir.Constant(x.type, ir.Undefined) if y is None else y
        half = ir.VectorType(INT, lanes // 2)
        even, odd = (ir.Constant(half, [ir.Constant(INT, i) for i in range(o, lanes, 2)]) for o in (0, 1))
        return self.builder.fadd(self.builder.shuffle_vector(x, y, even), self.builder.shuffle_vector(x, y, odd))

    def sum(self, x: Value) -> Value:
        """The sum of the lanes."""
        return self.builder.extract_element(self.sums([x])[0], ir.Constant(INT, 0))

    def largest(self, x: Value) -> Value:
        """The largest lane; NaN may be passed over."""
        while x.type.count > 1:
            half = ir.VectorType(INT, x.type.count // 2)
            lower, upper = (
                ir.Constant(half, [ir.Constant(INT, o + i) for i in range(half.count)]) for o in (0, half.count)
            )
            nothing = ir.Constant(x.type, ir.Undefined)
            lower = self.builder.shuffle_vector(x, nothing, lower)
            upper = self.builder.shuffle_vector(x, nothing, upper)
            x = self.builder.select(self.builder.fcmp_ordered(">", lower, upper), lower, upper)
        return self.builder.extract_element(x, ir.Constant(INT, 0))

    # ---- loops

    def range(self, start: Value | int, stop: Value | int, step: int = 1) -> "_Range":
        """`with lanes.range(a, b) as i`: i = a, a + step, ..., below b."""
        return _Range(self.builder, index(start), index(stop), step)


def index(i: Value | int) -> Value:
    """A number as an index."""
    return i if isinstance(i, ir.Value) else ir.Constant(INDEX, i)


class _Range:
    def __init__(self, builder, start, stop, step):
        self.builder = builder
        self.loop = cgutils.for_range_slice(builder, start, stop, index(step), inc=True)

    def __enter__(self):
        return self.loop.__enter__()[0]

    def __exit__(self, *error):
        last = self.builder.block
        result = self.loop.__exit__(*error)
        if last.is_terminated:
            last.terminator.set_metadata("llvm.loop", _as_written(self.builder.module))
        return result


def _as_written(module):
    """What tells LLVM of a loop that it is not to be unrolled: its body is many instructions already."""
    found = module.add_metadata([module.add_metadata(["llvm.loop.unroll.disable"])])
    if found.operands[0] is not found:
        found.operands = (found, *found.operands)
    return found
