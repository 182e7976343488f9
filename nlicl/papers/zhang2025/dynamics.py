"""Time courses of training on the population, in closed form: one merged drop, one separate plateau after another.

Time is that of the flow tau dW/dt = -(1/2) dL/dW with tau = 1 [summary]: t = 2 eta n after n steps of gradient descent at a
small rate eta, in units of beta. `flow_time` and `in_units_of_beta` convert from the authors' code, where s = 1 [derived].

Merged, Lambda = lambda I, balanced (U_h(0) = v_h(0) I / sqrt(D), ||v(0)|| = w_0): Mbar = sigma(t) I with

    sigma = e^(2 sqrt(D) lambda^2 t) / (lambda b (e^(2 sqrt(D) lambda^2 t) - 1) + sqrt(D) / w_0^2),   b = 1 + (1 + D)/N

[summary at lambda = 1, checked; derived otherwise]. Separate, one head on the eigenvector of lambda, v = k.e = q.e:

    dv/dt = lambda^2 v^2 (1 - v^3/a)                                                                   [summary, checked]
    lambda^2 a^(1/3) t = Pi(v a^(-1/3)) - Pi(v_0 a^(-1/3))                                             [derived]
"""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...core.checks import choice, integer, numbers, real, sound
from ...core.errors import InvalidValue
from .population import checked_covariance, checked_length, factor, second_moment
from .reduced import Merged, Separate, Weights, checked_weights

__all__ = [
    "KINDS",
    "Pi",
    "aligned_course",
    "aligned_time",
    "drop_steps",
    "early_product",
    "early_rate",
    "flat_stretches",
    "flow_time",
    "imbalance",
    "in_units_of_beta",
    "merged_half_steps",
    "product_at",
    "white_course",
]

Array = NDArray[np.float64]
KINDS = ("merged", "separate")


# ---- Conserved by the flow


def imbalance(weights: Weights) -> dict[str, Array]:
    """What gradient flow conserves; gradient descent changes it at second order in the step [derived].

    Parameters
    ----------
    weights : Merged or Separate

    Returns
    -------
    dict of str to ndarray
        Merged: "heads" (H, H), v_h v_h' - <U_h, U_h'>. Separate: "value" (H,), v_h^2 - ||k_h||^2; "ranks" (H, R, R),
        k_h k_h^T - q_h q_h^T.
    """
    weights = checked_weights(weights)
    if isinstance(weights, Merged):
        flat = weights.U.reshape(len(weights.v), -1)
        return {"heads": np.outer(weights.v, weights.v) - flat @ flat.T}
    k, q = weights.k, weights.q
    return {
        "value": weights.v**2 - (k**2).sum(axis=(1, 2)),
        "ranks": k @ k.transpose(0, 2, 1) - q @ q.transpose(0, 2, 1),
    }


# ---- Merged


@sound
def white_course(t: ArrayLike, D: int, N: float, w_0: float, eigenvalue: float = 1.0) -> Array:
    """sigma(t): Mbar = sigma I for merged heads, balanced at the start, on white inputs, Lambda = eigenvalue I.

    Parameters
    ----------
    t : array_like
        Times, at least 0.
    D : int
    N : int or inf
        Contexts in a prompt.
    w_0 : float
        ||v(0)||, greater than 0.
    eigenvalue : float
        lambda, greater than 0.

    Returns
    -------
    ndarray of the shape of t
    """
    t = numbers("t", t, "at least 0", lambda x: x >= 0)
    D, N = integer("D", D, 1), checked_length(N)
    w_0, lam = _size("w_0", w_0), _size("eigenvalue", eigenvalue)
    b, root = lam * (1 + (1 + D) / N), math.sqrt(D)
    decay = np.exp(-2 * root * lam**2 * t)  # numerator and denominator over the growing exponential
    found: Array = 1 / (b * (1 - decay) + root / w_0**2 * decay)
    return found


def early_rate(Lambda: ArrayLike) -> float:
    """||Lambda^2||_F: the product m of merged heads grows as m_0 e^(2 ||Lambda^2||_F t) while it is small [derived]."""
    Lambda = checked_covariance(Lambda)
    return float(np.linalg.norm(Lambda @ Lambda))


def early_product(weights: Weights, Lambda: ArrayLike) -> float:
    """m_0 = sum_h (v_h + <U_h, Lambda^2 / ||Lambda^2||_F>)^2 / 4, what grows of small merged weights [derived].

    Parameters
    ----------
    weights : Merged
    Lambda : array_like (D, D)

    Returns
    -------
    float
    """
    Lambda = checked_covariance(Lambda)
    weights = checked_weights(weights, Lambda)
    if not isinstance(weights, Merged):
        raise InvalidValue("weights have separate keys and queries; expected those of merged heads.")
    direction = Lambda @ Lambda / early_rate(Lambda)
    return float(np.sum((weights.v + np.tensordot(weights.U, direction, 2)) ** 2) / 4)


def product_at(level: float, Lambda: ArrayLike, N: float) -> float:
    """The smallest m at which L(m Lambda^2 / ||Lambda^2||_F) is `level`, along which merged heads grow at first [derived].

    Parameters
    ----------
    level : float
        A loss, below tr Lambda.
    Lambda : array_like (D, D)
    N : int or inf

    Returns
    -------
    float

    Raises
    ------
    ValueError, TypeError
        The loss along this direction does not come down to `level`.
    """
    Lambda, N = checked_covariance(Lambda), checked_length(N)
    trace, rate = float(np.trace(Lambda)), early_rate(Lambda)
    level = real("level", level, f"below tr Lambda = {trace:g}", lambda x: x < trace)
    direction = Lambda @ Lambda / rate
    square = float(np.sum(direction * (second_moment(Lambda, N) @ direction @ Lambda)))
    inside = rate**2 - square * (trace - level)
    if inside < 0:
        least = trace - rate**2 / square
        raise InvalidValue(f"level is {level:g}; expected at least {least:.6g}, the least loss along Lambda^2.")
    return (trace - level) / (rate + math.sqrt(inside))


def merged_half_steps(
    weights: Weights, Lambda: ArrayLike, N: float, *, level: float, learning_rate: float, scale: float | None = None
) -> float:
    """Steps until the loss of small merged weights falls to `level`: ln(m/m_0)/(4 learning_rate s N ||Lambda^2||_F) [derived].

    It follows the growth along Lambda^2 alone, from `early_product` to `product_at`.

    Parameters
    ----------
    weights : Merged
        At the start.
    Lambda : array_like (D, D)
    N : int or inf
    level, learning_rate : float
    scale : float, optional
        s: 1/N if not given, 1 in the authors' code.

    Returns
    -------
    float
    """
    eta, s_N = _size("learning_rate", learning_rate), factor(N, scale)
    m_0 = s_N * early_product(weights, Lambda)
    if m_0 <= 0:
        raise InvalidValue("weights have no component along Lambda^2, which alone grows; expected some that have.")
    return math.log(product_at(level, Lambda, N) / m_0) / (4 * eta * s_N * early_rate(Lambda))


# ---- Separate


@sound
def Pi(x: ArrayLike) -> Array:
    """-1/x - log(1-x)/3 + log(1+x+x^2)/6 - arctan((2x+1)/sqrt 3)/sqrt 3: its derivative is 1/(x^2 (1-x^3)) [derived].

    Parameters
    ----------
    x : array_like
        Between 0 and 1: v over its limit.
    """
    x = numbers("x", x, "between 0 and 1", lambda x: (x > 0) & (x < 1))
    found: Array = (
        -1 / x - np.log1p(-x) / 3 + np.log1p(x + x**2) / 6 - np.arctan((2 * x + 1) / math.sqrt(3)) / math.sqrt(3)
    )
    return found


@sound
def aligned_time(v: ArrayLike, v_0: float, eigenvalue: float, amplitude: float) -> Array:
    """The time at which a head on an eigenvector, v = k.e = q.e, has grown from v_0 to v [derived].

    Parameters
    ----------
    v : array_like
        From v_0 to below amplitude^(1/3), the limit.
    v_0, eigenvalue : float
        Greater than 0.
    amplitude : float
        a of `population.amplitudes`, what v^3 goes to.

    Returns
    -------
    ndarray of the shape of v
        For small v_0 about 1/(eigenvalue^2 v_0): plateaus last as 1/lambda^2 at equal v_0.
    """
    lam, limit = _size("eigenvalue", eigenvalue), _size("amplitude", amplitude) ** (1 / 3)
    v_0 = real("v_0", v_0, f"between 0 and {limit:g}", lambda x: 0 < x < limit)
    v = numbers("v", v, f"from v_0 to below {limit:g}", lambda x: (x >= v_0) & (x < limit))
    return (Pi(v / limit) - Pi(v_0 / limit)) / (lam**2 * limit)


@sound
def aligned_course(t: ArrayLike, v_0: float, eigenvalue: float, amplitude: float) -> Array:
    """v(t), which `aligned_time` inverts; arguments as there.

    Parameters
    ----------
    t : array_like
        Times, at least 0.

    Returns
    -------
    ndarray of the shape of t
    """
    from scipy.optimize import brentq

    t = numbers("t", t, "at least 0", lambda x: x >= 0)
    limit = _size("amplitude", amplitude) ** (1 / 3)
    aligned_time(v_0, v_0, eigenvalue, amplitude)  # which checks the rest
    start, rate = float(Pi(v_0 / limit)), eigenvalue**2 * limit

    def left(u: float, aim: float) -> float:
        """Pi(v / limit) - aim as a function of u = log(limit / v - 1), by which both ends are far away."""
        return float(Pi(1 / (1 + math.exp(u)))) - aim

    def at(time: float) -> float:
        low, high, aim = -34.0, math.log(limit / v_0 - 1), start + rate * time
        if time == 0 or left(low, aim) <= 0:
            return v_0 if time == 0 else limit
        return limit / (1 + math.exp(brentq(left, low, high, args=(aim,), xtol=1e-14, rtol=1e-14)))

    return np.vectorize(at, otypes=[float])(t)


# ---- Units


def flow_time(kind: str, steps: ArrayLike, learning_rate: float, N: float, scale: float | None = None) -> Any:
    """The flow's time after so many steps of gradient descent, 2 eta s N n or 2 eta (s N)^(2/3) n [derived].

    Parameters
    ----------
    kind : {"merged", "separate"}
    steps : array_like
        At least 0.
    learning_rate : float
    N : int or inf
    scale : float, optional
        s: 1/N if not given, 1 in the authors' code.

    Returns
    -------
    float or ndarray
    """
    eta, s_N = _size("learning_rate", learning_rate), factor(N, scale)
    steps = numbers("steps", steps, "from 0 to 1e100", lambda x: (x >= 0) & (x <= 1e100))
    return 2 * eta * s_N ** {"merged": 1.0, "separate": 2 / 3}[choice("kind", kind, KINDS)] * steps


def in_units_of_beta(weights: Weights, N: float, scale: float | None = None) -> Weights:
    """The same weights in units of beta: merged ones times (s N)^(1/2), separate ones times (s N)^(1/3) [derived].

    The effective matrix is then s N times as large, and gradient descent runs in `flow_time`.
    """
    weights, s_N = checked_weights(weights), factor(N, scale)
    power = 1 / 2 if isinstance(weights, Merged) else 1 / 3
    scaled: Merged | Separate = type(weights)(*(s_N**power * part for part in weights))
    return scaled


# ---- Curves


def drop_steps(losses: ArrayLike, levels: ArrayLike) -> Array:
    """The step of each drop: the first at which the loss is below the middle of two successive levels; nan: it never is.

    Parameters
    ----------
    losses : array_like (T,)
        The loss at steps 0, 1, ..
    levels : array_like (m+1,)
        Falling: such as `population.saddle_losses`.

    Returns
    -------
    ndarray (m,)
    """
    losses, levels = numbers("losses", losses, shape="(T,)"), numbers("levels", levels, shape="(m+1,)")
    below = losses < ((levels[1:] + levels[:-1]) / 2)[:, None]
    if not below.size:
        return np.full(max(len(levels) - 1, 0), np.nan)
    return np.where(below.any(axis=1), below.argmax(axis=1), np.nan)


def flat_stretches(losses: ArrayLike, *, length: int = 150, change: float = 2e-5) -> list[tuple[int, int]]:
    """The stretches over which the loss changes by less than `change` in each step, if they have at least `length` steps.

    Parameters
    ----------
    losses : array_like (T,)
        The loss at steps 0, 1, ..
    length : int
    change : float

    Returns
    -------
    list of (int, int)
        First and last step of each, in their order.
    """
    losses, length = numbers("losses", losses, shape="(T,)"), integer("length", length, 1)
    change = _size("change", change)
    flat = np.concatenate([[False], np.abs(np.diff(losses)) < change, [False]])
    ends = np.flatnonzero(np.diff(flat.astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(ends[::2], ends[1::2], strict=True) if b - a >= length]


def _size(name: str, value: float) -> float:
    """A number whose powers are ordinary doubles; ValueError or TypeError for anything else."""
    return real(name, value, "from 1e-50 to 1e50", lambda x: 1e-50 <= x <= 1e50)
