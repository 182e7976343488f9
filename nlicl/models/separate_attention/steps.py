"""The model with separate keys and queries: W^KQ_h = K_h^T Q_h."""

from typing import Any

import numpy as np

from ..linear_attention import reference
from ..linear_attention.prompts import Prompts, SeparateParams
from ..linear_attention.statistics import Statistics
from ..linear_attention.steps import OnCpu, OnStatistics, check_params
from ..model import Step, register

__all__ = ["SEPARATE_ATTENTION", "SeparateAttention"]


class SeparateAttention:
    """Multi-head linear attention, or softmax attention, with separate keys and queries of rank R.

    The squared loss is without 1/2 [source].
    """

    def __init__(self) -> None:
        self.name = "separate_attention"
        self.Params = SeparateParams
        self.losses = ("squared", "logistic")
        self.steps: dict[tuple[type, str], Step] = {
            (Prompts, "cpu"): OnCpu(SeparateParams),
            (Statistics, "cpu"): OnStatistics(SeparateParams),
        }

    def check_params(self, params: SeparateParams) -> None:
        """TypeError, ValueError unless V is (H, E, E), K and Q (H, R, E)."""
        check_params(params, SeparateParams)

    def definition(self, params: SeparateParams, prompt: Any, loss: str) -> tuple[Any, np.ndarray]:
        return reference.loss(params, prompt, loss), np.empty(0)


SEPARATE_ATTENTION = register(SeparateAttention())
