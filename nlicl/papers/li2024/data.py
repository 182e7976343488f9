"""The data model of Li et al. 2024, which all its problems share: patterns, tasks and prompts. Marks: see the package."""

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from ...core.checks import choice, integer, magnitude, numbers, real
from ...core.describe import short
from ...core.errors import InvalidValue
from ...core.memory import check_draw, check_memory
from ...core.seeds import Li2024, Seed, key
from ...models.transformer.prompts import CodedPrompts
from ..problem import keep
from . import patterns
from .sampling import SAMPLINGS, draw
from .tasks import Task, all_tasks, checked_tasks, cyclic_tasks

__all__ = ["MARKS", "DataModel"]

# Where each default comes from, as the docstring of `DataModel` says it.
MARKS = {
    **dict.fromkeys(("M1", "M2"), "summary"),
    **dict.fromkeys(("alpha", "length"), "quoted"),
    **dict.fromkeys(("d_X", "d_Y", "beta", "coefficients"), "derived"),
    "K": "recalled",
    "training_tasks": "recalled",
}
_TOKEN, _PLACE, _PROMPT, _PAIR = 34, 16, 34, 120  # bytes: of a token, its place and a prompt, while drawn, of a task


class DataModel:
    """Patterns, tasks and prompts. A problem inherits from it; it is a frozen dataclass with these fields among its own.

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
        Share of contexts that carry one of the task's two patterns (0.8 in training [quoted]).
    length : int
        l, contexts in a prompt (20 in training [quoted]).
    training_tasks : tuple of (int, int), or None
        T_tr, pairs (a, b) counted from 0; None: the cyclic M1 tasks [recalled].
    coefficients : tuple of tuple of float, or None
        Rows: out-of-domain-relevant (ODR) patterns in the basis of the IDR patterns. None: in domain.
    """

    M1: int
    M2: int
    d_X: int
    d_Y: int
    beta: float
    K: float
    alpha: float
    length: int
    training_tasks: tuple[Task, ...]
    coefficients: tuple[tuple[float, ...], ...] | None

    def _check_data(self) -> None:
        """TypeError, ValueError for settings that break the data model, with the condition that fails."""
        for name, least in {"M1": 2, "M2": 1, "d_X": 1, "d_Y": 1, "length": 1}.items():
            keep(self, name, integer(name, getattr(self, name), least))
        keep(self, "beta", magnitude("beta", self.beta))
        keep(self, "K", magnitude("K", self.K, zero=True))
        keep(self, "alpha", _checked_alpha(self.alpha, self.M1))
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
            try:
                tasks = checked_tasks(self.training_tasks, self.M1, "training_tasks")
            except InvalidValue as error:  # as where dataclasses.replace gives another M1 alone
                raise InvalidValue(f"{error} training_tasks=None takes the usual ones of this M1.") from None
            object.__setattr__(self, "training_tasks", tasks)

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

    def _codes(
        self,
        n: int,
        length: int | None,
        alpha: float | None,
        seed: Seed,
        tasks: str | Iterable[Task] | None,
        sampling: str,
        query_attends: bool,
    ) -> CodedPrompts:
        """Prompts as codes, as `Problem.sample` describes them."""
        n, length = integer("n", n, 1), integer("length", self.length if length is None else length, 1)
        alpha = _checked_alpha(self.alpha if alpha is None else alpha, self.M1)
        sampling = choice("sampling", sampling, SAMPLINGS)
        check_draw(n, length, _TOKEN + _PLACE * (sampling == "at-least") + _PROMPT // (length + 1))
        pairs = self._usual_tasks if tasks is None else np.array(self.tasks(tasks))
        codes = draw(key(Li2024.PROMPTS, seed), n, length, alpha, pairs, self.M1, self.M2, self.K, sampling)
        return CodedPrompts.unchecked(self._dictionary, *codes, query_attends)

    def out_of_domain(
        self, S_1: float = 1.2, K: float | None = None, M1: int = 3, coefficients: ArrayLike | None = None
    ) -> Self:
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
        The same kind of problem
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
        this: Any = self  # a dataclass
        return replace(
            this,
            M1=len(rows),
            K=self.K if K is None else K,
            alpha=alpha,
            training_tasks=(),
            coefficients=tuple(map(tuple, rows.tolist())),
        )

    def _task_mark(self) -> str:
        """Where the training tasks come from: their default depends on M1."""
        return MARKS["training_tasks"] if self.training_tasks == cyclic_tasks(self.M1) else "set here"


def _checked_alpha(alpha: float, M1: int) -> float:
    alpha = real("alpha", alpha, "in (0, 1], a share of contexts", lambda x: 0 < x <= 1)
    if M1 == 2 and alpha != 1:
        raise InvalidValue(f"alpha is {alpha} with M1 = 2: there is no other pattern for the rest. Expected alpha = 1.")
    return alpha
