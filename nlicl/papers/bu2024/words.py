"""Words and labels apart: what training and tests take of parameters that see words alone in attention, and pass labels on.

`initialize` makes such parameters, and training keeps them so [recalled]: W_Q = [W_Q^x 0], W_K = [W_K^x 0], W_V = [0 I]. On
wide matrices the kernels of `nlicl.kernels.steps.words` leave out what is 0 or I.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...core.errors import InvalidValue
from ...kernels.layers import loss as losses
from ...kernels.products import are_finite
from ...kernels.steps import words
from ...models.overflow import not_finite
from ...models.transformer.prompts import Params
from .prompts import CodedPrompts
from .reference import Blocks

__all__ = ["WordDescent", "apart", "by_codes", "descent"]

_CODES = 3  # times the prompts of a step: from d_x on the kernels for codes are faster [measured]
_BLOCKS = {"W_Q": "W_Qx", "W_K": "W_Kx", "W_O": "W_Oy"}  # what trains, in the parameters and in the blocks


def by_codes(batch: CodedPrompts) -> bool:
    """Whether the kernels for codes take these prompts: there is no noise, and they are enough to sum up."""
    return batch.tokens is None and len(batch) >= batch.dictionary.shape[1]


def apart(params: Params, d_x: int) -> Blocks | None:
    """Copies of the blocks, of which `reference.full` makes these parameters; None if it does not."""
    W_Q, W_K, W_V, W_O, r = params
    d_y = W_Q.shape[1] - d_x
    if len(W_Q) != d_x or W_V.shape[0] != d_y or W_Q[:, d_x:].any() or W_K[:, d_x:].any() or W_V[:, :d_x].any():
        return None
    if not np.array_equal(W_V[:, d_x:], np.eye(d_y)):
        return None
    return Blocks(W_Q[:, :d_x].copy(), W_K[:, :d_x].copy(), W_O.copy(), r.copy())


class WordDescent:
    """SGD on W_Q^x, W_K^x and W_O in place: gradients stay products of two factors, and decay is part of the update.

    Parameters
    ----------
    start : Params
        Where it starts. They are not changed.
    mine : Blocks
        The same, as `apart` gives them. They are.
    d_x : int
    trained : sequence of str
        Of "W_Q", "W_K", "W_O".
    """

    def __init__(self, start: Params, mine: Blocks, d_x: int, trained: Sequence[str]) -> None:
        self._start, self._mine, self._d_x, self._trained = start, mine, d_x, tuple(trained)

    def step(self, batch: Any, loss: str, eta: float, weight_decay: float) -> float:
        """One step of SGD. The mean loss before it; `NotFinite` if that, or a gradient, overflows."""
        mine, dtype = self._mine, self._mine.r.dtype
        tokens = batch.dense(dtype).tokens
        if batch.d_x != self._d_x or tokens.shape[2] != self._start.W_Q.shape[1]:
            raise InvalidValue(
                f"prompts have d_x = {batch.d_x} and d = {tokens.shape[2]}; expected {self._d_x} and "
                f"{self._start.W_Q.shape[1]}, as those of the first step."
            )
        labels = batch.signs[:, -1].astype(dtype)
        with np.errstate(all="ignore"):  # overflow is looked for below
            value, factors = words.factors(tokens, labels, self._d_x, *mine, losses.NAMES[loss])
            if not np.isfinite(value):
                raise not_finite("the loss", dtype)
            for name in self._trained:
                if not are_finite(*getattr(factors, name)):
                    raise not_finite(f"the gradient of {name}", dtype)
            for name in self._trained:
                A, B = getattr(factors, name)
                words.descend(getattr(mine, _BLOCKS[name]), A, B, eta, weight_decay)
        return float(value)

    def params(self) -> Params:
        """The parameters that were reached, what trains as arrays of their own."""
        found = {}
        for name in self._trained:
            block = getattr(self._start, name).copy()
            mine = getattr(self._mine, _BLOCKS[name])
            block[:, : mine.shape[1]] = mine
            found[name] = block
        return self._start._replace(**found)


def descent(
    params: Params, batch: CodedPrompts, trained: Sequence[str], masks: Mapping[str, np.ndarray]
) -> WordDescent | None:
    """SGD on the word blocks in place; None where that is no faster, or where something else would train."""
    d_x = batch.d_x
    if not words.pays(d_x, len(batch)) or (by_codes(batch) and _CODES * len(batch) >= d_x):
        return None
    if not set(trained) <= _BLOCKS.keys() or "W_O" in masks:
        return None
    only_words = np.arange(params.W_Q.shape[1]) < d_x
    if not all(np.array_equal(masks.get(name, True), only_words) for name in ("W_Q", "W_K") if name in trained):
        return None
    mine = apart(params, d_x)
    return None if mine is None else WordDescent(params, mine, d_x, trained)
