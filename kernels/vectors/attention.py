"""Attention of one query in one pass over its keys. Its meaning: the lines of `kernels.layers.attention`.

Eight tokens are a tile: while it is in the first-level cache, their dot products are taken and then their weighted sum.
Meanwhile the tokens of a later tile are asked for. Numbers: docs/vectors.md.
"""

import sys

from llvmlite import ir

from .elementwise import exponential
from .instructions import instructions
from .lanes import BYTES, index

__all__ = ["attend", "attend_backward"]

_AHEAD = 8192  # bytes from the tokens in use to those asked for
_LINE = 64  # bytes that come together
_SLACK = 4.0  # so far above the number that is subtracted, scores may lie: exp(4) = 55
_LOWEST = {32: -3.4028234663852886e38, 64: -sys.float_info.max}


@instructions()
def attend(lanes, attn, c, keys, u):
    """e_i = exp(s_i - top), total = sum_i e_i, c = sum_i e_i p_i, where top follows the largest score so far: what was summed
    up before is scaled to a new one, which is rare. At last attn_i = e_i / total, and c = c / total."""
    builder, (n_keys, d) = lanes.builder, keys.shape
    top = lanes.variable(ir.Constant(lanes.scalar, _LOWEST[lanes.bits]))
    sums = lanes.variable(ir.Constant(lanes.scalar, 0.0))
    tail = lanes.variable(lanes.zero)
    _whole(lanes, d, lambda j, mask: lanes.store(lanes.zero, c.at(j), mask))

    def scale(x, n, factor):
        factor = lanes.splat(factor)
        _each(lanes, n, lambda j, mask: lanes.store(builder.fmul(lanes.load(x.at(j), mask), factor), x.at(j), mask))

    for height, start, stop in _heights(lanes, n_keys):
        part = lanes.narrow(min(height, lanes.count))
        total = part.variable(part.zero)
        with lanes.range(start, stop, height) as i:
            scores = _dots(lanes, keys, i, height, u)
            limit = builder.fadd(builder.load(top), ir.Constant(lanes.scalar, _SLACK))
            above = [builder.fcmp_ordered(">", s, part.splat(limit)) for s in scores]
            with builder.if_then(_any(builder, above), likely=False):
                largest = builder.load(top)
                for s in scores:
                    s = part.largest(s)
                    largest = builder.select(builder.fcmp_ordered(">", s, largest), s, largest)
                with builder.if_then(builder.icmp_signed(">", i, index(0)), likely=False):
                    one = lanes.narrow(1)
                    factor = exponential(one, one.splat(builder.fsub(builder.load(top), largest)))
                    factor = builder.extract_element(factor, ir.Constant(ir.IntType(32), 0))
                    scale(attn, i, factor)
                    scale(c, builder.and_(d, index(-lanes.count)), factor)
                    lanes.set(tail, builder.fmul(lanes.get(tail), lanes.splat(factor)))
                    builder.store(builder.fmul(builder.load(sums), factor), sums)
                    part.set(total, builder.fmul(part.get(total), part.splat(factor)))
                builder.store(largest, top)
            subtracted = part.splat(builder.load(top))
            weights = []
            for v, s in enumerate(scores):
                e = exponential(part, builder.fsub(s, subtracted))
                part.store(e, attn.at(builder.add(i, index(v * part.count))))
                trap = part.multiply_add(s, part.zero, part.get(total))  # NaN where s has overflowed
                part.set(total, builder.fadd(trap, e))
                weights.append(e)
            _add(lanes, c, tail, weights, keys, i, height)
        builder.store(builder.fadd(builder.load(sums), part.sum(part.get(total))), sums)
    share = builder.fdiv(ir.Constant(lanes.scalar, 1.0), builder.load(sums))
    scale(attn, n_keys, share)
    _store_tail(lanes, c, tail)
    scale(c, d, share)


@instructions()
def attend_backward(lanes, du, ds, attn, c, dc, keys):
    """ds_i = attn_i (p_i . dc - c . dc), du = sum_i ds_i p_i."""
    builder, (n_keys, d) = lanes.builder, keys.shape
    total = lanes.variable(lanes.zero)

    def begin(j, mask):
        lanes.set(total, lanes.multiply_add(lanes.load(c.at(j), mask), lanes.load(dc.at(j), mask), lanes.get(total)))
        if mask is None:
            lanes.store(lanes.zero, du.at(j), mask)

    tail = lanes.variable(lanes.zero)
    _each(lanes, d, begin)
    mean = lanes.sum(lanes.get(total))
    alone = builder.icmp_signed("==", n_keys, index(1))
    for height, start, stop in _heights(lanes, n_keys):
        part = lanes.narrow(min(height, lanes.count))
        with lanes.range(start, stop, height) as i:
            weights = []
            for v, s in enumerate(_dots(lanes, keys, i, height, dc)):
                where = builder.add(i, index(v * part.count))
                subtracted = part.splat(mean)
                if height == 1:  # one token: its softmax is constant, and ds = 0 to the last bit
                    subtracted = builder.select(alone, s, subtracted)
                weights.append(builder.fmul(part.load(attn.at(where)), builder.fsub(s, subtracted)))
                part.store(weights[-1], ds.at(where))
            _add(lanes, du, tail, weights, keys, i, height)
    _store_tail(lanes, du, tail)


def _whole(lanes, n, do):
    """do(j, None) for each whole register of n numbers; returns how many numbers these are."""
    whole = lanes.builder.and_(n, index(-lanes.count))
    with lanes.range(0, whole, lanes.count) as j:
        do(j, None)
    return whole


def _store_tail(lanes, c, tail):
    builder, d = lanes.builder, c.shape[0]
    whole = builder.and_(d, index(-lanes.count))
    with builder.if_then(builder.icmp_signed("<", whole, d)):
        lanes.store(lanes.get(tail), c.at(whole), lanes.first(builder.sub(d, whole)))


def _each(lanes, n, do):
    """do(j, mask) for each register of n numbers; the mask is None but for a last one that is not full."""
    builder = lanes.builder
    whole = _whole(lanes, n, do)
    with builder.if_then(builder.icmp_signed("<", whole, n)):
        do(whole, lanes.first(builder.sub(n, whole)))


def _heights(lanes, rows):
    """(height, start, stop): tiles of eight rows, then of four, then one by one."""
    start = index(0)
    for height in (8, 4, 1):
        stop = lanes.builder.and_(rows, index(-height))
        yield height, start, stop
        start = stop


def _dots(lanes, keys, i, height, u):
    """The products of the rows i, i + 1, ... with u: vectors that hold one after the other. Memory ahead is asked for."""
    builder = lanes.builder
    sums = [lanes.variable(lanes.zero) for _ in range(height)]
    ahead = builder.gep(builder.bitcast(keys.at(i, 0), ir.IntType(8).as_pointer()), [index(_AHEAD)])

    def add(j, mask):
        x = lanes.load(u.at(j), mask)
        for r, total in enumerate(sums):
            row = lanes.load(keys.at(builder.add(i, index(r)), j), mask)
            lanes.set(total, lanes.multiply_add(row, x, lanes.get(total)))
        done = builder.mul(j, index(height * lanes.bits // 8))
        for line in range(max(1, height * BYTES // _LINE)):
            lanes.prefetch(builder.gep(ahead, [builder.add(done, index(line * _LINE))]))

    _each(lanes, u.shape[0], add)
    return lanes.sums([lanes.get(total) for total in sums])


def _add(lanes, c, tail, weights, keys, i, height):
    """c += sum_r weight_r p_(i + r)."""
    builder = lanes.builder
    part = weights[0].type.count
    w = [
        lanes.splat(builder.extract_element(weights[r // part], ir.Constant(ir.IntType(32), r % part)))
        for r in range(height)
    ]

    def add(j, mask):
        x = lanes.load(c.at(j)) if mask is None else lanes.get(tail)
        for r in range(height):
            x = lanes.multiply_add(w[r], lanes.load(keys.at(builder.add(i, index(r)), j), mask), x)
        if mask is None:
            lanes.store(x, c.at(j))
        else:
            lanes.set(tail, x)

    _each(lanes, c.shape[0], add)


def _any(builder, masks):
    """Whether a lane of any of these vectors of truths is true."""
    whole = masks[0]
    for mask in masks[1:]:
        whole = builder.or_(whole, mask)
    number = ir.IntType(whole.type.count)
    return builder.icmp_unsigned("!=", builder.bitcast(whole, number), ir.Constant(number, 0))
