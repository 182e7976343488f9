"""Which kernels take the prompts of Bu et al. 2024: an entry of the transformer's table of steps."""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from ...core.arrays import packed
from ...kernels.products import are_finite
from ...kernels.steps import dense, multihot, unmerged
from ...kernels.steps import words as wide
from ...models.overflow import not_finite
from ...models.transformer.checks import check_fit
from ...models.transformer.prompts import Params
from ...models.transformer.steps import TRANSFORMER, Forward, OnCpu, TokensOnGpu
from . import words
from .prompts import CodedPrompts

__all__: list[str] = []


class _OnCpu(OnCpu):
    """`CodedPrompts`: through kernels for codes, or for tokens where there is noise, or too few prompts to sum up."""

    def check(self, params: Params, batch: Any) -> None:
        check_fit(params, "dictionary", batch.dictionary.shape, batch.dictionary.shape[0])

    def operands(self, params: Params, batch: Any) -> tuple[ModuleType, tuple[np.ndarray, ...], np.ndarray]:
        dtype = params.W_Q.dtype
        labels = batch.signs[:, -1].astype(dtype)
        if words.by_codes(batch):
            return multihot, batch.codes(dtype), labels
        m_a, d = params.W_Q.shape
        few = unmerged.pays(len(batch), d, m_a, len(params.W_V), len(params.a), batch.length + 1)
        return unmerged if few else dense, (packed(batch.dense(dtype).tokens),), labels

    def forward(self, params: Any, batch: Any) -> Forward:
        """Where matrices are wide, and words and labels go apart, by the kernels for that; not where codes are faster."""
        arrays = self._checked(params, batch)
        d_x, d = batch.d_x, len(batch.dictionary)
        pays = wide.forward_pays(d_x, d - d_x, len(batch)) and not words.by_codes(batch)
        mine = words.apart(arrays, d_x) if pays else None
        if mine is None:
            return super().forward(arrays, batch)
        with np.errstate(all="ignore"):  # overflow is looked for below
            out = Forward(*wide.forward(batch.dense(mine.r.dtype).tokens, d_x, *mine))
        for what, array in (("a score", out.score), ("a context", out.context)):
            if not are_finite(array):
                raise not_finite(what, mine.r.dtype)
        return out

    def descent(
        self, params: Params, batch: Any, trained: Sequence[str], masks: Mapping[str, np.ndarray]
    ) -> words.WordDescent | None:
        """As `nlicl.models.model.Descent` says: where matrices are wide, and words and labels go apart."""
        return words.descent(params, batch, trained, masks)


TRANSFORMER.steps[CodedPrompts, "cpu"] = _OnCpu()
TRANSFORMER.steps[CodedPrompts, "cuda"] = TokensOnGpu()
