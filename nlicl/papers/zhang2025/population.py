"""The population loss of linear attention on u = v_x = 0: a quadratic in one matrix, its optimum and its saddles [derived].

There yhat = <Mbar, beta x_query^T> with beta = (1/N) sum_n y_n x_n, linear in the effective matrix Mbar = sum_h v_h U_h, or
sum_h v_h k_h^T q_h, so that the population loss is a quadratic in Mbar:

    B       = (1 + 1/N) Lambda^2 + (tr Lambda / N) Lambda, the mean of the square of (1/N) sum_n x_n x_n^T
    L(Mbar) = tr Lambda - 2 tr(Lambda Mbar Lambda) + tr(Mbar^T B Mbar Lambda)
    grad L  = -2 Lambda^2 + 2 B Mbar Lambda

E w = 0, E w w^T = I and x ~ N(0, Lambda) are all it needs. Units: `scale` is s in yhat = s N <Mbar, beta x_query^T>. By
default it is 1/N, the paper's, and Mbar is in units of beta; it is 1 in the authors' code [source].
"""

import math
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...core.checks import numbers, real, sound
from ...core.errors import InvalidType, InvalidValue
from ...core.memory import check_memory

__all__ = [
    "FixedPoint",
    "amplitudes",
    "checked_covariance",
    "checked_length",
    "checked_matrix",
    "factor",
    "fixed_points",
    "gradient",
    "least_loss",
    "loss",
    "optimum",
    "saddle_losses",
    "second_moment",
    "spectrum",
]

Array = NDArray[np.float64]
MOST = 16  # D of all 2^D fixed points


class FixedPoint(NamedTuple):
    """A stationary point of rank-one heads: the principal components in `components` are learnt, the others are not.

    Attributes
    ----------
    components : tuple of int
        Which, counted from the largest eigenvalue of Lambda.
    Mbar : ndarray (D, D)
    loss : float
    """

    components: tuple[int, ...]
    Mbar: Array
    loss: float


# ---- The quadratic


@sound
def second_moment(Lambda: ArrayLike, N: float) -> Array:
    """B = (1 + 1/N) Lambda^2 + (tr Lambda / N) Lambda, the mean of Lhat^2, Lhat = (1/N) sum_n x_n x_n^T [derived].

    Parameters
    ----------
    Lambda : array_like (D, D)
        Covariance of x, symmetric and positive definite.
    N : int or inf
        Contexts in a prompt.

    Returns
    -------
    ndarray (D, D)
    """
    Lambda, N = checked_covariance(Lambda), checked_length(N)
    return (1 + 1 / N) * (Lambda @ Lambda) + np.trace(Lambda) / N * Lambda


@sound
def loss(Mbar: ArrayLike, Lambda: ArrayLike, N: float, scale: float | None = None) -> float:
    """L(Mbar), the mean of (yhat - y_query)^2 over all prompts [derived].

    Parameters
    ----------
    Mbar : array_like (D, D)
        The effective matrix: rows are keys, columns the query.
    Lambda : array_like (D, D)
        Covariance of x, symmetric and positive definite.
    N : int or inf
        Contexts in a prompt.
    scale : float, optional
        s, greater than 0: 1/N if not given, 1 in the authors' code.

    Returns
    -------
    float
    """
    Lambda = checked_covariance(Lambda)
    Mbar = factor(N, scale) * checked_matrix("Mbar", Mbar, Lambda)
    B = second_moment(Lambda, N)
    return float(np.trace(Lambda) - 2 * np.sum(Lambda @ Lambda * Mbar) + np.sum(Mbar * (B @ Mbar @ Lambda)))


@sound
def gradient(Mbar: ArrayLike, Lambda: ArrayLike, N: float, scale: float | None = None) -> Array:
    """dL/dMbar = -2 s N Lambda^2 + 2 (s N)^2 B Mbar Lambda [derived]; arguments as of `loss`.

    Returns
    -------
    ndarray (D, D)
    """
    Lambda, s_N = checked_covariance(Lambda), factor(N, scale)
    Mbar = s_N * checked_matrix("Mbar", Mbar, Lambda)
    return 2 * s_N * (second_moment(Lambda, N) @ Mbar @ Lambda - Lambda @ Lambda)


@sound
def optimum(Lambda: ArrayLike, N: float, scale: float | None = None) -> Array:
    """Mbar* = ((1 + 1/N) Lambda + (tr Lambda / N) I)^-1 / (s N), where grad L = 0 [derived]; arguments as of `loss`.

    Returns
    -------
    ndarray (D, D)
    """
    values, vectors = spectrum(Lambda)
    return (vectors * (amplitudes(values, N) / factor(N, scale))) @ vectors.T


def least_loss(Lambda: ArrayLike, N: float) -> float:
    """L* = sum_d lambda_d [1 - (1 + (1 + tr Lambda / lambda_d) / N)^-1], the loss at the optimum [derived].

    It is 0 for N infinite, and otherwise greater than 0: a linear estimate from N contexts is not exact.
    """
    return float(saddle_losses(Lambda, N)[-1])


# ---- Fixed points of heads of rank one


@sound
def amplitudes(eigenvalues: ArrayLike, N: float) -> Array:
    """a_d = ((1 + 1/N) lambda_d + tr Lambda / N)^-1, what component d of Mbar is once it is learnt, in units of beta.

    Parameters
    ----------
    eigenvalues : array_like (D,)
        All eigenvalues of Lambda, greater than 0; tr Lambda is their sum.
    N : int or inf

    Returns
    -------
    ndarray (D,)
    """
    values = numbers("eigenvalues", eigenvalues, "greater than 0", lambda x: x > 0, shape="(D,)")
    N = checked_length(N)
    return 1 / ((1 + 1 / N) * values + values.sum() / N)


@sound
def saddle_losses(Lambda: ArrayLike, N: float) -> Array:
    """L(M_0), .., L(M_D): the losses with the m largest principal components learnt, where separate heads stay [source].

        L(M_m) = tr Lambda - sum over the m largest of lambda_d (1 + (1 + tr Lambda / lambda_d) / N)^-1

    Parameters
    ----------
    Lambda : array_like (D, D)
        Covariance of x, symmetric and positive definite.
    N : int or inf
        Contexts in a prompt: 31 for the authors' 32 tokens.

    Returns
    -------
    ndarray (D+1,)
        The first is tr Lambda, the last L*.
    """
    values, _ = spectrum(Lambda)
    N = checked_length(N)
    lost = (1 + values.sum() / values) / N  # 1 - 1/(1 + lost) without cancellation where N is large
    tails = np.append(np.cumsum(values[::-1])[::-1], 0.0)  # the sum of what is not learnt
    return tails + np.append(0.0, np.cumsum(values * lost / (1 + lost)))


def fixed_points(Lambda: ArrayLike, N: float) -> list[FixedPoint]:
    """The 2^D stationary functions of rank-one heads: Mbar_S = sum over S of a_d e_d e_d^T, S any set of components [derived].

    Parameters
    ----------
    Lambda : array_like (D, D)
        Covariance of x, symmetric and positive definite, with D of at most 16. Where eigenvalues are equal there are more
        stationary functions than these.
    N : int or inf

    Returns
    -------
    list of FixedPoint
        By the number of components, then by the components: the first is zero, the last the optimum.

    Raises
    ------
    ValueError, TypeError
        Lambda is no covariance, or is too large; N is below 1.
    """
    values, vectors = spectrum(Lambda)
    D = len(values)
    if D > MOST:
        raise InvalidValue(f"Lambda is {D} by {D}: there are 2^{D} fixed points. Expected at most {MOST} by {MOST}.")
    check_memory(f"Lambda is {D} by {D}: its 2^{D} fixed points", 8 * D * D * 2**D, "Lower it.")
    a, N = amplitudes(values, N), checked_length(N)
    found = []
    for m in range(D + 1):
        for S in combinations(range(D), m):
            learnt = list(S)
            Mbar = (vectors[:, learnt] * a[learnt]) @ vectors[:, learnt].T
            lost = values - np.where(np.isin(np.arange(D), learnt), values**2 * a, 0.0)
            found.append(FixedPoint(S, Mbar, float(lost.sum())))
    return found


# ---- Arguments


def spectrum(Lambda: ArrayLike) -> tuple[Array, Array]:
    """Eigenvalues of Lambda, the largest first, and its eigenvectors as columns.

    Returns
    -------
    (D,), (D, D) ndarray
    """
    values, vectors = np.linalg.eigh(checked_covariance(Lambda))
    return values[::-1].copy(), vectors[:, ::-1].copy()


def checked_covariance(Lambda: ArrayLike) -> Array:
    """Lambda as float64; ValueError or TypeError if it is no symmetric positive definite matrix."""
    found: Array = numbers("Lambda", Lambda, shape="(D, D)")
    if found.shape[0] != found.shape[1] or not found.size:
        raise InvalidValue(f"Lambda has shape {found.shape}; expected (D, D) with D of at least 1.")
    largest = np.abs(found).max()
    if not 1e-75 < largest < 1e75:  # its square times 1/lambda is formed
        raise InvalidValue(f"Lambda has a largest entry of {largest:.3g}; expected one from 1e-75 to 1e75.")
    if np.abs(found - found.T).max() > 1e-12 * largest:
        raise InvalidValue("Lambda is not symmetric; expected a covariance. Give (Lambda + Lambda.T) / 2.")
    least = float(np.linalg.eigvalsh(found)[0])
    if least <= 1e-14 * largest:
        raise InvalidValue(f"Lambda has the eigenvalue {least:.3g}; expected all of them greater than 0.")
    return found


def checked_length(N: float) -> float:
    """N as a float, which may be infinite; ValueError or TypeError if it is below 1, or no integer."""
    if isinstance(N, (float, np.floating)) and math.isinf(N) and N > 0:
        return math.inf
    N = real("N", N, "at least 1, or inf", lambda x: x >= 1)
    if not N.is_integer():
        raise InvalidValue(f"N is {N:g}; expected an integer, the number of contexts, or inf.")
    return N


def checked_matrix(name: str, value: ArrayLike, Lambda: Array) -> Array:
    """A matrix of the shape of Lambda as float64; ValueError or TypeError for anything else."""
    found: Array = numbers(name, value, shape="(D, D)")
    if found.shape != Lambda.shape:
        raise InvalidValue(f"{name} has shape {found.shape} with Lambda {Lambda.shape}; expected the same.")
    return found


def factor(N: float, scale: float | None = None) -> float:
    """s N, by which an effective matrix is larger in units of beta than as it is: 1 if `scale`, s, is not given.

    Raises
    ------
    ValueError, TypeError
        N below 1; a scale that is not greater than 0, or any scale where N is infinite.
    """
    N = checked_length(N)
    if scale is None:
        return 1.0
    if isinstance(scale, bool):
        raise InvalidType(f"scale is {scale}; expected a number greater than 0, or None for 1/N.")
    scale = real("scale", scale, "from 1e-50 to 1e50", lambda x: 1e-50 <= x <= 1e50)
    if math.isinf(N):
        raise InvalidValue(f"scale is {scale:g} with N infinite; expected no scale: yhat is in units of beta there.")
    return scale * N
