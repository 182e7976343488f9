"""Products: of matrices, of rows with weights, of rows with one vector. Their meaning: the loops of `kernels.products`."""

from .instructions import instructions
from .lanes import BYTES, REGISTERS, index

__all__ = ["add_panel", "add_product", "add_rows", "copy_rows", "pack", "row_products", "transpose"]

_DEPTH = 256
# Of tiles: their sums, two registers a row, stay in registers, and so do two of B and one of A.
_HEIGHTS = (8, 4, 1) if REGISTERS == 32 else (4, 1)


@instructions("A", called=True)
def add_product(lanes, C, A, B):
    _add_product(lanes, C, A, B)


@instructions("C", "A", called=True)
def add_panel(lanes, C, A, B):
    _add_product(lanes, C, A, B)


def _add_product(lanes, C, A, B):
    """Tiles of C, `_HEIGHTS` rows by two registers, stay in registers while their sums run over part of p: as many rows of B
    as stay, two registers wide, in a first-level cache."""
    builder, (rows, k), n = lanes.builder, A.shape, C.shape[1]
    columns = 2 * lanes.count
    with lanes.range(0, k, _DEPTH) as start, lanes.range(0, n, columns) as j:
        left = builder.sub(k, start)
        depth = builder.select(builder.icmp_signed("<", left, index(_DEPTH)), left, index(_DEPTH))
        for masks in _edges(lanes, builder.sub(n, j)):
            above = index(0)
            for height in _HEIGHTS:
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


@instructions("C", "A", called=True)
def copy_rows(lanes, C, A):
    builder, (rows, n) = lanes.builder, A.shape
    whole = builder.and_(n, index(-lanes.count))
    mask = lanes.first(builder.sub(n, whole))
    with lanes.range(0, rows) as i:
        with lanes.range(0, whole, lanes.count) as j:
            lanes.store(lanes.load(A.at(i, j)), C.at(i, j))
        lanes.store(lanes.load(A.at(i, whole), mask), C.at(i, whole), mask)


@instructions("B", called=True)
def pack(lanes, panels, B):
    """Row by row, two registers into each panel: that wide are panels."""
    builder, (k, n) = lanes.builder, B.shape
    width = 2 * lanes.count
    with lanes.range(0, k) as p, lanes.range(0, n, width) as j:
        panel = panels.at(builder.sdiv(j, index(width)), p, 0)
        for masks in _edges(lanes, builder.sub(n, j)):
            for v, mask in enumerate(masks):
                x = lanes.load(B.at(p, builder.add(j, index(v * lanes.count))), mask)
                lanes.store(x, builder.gep(panel, [index(v * lanes.count)]), mask)


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


@instructions(called=True)
def transpose(lanes, T, A):
    """Squares of as many rows as a register holds numbers. For each bit of the place in a register, pairs of rows that differ
    in this bit of their number exchange halves."""
    builder, (rows, columns), n = lanes.builder, A.shape, lanes.count
    nothing = lanes.first(index(0))
    with lanes.range(0, rows, n) as i, lanes.range(0, columns, n) as j:

        def mask(row, end, along):
            """Of row number `row`: nothing where there is no such row."""
            return builder.select(builder.icmp_signed("<", row, end), along, nothing)

        across, down = lanes.first(builder.sub(columns, j)), lanes.first(builder.sub(rows, i))
        square = []
        for r in range(n):
            row = builder.add(i, index(r))
            square.append(lanes.load(A.at(row, j), mask(row, rows, across)))
        bit = 1
        while bit < n:
            for r in range(n):
                if not r & bit:
                    low, high = square[r], square[r + bit]
                    square[r] = lanes.choose(low, high, [k - bit + n if k & bit else k for k in range(n)])
                    square[r + bit] = lanes.choose(low, high, [n + k if k & bit else k + bit for k in range(n)])
            bit *= 2
        for r in range(n):
            row = builder.add(j, index(r))
            lanes.store(square[r], T.at(row, i), mask(row, columns, down))
