"""What a hostile formula file is made of: a few lines at places of an ordinary one."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

__all__ = ["ANY", "Entry", "function_source", "names", "paper_source"]

ANY = frozenset({"agree", "disagree", "undetermined", "error"})


class Entry(NamedTuple):
    """One hostile file, to be written with a right gradient and with a wrong one.

    Attributes
    ----------
    name : str
    top, bottom : str
        Lines of the module, before and after its functions.
    start, end : str
        Lines of the gradient, before and after it is computed as `g`; `x` is its first argument.
    result : str
        What it returns, an expression.
    files : mapping
        Other files of the folder, by name.
    raw : callable, optional
        Source text -> bytes of the file.
    right : set of str
        What may come of it if its gradient is right. A file that lies about its own numbers may be called wrong.
    wrong : set of str
        What may come of it if its gradient is wrong: never "agree".
    timeout : float
        Seconds given to it.
    statuses : tuple of int
        Exit statuses allowed beside 0, 1 and 2. What kills the process that judges is allowed to kill it.
    stale : bool
        An older file of the same size, of the same second, was imported before.
    """

    name: str
    top: str = ""
    start: str = ""
    end: str = ""
    result: str = "g"
    bottom: str = ""
    files: Mapping[str, str] = {}
    raw: Callable[[str], bytes] | None = None
    right: frozenset[str] = frozenset({"agree", "error"})
    wrong: frozenset[str] = ANY - {"agree"}
    timeout: float = 5
    statuses: tuple[int, ...] = ()
    stale: bool = False


_PAPER = """\
{top}
import numpy as np

def f(x, prompt):
{start}
    P, query = prompt.contexts, prompt.query
    scores = (x.W_K @ P).T @ (x.W_Q @ query)
    attention = np.exp(scores - scores.max())
    c = P @ (attention / attention.sum())
    h = x.W_O @ (x.W_V @ c)
    active = 1.0 if 1 - prompt.z * (x.a @ np.maximum(h, 0)) > 0 else 0.0
    g = np.outer(x.W_O.T @ (-prompt.z * active * x.a * (h > 0)), c)
    g = g * {factor}
{end}
    return {result}

{bottom}
"""

_FUNCTION = """\
{top}
import numpy as np

x0 = np.array([0.3, -1.2, 0.8, 0.1, 2.0])

def loss(x):
    return np.log(np.sum(np.exp(x))) + np.sum(x**3) / 3

def f(x):
{start}
    g = np.exp(x) / np.sum(np.exp(x)) + x**2
    g = g * {factor}
{end}
    return {result}

{bottom}
"""


def names(text: str) -> list[str]:
    """The words of a text, each once."""
    return list(dict.fromkeys(text.split()))


def paper_source(entry: Entry, factor: float) -> str:
    """A file with a formula `f(params, prompt)` for W_V of Li et al., times a factor."""
    return _filled(_PAPER, entry, factor)


def function_source(entry: Entry, factor: float) -> str:
    """A file with a function `loss`, a place `x0` and its gradient `f`, times a factor."""
    return _filled(_FUNCTION, entry, factor)


def _filled(form: str, entry: Entry, factor: float) -> str:
    return form.format(
        top=entry.top,
        bottom=entry.bottom,
        result=entry.result,
        factor=repr(factor),
        start=_indented(entry.start),
        end=_indented(entry.end),
    )


def _indented(lines: str) -> str:
    return "\n".join("    " + line for line in lines.splitlines())
