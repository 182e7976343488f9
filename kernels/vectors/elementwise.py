"""Exponentials: softmax and GELU. Their meaning: the loops of `kernels.layers.attention` and `kernels.layers.gelu`."""

import math

from llvmlite import ir

from .instructions import instructions
from .lanes import INT, index

__all__ = ["exponential", "gelu", "gelu_backward", "softmax"]

GELU_SCALE, GELU_CUBE = math.sqrt(2 / math.pi), 0.044715  # as in layers.gelu


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
        e = exponential(lanes, builder.fsub(lanes.load(pointer, mask), largest))
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
    e = exponential(lanes, builder.select(positive, builder.fsub(lanes.zero, twice), twice))
    large = builder.fdiv(lanes.constant(1.0), builder.fadd(lanes.constant(1.0), e))
    small = builder.fmul(e, large)
    return builder.select(positive, large, small), builder.select(positive, small, large)


def exponential(lanes, x):
    """exp(x) for x <= 80: 2^n exp(r) with |r| <= log(2)/2, and Taylor's polynomial; 0 where it would be subnormal."""
    builder = lanes.builder
    if lanes.bits == 64:
        degree, lowest, integer, bias, fraction = 13, -708.0, ir.IntType(64), 1023, 52
        high, low = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # log(2); n * high is exact
    else:
        degree, lowest, integer, bias, fraction = 7, -87.0, INT, 127, 23
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
    whole = builder.fptosi(n, ir.VectorType(INT, lanes.count))  # to 64 bits at once, AVX2 would go number by number
    if integer is not INT:
        whole = builder.sext(whole, ir.VectorType(integer, lanes.count))
    whole = builder.shl(builder.add(whole, lanes.constant(bias, integer)), lanes.constant(fraction, integer))
    return builder.select(above, builder.fmul(value, builder.bitcast(whole, lanes.type)), lanes.zero)
