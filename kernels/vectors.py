"""Vectors by hand: the inner loops that are most of the time, as instructions on whole registers.

LLVM's own vectorisation uses half a register where it fears for the clock, and leaves rows that are no multiple of its
stride, as d = 60, to a scalar loop: a factor 2 to 4 at these sizes. What a function means stands where it is used, as
plain loops, which is what complex numbers and `source` run; tests hold the two against each other:

    if not vectors.add_product(C, A, B):  # False where there are no such instructions
        for i in range(C.shape[0]): ...

Each number of a product is a sum in the order of the loops, one fused multiply-add after the other: its bits depend neither
on the width of a register nor on where in the matrix it stands. Sums over a vector (`row_products`, `softmax`) do.

Numba promises nothing about what this file takes from inside of it, beside `intrinsic` and `overload` of `numba.extending`:
`numba.core.cgutils`, `numba.np.arrayobj.make_array`, the types' `bitwidth` and `layout`, and that code is made by llvmlite's
`ir.IRBuilder`. Hence the upper bound on numba's version in pyproject.toml: the newest that the tests have been run with.
"""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba.core import cgutils, types
from numba.core import config as numba_config
from numba.extending import intrinsic, overload
from numba.np.arrayobj import make_array

__all__ = ["BYTES", "add_product", "add_rows", "gelu", "gelu_backward", "row_products", "softmax"]

Value = Any  # of llvmlite, which says little of its types

_INDEX = ir.IntType(64)
_INT = ir.IntType(32)


def _vector_bytes() -> int:
    """The width of a register on the machine that numba compiles for."""
    config: Any = numba_config  # its settings come to be when it is imported
    features = config.CPU_FEATURES
    if features is None:
        features = llvmlite.binding.get_host_cpu_features().flatten()
    return 64 if "+avx512f" in features else 32 if "+avx" in features else 16


BYTES = _vector_bytes()
GELU_SCALE, GELU_CUBE = math.sqrt(2 / math.pi), 0.044715  # as in layers.gelu
_DEPTH = 256


class Lanes:
    """Instructions on vectors of one float type, a thin layer over llvmlite's builder."""

    def __init__(self, context: Any, builder: Any, dtype: Any) -> None:
        self.context, self.builder = context, builder
        self.scalar = context.get_data_type(dtype)
        self.bits = dtype.bitwidth
        self.count = 8 * BYTES // self.bits
        self.type = ir.VectorType(self.scalar, self.count)
        self.suffix = f"v{self.count}f{self.bits}"
        self.zero = self.constant(0.0)

    # ---- values

    def constant(self, value: float, kind: Any = None) -> Value:
        """`value` in every lane."""
        kind = kind or self.scalar
        return ir.Constant(ir.VectorType(kind, self.count), [ir.Constant(kind, value)] * self.count)

    def splat(self, x: Value) -> Value:
        """The scalar x in every lane."""
        nothing = ir.Constant(ir.VectorType(x.type, self.count), ir.Undefined)
        one = self.builder.insert_element(nothing, x, ir.Constant(_INT, 0))
        return self.builder.shuffle_vector(one, nothing, self.constant(0, _INT))

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
        order = ir.Constant(ir.VectorType(_INT, self.count), [ir.Constant(_INT, i) for i in range(self.count)])
        return self.builder.icmp_signed("<", order, self.splat(self.builder.trunc(left, _INT)))

    # ---- memory

    def load(self, pointer: Value, mask: Value | None = None) -> Value:
        """Consecutive numbers; zeros where the mask is false, and memory there is not touched."""
        pointer = self.builder.bitcast(pointer, self.type.as_pointer())
        if mask is None:
            value = self.builder.load(pointer)
            value.align = self.bits // 8
            return value
        align = ir.Constant(_INT, self.bits // 8)
        return self._call(f"llvm.masked.load.{self.suffix}.p0", self.type, pointer, align, mask, self.zero)

    def store(self, value: Value, pointer: Value, mask: Value | None = None) -> None:
        """Consecutive numbers; nothing where the mask is false."""
        pointer = self.builder.bitcast(pointer, self.type.as_pointer())
        if mask is None:
            self.builder.store(value, pointer).align = self.bits // 8
        else:
            align = ir.Constant(_INT, self.bits // 8)
            self._call(f"llvm.masked.store.{self.suffix}.p0", ir.VoidType(), value, pointer, align, mask)

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
        half = ir.VectorType(_INT, lanes // 2)
        even, odd = (ir.Constant(half, [ir.Constant(_INT, i) for i in range(o, lanes, 2)]) for o in (0, 1))
        return self.builder.fadd(self.builder.shuffle_vector(x, y, even), self.builder.shuffle_vector(x, y, odd))

    def sum(self, x: Value) -> Value:
        """The sum of the lanes."""
        return self.builder.extract_element(self.sums([x])[0], ir.Constant(_INT, 0))

    def largest(self, x: Value) -> Value:
        """The largest lane; NaN may be passed over."""
        while x.type.count > 1:
            half = ir.VectorType(_INT, x.type.count // 2)
            lower, upper = (
                ir.Constant(half, [ir.Constant(_INT, o + i) for i in range(half.count)]) for o in (0, half.count)
            )
            nothing = ir.Constant(x.type, ir.Undefined)
            lower = self.builder.shuffle_vector(x, nothing, lower)
            upper = self.builder.shuffle_vector(x, nothing, upper)
            x = self.builder.select(self.builder.fcmp_ordered(">", lower, upper), lower, upper)
        return self.builder.extract_element(x, ir.Constant(_INT, 0))

    # ---- loops

    def range(self, start: Value | int, stop: Value | int, step: int = 1) -> "_Range":
        """`with lanes.range(a, b) as i`: i = a, a + step, ..., below b."""
        return _Range(self.builder, index(start), index(stop), step)


def index(i: Value | int) -> Value:
    """A number as an index."""
    return i if isinstance(i, ir.Value) else ir.Constant(_INDEX, i)


class _Range:
    def __init__(self, builder, start, stop, step):
        self.loop = cgutils.for_range_slice(builder, start, stop, index(step), inc=True)

    def __enter__(self):
        return self.loop.__enter__()[0]

    def __exit__(self, *error):
        return self.loop.__exit__(*error)


class _Array:
    """An array argument: its shape, and pointers into it."""

    def __init__(self, builder, data, shape, strides):
        self.builder, self.data, self.shape, self.strides = builder, data, shape, strides

    @classmethod
    def of(cls, context, builder, kind, value):
        """An array of numba's."""
        array = make_array(kind)(context, builder, value)
        numbers = (cgutils.unpack_tuple(builder, part, kind.ndim) for part in (array.shape, array.strides))
        return cls(builder, array.data, *numbers)

    @property
    def values(self):
        """What `received` makes it from."""
        return [self.data, *self.shape, *self.strides]

    @classmethod
    def received(cls, builder, kind, arguments):
        """The same array from the arguments of a function, an iterator of `values`."""
        data = next(arguments)
        return cls(builder, data, *([next(arguments) for _ in range(kind.ndim)] for _ in range(2)))

    def at(self, *where):
        offset = index(0)
        for i, stride in zip(where, self.strides, strict=True):
            offset = self.builder.add(offset, self.builder.mul(index(i), stride))
        return cgutils.pointer_add(self.builder, self.data, offset)


def instructions(*strided: str, called: bool = False) -> Callable[[Callable[..., None]], Callable[..., bool]]:
    """Decorator for `emit(lanes, *arguments)`: a function that runs these instructions, and is True, in compiled code on
    arrays of float32 or float64; everywhere else it does nothing, and is False.

    All arguments are arrays of one dtype, and those not named in `strided` packed. With `called`, the instructions stand once
    in a compiled module, as a function that is called: what has many products compiles in a third of the time. Their bits must
    then not depend on what surrounds them, as sums over a register do.
    """

    def decorate(emit: Callable[..., None]) -> Callable[..., bool]:
        names = list(inspect.signature(emit).parameters)[1:]

        @intrinsic
        def vectorised(typing, arguments):
            def generate(context, builder, signature, values):
                kinds = signature.args[0].types
                values = cgutils.unpack_tuple(builder, values[0], len(kinds))
                arrays = [_Array.of(context, builder, *array) for array in zip(kinds, values, strict=True)]
                if called:
                    operands = [value for array in arrays for value in array.values]
                    builder.call(_function(emit, context, builder.module, kinds, operands), operands)
                else:
                    emit(Lanes(context, builder, kinds[0].dtype), *arrays)
                return context.get_constant(types.boolean, True)

            return types.boolean(arguments), generate

        def function(*arguments):
            return False

        @overload(function, strict=False)
        def choose(*arguments):
            dtype = arguments[0].dtype
            if not isinstance(dtype, types.Float):
                return lambda *arguments: False
            for name, kind in zip(names, arguments, strict=True):
                if kind.dtype != dtype or (kind.layout != "C" and name not in strided):
                    raise TypeError(f"{emit.__name__}: {name} is {kind}; expected {dtype}, row by row in memory.")
            return lambda *arguments: vectorised(arguments)  # pyright: ignore[reportCallIssue]

        return functools.wraps(emit)(function)

    return decorate


def _function(emit, context, module, kinds, operands):
    """The instructions as a function of a module, made where there is none yet."""
    name = f"nlicl.{emit.__name__}.{kinds[0].dtype}"
    found = module.globals.get(name)
    if found is None:
        found = ir.Function(module, ir.FunctionType(ir.VoidType(), [value.type for value in operands]), name)
        found.linkage = "linkonce_odr"
        found.attributes.add("noinline")
        builder = ir.IRBuilder(found.append_basic_block())
        arguments = iter(found.args)
        arrays = [_Array.received(builder, kind, arguments) for kind in kinds]
        emit(Lanes(context, builder, kinds[0].dtype), *arrays)
        builder.ret_void()
    return found


# ---- The instructions. Each function's meaning: the loops it is given to, in products.py, attention.py and coded.py.


@instructions("A", called=True)
def add_product(lanes, C, A, B):
    """Tiles of C, eight rows by two registers, stay in registers while their sums run over part of p: as many rows of B as
    stay, two registers wide, in a first-level cache."""
    builder, (rows, k), n = lanes.builder, A.shape, B.shape[1]
    columns = 2 * lanes.count
    with lanes.range(0, k, _DEPTH) as start, lanes.range(0, n, columns) as j:
        left = builder.sub(k, start)
        depth = builder.select(builder.icmp_signed("<", left, index(_DEPTH)), left, index(_DEPTH))
        for masks in _edges(lanes, builder.sub(n, j)):
            above = index(0)
            for height in (8, 4, 1):
                below = builder.and_(rows, index(-height))
                with lanes.range(above, below, height) as i:
                    _tile(
                        lanes,
                        [C.at(builder.add(i, index(r)), j) for r in range(height)],
                        [
                            lambda p, r=r, i=i, start=start: A.at(builder.add(i, index(r)), builder.add(start, p))
                            for r in range(height)
                        ],
                        lambda p, j=j, start=start: B.at(builder.add(start, p), j),
                        depth,
                        masks,
                    )
                above = below


def _edges(lanes, left):
    """Masks for a tile of two registers where `left` columns are left. Where they cost something, whole tiles go without, by
    a branch: what the caller emits in the loop over this generator is emitted once for each."""
    builder = lanes.builder
    masks = [lanes.first(left), lanes.first(builder.sub(left, index(lanes.count)))]
    if BYTES == 64:
        yield masks
    else:
        with builder.if_else(builder.icmp_signed(">=", left, index(2 * lanes.count))) as (whole, part):
            with whole:
                yield [None, None]
            with part:
                yield masks


@instructions()
def add_rows(lanes, c, w, P):
    """Eight registers of c at a time; two half-sums of four registers where four hold what is left."""
    builder, k, n = lanes.builder, P.shape[0], P.shape[1]
    wide, narrow = 8 * lanes.count, 4 * lanes.count
    whole = builder.and_(n, index(-wide))

    def tile(j, masks, sums=1):
        _tile(lanes, [c.at(j)], [w.at], lambda p: P.at(p, j), k, masks, sums)

    def masks(registers):
        left = builder.sub(n, whole)
        return [lanes.first(builder.sub(left, index(v * lanes.count))) for v in range(registers)]

    with lanes.range(0, whole, wide) as j:
        tile(j, [None] * 8)
    left = builder.sub(n, whole)
    with builder.if_then(builder.icmp_signed(">", left, index(narrow))):
        tile(whole, masks(8))
    with builder.if_then(
        builder.and_(builder.icmp_signed(">", left, index(0)), builder.icmp_signed("<=", left, index(narrow)))
    ):
        tile(whole, masks(4), sums=2)


def _tile(lanes, C, A, B, k, masks, sums=1):
    """Rows C of registers += sum_p A[row](p) * B(p), with pointers C and functions from p to pointers A, B.

    With `sums` = 2 every other p goes into a second sum of its own: twice as many additions do not wait for one another.
    """
    builder, registers = lanes.builder, range(len(masks))

    def part(pointer, v):
        return builder.gep(pointer, [index(v * lanes.count)])

    total = [
        [[lanes.variable(lanes.zero if s else lanes.load(part(row, v), masks[v])) for v in registers] for row in C]
        for s in range(sums)
    ]

    def add(p, total):
        b = [lanes.load(part(B(p), v), masks[v]) for v in registers]
        for row, a in zip(total, A, strict=True):
            x = lanes.splat(builder.load(a(p)))
            for v in registers:
                lanes.set(row[v], lanes.multiply_add(x, b[v], lanes.get(row[v])))

    even = builder.and_(k, index(-sums))
    with lanes.range(0, even, sums) as p:
        for s in range(sums):
            add(builder.add(p, index(s)), total[s])
    if sums > 1:
        with lanes.range(even, k) as p:
            add(p, total[0])
    for r, row in enumerate(C):
        for v in registers:
            value = lanes.get(total[0][r][v])
            for s in range(1, sums):
                value = builder.fadd(value, lanes.get(total[s][r][v]))
            lanes.store(value, part(row, v), masks[v])


@instructions()
def row_products(lanes, s, P, u):
    """Eight rows at a time, a register of sums each; u is loaded once for all."""
    builder, (rows, n) = lanes.builder, P.shape
    whole = builder.and_(n, index(-lanes.count))
    rest = lanes.first(builder.sub(n, whole))
    start = index(0)
    for height in (8, 4, 1):
        stop = builder.and_(rows, index(-height))
        with lanes.range(start, stop, height) as i:
            sums = [lanes.variable(lanes.zero) for _ in range(height)]

            def add(j, mask, i=i, sums=sums):
                x = lanes.load(u.at(j), mask)
                for r, total in enumerate(sums):
                    row = lanes.load(P.at(builder.add(i, index(r)), j), mask)
                    lanes.set(total, lanes.multiply_add(row, x, lanes.get(total)))

            with lanes.range(0, whole, lanes.count) as j:
                add(j, None)
            with builder.if_then(builder.icmp_signed("<", whole, n)):
                add(whole, rest)
            done = 0
            for vector in lanes.sums([lanes.get(total) for total in sums]):
                pointer = builder.bitcast(s.at(builder.add(i, index(done))), vector.type.as_pointer())
                builder.store(vector, pointer).align = lanes.bits // 8
                done += vector.type.count
        start = stop


@instructions()
def softmax(lanes, s):
    """Three passes, each over whole registers and then over the rest, under a mask."""
    builder, n = lanes.builder, s.shape[0]
    whole = builder.and_(n, index(-lanes.count))
    rest = lanes.first(builder.sub(n, whole))

    def each(do):
        with lanes.range(0, whole, lanes.count) as t:
            do(s.at(t), None)
        with builder.if_then(builder.icmp_signed("<", whole, n)):
            do(s.at(whole), rest)

    top = lanes.variable(lanes.splat(builder.load(s.at(0))))
    total = lanes.variable(lanes.zero)

    def find(pointer, mask):
        x = lanes.load(pointer, mask)
        larger = builder.fcmp_ordered(">", x, lanes.get(top))
        larger = larger if mask is None else builder.and_(mask, larger)
        lanes.set(top, builder.select(larger, x, lanes.get(top)))
        lanes.set(total, lanes.multiply_add(x, lanes.zero, lanes.get(total)))  # 0, or NaN where x has overflowed

    each(find)
    largest = lanes.splat(lanes.largest(lanes.get(top)))

    def exponentiate(pointer, mask):
        e = _exponential(lanes, builder.fsub(lanes.load(pointer, mask), largest))
        lanes.store(e, pointer, mask)
        e = e if mask is None else builder.select(mask, e, lanes.zero)
        lanes.set(total, builder.fadd(lanes.get(total), e))

    each(exponentiate)
    share = lanes.splat(builder.fdiv(ir.Constant(lanes.scalar, 1.0), lanes.sum(lanes.get(total))))
    each(lambda pointer, mask: lanes.store(builder.fmul(lanes.load(pointer, mask), share), pointer, mask))


@instructions()
def gelu(lanes, h, u):
    """h_j = u_j s_j for s_j = sigmoid(2 y_j): see `kernels.layers.gelu`."""

    def do(j, mask):
        x = lanes.load(u.at(j), mask)
        s, _ = _sigmoids(lanes, x)
        lanes.store(lanes.builder.fmul(x, s), h.at(j), mask)

    _each(lanes, u.shape[0], do)


@instructions()
def gelu_backward(lanes, du, u, dh):
    """du_j = dh_j (s_j + 2 u_j s_j (1 - s_j) y'_j)."""
    multiply, constant = lanes.builder.fmul, lanes.constant

    def do(j, mask):
        x = lanes.load(u.at(j), mask)
        s, rest = _sigmoids(lanes, x)
        slope = lanes.multiply_add(multiply(x, x), constant(6 * GELU_SCALE * GELU_CUBE), constant(2 * GELU_SCALE))
        slope = lanes.multiply_add(multiply(x, slope), multiply(s, rest), s)
        lanes.store(multiply(lanes.load(dh.at(j), mask), slope), du.at(j), mask)

    _each(lanes, u.shape[0], do)


def _each(lanes, n, do):
    """do(j, mask) for each register of n numbers; the mask is None but for a last one that is not full."""
    builder = lanes.builder
    whole = builder.and_(n, index(-lanes.count))
    with lanes.range(0, whole, lanes.count) as j:
        do(j, None)
    with builder.if_then(builder.icmp_signed("<", whole, n)):
        do(whole, lanes.first(builder.sub(n, whole)))


def _sigmoids(lanes, x):
    """sigmoid(2 y) and sigmoid(-2 y) for y = sqrt(2/pi) (x + 0.044715 x^3), without cancellation."""
    builder = lanes.builder
    inner = lanes.multiply_add(builder.fmul(x, x), lanes.constant(GELU_SCALE * GELU_CUBE), lanes.constant(GELU_SCALE))
    y = builder.fmul(x, inner)
    positive = builder.fcmp_ordered(">", y, lanes.zero)
    twice = builder.fmul(y, lanes.constant(2.0))
    e = _exponential(lanes, builder.select(positive, builder.fsub(lanes.zero, twice), twice))
    large = builder.fdiv(lanes.constant(1.0), builder.fadd(lanes.constant(1.0), e))
    small = builder.fmul(e, large)
    return builder.select(positive, large, small), builder.select(positive, small, large)


def _exponential(lanes, x):
    """exp(x) for x <= 0: 2^n exp(r) with |r| <= log(2)/2, and Taylor's polynomial; 0 where it would be subnormal."""
    builder = lanes.builder
    if lanes.bits == 64:
        degree, lowest, integer, bias, fraction = 13, -708.0, ir.IntType(64), 1023, 52
        high, low = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # log(2); n * high is exact
    else:
        degree, lowest, integer, bias, fraction = 7, -87.0, _INT, 127, 23
        high, low = 6.9313812256e-01, 9.0580006145e-06
    above = builder.fcmp_unordered(">=", x, lanes.constant(lowest))  # or NaN, which goes on
    number = builder.fcmp_ordered(">=", x, lanes.constant(lowest))
    bounded = builder.select(number, x, lanes.constant(lowest))
    n = lanes.round(builder.fmul(bounded, lanes.constant(1 / math.log(2))))
    r = lanes.multiply_add(n, lanes.constant(-high), x)
    r = lanes.multiply_add(n, lanes.constant(-low), r)
    value = lanes.constant(1 / math.factorial(degree))
    for power in range(degree - 1, -1, -1):
        value = lanes.multiply_add(value, r, lanes.constant(1 / math.factorial(power)))
    whole = builder.fptosi(n, ir.VectorType(integer, lanes.count))
    whole = builder.shl(builder.add(whole, lanes.constant(bias, integer)), lanes.constant(fraction, integer))
    return builder.select(above, builder.fmul(value, builder.bitcast(whole, lanes.type)), lanes.zero)
