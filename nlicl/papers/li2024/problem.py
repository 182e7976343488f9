"""Data model, initialisation and tasks of Li et al. 2024. Marks and notation: see the package's docstring."""

import math
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from ... import devices
from ...core.checks import integer, real
from ...core.errors import InvalidType, InvalidValue
from ...core.seeds import generator, key
from ...kernels.sampling import decode
from ...models.transformer.prompts import CodedPrompts, Params
from .observer import Observer

__all__ = ["Problem", "condition_3_2", "cyclic_tasks", "sibling"]

# Where each default comes from, as the docstring below says it.
MARKS = {
    **dict.fromkeys(("M1", "M2", "alpha", "length"), "summary"),
    **dict.fromkeys(("d_X", "d_Y", "beta", "m", "xi", "a_scale", "coefficients"), "derived"),
    **dict.fromkeys(("K", "m_a", "m_b", "delta"), "recalled"),
    **dict.fromkeys(("learning_rate", "batch", "steps"), "measured"),
    "query_attends": "paper",
}
_SAMPLE, _INITIALIZE = 1, 2  # purposes of random numbers


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
    training_tasks: tuple | None = None
    query_attends: bool = False
    coefficients: tuple | None = None

    loss: ClassVar = "hinge"
    trained: ClassVar = ("W_Q", "W_K", "W_V", "W_O")  # a is fixed [recalled]

    def __post_init__(self):
        for name, least in {"M1": 2, "M2": 1, "d_X": 1, "d_Y": 1, "length": 1, "m": 1, "batch": 1, "steps": 0}.items():
            integer(name, getattr(self, name), least)
        for name in ("m_a", "m_b"):
            if getattr(self, name) is not None:
                integer(name, getattr(self, name), 1)
        for name in ("beta", "delta", "learning_rate"):
            real(name, getattr(self, name), "greater than 0", lambda x: x > 0)
        for name in ("K", "xi"):
            real(name, getattr(self, name), "at least 0", lambda x: x >= 0)
        _check_alpha(self.alpha, self.M1)
        if not isinstance(self.query_attends, (bool, np.bool_)):
            raise InvalidType(f"query_attends is {self.query_attends!r}; expected True or False.")
        if self.a_scale not in ("2/m", "1/sqrt(m)"):
            raise InvalidValue(f"a_scale is {self.a_scale!r}; expected '2/m' or '1/sqrt(m)'.")
        if self.coefficients is not None:
            object.__setattr__(self, "coefficients", _checked_coefficients(self.coefficients, self.M1))
        basis = self._basis_size
        if basis + self.M2 > self.d_X:
            raise InvalidValue(
                f"M1 + M2 = {basis} + {self.M2} patterns do not fit orthogonally into d_X = {self.d_X} dimensions; "
                f"expected M1 + M2 <= d_X. Raise d_X to at least {basis + self.M2} or lower M2."
            )
        if self.training_tasks is None:
            tasks = cyclic_tasks(self.M1) if self.coefficients is None else ()
            object.__setattr__(self, "training_tasks", tasks)
        else:
            object.__setattr__(self, "training_tasks", _checked_tasks(self.training_tasks, self.M1, "training_tasks"))

    @property
    def d(self):
        """Width of a token, d_X + d_Y."""
        return self.d_X + self.d_Y

    @property
    def _basis_size(self):
        return self.M1 if self.coefficients is None else len(self.coefficients[0])

    @property
    def mu(self):
        """The relevant patterns (M1, d_X): IDR patterns, or ODR patterns out of domain. Norm beta, orthogonal.

        IDR patterns are coordinate axes: SGD from this initialisation is equivariant under rotations [derived].
        """
        idr = self.beta * np.eye(self._basis_size, self.d_X)
        return idr if self.coefficients is None else np.array(self.coefficients) @ idr

    @property
    def nu(self):
        """The irrelevant patterns (M2, d_X): norm beta, orthogonal to each other and to the relevant ones."""
        return self.beta * np.eye(self._basis_size + self.M2, self.d_X)[self._basis_size :]

    @property
    def q(self):
        """The label embedding of +1 (d_Y,), of norm 1."""
        return np.eye(1, self.d_Y)[0]

    @property
    def mu_bar(self):
        """The average relevant pattern (d_X,)."""
        return self.mu.mean(axis=0)

    @property
    def S_1(self):
        """Sums of the ODR patterns' coefficients (M1,); all 1 in domain."""
        return np.ones(self.M1) if self.coefficients is None else np.sum(self.coefficients, axis=1)

    @property
    def dictionary(self):
        """E (d, M1 + M2 + 1): columns mu_j, nu_k, q, filled up with zeros."""
        return self._dictionary.copy()

    @cached_property
    def _dictionary(self):
        E = np.zeros((self.d, self.M1 + self.M2 + 1))
        E[: self.d_X, : self.M1] = self.mu.T
        E[: self.d_X, self.M1 : -1] = self.nu.T
        E[self.d_X :, -1] = self.q
        return E

    def tasks(self, which="all"):
        """Tasks (a, b): "train" (T_tr), "unseen" (T without T_tr), "all" (T, M1 (M1 - 1) of them), or a list of pairs.

        Returns
        -------
        tuple of (int, int)

        Raises
        ------
        ValueError
            No such tasks, or an empty set.
        """
        everything = tuple((a, b) for a in range(self.M1) for b in range(self.M1) if a != b)
        if isinstance(which, str):
            trained = set(self.training_tasks)
            sets = {
                "train": self.training_tasks,
                "unseen": tuple(task for task in everything if task not in trained),
                "all": everything,
            }
            if which not in sets:
                raise InvalidValue(f"tasks is {which!r}; expected 'train', 'unseen', 'all' or a list of pairs (a, b).")
            chosen = sets[which]
        else:
            chosen = _checked_tasks(which, self.M1, "tasks")
        if not chosen:
            raise InvalidValue(
                f"tasks is {which!r}, an empty set: |T| = {len(everything)}, |T_tr| = {len(self.training_tasks)}."
            )
        return chosen

    @cached_property
    def _usual_tasks(self):
        return np.array(self.tasks("train" if self.training_tasks else "all"))

    def sample(self, n, length=None, alpha=None, seed=0, tasks=None, sampling="iid"):
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
        length = self.length if length is None else length
        alpha = self.alpha if alpha is None else alpha
        integer("n", n, 1)
        integer("length", length, 1)
        _check_alpha(alpha, self.M1)
        if sampling not in ("iid", "at-least"):
            raise InvalidValue(f"sampling is {sampling!r}; expected 'iid' or 'at-least'.")
        pairs = self._usual_tasks if tasks is None else np.array(self.tasks(tasks))
        rng = generator(_SAMPLE, seed)
        task = pairs[rng.integers(len(pairs), size=n)]  # (n, 2): a, b
        z = rng.choice([1, -1], size=n)  # the query carries mu_a (z = +1) or mu_b
        shape = (n, length + 1)
        relevant, irrelevant = np.empty(shape, np.int32), np.empty(shape, np.int32)
        kappa, sign = np.empty(shape), np.empty(shape, np.int8)
        uniform = rng.random((*shape, 2))
        decode(relevant, irrelevant, kappa, sign, uniform, task, z, float(alpha), self.M1, self.M2, float(self.K))
        if sampling == "at-least":
            matches = math.ceil(alpha * length / 2)
            places = rng.permuted(np.tile(np.arange(length), (n, 1)), axis=1)[:, :matches]
            np.put_along_axis(relevant, places, relevant[:, -1:], axis=1)
            np.put_along_axis(sign, places, z[:, None].astype(np.int8), axis=1)
        return CodedPrompts.unchecked(
            self._dictionary, relevant, irrelevant, kappa, sign, z.astype(kappa.dtype), self.query_attends
        )

    def device_sampler(self, n, dtype=np.float64):
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
        integer("n", n, 1)
        settings = (n, self.length, self.alpha, self.M1, self.M2, self.K, np.dtype(dtype))
        sampler = devices.kernels().Sampler(self._usual_tasks, *settings)
        E = devices.place(self._dictionary.astype(dtype))
        return lambda seed: CodedPrompts.unchecked(E, *sampler.draw(key(_SAMPLE, seed)), self.query_attends)

    def initialize(self, m=None, m_a=None, m_b=None, seed=0):
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
        for name, value in {"m": m, "m_a": m_a, "m_b": m_b}.items():
            integer(name, value, 1)
        rng = generator(_INITIALIZE, seed)
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

    def settings(self):
        """Every field with where its value comes from: name -> [value, mark], "set here" where it is not the default."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return {
            name: [value, MARKS[name] if value == getattr(Problem, name) else "set here"]
            for name, value in given.items()
            if name != "training_tasks"
        } | {"training_tasks": [self.training_tasks, "recalled" if len(self.training_tasks) == self.M1 else "set here"]}

    def observer(self, seed=0):
        """What `nlicl.train` measures as it goes: an `Observer` of this problem."""
        return Observer(self, seed=seed)

    def out_of_domain(self, S_1=1.2, K=None, M1=3, coefficients=None):
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
            bound = "at most sqrt(2) = 1.4142 in absolute value: S_1 = c + s with c^2 + s^2 = 1"
            real("S_1", S_1, bound, lambda x: abs(x) <= math.sqrt(2))
            integer("M1", M1, 2)
            if 2 * M1 > self.M1:
                raise InvalidValue(
                    f"M1' = {M1} ODR patterns need {2 * M1} IDR patterns in disjoint pairs; there are {self.M1}. "
                    f"Lower M1' to at most {self.M1 // 2}, or give coefficients of your own."
                )
            c = (S_1 + math.sqrt(max(0.0, 2 - S_1**2))) / 2
            rows = np.zeros((M1, self.M1))
            rows[np.arange(M1), 2 * np.arange(M1)] = c
            rows[np.arange(M1), 2 * np.arange(M1) + 1] = S_1 - c
        else:
            rows = np.array(coefficients, dtype=float)
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


def cyclic_tasks(M1=6, shifts=1):
    """Training tasks (i, i + s mod M1) for s = 1 .. shifts: `shifts` M1 of them, Condition 3.2 exactly.

    One shift is the M1-task set [recalled]; more are [derived]. ValueError unless 1 <= shifts <= M1 - 1.
    """
    integer("M1", M1, 2)
    integer("shifts", shifts, 1)
    if shifts > M1 - 1:
        raise InvalidValue(
            f"shifts is {shifts}; expected at most M1 - 1 = {M1 - 1}: there are M1 (M1 - 1) tasks in all."
        )
    return tuple((i, (i + s) % M1) for s in range(1, shifts + 1) for i in range(M1))


def condition_3_2(tasks, M1):
    """What breaks Condition 3.2, in words; an empty list if the tasks satisfy it.

    The training tasks must uniformly cover all IDR patterns and both labels [paper]: precisely, for every pattern and
    each label exactly |T_tr|/M1 >= 1 tasks send the pattern to that label [recalled].

    Parameters
    ----------
    tasks : sequence of (int, int)
    M1 : int

    Returns
    -------
    list of str
    """
    tasks = _checked_tasks(tasks, M1, "tasks")
    complaints = []
    if len(tasks) % M1 or not tasks:
        complaints.append(f"|T_tr| = {len(tasks)} is not a positive multiple of M1 = {M1}")
    for side, label in enumerate(("+1", "-1")):
        for j in range(M1):
            count = sum(task[side] == j for task in tasks)
            if count * M1 != len(tasks):
                share = len(tasks) / M1
                complaints.append(f"pattern {j} is sent to {label} by {count} tasks; expected |T_tr|/M1 = {share:g}")
    return complaints


def _check_alpha(alpha, M1):
    real("alpha", alpha, "in (0, 1], a share of contexts", lambda x: 0 < x <= 1)
    if M1 == 2 and alpha != 1:
        raise InvalidValue(f"alpha is {alpha} with M1 = 2: there is no other pattern for the rest. Expected alpha = 1.")


def _checked_tasks(tasks, M1, name):
    try:
        pairs = tuple(tuple(task) for task in tasks)
    except TypeError:
        raise InvalidType(f"{name} is {tasks!r}; expected pairs (a, b) of integers.") from None
    for task in pairs:
        if len(task) != 2 or any(isinstance(j, bool) or not isinstance(j, (int, np.integer)) for j in task):
            raise InvalidValue(f"{name} holds {task}; expected pairs (a, b) of integers.")
        if task[0] == task[1] or not all(0 <= j < M1 for j in task):
            raise InvalidValue(f"{name} holds {task}; expected a != b, both from 0 to M1 - 1 = {M1 - 1}.")
    return tuple((int(a), int(b)) for a, b in pairs)


def _checked_coefficients(coefficients, M1):
    rows = np.array(coefficients, dtype=float)
    if rows.ndim != 2 or len(rows) != M1:
        raise InvalidValue(f"coefficients has shape {rows.shape}; expected ({M1}, number of IDR patterns).")
    gram = rows @ rows.T
    if not np.allclose(np.diag(gram), 1, rtol=0, atol=1e-9):
        raise InvalidValue(
            f"coefficients has rows of norm {np.sqrt(np.diag(gram)).round(4).tolist()}; expected 1 for each: "
            "ODR patterns have the norm beta of the IDR patterns."
        )
    if not np.allclose(gram, np.eye(M1), rtol=0, atol=1e-9):
        i, j = np.unravel_index(np.argmax(abs(gram - np.eye(M1))), gram.shape)
        raise InvalidValue(f"coefficients has rows {i} and {j} with cosine {gram[i, j]:.4f}; expected orthogonal rows.")
    return tuple(map(tuple, rows.tolist()))


sibling = Problem(beta=3.0, xi=0.01, a_scale="1/sqrt(m)", learning_rate=0.1, steps=1000)
"""The second calibration: the theory's a_i = +-1/sqrt(m), as the authors' later paper has it [recalled]."""
