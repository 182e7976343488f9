"""Data model and initialisation of Li et al. 2024. Marks and notation: see the package's docstring."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ... import devices
from ...core.checks import boolean, choice, floating, integer, magnitude, numbers, real
from ...core.describe import short
from ...core.errors import InvalidValue
from ...core.memory import check_draw, check_memory
from ...core.seeds import Li2024, Seed, generator, key
from ...models.transformer.prompts import CodedPrompts, Params
from ..problem import keep, marked_settings
from . import patterns
from .observer import Observer
from .sampling import SAMPLINGS, Codes, draw
from .tasks import Task, all_tasks, checked_tasks, cyclic_tasks

__all__ = ["Problem", "sibling"]

# Where each default comes from, as the docstring below says it.
MARKS = {
    **dict.fromkeys(("M1", "M2", "alpha", "length"), "summary"),
    **dict.fromkeys(("d_X", "d_Y", "beta", "m", "xi", "a_scale", "coefficients"), "derived"),
    **dict.fromkeys(("K", "m_a", "m_b", "delta"), "recalled"),
    **dict.fromkeys(("learning_rate", "batch", "steps"), "measured"),
    "query_attends": "paper",
    "training_tasks": "recalled",
}
_TOKEN, _PLACE, _PROMPT, _PAIR = 34, 16, 34, 120  # bytes: of a token, its place and a prompt, while drawn, of a task


@dataclass(frozen=True)
class Problem:
    """Data distribution, sizes and training settings; the defaults are the paper's experiment where it is known.

    Attributes
    ----------
    M1, M2 : int
        Number of relevant (6 [summary]) and irrelevant patterns (24 [summary]).
    d_X, d_Y : int
        Dimension of inputs and label embeddings (30, 30 [derived]: they fit the published figures); d = d_X + d_Y.
    beta : float
        Norm of every pattern (2 [derived], from delta beta = 0.4 [digitised]).
    K : float
        Range of the irrelevant pattern's coefficient, kappa ~ U(-K, K) (1/2 [recalled]).
    alpha : float in (0, 1]
        Share of contexts that carry one of the task's two patterns (0.8 [summary]).
    length : int
        l, contexts in a prompt (20 [summary]).
    m, m_a, m_b : int
        Neurons (64 [derived] from [digitised]); rows of W_Q, W_K and of W_V (d if None [recalled]).
    delta, xi : float
        Scale of the initial W_Q, W_K, W_V (0.2 [recalled]); standard deviation of the initial W_O (0.02 [derived]).
    a_scale : {"2/m", "1/sqrt(m)"}
        |a_i|: "2/m" fits the published magnitudes [derived]; "1/sqrt(m)" is the theory's [recalled].
    learning_rate, batch, steps : float, int, int
        eta, B, T of the paper's Algorithm 1 (1, 256, 400 [measured]: they reach the published plateau).
    training_tasks : tuple of (int, int), or None
        T_tr, pairs (a, b) counted from 0; None: the cyclic M1 tasks [recalled].
    query_attends : bool
        Whether the query is among the keys: no in the model equation, yes in the proof pages [paper].
    coefficients : tuple of tuple of float, or None
        Rows: out-of-domain-relevant (ODR) patterns in the basis of the IDR patterns. None: in domain.

    Raises
    ------
    TypeError, ValueError
        Settings that break the data model, with the condition that fails.
    """

    M1: int = 6
    M2: int = 24
    d_X: int = 30
    d_Y: int = 30
    beta: float = 2.0
    K: float = 0.5
    alpha: float = 0.8
    length: int = 20
    m: int = 64
    m_a: int | None = None
    m_b: int | None = None
    delta: float = 0.2
    xi: float = 0.02
    a_scale: str = "2/m"
    learning_rate: float = 1.0
    batch: int = 256
    steps: int = 400
    training_tasks: tuple[Task, ...] = None  # type: ignore[assignment]  # a tuple from __post_init__ on
    query_attends: bool = False
    coefficients: tuple[tuple[float, ...], ...] | None = None

    loss: ClassVar[str] = "hinge"
    trained: ClassVar[tuple[str, ...]] = ("W_Q", "W_K", "W_V", "W_O")  # a is fixed [recalled]

    def __post_init__(self) -> None:
        for name, least in {"M1": 2, "M2": 1, "d_X": 1, "d_Y": 1, "length": 1, "m": 1, "batch": 1, "steps": 0}.items():
            keep(self, name, integer(name, getattr(self, name), least))
        for name in ("m_a", "m_b"):
            if getattr(self, name) is not None:
                keep(self, name, integer(name, getattr(self, name), 1))
        for name in ("beta", "delta", "learning_rate"):
            keep(self, name, magnitude(name, getattr(self, name)))
        for name in ("K", "xi"):
            keep(self, name, magnitude(name, getattr(self, name), zero=True))
        keep(self, "alpha", _checked_alpha(self.alpha, self.M1))
        keep(self, "query_attends", boolean("query_attends", self.query_attends))
        keep(self, "a_scale", choice("a_scale", self.a_scale, ("2/m", "1/sqrt(m)")))
        if self.coefficients is not None:
            object.__setattr__(self, "coefficients", patterns.checked_coefficients(self.coefficients, self.M1))
        basis = self._basis_size
        if basis + self.M2 > self.d_X:
            raise InvalidValue(
                f"M1 + M2 = {basis} + {self.M2} patterns do not fit orthogonally into d_X = {self.d_X} dimensions; "
                f"expected M1 + M2 <= d_X. Raise d_X to at least {basis + self.M2} or lower M2."
            )
        check_memory(
            f"d_X is {self.d_X}, d_Y {self.d_Y}, M1 {self.M1} and M2 {self.M2}: the dictionary is of shape "
            f"({self.d}, {basis + self.M2 + 1}), and there are M1 (M1 - 1) tasks",
            16 * self.d * (basis + self.M2 + 1) + _PAIR * self.M1**2, "Lower them.",
        )  # fmt: skip
        if self.training_tasks is None:
            tasks = cyclic_tasks(self.M1) if self.coefficients is None else ()
            object.__setattr__(self, "training_tasks", tasks)
        else:
            object.__setattr__(self, "training_tasks", checked_tasks(self.training_tasks, self.M1, "training_tasks"))

    @property
    def d(self) -> int:
        """Width of a token, d_X + d_Y."""
        return self.d_X + self.d_Y

    @property
    def _basis_size(self) -> int:
        return self.M1 if self.coefficients is None else len(self.coefficients[0])

    @property
    def mu(self) -> np.ndarray:
        """The relevant patterns (M1, d_X): IDR patterns, or ODR patterns out of domain. Norm beta, orthogonal.

        IDR patterns are coordinate axes: SGD from this initialisation is equivariant under rotations [derived].
        """
        idr = self.beta * np.eye(self._basis_size, self.d_X)
        return idr if self.coefficients is None else np.array(self.coefficients) @ idr

    @property
    def nu(self) -> np.ndarray:
        """The irrelevant patterns (M2, d_X): norm beta, orthogonal to each other and to the relevant ones."""
        return self.beta * np.eye(self._basis_size + self.M2, self.d_X)[self._basis_size :]

    @property
    def q(self) -> np.ndarray:
        """The label embedding of +1 (d_Y,), of norm 1."""
        return np.eye(1, self.d_Y)[0]

    @property
    def mu_bar(self) -> np.ndarray:
        """The average relevant pattern (d_X,)."""
        return self.mu.mean(axis=0)

    @property
    def S_1(self) -> np.ndarray:
        """Sums of the ODR patterns' coefficients (M1,); all 1 in domain."""
        return np.ones(self.M1) if self.coefficients is None else np.sum(self.coefficients, axis=1)

    @property
    def dictionary(self) -> np.ndarray:
        """E (d, M1 + M2 + 1): columns mu_j, nu_k, q, filled up with zeros."""
        return self._dictionary.copy()

    @cached_property
    def _dictionary(self) -> np.ndarray:
        E = np.zeros((self.d, self.M1 + self.M2 + 1))
        E[: self.d_X, : self.M1] = self.mu.T
        E[: self.d_X, self.M1 : -1] = self.nu.T
        E[self.d_X :, -1] = self.q
        return E

    def tasks(self, which: str | Iterable[Task] = "all") -> tuple[Task, ...]:
        """Tasks (a, b): "train" (T_tr), "unseen" (T without T_tr), "all" (T, M1 (M1 - 1) of them), or a list of pairs.

        Returns
        -------
        tuple of (int, int)

        Raises
        ------
        ValueError
            No such tasks, or an empty set.
        """
        everything = all_tasks(self.M1)
        if isinstance(which, str):
            trained = set(self.training_tasks)
            sets = {
                "train": self.training_tasks,
                "unseen": tuple(task for task in everything if task not in trained),
                "all": everything,
            }
            if which not in sets:
                raise InvalidValue(
                    f"tasks is {short(which)}; expected 'train', 'unseen', 'all' or a list of pairs (a, b)."
                )
            chosen = sets[which]
        else:
            chosen = checked_tasks(which, self.M1, "tasks")
        if not chosen:
            raise InvalidValue(
                f"tasks is {short(which)}, an empty set: |T| = {len(everything)}, |T_tr| = {len(self.training_tasks)}."
            )
        return chosen

    @cached_property
    def _usual_tasks(self) -> np.ndarray:
        return np.array(self.tasks("train" if self.training_tasks else "all"))

    def sample(
        self,
        n: int,
        length: int | None = None,
        alpha: float | None = None,
        seed: Seed = 0,
        tasks: str | Iterable[Task] | None = None,
        sampling: str = "iid",
    ) -> CodedPrompts:
        """Draw prompts.

        A prompt has a task (a, b) uniform on `tasks`; each context independently carries mu_a or mu_b with probability
        alpha/2 each and every other relevant pattern with (1 - alpha)/(M1 - 2) [paper; independence recalled]; its label
        is the task's, a coin on other patterns [paper]. The query carries mu_a or mu_b with equal probability [recalled].

        Parameters
        ----------
        n : int
            Number of prompts, B.
        length, alpha : int, float, optional
            l and alpha (alpha' in testing); the problem's if not given.
        seed : int or sequence of int
            The same seed gives the same prompts; (seed, step) names those of a training step.
        tasks : {"train", "unseen", "all"} or list of (int, int), optional
            "train" if not given, or "all" where there are no training tasks (out of domain).
        sampling : {"iid", "at-least"}
            "at-least": ceil(alpha l / 2) contexts, at random places, carry the query's pattern, the rest are independent
            (the theory's assumption on test prompts [paper]; the placement is ours).

        Returns
        -------
        CodedPrompts

        Raises
        ------
        ValueError, TypeError
            Settings out of range, named.
        """
        n, length = integer("n", n, 1), integer("length", self.length if length is None else length, 1)
        alpha = _checked_alpha(self.alpha if alpha is None else alpha, self.M1)
        sampling = choice("sampling", sampling, SAMPLINGS)
        check_draw(n, length, _TOKEN + _PLACE * (sampling == "at-least") + _PROMPT // (length + 1))
        pairs = self._usual_tasks if tasks is None else np.array(self.tasks(tasks))
        codes = draw(generator(Li2024.PROMPTS, seed), n, length, alpha, pairs, self.M1, self.M2, self.K, sampling)
        return CodedPrompts.unchecked(self._dictionary, *codes, self.query_attends)

    def device_sampler(self, n: int, dtype: DTypeLike = np.float64) -> Callable[[Seed], CodedPrompts]:
        """Draw the prompts of `sample(n, seed=seed)` on a GPU, so that training need not bring them there.

        Parameters
        ----------
        n : int
            Number of prompts, B.
        dtype : {numpy.float64, numpy.float32}
            Of kappa and the labels.

        Returns
        -------
        callable
            seed -> CodedPrompts on the GPU, which hold until the next call. kappa is that of `sample` but for rounding.

        Raises
        ------
        nlicl.devices.Unavailable
            No GPU, or no package numba-cuda.
        """
        n, dtype = integer("n", n, 1), floating("dtype", dtype)
        settings = (n, self.length, self.alpha, self.M1, self.M2, self.K, dtype)
        sampler = devices.kernels().Sampler(self._usual_tasks, *settings)
        E = devices.place(self._dictionary.astype(dtype))
        return lambda seed: CodedPrompts.unchecked(
            E, *Codes(*sampler.draw(key(Li2024.PROMPTS, seed))), self.query_attends
        )

    def initialize(
        self, m: int | None = None, m_a: int | None = None, m_b: int | None = None, seed: Seed = 0
    ) -> Params:
        """Initial parameters: W_Q, W_K, W_V a small multiple of the identity, W_O Gaussian [paper].

        In detail [recalled]: delta on the first d_X diagonal entries of W_Q and W_K, so that labels do not enter
        attention at first, and on the whole diagonal of W_V; W_O i.i.d. N(0, xi^2); a_i uniform on +-`a_scale`, not
        trained.

        Parameters
        ----------
        m, m_a, m_b : int, optional
            Widths; the problem's if not given.
        seed : int or sequence of int

        Returns
        -------
        Params
            float64.
        """
        m = self.m if m is None else m
        m_a = (self.m_a or self.d) if m_a is None else m_a
        m_b = (self.m_b or self.d) if m_b is None else m_b
        m, m_a, m_b = integer("m", m, 1), integer("m_a", m_a, 1), integer("m_b", m_b, 1)
        check_memory(
            f"m is {m}, m_a {m_a} and m_b {m_b}: W_Q, W_K and W_V have {2 * m_a + m_b} rows of d = {self.d}, W_O {m} of {m_b}",
            8 * ((2 * m_a + m_b) * self.d + m * m_b + max(m_b * self.d, m * m_b, 3 * m)), "Lower them.",
        )  # fmt: skip
        rng = generator(Li2024.PARAMETERS, seed)
        W_Q = self.delta * np.eye(m_a, self.d)
        W_Q[:, self.d_X :] = 0
        scale = 2 / m if self.a_scale == "2/m" else 1 / math.sqrt(m)
        return Params(
            W_Q=W_Q,
            W_K=W_Q.copy(),
            W_V=self.delta * np.eye(m_b, self.d),
            W_O=self.xi * rng.standard_normal((m, m_b)),
            a=scale * rng.choice([1.0, -1.0], size=m),
        )

    def settings(self) -> dict[str, list[Any]]:
        """Every field with where its value comes from: name -> [value, mark], "set here" where it is not the default."""
        found = marked_settings(self, MARKS)
        tasks, _ = found.pop("training_tasks")  # their default depends on M1
        mark = MARKS["training_tasks"] if tasks == cyclic_tasks(self.M1) else "set here"
        return found | {"training_tasks": [tasks, mark]}

    def observer(self, seed: int = 0) -> Observer:
        """What `nlicl.train` measures as it goes: an `Observer` of this problem."""
        return Observer(self, seed=seed)

    def out_of_domain(
        self, S_1: float = 1.2, K: float | None = None, M1: int = 3, coefficients: ArrayLike | None = None
    ) -> "Problem":
        """The out-of-domain problem: ODR patterns mu' = c mu_i + s mu_j on disjoint pairs of IDR patterns [derived].

        Parameters
        ----------
        S_1 : float, |S_1| <= sqrt(2)
            c + s, with c^2 + s^2 = 1 so that the norm stays beta; S_1 >= 1 is Theorem 3.4's condition [paper].
        K : float, optional
            K', the range of kappa'; the problem's K if not given.
        M1 : int
            M1', the number of ODR patterns (3 [summary]), at most half the number of IDR patterns.
        coefficients : array_like (M1', M1), optional
            ODR patterns of your own in the IDR basis: unit rows, orthogonal to each other. S_1 and M1 are then ignored.

        Returns
        -------
        Problem
            With the same irrelevant patterns (in their span, as Theorem 3.4 asks [paper]) and no training tasks.
        """
        if self.coefficients is not None:
            raise InvalidValue("this problem is out of domain already; call out_of_domain on the in-domain problem.")
        if coefficients is None:
            rows = patterns.odr_coefficients(S_1, M1, self.M1)
        else:
            rows = numbers("coefficients", coefficients)
            if rows.ndim != 2 or rows.shape[1] != self.M1:
                raise InvalidValue(
                    f"coefficients has shape {rows.shape}; expected (M1', {self.M1}), rows in the IDR basis."
                )
        # with two patterns there is no other one to draw: alpha' must be 1
        alpha = 1.0 if len(rows) == 2 else self.alpha
        return replace(
            self,
            M1=len(rows),
            K=self.K if K is None else K,
            alpha=alpha,
            training_tasks=(),
            coefficients=tuple(map(tuple, rows.tolist())),
        )


def _checked_alpha(alpha: float, M1: int) -> float:
    alpha = real("alpha", alpha, "in (0, 1], a share of contexts", lambda x: 0 < x <= 1)
    if M1 == 2 and alpha != 1:
        raise InvalidValue(f"alpha is {alpha} with M1 = 2: there is no other pattern for the rest. Expected alpha = 1.")
    return alpha


sibling = Problem(beta=3.0, xi=0.01, a_scale="1/sqrt(m)", learning_rate=0.1, steps=1000)
"""The second calibration: the theory's a_i = +-1/sqrt(m), as the authors' later paper has it [recalled]."""
