"""HTML and small pictures for a notebook: tables, curves, bars, maps of matrices. Nothing is loaded, and no script runs.

A text is escaped unless it is `Markup`, so that a name with `<script>` in it stays a name.
"""

import base64
import functools
import html
import math
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .describe import short
from .text import one_line, visible

__all__ = [
    "Markup",
    "arrays",
    "bars",
    "box",
    "curve",
    "details",
    "join",
    "matrix",
    "note",
    "number",
    "safely",
    "spark",
    "table",
]

_SIDE = 48  # pixels of a map of a matrix at most, to a side
_POINTS = 240  # points of a curve at most
_BAD = 65  # the palette's entry for what is not finite
_INK, _BAND = "#2a78c2", "#2a78c2"
_MORE = 16  # lines of a table at most
T = TypeVar("T")


class Markup(str):
    """HTML: what is not escaped again."""

    __slots__ = ()


def safely(method: Callable[[T], str]) -> Callable[[T], str | None]:
    """Decorate `_repr_html_`: if it fails it returns None, and the notebook shows the object's `repr`."""

    @functools.wraps(method)
    def shown(self: T) -> str | None:
        try:
            return str(method(self))
        except Exception:
            return None

    return shown


def _html(value: object) -> str:
    """Markup as it is; anything else as text, escaped."""
    return value if isinstance(value, Markup) else html.escape(visible(str(value)))


def join(*parts: object) -> Markup:
    """Parts side by side. Those that are no Markup are escaped."""
    return Markup("".join(map(_html, parts)))


def box(title: object, *parts: object) -> Markup:
    """A title in bold, and the parts below it."""
    return Markup(f'<div style="max-width:60em"><div><b>{_html(title)}</b></div>{join(*parts)}</div>')


def note(text: object) -> Markup:
    """A line of smaller print."""
    return Markup(f'<div style="font-size:90%;opacity:.8">{_html(text)}</div>')


def details(summary: object, *parts: object) -> Markup:
    """What opens with a click."""
    return Markup(f"<details><summary>{_html(summary)}</summary>{join(*parts)}</details>")


def table(heads: Sequence[object], rows: Iterable[Sequence[object]], most: int = _MORE) -> Markup:
    """A table: words to the left, numbers to the right. Of more than `most` rows the others are counted."""
    found = list(rows)
    cell = 'style="text-align:left;padding:1px 8px;vertical-align:middle"'
    head = "".join(f"<th {cell}>{_html(each)}</th>" for each in heads)
    body = "".join(f"<tr>{''.join(f'<td {cell}>{_html(each)}</td>' for each in row)}</tr>" for row in found[:most])
    rest = note(f"and {len(found) - most} more") if len(found) > most else ""
    return Markup(f'<table style="margin:4px 0"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}')


def number(value: Any) -> str:
    """A number in four digits; anything else in a few words."""
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, (float, np.floating)):
        return f"{value:.4g}"
    return one_line(short(value))


# ---- Pictures


def _drawing(width: int, height: int, label: str, parts: Iterable[str]) -> Markup:
    return Markup(
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{_html(label)}" style="max-width:100%">{"".join(parts)}</svg>'
    )


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="11" fill="currentColor">{_html(text)}</text>'


def _cut(label: str) -> str:
    """A label that is no wider than a picture."""
    return label if len(label) <= 55 else f"{label[:52]}..."


def _thinned(x: NDArray[Any], *curves: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """The same curves in few points: the mean of what lies together."""
    every = -(-len(x) // _POINTS)
    if every <= 1:
        return [x.astype(float), *curves]
    starts = np.arange(0, len(x), every)
    counts = np.diff(np.append(starts, len(x)))
    return [np.add.reduceat(each.astype(float), starts) / counts for each in (x, *curves)]


def curve(
    x: ArrayLike,
    y: ArrayLike,
    x_label: str,
    y_label: str,
    band: tuple[ArrayLike, ArrayLike] | None = None,
    dots: bool = False,
) -> Markup:
    """A curve, and a band about it. The vertical axis is logarithmic where all is above zero and a factor 30 apart.

    Parameters
    ----------
    x, y : array_like (k,)
    x_label, y_label : str
    band : pair of array_like (k,), optional
        Its lower and its upper end.
    dots : bool
        Whether the points are marked.

    Returns
    -------
    Markup
        An SVG; empty, if there are fewer than two finite points.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    low, high = (y, y) if band is None else (np.asarray(end, float) for end in band)
    good = np.isfinite(x) & np.isfinite(y) & np.isfinite(low) & np.isfinite(high)
    if good.sum() < 2 or np.ptp(x[good]) == 0:
        return Markup("")
    ends = float(x[good].min()), float(x[good].max())
    x, y, low, high = _thinned(x[good], y[good], low[good], high[good])
    least, most = float(low.min()), float(high.max())
    logarithmic = least > 0 and most > 30 * least
    if logarithmic:
        y, low, high = np.log(y), np.log(low), np.log(high)
    width, height, left, right, top, bottom = 380, 180, 52, 14, 24, 34
    bounds = float(low.min()), float(high.max())
    span = bounds[1] - bounds[0] or 1.0
    u = left + (x - x.min()) / np.ptp(x) * (width - left - right)

    def v(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return top + (bounds[1] - values) / span * (height - top - bottom)

    def path(values: NDArray[np.float64], across: NDArray[np.float64] = u) -> str:
        return "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(across, v(values), strict=True))

    floor = height - bottom
    parts = [f'<path d="M{left} {top}V{floor}H{width - right}" stroke="currentColor" fill="none" opacity=".5"/>']
    if band is not None:
        back = path(low[::-1], u[::-1])
        parts.append(f'<path d="M{path(high)}L{back}Z" fill="{_BAND}" opacity=".25"/>')
    parts.append(f'<path d="M{path(y)}" stroke="{_INK}" stroke-width="1.5" fill="none"/>')
    if dots:
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.6" fill="{_INK}"/>' for a, b in zip(u, v(y), strict=True)]
    parts += [
        _text(left - 5, top + 5, number(most), "end"),
        _text(left - 5, floor, number(least), "end"),
        _text(left, floor + 14, number(ends[0])),
        _text(width - right, floor + 14, number(ends[1]), "end"),
        _text((left + width - right) / 2, height - 5, _cut(x_label)),
        _text(2, 12, _cut(y_label) + " (log)" * logarithmic, "start"),
    ]
    return _drawing(width, height, f"{y_label} against {x_label}", parts)


def spark(x: ArrayLike, y: ArrayLike) -> Markup:
    """A curve as small as a word, without axes. Empty, if there are fewer than two finite points."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    good = np.isfinite(x) & np.isfinite(y)
    if good.sum() < 2 or np.ptp(x[good]) == 0:
        return Markup("")
    x, y = _thinned(x[good], y[good])
    u, v = 1 + 88 * (x - x.min()) / np.ptp(x), 1 + 16 * (y.max() - y) / (np.ptp(y) or 1.0)
    path = "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(u, v, strict=True))
    line = f'<path d="M{path}" stroke="{_INK}" stroke-width="1.3" fill="none"/>'
    return _drawing(90, 18, f"from {y[0]:.3g} to {y[-1]:.3g}", [line])


def bars(values: ArrayLike, labels: Sequence[str], x_label: str, y_label: str) -> Markup:
    """Bars from zero, at most 60 of them, each with its label as a tooltip.

    Parameters
    ----------
    values : array_like (k,)
        Finite numbers, at least 0.
    labels : sequence of str (k,)
    x_label, y_label : str

    Returns
    -------
    Markup
        An SVG; empty, if there is nothing to draw.
    """
    found = np.asarray(values, float)[:60]
    if not len(found) or not np.isfinite(found).all() or found.max() <= 0 or found.min() < 0:
        return Markup("")
    width, height, left, top, bottom = 380, 134, 52, 24, 34
    floor, step = height - bottom, (width - left - 14) / len(found)
    parts = [f'<path d="M{left} {top}V{floor}H{width - 14}" stroke="currentColor" fill="none" opacity=".5"/>']
    for i, (value, label) in enumerate(zip(found.tolist(), labels, strict=False)):
        tall = value / found.max() * (floor - top)
        parts.append(
            f'<rect x="{left + i * step + 1:.1f}" y="{floor - tall:.1f}" width="{max(step - 2, 0.5):.1f}" '
            f'height="{tall:.1f}" fill="{_INK}"><title>{_html(label)}: {value:.4g}</title></rect>'
        )
    parts += [
        _text(left - 5, top + 5, number(float(found.max())), "end"),
        _text(left - 5, floor, "0", "end"),
        _text(left + step / 2, floor + 14, labels[0]),
        _text(left + (len(found) - 0.5) * step, floor + 14, labels[len(found) - 1]),
        _text((left + width - 14) / 2, height - 5, _cut(x_label)),
        _text(2, 12, _cut(y_label), "start"),
    ]
    return _drawing(width, height, f"{y_label} against {x_label}", parts)


def matrix(array: Any, label: str, size: int = 96) -> Markup:
    """A map of a matrix: blue below zero, white at zero, red above, as strong as the largest entry. Empty for anything else.

    A matrix of more than 48 rows or columns is shown in blocks, each by its entry of the largest magnitude.

    Parameters
    ----------
    array : ndarray (n,), or (n, k); of more axes the first matrix
    label : str
        What a reader hears who does not see it.
    size : int
        Of the longer side, in pixels of the screen.
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf" or not array.size or array.ndim < 1:
        return Markup("")
    while array.ndim > 2:
        array = array[0]
    values = _blocks(_blocks(np.atleast_2d(array), 0), 1).astype(float)
    finite = np.isfinite(values)
    most = float(abs(values[finite]).max()) if finite.any() else 0.0
    shade = np.where(finite, values, 0.0) / (most or 1.0)
    pixels = np.where(finite, np.rint(32 + 32 * shade), _BAD).astype(np.uint8)
    rows, columns = pixels.shape
    longer = max(rows, columns)
    width, height = (max(3, round(size * each / longer)) for each in (columns, rows))
    data = base64.b64encode(_png(pixels)).decode()
    return Markup(
        f'<img alt="{_html(label)}" title="{_html(label)}" width="{width}" height="{height}" '
        f'style="image-rendering:pixelated;display:inline-block;border:1px solid #8888" src="data:image/png;base64,{data}">'
    )


def _blocks(values: NDArray[Any], axis: int) -> NDArray[Any]:
    """At most so many rows or columns as a map has: of those that share one, the entries of the largest magnitude."""
    n = values.shape[axis]
    if n <= _SIDE:
        return values
    starts = np.arange(_SIDE) * n // _SIDE
    low, high = (reduce.reduceat(values, starts, axis=axis) for reduce in (np.minimum, np.maximum))
    return np.where(abs(low.astype(float)) > abs(high.astype(float)), low, high)


def _palette() -> bytes:
    """66 colours: blue, white at number 32, red; the last one, black, for what is not finite."""
    ends = np.array([[33, 102, 172], [255, 255, 255], [178, 24, 43]], float)
    shades = np.linspace(0, 2, 65)
    colours = np.stack([np.interp(shades, [0, 1, 2], ends[:, k]) for k in range(3)], axis=1)
    return np.vstack([colours, [[0, 0, 0]]]).astype(np.uint8).tobytes()


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG of numbers of the palette (rows, columns)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows, columns = pixels.shape
    lines = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"PLTE", _palette()) + chunk(b"IDAT", zlib.compress(lines, 9))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def arrays(found: Mapping[str, Any], maps: int = 6) -> Markup:
    """A table of arrays: name, shape, dtype, least and largest entry, and a map of the first few."""
    rows = []
    for name, array in found.items():
        shape, dtype = getattr(array, "shape", None), getattr(array, "dtype", None)
        if shape is None:
            rows.append([name, "", "", number(array), ""])
            continue
        sized = " x ".join(map(str, shape)) or "1"
        rows.append([name, sized, str(dtype), _range(array), matrix(array, f"map of {name}", 60) if maps > 0 else ""])
        maps -= 1
    return table(["", "shape", "dtype", "from, to", ""], rows, most=24)


def _range(array: Any) -> str:
    """Least and largest entry; nothing where the array is on another device, or holds no real numbers."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf" or not array.size:
        return ""
    low, high = float(array.min()), float(array.max())
    return "not finite" if not math.isfinite(low) or not math.isfinite(high) else f"{low:.3g}, {high:.3g}"
