"""Data, initialisation and training settings of Zhang et al. 2025. Marks and notation: see the package's docstring."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ...core.checks import boolean, choice, integer, magnitude, real
from ...core.describe import short
from ...core.errors import InvalidValue
from ...core.memory import check_draw, check_memory
from ...core.seeds import Seed, generator, orthonormal
from ...models.linear_attention.prompts import Params, Prompts, SeparateParams
from ...models.linear_attention.statistics import Statistics
from ...models.model import Batch
from ..problem import keep
from ..provenance import marked_settings
from .law import Law
from .observer import Observer
from .seeds import Purpose

__all__ = ["MARKS", "Problem"]

_COVARIANCES = ("spectrum", "white")
_VERSIONS = ("flat", "per head", "stacked")
_LARGEST_INIT = 1e100
_ARRAYS = 12  # of the parameters' size, at once, in training

# Where each value comes from. The values of the named problems are those of the authors' commands.
MARKS: dict[str, str | Mapping[Any, str]] = {
    "d": {4: "source", 8: "source"},
    "length": "source",
    "heads": {8: "source", 5: "source", 9: "source", 4: "ours"},
    "rank": {None: "source", 1: "source", 2: "summary", 4: "summary", 8: "summary"},
    "softmax": {False: "source", True: "summary"},
    "scale": {1.0: "source", None: "source"},
    "covariance": {"spectrum": "source", "white": "source"},
    "Lambda_seed": "ours",
    "task_seed": "ours",
    "corrected": "source",
    "icl": {None: "source", 0.0: "source", 0.2: "source", 0.4: "source", 0.6: "source", 0.8: "source", 1.0: "source"},
    "init": {1e-6: "source", 0.01: "source", 5e-3: "source", 1e-4: "ours"},
    "init_version": {"flat": "derived", "per head": "source", "stacked": "source"},
    "P": {5000: "source", 80_000: "source", "population": "ours", 1000: "ours", 2000: "ours"},
    "learning_rate": {0.001: "source", 0.02: "source", 5e-4: "source", 0.2: "ours"},
    "batch": "source",
    "steps": {6001: "source", 10_001: "source", 20_001: "source", 4001: "source", 3000: "ours", 9000: "ours"},
}


@dataclass(frozen=True)
class Problem:
    """Linear regression in context, its attention, and training settings.

    Inputs are x ~ N(0, Lambda), labels <w, x> with a task vector w ~ N(0, I) for each prompt, no noise; training is full-batch
    gradient descent on P prompts that are drawn once [source]. The defaults are the authors' command for merged keys and
    queries [source].

    Attributes
    ----------
    d : int
        D, the dimension of x.
    length : int
        N, contexts in a prompt: 31 for the code's `seq_len` of 32 tokens.
    heads : int
        H.
    rank : int or None
        R of separate keys and queries; None: they are merged.
    softmax : bool
        Softmax attention in the place of linear attention.
    scale : float or None
        s, by which the sum over heads is multiplied: 1, the code's, or None, the paper's 1/N.
    covariance : {"spectrum", "white"}
        Lambda: eigenvalues 1, .., D over their sum, or I/D.
    Lambda_seed : int or None
        Of the random eigenvectors of Lambda; None: the unit vectors, in the order of the eigenvalues.
    corrected : bool
        Whether the mean over prompts is subtracted from x at each position, and task vectors are centred and whitened over
        the prompts, where all of them have tasks of their own [source].
    icl : float from 0 to 1, or None
        c: the first floor(c P) prompts have tasks of their own, the others share one of norm sqrt(D), which can be learnt in
        weights; with 0, context labels are N(0, 1). None: all have tasks of their own, as with 1.
    task_seed : int
        Of the task that they share.
    init : float
        Scale of the initial parameters.
    init_version : {"flat", "per head", "stacked"}
        Standard deviations with separate keys and queries, of values and of keys and queries: init and init; init and
        init/sqrt(R E); init/sqrt(H E E) and init/sqrt(H R E). Merged ones are drawn with init.
    P : int or "population"
        Prompts to train on, drawn once from the run's seed, or the exact population, which linear attention has.
    learning_rate : float
    batch : int or None
        None: every step takes all prompts.
    steps : int

    Raises
    ------
    TypeError, ValueError
        Settings out of range, or that do not go together, with the condition that fails.
    """

    d: int = 4
    length: int = 31
    heads: int = 8
    rank: int | None = None
    softmax: bool = False
    scale: float | None = 1.0
    covariance: str = "spectrum"
    Lambda_seed: int | None = 0
    corrected: bool = True
    icl: float | None = None
    task_seed: int = 0
    init: float = 1e-6
    init_version: str = "flat"
    P: int | str = 5000
    learning_rate: float = 0.001
    batch: int | None = None
    steps: int = 6001

    loss: ClassVar[str] = "squared"
    optimizer: ClassVar[str] = "sgd"

    def __post_init__(self) -> None:
        for name, least in {"d": 1, "length": 1, "heads": 1, "task_seed": 0, "steps": 0}.items():
            keep(self, name, integer(name, getattr(self, name), least))
        for name, least in {"rank": 1, "Lambda_seed": 0, "batch": 1}.items():
            if getattr(self, name) is not None:
                keep(self, name, integer(name, getattr(self, name), least))
        for name in ("softmax", "corrected"):
            keep(self, name, boolean(name, getattr(self, name)))
        keep(self, "covariance", choice("covariance", self.covariance, _COVARIANCES))
        keep(self, "init_version", choice("init_version", self.init_version, _VERSIONS))
        if self.scale is not None:
            keep(self, "scale", magnitude("scale", self.scale))
        if self.icl is not None:
            keep(self, "icl", real("icl", self.icl, "from 0 to 1, a share of the prompts", lambda x: 0 <= x <= 1))
        wanted = "greater than 0, from 1e-100 to 1e100"
        keep(self, "init", real("init", self.init, wanted, lambda x: 1 / _LARGEST_INIT <= x <= _LARGEST_INIT))
        keep(self, "learning_rate", magnitude("learning_rate", self.learning_rate))
        self._check_P()

    def _check_P(self) -> None:
        if not isinstance(self.P, str):
            keep(self, "P", integer("P", self.P, 1))
            least = self._least(self.P, self.icl)
            if least > self.P:
                raise InvalidValue(
                    f"P is {self.P}; expected at least {least}: inputs are centred over the prompts, and tasks whitened. Give "
                    "more, or corrected=False."
                )
            if self.batch is not None and not self.softmax:
                raise InvalidValue(
                    f"batch is {self.batch}; expected None: linear attention trains on all P prompts at once, through their "
                    "sufficient statistics. Batches are drawn by nlicl.train(problem, prompts=P, batch=...)."
                )
            return
        if self.P != "population":
            raise InvalidValue(f"P is {short(self.P)}; expected 'population', or a number of prompts.")
        odd = {"softmax": self.softmax, "icl": self.icl is not None, "batch": self.batch is not None}
        for name, given in odd.items():
            if given:
                raise InvalidValue(
                    f"P is 'population' with {name} = {short(getattr(self, name))}: the exact population is that of linear "
                    f"attention where all prompts have tasks of their own. Expected a number of prompts, or no {name}."
                )

    def _least(self, n: int, icl: float | None) -> int:
        """How many prompts the corrections over n of them need."""
        return max(2, (self.d + 2) * (_own(n, icl) == n)) if self.corrected else 1

    @property
    def prompts(self) -> str | int:
        """What `nlicl.train` trains on: `population`, or P prompts as they are, where attention is no quadratic."""
        return self.P if self.softmax else "population"

    @property
    def trained(self) -> tuple[str, ...]:
        """All parameters."""
        return ("V", "W") if self.rank is None else ("V", "K", "Q")

    @property
    def eigenvalues(self) -> np.ndarray:
        """lambda_d (D,), the largest first; their sum is 1 [source]."""
        if self.covariance == "white":
            return np.full(self.d, 1 / self.d)
        return np.arange(self.d, 0.0, -1) / (self.d * (self.d + 1) / 2)

    @property
    def Lambda(self) -> np.ndarray:
        """The covariance of x (D, D)."""
        return self._Lambda.copy()

    @cached_property
    def _Lambda(self) -> np.ndarray:
        check_memory(f"d is {self.d}: Lambda holds {self.d} by {self.d} numbers", 40 * self.d**2, "Lower it.")
        axes = self.axes
        Lambda = (axes * self.eigenvalues) @ axes.T
        return np.diag(self.eigenvalues) if self._is_plain else (Lambda + Lambda.T) / 2

    @property
    def _is_plain(self) -> bool:
        return self.Lambda_seed is None or self.covariance == "white"

    @property
    def axes(self) -> np.ndarray:
        """The eigenvectors e_d of Lambda as columns (D, D), in the order of `eigenvalues`."""
        if self._is_plain:
            return np.eye(self.d)
        return orthonormal(Purpose.COVARIANCE, self.Lambda_seed or 0, self.d, self.d)

    @property
    def shared_task(self) -> np.ndarray:
        """The task w that prompts share where `icl` says so (D,), of norm sqrt(D)."""
        w = generator(Purpose.TASK, self.task_seed).standard_normal(self.d)
        return w * (np.sqrt(self.d) / np.linalg.norm(w))

    def sample(self, n: int, length: int | None = None, seed: Seed = 0, icl: float | None = None) -> Prompts:
        """Draw prompts.

        Parameters
        ----------
        n : int
            Number of prompts, B.
        length : int, optional
            N; the problem's if not given.
        seed : int or sequence of int
            The same seed gives the same prompts; (seed, step) names those of a training step.
        icl : float, optional
            c; the problem's if not given: 0 and 1 are the authors' tests "in-weight" and "in-context" [source].

        Returns
        -------
        Prompts
            float64.

        Raises
        ------
        ValueError, TypeError
            Settings out of range, named; too few prompts for corrections over them.
        """
        n, length = integer("n", n, 1), integer("length", self.length if length is None else length, 1)
        icl = (
            self.icl if icl is None else real("icl", icl, "from 0 to 1, a share of the prompts", lambda x: 0 <= x <= 1)
        )
        own, least = _own(n, icl), self._least(n, icl)
        if n < least:
            raise InvalidValue(
                f"n is {n}; expected at least {least}: inputs are centred over the prompts, and tasks whitened. Draw more, or "
                "give corrected=False."
            )
        check_draw(n, length, 8 * (4 * self.d + 4))
        rng = generator(Purpose.PROMPTS, seed)
        x = rng.standard_normal((n, length + 1, self.d)) * np.sqrt(self.eigenvalues)
        if not self._is_plain:
            x = x @ self.axes.T
        w = rng.standard_normal((n, self.d))
        if self.corrected:
            x -= x.mean(axis=0)
            if own == n:
                w = _whitened(w - w.mean(axis=0))
        w[own:] = self.shared_task
        tokens = np.empty((n, length + 1, self.d + 1))
        tokens[..., :-1] = x
        tokens[..., -1] = np.einsum("nti,ni->nt", x, w)
        labels = tokens[:, -1, -1].copy()
        if own == 0:
            tokens[..., -1] = rng.standard_normal((n, length + 1))
        tokens[:, -1, -1] = 0
        return Prompts(tokens, labels, self.softmax, self.scale)

    def population(self, seed: Seed = 0) -> Batch:
        """All prompts at once, for full-batch gradient descent on linear attention: a step costs nothing in their number.

        Parameters
        ----------
        seed : int or sequence of int
            Of the P prompts.

        Returns
        -------
        Statistics or Law
            Sufficient statistics of P prompts, or the exact population, as P says.

        Raises
        ------
        ValueError
            Softmax attention, which has none.
        """
        if self.softmax:
            raise InvalidValue(
                "softmax is True; expected linear attention, whose loss is a quadratic. Train on prompts."
            )
        if isinstance(self.P, str):
            return Law(self.Lambda, self.length, self.scale)
        return Statistics.of(self.sample(self.P, seed=seed))

    def initialize(self, seed: Seed = 0) -> Params | SeparateParams:
        """Independent normal entries, with u = v_x = 0 [source].

        Parameters
        ----------
        seed : int or sequence of int

        Returns
        -------
        Params or SeparateParams
            float64; merged if `rank` is None.
        """
        H, E, R = self.heads, self.d + 1, self.rank
        size = 2 * H * E * E if R is None else H * E * (E + 2 * R)
        check_memory(
            f"heads is {H}, d = {self.d}, rank = {R}: training holds some {_ARRAYS} times {size} numbers",
            8 * _ARRAYS * size,
            "Lower them.",
        )
        rng = generator(Purpose.PARAMETERS, seed)
        of_values, of_keys = self.init, self.init
        if R is not None and self.init_version != "flat":
            of_keys = self.init / np.sqrt(R * E * (H if self.init_version == "stacked" else 1))
        if R is not None and self.init_version == "stacked":
            of_values = self.init / np.sqrt(H * E * E)
        V = of_values * rng.standard_normal((H, E, E))
        V[:, -1, :-1] = 0  # v_x
        if R is None:
            W = of_keys * rng.standard_normal((H, E, E))
            W[:, -1, :-1] = 0  # u
            return Params(V, W)
        K, Q = (of_keys * rng.standard_normal((H, R, E)) for _ in range(2))
        K[:, :, -1] = 0  # u
        return SeparateParams(V, K, Q)

    def settings(self) -> dict[str, list[Any]]:
        """Every field with where its value comes from: name -> [value, mark], "set here" if it is none that we know of."""
        return marked_settings(self, MARKS | {"optimizer": "source"})

    def observer(self, seed: int = 0) -> Observer:
        """What `nlicl.train` measures as it goes: an `Observer` of this problem."""
        return Observer(self, seed=seed)


def _own(n: int, icl: float | None) -> int:
    """How many of n prompts have tasks of their own."""
    return n if icl is None else int(np.floor(icl * n))


def _whitened(w: np.ndarray) -> np.ndarray:
    """w C^(-1/2) with C the second moment of the rows (n, D)."""
    values, vectors = np.linalg.eigh(w.T @ w / len(w))
    return w @ (vectors / np.sqrt(values)) @ vectors.T
