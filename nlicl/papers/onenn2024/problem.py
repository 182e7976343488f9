"""Data model and initialisation of Li et al. 2024 and of Athreya and Wang. Marks and notation: see the package's docstring."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...core.checks import choice, integer, magnitude, real
from ...core.describe import short
from ...core.errors import InvalidValue
from ...core.memory import check_draw, check_memory
from ...core.seeds import Seed, checked, generator
from ...models.model import Step
from ...models.nearest.prompts import Params, Prompts
from ...models.nearest.reference import LOSSES
from ...models.nearest.steps import check_loss
from ..problem import keep
from ..provenance import marked_settings
from . import population
from .descent import FreshDescent, fresh_descent
from .family import member, width
from .law import Law
from .observer import Observer
from .sampling import draw
from .seeds import Purpose

__all__ = ["MARKS", "Problem"]

# Where each default comes from.
MARKS: dict[str, str | dict[Any, str]] = {
    **dict.fromkeys(("d", "batch", "loss", "optimizer"), "paper"),
    "length": {16: "paper", 32: "paper", 64: "paper"},
    "K": {2: "paper", 3: "paper", 5: "paper", 10: "paper", None: "paper"},
    "sigma": {3.0: "paper", 48.0: "ours"},
    "init_noise": {0.0: "paper", 0.1: "paper", 1.0: "paper", 2.0: "paper", 3.0: "paper"},
    "noise_in": {"all": "ours", "active": "paper", "idle": "paper"},
    "learning_rate": {0.05: "paper", 0.1: "quoted"},
    "steps": {40_000: "paper", 50_000: "paper", 60_000: "paper", 100_000: "paper"},
    **dict.fromkeys(("mixture", "cosines", "draws", "prompts"), "ours"),
}

_PROMPTS = ("fresh", "population")
_NOISE = ("all", "active", "idle")
_COSINES = ("sampled", "exact")
_ARRAYS = 12  # of the size of W, at once, in training


@dataclass(frozen=True)
class Problem:
    """Sizes, the initial W, and training settings; the defaults are the experiments of Athreya and Wang.

    Attributes
    ----------
    d : int
        Dimension of the inputs, at least 2, uniform on the unit sphere [paper].
    length : int
        N, contexts in a prompt (16; also 32 and 64 [paper]).
    K : int or None
        Classes (3; also 2, 5, 10 [paper]); None: the binary labels -1 and +1 of Li et al. [paper].
    sigma : float
        W(0) is 0 but for its last entry, -sigma (3 [paper]; Theorem 1 asks for more: 9.7 here, and 47 for its Lemma 12).
    init_noise : float
        Standard deviation of Gaussian noise that is added to W(0) (0; 0.1 to 3 in Figure 5 [paper]).
    noise_in : {"all", "active", "idle"}
        Which entries get it: all; all but the label's columns, those that enter the scores; the label's columns.
    learning_rate : float
        eta (0.05 [paper]; 0.1 for the binary labels [quoted]).
    batch : int or None
        B, prompts a step (128 [paper]); not looked at on the population. None: every step takes the whole of a fixed set.
    steps : int
        T (4e4 [paper]).
    loss : {"squared", "cross-entropy", "squentropy", "mixture"}
        ||l - u||^2 / 2 [paper]; the others are of Figure 6 [paper]. Binary labels have the first only.
    mixture : float
        c in (1-c) squared + c cross-entropy, of the loss "mixture".
    prompts : {"fresh", "population"} or int
        What `nlicl.train` trains on: new prompts every step; the population, by the closed system in (xi1, xi2), for the
        squared loss without noise; or so many prompts that are drawn once.
    cosines : {"sampled", "exact"}
        What `population` takes for the cosines of contexts and query: rows that are drawn once, or a quadrature, for d odd and
        N at most 4.
    draws : int
        Of sampled rows.

    Raises
    ------
    TypeError, ValueError
        Settings that break the data model, with the condition that fails.
    """

    d: int = 8
    length: int = 16
    K: int | None = 3
    sigma: float = 3.0
    init_noise: float = 0.0
    noise_in: str = "all"
    learning_rate: float = 0.05
    batch: int | None = 128
    steps: int = 40_000
    loss: str = "squared"
    mixture: float = 0.5
    prompts: str | int = "fresh"
    cosines: str = "sampled"
    draws: int = 5000

    trained: ClassVar[tuple[str, ...]] = ("W",)
    optimizer: ClassVar[str] = "sgd"
    marks: ClassVar[Mapping[str, str | dict[Any, str]]] = MARKS

    def __post_init__(self) -> None:
        for name, least in {"d": 2, "length": 1, "steps": 0, "draws": 1}.items():
            keep(self, name, integer(name, getattr(self, name), least))
        if self.K is not None:
            keep(self, "K", integer("K", self.K, 2))
        if self.batch is not None:
            keep(self, "batch", integer("batch", self.batch, 1))
        for name in ("sigma", "init_noise"):
            keep(self, name, magnitude(name, getattr(self, name), zero=True))
        keep(self, "learning_rate", magnitude("learning_rate", self.learning_rate))
        keep(self, "mixture", real("mixture", self.mixture, "from 0 to 1", lambda c: 0 <= c <= 1))
        for name, options in {"noise_in": _NOISE, "loss": LOSSES, "cosines": _COSINES}.items():
            keep(self, name, choice(name, getattr(self, name), options))
        check_loss(self.loss, self.K)
        self._check_prompts()

    def _check_prompts(self) -> None:
        if not isinstance(self.prompts, str):
            keep(self, "prompts", integer("prompts", self.prompts, 1))
        elif self.prompts not in _PROMPTS:
            raise InvalidValue(
                f"prompts is {short(self.prompts)}; expected 'fresh', 'population', or a number of prompts that are drawn "
                "once."
            )
        if self.batch is None and self.prompts == "fresh":
            raise InvalidValue(
                "batch is None with prompts = 'fresh', which never end; expected a number of prompts a step. Give "
                "batch=128."
            )
        if self.prompts == "population" and (self.loss != "squared" or self.init_noise):
            raise InvalidValue(
                f"prompts is 'population' with loss = {self.loss!r} and init_noise = {self.init_noise:g}; expected 'squared' "
                "and 0: the population loss is known on the family diag(xi1 I, 0, -xi2). Or take prompts='fresh'."
            )
        if self.cosines == "exact" and (self.d % 2 == 0 or self.length > population.LONGEST):
            raise InvalidValue(
                f"cosines is 'exact' with d = {self.d} and length = {self.length}; expected an odd d and a length of at most "
                f"{population.LONGEST}. Or take cosines='sampled'."
            )

    @property
    def kappa(self) -> float:
        """(K-1)/K, or 1 for binary labels."""
        return 1.0 if self.K is None else (self.K - 1) / self.K

    @property
    def size(self) -> int:
        """E, rows of W: d + K + 1, or d + 2."""
        return self.d + width(self.K) + 1

    def sample(self, n: int, length: int | None = None, seed: Seed = 0) -> Prompts:
        """Draw prompts: inputs of contexts and query uniform on the unit sphere, classes uniform, all independent [paper].

        Parameters
        ----------
        n : int
            Number of prompts, B.
        length : int, optional
            N; the problem's if not given.
        seed : int or sequence of int
            The same seed gives the same prompts; (seed, step) names those of a training step.

        Returns
        -------
        Prompts
            float64.

        Raises
        ------
        ValueError, TypeError
            Settings out of range, named.
        """
        inputs, classes = self._drawn(n, length, seed)
        return Prompts(inputs, classes, self.K, self.mixture)

    def separated(self, n: int, delta: float = 0.1, length: int | None = None, seed: Seed = 0) -> Prompts:
        """Draw prompts whose query is one of the contexts, and all other contexts are far from it.

        Inputs and classes as in `sample`; the query is x_i, i uniform; x_j becomes -x_j where ||x_j - x_i||^2 <= delta and
        j != i. That is the construction of Li et al., Appendix B [quoted; the sign and class labels are ours].

        Parameters
        ----------
        n, length, seed
            As in `sample`.
        delta : float
            From 0 to below 2: -x_j is then far from x_i.

        Returns
        -------
        Prompts
        """
        delta = real("delta", delta, "from 0 to below 2", lambda x: 0 <= x < 2)
        inputs, classes = self._drawn(n, length, seed)
        which = generator(Purpose.SEPARATED, seed).integers(classes.shape[1], size=len(classes))
        queries = inputs[np.arange(len(inputs)), which]
        gaps = inputs[:, :-1] - queries[:, None]
        near = (gaps * gaps).sum(axis=2) <= delta
        near[np.arange(len(inputs)), which] = False
        inputs[:, :-1][near] *= -1
        inputs[:, -1] = queries
        return Prompts(inputs, classes, self.K, self.mixture)

    def _drawn(self, n: int, length: int | None, seed: Seed) -> tuple[np.ndarray, np.ndarray]:
        n, length = integer("n", n, 1), integer("length", self.length if length is None else length, 1)
        check_draw(n, length, 8 * (3 * self.d + 8))
        return draw(seed, n, length, self.d, self.K)

    def fresh_descent(
        self,
        params: Params,
        *,
        batch: int,
        seed: int,
        loss: str,
        trained: Sequence[str],
        masks: Mapping[str, np.ndarray],
        step: Step,
    ) -> FreshDescent | None:
        """Training on fresh prompts in compiled code; None where something else is to be trained."""
        return fresh_descent(self, params, batch, seed, loss, trained, masks, step)

    def initialize(self, seed: Seed = 0) -> Params:
        """W = diag(0, 0, -sigma) [paper: Assumption 2], plus noise where init_noise is not 0.

        Returns
        -------
        Params
            float64.
        """
        checked(seed)
        check_memory(
            f"d is {self.d}, K is {self.K}: training holds some {_ARRAYS} arrays of shape ({self.size}, {self.size})",
            _ARRAYS * 8 * self.size**2,
            "Lower them.",
        )
        W = member(0.0, self.sigma, self.d, self.K).W
        if self.init_noise:
            noise = self.init_noise * generator(Purpose.NOISE, seed).standard_normal(W.shape)
            idle = np.zeros(W.shape, bool)
            idle[:, self.d : -1] = True
            W = W + noise * {"all": np.ones(W.shape, bool), "active": ~idle, "idle": idle}[self.noise_in]
        return Params(W)

    def population(self, seed: Seed = 0) -> Law:
        """All prompts at once, for gradient descent on the population loss in the family of W.

        Parameters
        ----------
        seed : int or sequence of int
            Of sampled rows of cosines.

        Returns
        -------
        Law
        """
        if self.cosines == "exact":
            return Law(population.exact(self.length, self.d), self.K)
        return Law(population.sampled(self.length, self.d, self.draws, seed), self.K)

    def settings(self) -> dict[str, list[Any]]:
        """Every field with where its value comes from: name -> [value, mark], "set here" if it is not the default."""
        return marked_settings(self, self.marks)

    def observer(self, seed: int = 0) -> Observer:
        """What `nlicl.train` measures as it goes: an `Observer` of this problem."""
        return Observer(self, seed=seed)
