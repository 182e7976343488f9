"""How parameters, prompts and what a model computes look in a notebook: `_repr_html_` of their types."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from ..core.describe import kind_of
from ..core.markup import Markup, arrays, bars, box, join, matrix, note, safely
from ..core.text import one_line
from ..devices import on_device

__all__ = ["batch_html", "forward_html", "params_html", "prompt_html"]


@safely
def params_html(params: Any) -> str:
    """Parameters, or a gradient: their shapes, least and largest entries, and maps of the matrices."""
    return box(_named(params), arrays(params._asdict()), _legend())


@safely
def prompt_html(prompt: Any) -> str:
    """One prompt: its label, and a map of its tokens."""
    return box(_named(prompt), _tokens(prompt))


@safely
def batch_html(batch: Any) -> str:
    """A batch: its arrays, and a map of the first prompt's tokens."""
    found = {name: value for name, value in vars(batch).items() if not name.startswith("_") and _is_array(value)}
    first: Any = ""
    if all(isinstance(value, np.ndarray) for value in found.values()):
        with suppress(Exception):  # a batch of a reader's own, or one that has no single prompts
            first = _tokens(batch[0])
    return box(_named(batch), arrays(found, maps=0), first)


@safely
def forward_html(forward: Any) -> str:
    """What a model computes on a batch: its arrays, and where the first prompt's query attends."""
    found: Mapping[str, Any] = {name: value for name, value in forward._asdict().items() if value is not None}
    return box("What the model computes on these prompts", arrays(found, maps=0), _attention(found.get("attention")))


def _named(thing: Any) -> str:
    """What an object calls itself, if that is short; else its type."""
    text = one_line(repr(thing))
    return text if len(text) <= 200 else kind_of(thing)


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or on_device(value)


def _tokens(prompt: Any) -> Markup:
    tokens = getattr(prompt, "tokens", None)
    drawn = matrix(tokens.T, "tokens of the prompt", 240) if isinstance(tokens, np.ndarray) else Markup("")
    if not drawn:
        return drawn
    words = "The prompt's tokens as columns, the query last. Rows are coordinates."
    return join(note(words), drawn, _legend())


def _attention(attention: Any) -> Markup:
    """Attention of the first prompt: bars for one head, a map with a row for each of several."""
    if not isinstance(attention, np.ndarray) or attention.ndim < 2:
        return Markup("")
    first = attention[0]
    tokens = first.shape[-1]
    if first.ndim == 1:
        labels = [str(i) for i in range(1, tokens + 1)]
        drawn = bars(first, labels, "token that the query attends to", "attention")
        words = "Attention of the first prompt's query."
    else:
        drawn = matrix(first.reshape(-1, tokens), "attention by head and token", 240)
        words = "Attention of the first prompt's query: a row for each head, a column for each token."
    return join(note(words), drawn) if drawn else drawn


def _legend() -> Markup:
    return note("In a map white is 0, red is positive, blue is negative. The strongest colour is the largest entry.")
