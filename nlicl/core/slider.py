"""Several pictures as one, with a slider: in a notebook, and in a page that is made of it."""

import base64
import importlib
import io
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from .checks import integer
from .checks import text as checked_text
from .describe import kind_of, short
from .errors import InvalidType, InvalidValue
from .extras import need
from .markup import Markup, join, number, safely
from .text import one_line

__all__ = ["Slider", "slider"]

_MOST = 60  # pictures
_TURN = (
    "const b=this.closest('div').parentNode,n=+this.value;"
    "b.querySelectorAll('figure').forEach((f,i)=>{f.style.display=i===n?'block':'none'})"
)
_PLAY = (
    "const s=this.parentNode.querySelector('input');"
    "if(this.turning){clearInterval(this.turning);this.turning=0;this.textContent='play'}"
    "else{this.textContent='stop';this.turning=setInterval(()=>{"
    "s.value=(+s.value+1)%(+s.max+1);s.dispatchEvent(new Event('input'))},500)}"
)


class Slider:
    """Pictures with a slider. See `slider`."""

    def __init__(self, pictures: Sequence[bytes], labels: Sequence[str], first: int) -> None:
        self.pictures, self.labels, self.first = list(pictures), list(labels), first

    def __repr__(self) -> str:
        return f"Slider({len(self.labels)} pictures: {short(', '.join(self.labels))})"

    @safely
    def _repr_html_(self) -> str:
        frames = []
        for i, (picture, label) in enumerate(zip(self.pictures, self.labels, strict=True)):
            data = base64.b64encode(picture).decode()
            shown = "block" if i == self.first else "none"
            frames.append(
                join(
                    Markup(f'<figure style="display:{shown};margin:0"><figcaption>'),
                    label,
                    Markup(f'</figcaption><img src="data:image/png;base64,{data}" style="max-width:100%" alt="'),
                    label,
                    Markup('"></figure>'),
                )
            )
        bar = Markup(
            f'<div><button type="button" onclick="{_PLAY}">play</button> <input type="range" min="0" '
            f'max="{len(self.labels) - 1}" value="{self.first}" oninput="{_TURN}" style="width:20em" '
            'aria-label="which picture"></div>'
        )
        return join(Markup("<div>"), bar, *frames, Markup("</div>"))


def slider(pictures: Sequence[Any], labels: Sequence[object], *, name: str = "", first: int = 0) -> Slider:
    """Several pictures as one, with a slider and a button that plays them one after another.

    The pictures are in the page: it needs no Python, no widget and no network. Where no script may run, the first picture
    is seen.

    Parameters
    ----------
    pictures : sequence of matplotlib Figure
        At least one, at most 60. They are closed, so that the notebook does not show them a second time.
    labels : sequence
        What stands above each: a number, or a text.
    name : str
        What the labels are values of, "alpha" for instance.
    first : int
        The picture that is seen at first; -1 is the last one.

    Returns
    -------
    Slider
        A notebook shows it.

    Raises
    ------
    TypeError, ValueError
        Something that is no figure; not as many labels as pictures, none, or too many; `first` is no number of one.

    Examples
    --------
    >>> import nlicl
    >>> from matplotlib.figure import Figure
    >>> pictures = [Figure(), Figure()]
    >>> nlicl.slider(pictures, [0.2, 0.8], name="alpha")
    Slider(2 pictures: 'alpha = 0.2, alpha = 0.8')
    """
    found, words = _listed("pictures", pictures), _listed("labels", labels)
    if not 1 <= len(found) <= _MOST:
        raise InvalidValue(f"pictures holds {len(found)}; expected 1 to {_MOST} of them.")
    if len(words) != len(found):
        raise InvalidValue(f"labels holds {len(words)}, pictures {len(found)}; expected a label for each picture.")
    first = integer("first", first, -len(found), len(found) - 1)
    before = one_line(checked_text("name", name))
    before += " = " * bool(before)
    shown = [before + (one_line(each) if isinstance(each, str) else number(each)) for each in words]
    return Slider([_png(figure) for figure in found], shown, first % len(found))


def _listed(name: str, given: Any) -> list[Any]:
    if not isinstance(given, (list, tuple, range, np.ndarray)) or getattr(given, "ndim", 1) != 1:
        raise InvalidType(f"{name} is {short(given)}; expected a list.")
    return list(given)


def _png(figure: Any) -> bytes:
    """A figure as PNG, and closed."""
    kind = need("matplotlib.figure", "plot", "nlicl.slider").Figure
    if not isinstance(figure, kind):
        raise InvalidType(f"pictures holds a {kind_of(figure)}; expected figures of matplotlib, as axes.figure is one.")
    drawn, out = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=90)
    image: Any = importlib.import_module("PIL.Image")  # which matplotlib needs, and brings
    few = image.open(drawn).convert("RGB").quantize(64)  # colours: a third of the size
    few.save(out, format="png", optimize=True)
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close(figure)
    return out.getvalue()
