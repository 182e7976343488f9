"""Data model and initialisation of Huang et al. 2023. Marks and notation: see the package's docstring."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from ...core.checks import choice, integer, numbers, real
from ...core.describe import short
from ...core.errors import InvalidValue
from ...core.memory import check_draw, check_memory
from ...core.seeds import Huang2023, Seed, checked, generator, key, orthonormal
from ...models.regression.prompts import CodedPrompts, Params
from ..problem import keep
from ..provenance import marked_settings
from . import population
from .law import Law
from .observer import Observer
from .theory import check_step_size

__all__ = ["MARKS", "Problem"]

# Where each default comes from: no number of the theory is the paper's, which analyses gradient descent on the population
# loss.
MARKS = dict.fromkeys(
    ("K", "length", "d", "features", "p", "p_1", "V_seed", "learning_rate", "counts", "draws", "batch", "steps"), "ours"
) | {"prompts": "paper", "optimizer": "paper"}

_COUNTS = ("sampled", "infinite", "enumerated")
_FEATURES = ("one-hot", "dense")
_PROMPTS = ("population", "fresh")
_UNIT, _RANDOM = 16, 40  # bytes of a number of V, while it is made: unit vectors, or random ones
_ARRAYS = 12  # of the size of Q, at once, in training [measured]
_TOKEN = 20  # bytes at most of a token, while prompts are drawn


@dataclass(frozen=True)
class Problem:
    """Features, their frequencies, sizes and training settings.

    The defaults are for the theory, which names no numbers: they are ours. The paper's experiment is `Experiment`.

    Attributes
    ----------
    K : int
        Number of features, at least 2.
    length : int
        N, contexts in a prompt; 400 = K^2 is enough in practice, the theory asks for more than K^3 [derived].
    d : int or None
        Dimension of the inputs, at least K; K if None. Results of gradient descent do not depend on it [derived]; those of
        Adam do where the features are dense.
    features : {"one-hot", "dense"} or None
        v_1, .., v_K: the first K unit vectors of R^d, or random orthonormal vectors. None: one-hot where d = K, or else dense.
        Gradient descent takes both alike [derived]; Adam does not.
    p : tuple of float (K,), or None
        Frequency of each feature, positive, of sum 1; None: as p_1 says. `frequencies` has the numbers.
    p_1 : float in (0, 1), or None
        Frequency of the dominant feature, the first; the others have (1 - p_1)/(K - 1) each: the imbalanced case. At least
        1/K; that, and None, are the balanced case: 1/K each. Not looked at where p is given.
    V_seed : int
        Of dense features.
    learning_rate : float
        eta; the loss decreases for any below 6.49 / max p [derived], and `nlicl.train` refuses larger ones on the population.
    counts : {"sampled", "infinite", "enumerated"}
        What `population` takes for the counts of features in a prompt: count vectors that are drawn once, N infinite, or all
        there are, where they are few.
    draws : int
        Of sampled count vectors.
    batch : int or None
        Prompts a step; not looked at on the population. None: every step takes the whole of a fixed set.
    steps : int
    prompts : {"population", "fresh"} or int
        What `nlicl.train` trains on: the population, as the paper's analysis does [paper]; new prompts every step, our extra;
        or so many prompts that are drawn once.

    Raises
    ------
    TypeError, ValueError
        Settings that break the data model, with the condition that fails.
    """

    K: int = 20
    length: int = 400
    d: int | None = None
    features: str | None = None
    p: tuple[float, ...] | None = None
    p_1: float | None = 0.5
    V_seed: int = 0
    learning_rate: float = 5.0
    counts: str = "sampled"
    draws: int = 500
    batch: int | None = 256
    steps: int = 1000
    prompts: str | int = "population"

    loss: ClassVar[str] = "squared"
    trained: ClassVar[tuple[str, ...]] = ("Q",)
    optimizer: ClassVar[str] = "sgd"
    marks: ClassVar[Mapping[str, str]] = MARKS

    def __post_init__(self) -> None:
        for name, least in {"K": 2, "length": 1, "V_seed": 0, "draws": 1, "steps": 0}.items():
            keep(self, name, integer(name, getattr(self, name), least))
        if self.batch is not None:
            keep(self, "batch", integer("batch", self.batch, 1))
        if self.features is not None:
            keep(self, "features", choice("features", self.features, _FEATURES))
        self._check_prompts()
        if self.d is not None:
            keep(self, "d", integer("d", self.d, 1))
            if self.d < self.K:
                raise InvalidValue(
                    f"d is {self.d} with K = {self.K}: no {self.K} orthonormal features fit into {self.d} dimensions. "
                    f"Expected d >= K; raise d or lower K."
                )
        keep(self, "counts", choice("counts", self.counts, _COUNTS))
        keep(self, "learning_rate", real("learning_rate", self.learning_rate, "greater than 0", lambda x: x > 0))
        if self.p is not None:
            object.__setattr__(self, "p", _checked_p(self.p, self.K))
        if self.p_1 is not None:
            keep(self, "p_1", real("p_1", self.p_1, "between 0 and 1, a frequency", lambda x: 0 < x < 1))
        if self.p is None and self.p_1 is not None and self.p_1 < 1 / self.K:
            raise InvalidValue(
                f"p_1 is {self.p_1} with K = {self.K}: the first feature is not dominant. Expected at least 1/K = "
                f"{1 / self.K:g}; or p_1 = None, the balanced case; or frequencies of your own in p."
            )

    def _check_prompts(self) -> None:
        if self.prompts is not None and not isinstance(self.prompts, str):
            keep(self, "prompts", integer("prompts", self.prompts, 1))
        elif self.prompts not in _PROMPTS:
            raise InvalidValue(
                f"prompts is {short(self.prompts)}; expected 'population', 'fresh', or a number of prompts that are drawn "
                "once."
            )
        if self.batch is None and self.prompts == "fresh":
            raise InvalidValue(
                "batch is None with prompts = 'fresh', which never end; expected a number of prompts a step. Give "
                "batch, or a number of prompts that are drawn once."
            )

    @classmethod
    def balanced(cls, K: int | None = None, **settings: Any) -> Self:
        """The balanced case, p_k = 1/K for every feature [paper: Theta(1/K)]; other settings as by default."""
        return cls(K=cls.K if K is None else K, p_1=None, **settings)

    @classmethod
    def imbalanced(cls, K: int | None = None, p_1: float = 0.5, **settings: Any) -> Self:
        """The imbalanced case: one dominant feature of frequency p_1, the others alike [paper: Theta(1), Theta(1/K)]."""
        return cls(K=cls.K if K is None else K, p_1=p_1, **settings)

    @property
    def case(self) -> str:
        """ "balanced" if all features have the same frequency, or else "imbalanced"."""
        if self.p is not None:
            spread = max(self.p) - min(self.p)
        else:  # without an array of K numbers, which may be too large to make
            spread = 0.0 if self.p_1 is None else abs(self.p_1 - (1 - self.p_1) / (self.K - 1))
        return "balanced" if spread < 1e-12 else "imbalanced"

    @property
    def frequencies(self) -> np.ndarray:
        """p (K,): the probability of each feature, for contexts and query alike."""
        return self._frequencies.copy()

    @cached_property
    def _frequencies(self) -> np.ndarray:
        if self.p is not None:
            return np.array(self.p)
        check_memory(f"K is {self.K}: so many are the frequencies", 32 * self.K, "Lower it.")
        if self.p_1 is None:
            return np.full(self.K, 1 / self.K)
        p = np.full(self.K, (1 - self.p_1) / (self.K - 1))
        p[0] = self.p_1
        return p

    @property
    def V(self) -> np.ndarray:
        """The features v_1 .. v_K as orthonormal columns (d, K), as `features` says."""
        return self._V.copy()

    @cached_property
    def _V(self) -> np.ndarray:
        d = self.d or self.K
        dense = self.features == "dense" or (self.features is None and d > self.K)
        check_memory(
            f"K is {self.K}, d = {d}: the features are {d} by {self.K} numbers",
            (_RANDOM if dense else _UNIT) * d * self.K,
            "Lower it.",
        )
        return orthonormal(Huang2023.FEATURES, self.V_seed, d, self.K) if dense else np.eye(d, self.K)

    def sample(self, n: int, length: int | None = None, seed: Seed = 0) -> CodedPrompts:
        """Draw prompts.

        Inputs of contexts and query are independent, v_k with probability p_k; labels are <w, x> with w ~ N(0, I_d), one w a
        prompt [inputs and labels paper; the law of w quoted for the experiment; the theory's has these moments, recalled].
        Only omega_k = <w, v_k> ~ N(0, 1) matter, and they are drawn: the same seed gives the same features and omega for every
        d and either kind of features.

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
        CodedPrompts

        Raises
        ------
        ValueError, TypeError
            Settings out of range, named.
        """
        n, length = integer("n", n, 1), integer("length", self.length if length is None else length, 1)
        check_draw(n, length, _TOKEN + 8 * self.K // (length + 1))
        rng = generator(Huang2023.PROMPTS, seed)
        edges = np.cumsum(self._frequencies)[:-1]  # the last is 1, whatever it was rounded to
        features = np.searchsorted(edges, rng.random((n, length + 1)), side="right").astype(np.int32)
        return CodedPrompts(self._V, features, rng.standard_normal((n, self.K)))

    def population(self, seed: Seed = 0) -> Law:
        """All prompts at once, for gradient descent on the population loss.

        Parameters
        ----------
        seed : int or sequence of int
            Of sampled count vectors.

        Returns
        -------
        Law
        """
        p = self._frequencies
        if self.counts == "infinite":
            source = population.infinite(p)
        elif self.counts == "enumerated":
            source = population.enumerated(p, self.length)
        else:
            try:
                source = population.sampled(p, self.length, self.draws, seed=key(Huang2023.COUNTS, seed))
            except InvalidValue as error:
                raise InvalidValue(str(error).replace("M is", "draws is", 1)) from None
        return Law(self._V, p, source)

    def check_descent(self, learning_rate: float) -> None:
        """ValueError if steps of gradient descent of this size can raise the population loss: above 6.49/max p [derived]."""
        try:
            check_step_size(learning_rate, self._frequencies.max())
        except InvalidValue as error:
            reason = str(error).replace("eta is", "learning_rate is", 1)
            raise InvalidValue(f"{reason} Lower it, or train on prompts='fresh'.") from None

    def initialize(self, seed: Seed = 0) -> Params:
        """Q = 0 [recalled]: attention is uniform, whatever the seed.

        Returns
        -------
        Params
            float64.
        """
        checked(seed)
        self._check_memory()
        d = self.d or self.K
        return Params(np.zeros((d, d)))

    def _check_memory(self) -> None:
        """ValueError, before anything is allocated, if what training holds does not fit into this machine's memory."""
        d = self.d or self.K
        check_memory(
            f"K is {self.K}, d = {d}: training holds some {_ARRAYS} arrays of shape ({d}, {d})",
            _ARRAYS * 8 * d**2,
            "Lower it; or see nlicl.papers.huang2023.reduced, which follows these dynamics exactly, flows at K up to 10**12.",
        )

    def settings(self) -> dict[str, list[Any]]:
        """Every field with where its value comes from: name -> [value, mark], "set here" if it is not the default."""
        return marked_settings(self, self.marks)

    def observer(self, seed: int = 0) -> Observer:
        """What `nlicl.train` measures as it goes: an `Observer` of this problem."""
        return Observer(self, seed=seed)


def _checked_p(p: Any, K: int) -> tuple[float, ...]:
    """`p` as a tuple of K positive floats of sum 1; or a clear error."""
    frequencies = numbers("p", p)
    if frequencies.shape != (K,):
        raise InvalidValue(
            f"p has shape {frequencies.shape}; expected K = {K} frequencies, or None for those that p_1 gives."
        )
    p = frequencies.tolist()
    p = tuple(real(f"p[{k}]", p[k], "greater than 0, a frequency", lambda x: x > 0) for k in range(K))
    if abs(sum(p) - 1) > 1e-9:
        raise InvalidValue(f"p sums to {sum(p):.12g}; expected 1. Divide it by its sum.")
    return p
