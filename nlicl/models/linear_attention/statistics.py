"""Many prompts as the few numbers that linear attention's squared loss knows of them: a step costs nothing in their number.

yhat is linear in the tensor m_kij = sum_h v_hi W_hjk, with the features s G_ij x_query,k of a prompt, G = X X^T. So the mean
loss is a quadratic in m. As G is symmetric, m counts by m_kij + m_kji, i < j, and m_kii: D E (E + 1)/2 numbers.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...core.arrays import frozen
from ...core.checks import instance, integer, numbers
from ...core.errors import InvalidType, InvalidValue
from ...core.memory import check_memory
from ...kernels.products import add_large_product, map_rows
from ...kernels.steps.linear_attention import pairs_of
from ..model import Batch
from .prompts import Prompts

__all__ = ["Statistics"]

_AT_ONCE = 4096  # prompts whose features are held


@dataclass(frozen=True, eq=False)
class Statistics(Batch):
    """Sufficient statistics of P prompts under linear attention: loss = c - 2 b.m + m^T S m.

    Attributes
    ----------
    E : int
        Width of a token.
    S : ndarray (F, F)
        Mean of phi phi^T, phi the features of a prompt, F = D E (E + 1)/2.
    b : ndarray (F,)
        Mean of y_query phi.
    c : float
        Mean of y_query^2.
    prompts : int
        P.

    Raises
    ------
    TypeError, ValueError
        Shapes that do not fit, NaN, infinity.
    """

    E: int
    S: np.ndarray
    b: np.ndarray
    c: float
    prompts: int = 1

    def __post_init__(self) -> None:
        E = integer("E", self.E, 2)
        F = (E - 1) * E * (E + 1) // 2
        object.__setattr__(self, "prompts", integer("prompts", self.prompts, 1))
        object.__setattr__(self, "E", E)
        for name, shape in (("S", "(F, F)"), ("b", "(F,)")):
            array: Any = numbers(name, getattr(self, name), shape=shape)
            if array.shape != (F,) * array.ndim:
                raise InvalidValue(f"{name} has shape {array.shape}; expected {(F,) * array.ndim}, as E is {E}.")
            object.__setattr__(self, name, frozen(np.array(array)))
        c: Any = numbers("c", self.c, "at least 0", lambda c: c >= 0, shape="()")
        object.__setattr__(self, "c", float(c))

    @classmethod
    def of(cls, prompts: Prompts) -> "Statistics":
        """The statistics of prompts.

        Parameters
        ----------
        prompts : Prompts
            Under linear attention; computed with in float64.

        Returns
        -------
        Statistics

        Raises
        ------
        TypeError, ValueError
            No such prompts; prompts under softmax attention, which is not linear in anything.
        """
        if instance("prompts", prompts, Prompts).softmax:
            raise InvalidValue("prompts have softmax=True; expected linear attention, whose loss is a quadratic.")
        E = prompts.tokens.shape[2]
        F = (E - 1) * E * (E + 1) // 2
        check_memory(f"tokens have the width {E}: the statistics are {F} by {F} numbers", 16 * F * F, "Lower it.")
        S, b, c = np.zeros((F, F)), np.zeros((1, F)), 0.0
        for lo in range(0, len(prompts), _AT_ONCE):
            phi = _features(prompts.tokens[lo : lo + _AT_ONCE].astype(np.float64), prompts.s)
            y = prompts.labels[lo : lo + _AT_ONCE].astype(np.float64)
            add_large_product(S, phi.T, phi)
            add_large_product(b, y[None], phi)
            c += float((y * y).sum())
        P = len(prompts)
        return cls(E, S / P, b[0] / P, c / P, P)

    def loss_and_slope(self, m: np.ndarray) -> tuple[float, np.ndarray]:
        """The mean loss at the folded tensor m (D, E (E + 1)/2), and its derivative by each entry."""
        folded = m.reshape(1, -1)
        product = np.empty_like(folded)
        map_rows(product, folded, self.S)
        slope = 2 * (product[0] - self.b)
        loss = self.c + float((folded[0] * (product[0] - 2 * self.b)).sum())
        return loss, slope.reshape(m.shape)

    @property
    def length(self) -> int:
        """There is none: what is left of the prompts does not say it."""
        return 0

    def __reduce__(self) -> tuple[Any, ...]:
        """What `pickle` and `copy` make it from: checked arrays, as anybody's."""
        return type(self), (self.E, self.S, self.b, self.c, self.prompts)

    def __getitem__(self, index: Any) -> Any:
        """There are no single prompts in it: TypeError."""
        raise InvalidType("Statistics have no single prompts; expected prompts, as problem.sample(n) draws them.")

    def __len__(self) -> int:
        return 1  # there is one, and no part of it can be drawn

    def __repr__(self) -> str:
        return f"Statistics(D={self.E - 1}, {self.prompts} prompts)"


def _features(tokens: np.ndarray, s: float) -> np.ndarray:
    """s G_ij x_query,k of all prompts (B, F), by k and then by pairs i <= j."""
    B, _, E = tokens.shape
    rows, columns = pairs_of(E)
    G = np.matmul(tokens.transpose(0, 2, 1), tokens)[:, rows, columns]
    return np.ascontiguousarray((s * tokens[:, -1, :-1, None] * G[:, None]).reshape(B, (E - 1) * len(rows)))
