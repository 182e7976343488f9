"""The drawings of a report's page: a Taylor remainder against the step, and the error of every entry."""

import math
from collections.abc import Iterator
from itertools import product

import numpy as np

from .findings import FormulaReport
from .tex import as_html

__all__ = ["error_map", "taylor_plot"]

MOST_ROWS, MOST_COLUMNS = 40, 48  # squares of an error map; of a larger array each is the worst of a block
EXACT = 1e-16  # an error that is drawn white
INK, GUIDE, MARK = "#1b1e23", "#8a929c", "#a4161a"


def taylor_plot(f: FormulaReport) -> str:
    """Remainder against step, both logarithmic, with lines of slope 1 and 2 through the largest step's point.

    Empty where no remainder was taken, or where it is rounding.
    """
    if not f.taylor or f.witnesses.get("taylor_slope") is None:
        return ""
    pairs = zip(f.taylor["steps"], f.taylor["remainders"], strict=True)
    points = [(math.log10(t), math.log10(r)) for t, r in pairs if r > 0 and math.isfinite(r)]
    if len(points) < 2:
        return ""
    (x1, y1), x0 = max(points), min(points)[0]
    low = min([y for _, y in points] + [y1 - 2 * (x1 - x0)]) - 0.2
    high, left, right = max(y for _, y in points) + 0.2, x0 - 0.1, x1 + 0.1
    width, height, margin = 380, 250, (62, 62, 10, 44)

    def at(x: float, y: float) -> tuple[float, float]:
        u = margin[0] + (x - left) / (right - left) * (width - margin[0] - margin[1])
        v = margin[2] + (high - y) / (high - low) * (height - margin[2] - margin[3])
        return round(u, 1), round(v, 1)

    (u0, v0), (u1, v1) = at(left, low), at(right, high)
    parts = [f'<path d="M{u0} {v1}V{v0}H{u1}" fill="none" stroke="{INK}"/>']
    for k in _decades(left, right):
        u = at(k, low)[0]
        parts.append(f'<path d="M{u} {v0}v5" stroke="{INK}"/><text x="{u}" y="{v0 + 17}" text-anchor="middle">')
        parts.append(f"{_power(k)}</text>")
    for k in _decades(low, high):
        v = at(left, k)[1]
        parts.append(f'<path d="M{u0} {v}h-5" stroke="{INK}"/><text x="{u0 - 8}" y="{v + 4}" text-anchor="end">')
        parts.append(f"{_power(k)}</text>")
    middle = (u0 + u1) / 2, (v0 + v1) / 2
    parts.append(f'<text x="{middle[0]}" y="{height - 6}" text-anchor="middle">step t</text>')
    parts.append(f'<text transform="translate(12 {middle[1]}) rotate(-90)" text-anchor="middle">remainder</text>')
    for slope in (1, 2):
        (a, b), (c, d) = at(x0, y1 - slope * (x1 - x0)), at(x1, y1)
        parts.append(f'<path d="M{a} {b}L{c} {d}" stroke="{GUIDE}" stroke-dasharray="4 3"/>')
        parts.append(f'<text x="{a + 14}" y="{b + (14 if slope == 1 else 4)}">slope {slope}</text>')
    parts += ['<circle cx="{}" cy="{}" r="3.2" fill="{}"/>'.format(*at(*point), INK) for point in points]
    found = f"{f.witnesses['taylor_slope']:.2f}"
    caption = (
        "Taylor remainder |f(x + tv) − f(x) − t⟨g, v⟩| of the loss f with the given gradient g, all places together. It "
        f"falls with slope {found}: 2 is a right gradient, 1 is a wrong one."
    )
    return _figure(width, height, f"Taylor remainder against the step t, slope {found}", parts, caption)


def _decades(low: float, high: float) -> list[int]:
    """Whole powers of ten between two logarithms, at most six of them."""
    found = list(range(math.ceil(low), math.floor(high) + 1))
    return found[:: max(1, -(-len(found) // 6))]


def _power(k: int) -> str:
    return f'10<tspan dy="-4" font-size="8">{"−" * (k < 0)}{abs(k)}</tspan>'


def error_map(f: FormulaReport) -> str:
    """Relative error of every entry at the worst place, dark is wrong; empty where there is none."""
    if not f.heat_map:
        return ""
    errors, rows, columns = _squares(np.nan_to_num(np.array(f.heat_map["errors"], float), nan=np.inf))
    block = (-(-errors.shape[0] // MOST_ROWS), -(-errors.shape[1] // MOST_COLUMNS))
    shown = [
        [float(errors[i : i + block[0], j : j + block[1]].max()) for j in range(0, errors.shape[1], block[1])]
        for i in range(0, errors.shape[0], block[0])
    ]
    rows, columns = rows[:: block[0]], columns[:: block[1]]
    size = max(9, min(22, 420 // len(columns)))
    left, top = 14 + 6 * max(map(len, rows)), 18
    worst = max(product(range(len(rows)), range(len(columns))), key=lambda place: shown[place[0]][place[1]])
    parts = list(_labels(rows, columns, size, left, top))
    for i, row in enumerate(shown):
        for j, error in enumerate(row):
            name = ", ".join(filter(None, (rows[i], columns[j])))
            parts.append(
                f'<rect x="{left + j * size}" y="{top + i * size}" width="{size - 1}" height="{size - 1}" stroke="#b8bec6" '
                f'stroke-width=".5" fill="{_shade(error)}"><title>[{name}] {error:.1e}</title></rect>'
            )
    parts.append(
        f'<rect x="{left + worst[1] * size - 1}" y="{top + worst[0] * size - 1}" width="{size + 1}" height="{size + 1}" '
        f'fill="none" stroke="{MARK}" stroke-width="2"/>'
    )
    height, width = top + len(rows) * size, left + max(len(columns) * size, 190) + 36
    parts += _shades(left, height + 12)
    where = f.where(f.heat_map["draw"]).replace("of draw", "on draw")
    each = f" A square is the worst of {block[0]} × {block[1]} entries." if block != (1, 1) else ""
    label = f"Relative error of each entry of {f.wrt} {where}"
    numbers = "Numbers are rows and columns, from 0; the largest error is framed."
    return _figure(width, height + 46, label, parts, f"{label}. {numbers}{each}")


def _squares(errors: np.ndarray) -> tuple[np.ndarray, list[str], list[str]]:
    """An array as a matrix, and what its rows and columns are called: all axes but the last go down."""
    if errors.ndim < 2:
        flat = errors.reshape(1, -1)
        return flat, [""], [str(n) for n in range(flat.shape[1])] if errors.ndim else [""]
    flat = errors.reshape(-1, errors.shape[-1])
    rows = [", ".join(map(str, place)) for place in product(*map(range, errors.shape[:-1]))]
    return flat, rows, [str(n) for n in range(flat.shape[1])]


def _labels(rows: list[str], columns: list[str], size: int, left: int, top: int) -> Iterator[str]:
    """Numbers of rows and columns, as many as there is room for."""
    every = max(1, math.ceil(13 / size))
    for i in range(0, len(rows), every):
        yield f'<text x="{left - 5}" y="{top + i * size + size / 2 + 4}" text-anchor="end">{rows[i]}</text>'
    wide = max(1, math.ceil((7 * max(map(len, columns)) + 3) / size))
    for j in range(0, len(columns), wide):
        yield f'<text x="{left + j * size + size / 2}" y="{top - 5}" text-anchor="middle">{columns[j]}</text>'


def _shade(error: float) -> str:
    """The shade of an error: white up to 1e-16, darkest from 1 on."""
    share = 0.0 if error <= EXACT else min(1.0, math.log10(min(error, 1.0)) / 16 + 1)
    return "rgb({:.0f},{:.0f},{:.0f})".format(
        *(start + share * (end - start) for start, end in ((252, 25), (252, 40), (253, 75)))
    )


def _shades(left: int, top: float) -> Iterator[str]:
    """The legend of shades."""
    for n in range(17):
        yield f'<rect x="{left + 11 * n}" y="{top}" width="11" height="10" fill="{_shade(10.0 ** (n - 16))}"/>'
    yield f'<rect x="{left}" y="{top}" width="187" height="10" fill="none" stroke="#b8bec6" stroke-width=".5"/>'
    for n, text in ((0, "exact"), (8, _power(-8)), (16, "1 or more")):
        yield f'<text x="{left + 11 * n + 5}" y="{top + 24}" text-anchor="{"start" if n == 0 else "middle"}">{text}</text>'


def _figure(width: float, height: float, label: str, parts: list[str], caption: str) -> str:
    drawing = "".join(parts)
    box = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img"'
    return (
        f"<figure><svg {box}><title>{as_html(label)}</title>{drawing}</svg>"
        f"<figcaption>{as_html(caption)}</figcaption></figure>"
    )
