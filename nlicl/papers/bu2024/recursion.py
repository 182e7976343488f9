"""The exact reduced recursion: population gradient descent on balanced, noise-free prompts of one concept [derived].

The concepts do not meet there. One of them is followed in orthonormal coordinates of span(a, b) and span(c, d): 2 x 2 blocks
Q, K of W_Q^x, W_K^x, and o_c = W_O^y c/||c||, o_d = W_O^y d/||d||. A step is, with a sum over the query's signs e = +-1,

    x_e = (||a||, e ||b||)    delta_e = 2 e (0, ||b||) K^T Q x_e    t_e = tanh(delta_e/2) = 2 attn_+ - 1
    h^e = ||c|| o_c + e t_e ||d|| o_d    zeta^e = r * 1[h^e > 0]    F_e = r^T relu(h^e)
    rho_e = sigmoid(-e F_e)    G_e = ||d|| zeta^e . o_d
    o_c <- o_c + eta [1/(2 K1) sum_e e rho_e ||c|| zeta^e                                - lambda o_c]
    o_d <- o_d + eta [1/(2 K1) sum_e rho_e t_e ||d|| zeta^e                              - lambda o_d]
    Q   <- Q   + eta [1/(2 K1) sum_e e rho_e (1 - t_e^2) G_e (K (0, ||b||)) x_e^T        - lambda Q]
    K   <- K   + eta [1/(2 K1) sum_e e rho_e (1 - t_e^2) G_e (Q x_e) (0, ||b||)^T        - lambda K]

It is gradient descent of the full model up to rounding. Every array has any leading axes: many runs advance at once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...core.checks import instance, integer
from ...core.describe import short
from ...core.errors import InvalidType, InvalidValue, NotFinite
from ...core.memory import check_count, check_memory
from ...models import overflow
from .closed import sigmoid
from .coordinates import State, project, random_start, start
from .theory import early_quantities
from .theory.checks import Numbers, finite, not_negative, positive, together

__all__ = ["Observed", "Run", "Setting", "State", "observe", "project", "random_start", "run", "start", "step"]

E = np.array([[1.0], [-1.0]])  # e
_NEURON, _RUN, _OBSERVED = 120, 1000, 200  # bytes at once: of a neuron, of a run, of a run at a step that is recorded


# ---- Nouns


@dataclass(frozen=True)
class Setting:
    """What a step needs to know besides the state and r. Numbers may be arrays that broadcast over the runs.

    Attributes
    ----------
    concepts : int
        K1.
    norm_a, norm_b, norm_c, norm_d : float or ndarray
        ||a||, ||b||, ||c||, ||d||, above 0: `theory.norms`.
    weight_decay : float or ndarray
        lambda, at least 0.

    Raises
    ------
    TypeError, ValueError
        A number out of range, named.
    """

    concepts: int
    norm_a: Numbers
    norm_b: Numbers
    norm_c: Numbers
    norm_d: Numbers
    weight_decay: Numbers = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "concepts", integer("concepts", self.concepts, 1))
        for name in ("norm_a", "norm_b", "norm_c", "norm_d"):
            object.__setattr__(self, name, positive(name, getattr(self, name)))
        object.__setattr__(self, "weight_decay", not_negative("weight_decay", self.weight_decay))

    @property
    def numbers(self) -> tuple[Numbers, ...]:
        """||a||, ||b||, ||c||, ||d||, lambda."""
        return self.norm_a, self.norm_b, self.norm_c, self.norm_d, self.weight_decay


class Observed(NamedTuple):
    """Quantities of a state; a last axis of 2 is for e = +1, -1.

    Attributes
    ----------
    attn_plus : ndarray (..., 2)
        The correct attention weight.
    margin : ndarray (..., 2)
        e F_e.
    beta_Q, beta_K, alpha_Q, alpha_K : ndarray (...)
        Coefficients of b b^T/||b||^2 and of a a^T/||a||^2 in W_Q^x and W_K^x.
    R, X : ndarray (...)
        Of `theory.early_quantities`, with beta = sqrt(beta_Q beta_K), -sqrt(-beta_Q beta_K) where the product is negative.
    """

    attn_plus: np.ndarray
    margin: np.ndarray
    beta_Q: np.ndarray
    beta_K: np.ndarray
    alpha_Q: np.ndarray
    alpha_K: np.ndarray
    R: np.ndarray
    X: np.ndarray

    @property
    def learned(self) -> np.ndarray:
        """Whether the mean of t_e = 2 attn_+ - 1 over both signs is above 0.9: the criterion of success in all our checks."""
        return np.mean(2 * self.attn_plus - 1, axis=-1) > 0.9


class Run(NamedTuple):
    """What `run` returns.

    Attributes
    ----------
    steps : ndarray (n,)
        The recorded steps, increasing.
    observed : Observed
        At these steps: every array has a first axis of n.
    state : State
        After the last step.
    """

    steps: np.ndarray
    observed: Observed
    state: State


# ---- Dynamics


class _Runs:
    """N runs in the layout that is fast, changed in place.

    Neurons are O (N, 2, m), rows o_c and o_d, for products of small matrices. Q, K (2, 2, N) and what depends on e, (2, N),
    have the runs last.
    """

    def __init__(self, state: State, r: np.ndarray, setting: Setting, eta: Numbers) -> None:
        state = instance("state", state, State, "as recursion.start gives it")
        setting = instance("setting", setting, Setting)
        o_c, o_d, Q, K = (np.asarray(finite(name, value)) for name, value in state._asdict().items())
        r = np.asarray(finite("r", r))
        if {x.shape[-1:] for x in (o_c, o_d, r)} != {r.shape[-1:] or (0,)}:
            raise InvalidValue(
                f"o_c, o_d and r have shapes {o_c.shape}, {o_d.shape} and {r.shape}; expected (..., m), one m for all."
            )
        if Q.shape[-2:] != (2, 2) or K.shape[-2:] != (2, 2):
            raise InvalidValue(f"Q and K have shapes {Q.shape} and {K.shape}; expected (..., 2, 2).")
        if 0 in (r.size, o_c.size, o_d.size, Q.size, K.size):
            raise InvalidValue(
                f"r has shape {r.shape} and o_c {o_c.shape}; expected (..., m) with every size at least 1."
            )
        of_runs = {"o_c": o_c[..., 0], "o_d": o_d[..., 0], "r": r[..., 0], "Q": Q[..., 0, 0], "K": K[..., 0, 0]}
        of_setting = dict(zip(("norm_a", "norm_b", "norm_c", "norm_d", "weight_decay"), setting.numbers, strict=True))
        self.shape = together(**of_runs, **of_setting, eta=eta)
        width, runs = r.shape[-1], math.prod(self.shape)
        check_memory(
            f"state, setting and step sizes make {runs} runs of m = {width}: a step holds {_NEURON} bytes for each neuron",
            runs * (_NEURON * width + _RUN), "Give fewer of them at once.",
        )  # fmt: skip
        self.O = np.stack([np.broadcast_to(row, (*self.shape, width)) for row in (o_c, o_d)], axis=-2)
        self.O = self.O.astype(float).reshape(-1, 2, width)
        self.Q, self.K = (
            np.moveaxis(np.broadcast_to(block, (*self.shape, 2, 2)).reshape(-1, 2, 2), 0, 2).astype(float, order="C")
            for block in (Q, K)
        )
        self.r = np.broadcast_to(r[..., None, :], (*self.shape, 2, width)).reshape(self.O.shape)
        self.concepts = setting.concepts
        self.norm_a, self.norm_b, self.norm_c, self.norm_d, self.weight_decay = map(self.each, setting.numbers)
        self.C = np.repeat(self.norm_c, 4).reshape(-1, 2, 2)  # `forward` sets the second column
        self.buffer, self.active = np.empty_like(self.O), np.empty(self.O.shape, bool)

    def each(self, number: Numbers) -> np.ndarray:
        """One number a run, (N,)."""
        return np.broadcast_to(number, self.shape).reshape(-1)

    def forward(self) -> tuple[np.ndarray, ...]:
        """K (0, ||b||) and the columns of Q times ||a||, ||b||, each (2, N); t_e (2, N), zeta^e (N, 2, m), F_e, G_e (2, N)."""
        Kb = self.norm_b * self.K[:, 1]
        Qa, Qb = self.norm_a * self.Q[:, 0], self.norm_b * self.Q[:, 1]  # Q x_e = Qa + e Qb
        half = E * (Kb[0] * Qa[0] + Kb[1] * Qa[1]) + (Kb[0] * Qb[0] + Kb[1] * Qb[1])  # delta_e/2 = e Kb . Q x_e
        t = np.tanh(overflow.finite("delta_e", half))
        self.C[:, :, 1] = (E * t * self.norm_d).T  # rows (||c||, e t_e ||d||)
        h = np.matmul(self.C, self.O, out=self.buffer)  # h^e = ||c|| o_c + e t_e ||d|| o_d
        if not np.isfinite(h.sum()):
            overflow.finite("h^e", h)
        zeta = np.multiply(self.r, np.greater(h, 0, out=self.active), out=self.buffer)
        products = zeta @ self.O.swapaxes(1, 2)  # zeta^e . o_c, zeta^e . o_d
        F = overflow.finite("F_e", np.sum(self.C * products, axis=2).T)  # F_e = zeta^e . h^e
        return Kb, Qa, Qb, t, zeta, F, self.norm_d * products[:, :, 1].T

    def advance(self, eta: np.ndarray) -> None:
        """One step; eta (N,)."""
        Kb, Qa, Qb, t, zeta, F, G = self.forward()
        e_rho = E * sigmoid(-E * F) * (eta / (2 * self.concepts))  # e rho_e, with the factor eta/(2 K1)
        s = e_rho * (1 - t * t) * G
        even, odd = s[0] + s[1], s[0] - s[1]  # sum_e s_e, sum_e e s_e
        kept = 1 - eta * self.weight_decay
        self.O *= kept[:, None, None]
        self.O += (self.C * e_rho.T[:, :, None]).swapaxes(1, 2) @ zeta  # sum_e e rho_e (||c||, e t_e ||d||) zeta^e
        self.Q *= kept
        self.Q[:, 0] += even * self.norm_a * Kb  # sum_e s_e (K (0, ||b||)) x_e^T
        self.Q[:, 1] += odd * self.norm_b * Kb
        self.K *= kept
        self.K[:, 1] += self.norm_b * (even * Qa + odd * Qb)  # sum_e s_e (Q x_e) (0, ||b||)^T

    def check_finite(self) -> None:
        for block in (self.O, self.Q, self.K):
            overflow.finite("the state", block)

    def observe(self) -> Observed:
        *_, t, _, F, _ = self.forward()
        state = self.state()
        alpha_Q, beta_Q, alpha_K, beta_K = (block[..., i, i].copy() for block in state[2:] for i in (0, 1))
        product = beta_Q * beta_K
        R, _, X = early_quantities(
            self.r[:, 0].reshape(state.o_c.shape), state.o_c, state.o_d, np.sign(product) * np.sqrt(np.abs(product))
        )
        attn_plus, margin = (x.T.reshape(*self.shape, 2) for x in ((1 + t) / 2, E * F))
        return Observed(attn_plus, margin, beta_Q, beta_K, alpha_Q, alpha_K, R, X)

    def state(self) -> State:
        """A copy."""
        o_c, o_d = (self.O[:, i].reshape(*self.shape, -1) for i in (0, 1))
        Q, K = (np.moveaxis(block, 2, 0).reshape(*self.shape, 2, 2) for block in (self.Q, self.K))
        return State(o_c.copy(), o_d.copy(), Q.copy(), K.copy())


@np.errstate(over="ignore", invalid="ignore")  # it is found, and raised
def step(state: State, r: np.ndarray, eta: Numbers, setting: Setting) -> State:
    """One step of the recursion.

    Parameters
    ----------
    state : State
    r : ndarray (..., m)
        The output vector, `Params.a`.
    eta : float or ndarray (...)
        Step size.
    setting : Setting

    Returns
    -------
    State
        New arrays, with all the axes of the runs.

    Raises
    ------
    TypeError, ValueError
        Shapes that do not fit; a score or a pre-activation that overflows.
    """
    eta = not_negative("eta", eta)
    runs = _Runs(state, r, setting, eta)
    try:
        runs.advance(runs.each(eta))
        runs.check_finite()
    except NotFinite:
        raise InvalidValue(
            f"the state, or what follows from it, is not finite after a step, with step sizes up to {np.max(eta):g}; "
            "lower eta."
        ) from None
    return runs.state()


def run(state: State, r: np.ndarray, setting: Setting, etas: np.ndarray, record: Sequence[int] | None = None) -> Run:
    """The recursion for as many steps as there are step sizes: 30,000 steps of 600 runs of m = 40 take half a minute.

    Parameters
    ----------
    state : State
    r : ndarray (..., m)
        The output vector, `Params.a`.
    setting : Setting
    etas : ndarray (T,) or (T, ...)
        Step sizes, time first: `theory.step_sizes`.
    record : sequence of int, optional
        Steps t at which to observe, at least one, before the t-th update, from 0 to T; 0 and T if not given.

    Returns
    -------
    Run

    Raises
    ------
    TypeError, ValueError
        Shapes that do not fit; a step that is not there; step sizes so large that a state, a score or a pre-activation is not
        finite.
    """
    etas = np.asarray(not_negative("etas", etas))
    if etas.ndim == 0:
        raise InvalidValue(
            f"etas is {etas}; expected one step size a step, (T,). For constant ones: numpy.full(T, {etas})."
        )
    T = len(etas)
    given = record = (0, T) if record is None else record
    check_count("record", record, 100)
    try:
        record = None if isinstance(record, str) else list(record)
    except Exception:  # an iterator of the caller's may raise anything
        record = None
    if record is None:
        raise InvalidType(f"record is {short(given)}; expected a sequence of steps, for example [0, {T}].")
    wanted = {integer("record", t, 0) for t in record}
    if not wanted:
        raise InvalidValue(f"record is empty; expected steps from 0 to {T}, at least one. Leave it out for 0 and {T}.")
    if max(wanted) > T:
        raise InvalidValue(f"record holds {max(wanted)}; expected steps from 0 to {T}, the number of step sizes.")
    runs = _Runs(state, r, setting, etas[0] if T else 0.0)
    check_memory(
        f"record has {len(wanted)} steps of {math.prod(runs.shape)} runs: {_OBSERVED} bytes are held for each",
        _OBSERVED * len(wanted) * math.prod(runs.shape), "Give fewer of them.",
    )  # fmt: skip
    seen = []
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(T + 1):
            try:
                if t in wanted or t == T:
                    runs.check_finite()
                if t in wanted:
                    seen.append(runs.observe())
                if t < T:
                    runs.advance(runs.each(etas[t]))
            except NotFinite:
                raise InvalidValue(
                    f"the state, or what follows from it, is not finite at step {t}, with step sizes up to {etas.max():g}; "
                    "lower etas."
                ) from None
    return Run(np.array(sorted(wanted)), Observed(*map(np.array, zip(*seen, strict=True))), runs.state())


# ---- Observation


@np.errstate(over="ignore", invalid="ignore")
def observe(state: State, r: np.ndarray, setting: Setting) -> Observed:
    """The quantities of a state.

    Parameters
    ----------
    state : State
    r : ndarray (..., m)
    setting : Setting

    Returns
    -------
    Observed
    """
    runs = _Runs(state, r, setting, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):  # as in `run`
        return runs.observe()
