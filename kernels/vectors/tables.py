"""Look-ups in small tables, and the softmax of what was found: attention on codes. Their meaning: the loops of
`kernels.steps.coded`.

A table of up to 64 numbers stays in registers, where AVX-512 looks up a register of indices in two registers at once. Other
machines read tables number by number, as the loops do.

Rows of what is written are padded: whole registers are stored, for a store under a mask keeps the processor from reading
it again until it is through.
"""

import math
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from .elementwise import exponential
from .instructions import instructions
from .lanes import BYTES, INT, index

__all__ = ["LONGEST_TABLE", "PADDING", "look_up", "softmax_backward_rows", "softmax_rows"]

PADDING = 16  # rows are a multiple of so many numbers: of a register's, whatever its width
LONGEST_TABLE = 64
_SIZES = (32, LONGEST_TABLE)  # of tables in registers, padded with zeros
_SIGN: dict[str, Any] = {"sign": types.int8, "n": types.int64}
_CODES = {"relevant": types.int32, "irrelevant": types.int32, **_SIGN}


@instructions(integers=_CODES, called=True, needs=BYTES == 64)
def look_up(lanes, s, tables, n, relevant, irrelevant, kappa, sign):
    """The tables of a prompt are its registers while its tokens pass by."""
    builder, (b, K) = lanes.builder, tables.shape
    last = builder.sub(K, index(1))
    with lanes.range(0, b) as p:
        of_label = lanes.splat(builder.load(tables.at(p, last)))

        def look_up_by(table, p=p, of_label=of_label):
            def do(t, mask):
                x = table(_integers(lanes, relevant.at(p, t), 32, mask))
                y = table(_integers(lanes, irrelevant.at(p, t), 32, mask))
                signs = builder.sitofp(_integers(lanes, sign.at(p, t), 8, mask), lanes.type)
                x = lanes.multiply_add(lanes.load(kappa.at(p, t), mask), y, x)
                lanes.store(lanes.multiply_add(signs, of_label, x), s.at(p, t))

            _each(lanes, n, do)

        with builder.if_else(builder.icmp_signed("<=", K, index(_SIZES[0]))) as (short, long):
            with short:
                look_up_by(_table(lanes, tables, p, _SIZES[0]))
            with long:
                look_up_by(_table(lanes, tables, p, _SIZES[1]))


def _table(lanes, tables, p, size):
    """A function that looks up a register of indices in the row p of the tables, of up to `size` numbers."""
    builder, K = lanes.builder, tables.shape[1]
    registers = [
        lanes.load(tables.at(p, j), lanes.first(builder.sub(K, index(j)))) for j in range(0, size, lanes.count)
    ]
    form, integer = ("pd", ir.IntType(64)) if lanes.bits == 64 else ("ps", INT)

    def find(where):
        kind = ir.FunctionType(lanes.type, [lanes.type, where.type, lanes.type])
        permute = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.avx512.vpermi2var.{form}.512")
        found = [builder.call(permute, [x, where, y]) for x, y in zip(registers[::2], registers[1::2], strict=True)]
        reach = lanes.count
        while len(found) > 1:
            reach *= 2
            bit = builder.and_(where, lanes.constant(reach, integer))
            above = builder.icmp_signed("!=", bit, lanes.constant(0, integer))
            found = [builder.select(above, y, x) for x, y in zip(found[::2], found[1::2], strict=True)]
        return found[0]

    return find


@instructions(integers=_SIGN, called=True)
def softmax_rows(lanes, s, of_label, n, sign):
    """Stages, each for all rows, so that the processor works on several while a sum over a register is on its way: the
    largest; exponentials and one over their sum; shares, and those of the labels."""
    builder, b = lanes.builder, sign.shape[0]
    with lanes.range(0, b) as p:
        top = lanes.variable(lanes.constant(-math.inf))

        def find(t, mask, p=p, top=top):
            x = lanes.load(s.at(p, t))
            larger = builder.fcmp_ordered(">", x, lanes.get(top))
            larger = larger if mask is None else builder.and_(mask, larger)
            lanes.set(top, builder.select(larger, x, lanes.get(top)))

        _each(lanes, n, find)
        builder.store(lanes.largest(lanes.get(top)), of_label.at(p))
    with lanes.range(0, b) as p:
        top, total = lanes.splat(builder.load(of_label.at(p))), lanes.variable(lanes.zero)

        def exponentiate(t, mask, p=p, top=top, total=total):
            x = lanes.load(s.at(p, t))
            e = lanes.multiply_add(
                x, lanes.zero, exponential(lanes, builder.fsub(x, top))
            )  # NaN where x has overflowed
            e = e if mask is None else builder.select(mask, e, lanes.zero)
            lanes.store(e, s.at(p, t))
            lanes.set(total, builder.fadd(lanes.get(total), e))

        _each(lanes, n, exponentiate)
        one = ir.Constant(lanes.scalar, 1.0)
        builder.store(builder.fdiv(one, lanes.sum(lanes.get(total))), of_label.at(p))
    with lanes.range(0, b) as p:
        share, labels = lanes.splat(builder.load(of_label.at(p))), lanes.variable(lanes.zero)

        def scale(t, mask, p=p, share=share, labels=labels):
            w = builder.fmul(lanes.load(s.at(p, t)), share)
            lanes.store(w, s.at(p, t))
            _add_labels(lanes, labels, sign, p, t, mask, w)

        _each(lanes, n, scale)
        builder.store(lanes.sum(lanes.get(labels)), of_label.at(p))


@instructions(integers=_SIGN, called=True)
def softmax_backward_rows(lanes, ds, of_label, attn, C, dC, n, sign):
    """c . dc of all prompts, then ds_t = attn_t (dattn_t - c . dc) and the sum of the labels' share."""
    builder, (b, K) = lanes.builder, C.shape
    with lanes.range(0, b) as p:
        mean = lanes.variable(lanes.zero)

        def multiply(j, mask, p=p, mean=mean):
            c, dc = lanes.load(C.at(p, j), mask), lanes.load(dC.at(p, j), mask)
            lanes.set(mean, lanes.multiply_add(c, dc, lanes.get(mean)))

        _each(lanes, K, multiply)
        mean = lanes.sum(lanes.get(mean))
        first = builder.load(ds.at(p, index(0)))  # one token: its softmax is constant, and ds = 0 to the last bit
        builder.store(builder.select(builder.icmp_signed("==", n, index(1)), first, mean), of_label.at(p))
    with lanes.range(0, b) as p:
        mean, labels = lanes.splat(builder.load(of_label.at(p))), lanes.variable(lanes.zero)

        def subtract(t, mask, p=p, labels=labels, mean=mean):
            w = builder.fmul(lanes.load(attn.at(p, t)), builder.fsub(lanes.load(ds.at(p, t)), mean))
            lanes.store(w, ds.at(p, t))
            _add_labels(lanes, labels, sign, p, t, mask, w)

        _each(lanes, n, subtract)
        builder.store(lanes.sum(lanes.get(labels)), of_label.at(p))


def _each(lanes, n, do):
    """do(t, mask) for each register of n numbers; the mask is None but for a last one that is not full."""
    builder = lanes.builder
    whole = builder.and_(n, index(-lanes.count))
    with lanes.range(0, whole, lanes.count) as t:
        do(t, None)
    with builder.if_then(builder.icmp_signed("<", whole, n)):
        do(whole, lanes.first(builder.sub(n, whole)))


def _add_labels(lanes, total, sign, p, t, mask, w):
    """total += sign_t w_t."""
    signs = lanes.builder.sitofp(_integers(lanes, sign.at(p, t), 8, mask), lanes.type)
    if mask is not None:  # what stands beyond the last token may be NaN
        w = lanes.builder.select(mask, w, lanes.zero)
    lanes.set(total, lanes.multiply_add(signs, w, lanes.get(total)))


def _integers(lanes, pointer, bits, mask):
    """Consecutive integers of so many bits, as wide as the lanes; 0 where the mask is false."""
    builder = lanes.builder
    kind = ir.VectorType(ir.IntType(bits), lanes.count)
    pointer = builder.bitcast(pointer, kind.as_pointer())
    if mask is None:
        value = builder.load(pointer)
        value.align = bits // 8
    else:
        nothing, align = ir.Constant(kind, None), ir.Constant(INT, bits // 8)
        signature = ir.FunctionType(kind, [pointer.type, INT, mask.type, kind])
        load = cgutils.get_or_insert_function(builder.module, signature, f"llvm.masked.load.v{lanes.count}i{bits}.p0")
        value = builder.call(load, [pointer, align, mask, nothing])
    return value if bits == lanes.bits else builder.sext(value, ir.VectorType(ir.IntType(lanes.bits), lanes.count))
