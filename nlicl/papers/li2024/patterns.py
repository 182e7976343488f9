"""ODR patterns of Li et al. 2024: the out-of-domain-relevant patterns as combinations of the in-domain ones (IDR)."""

import math

import numpy as np
from numpy.typing import ArrayLike

from ...core.checks import integer, numbers, real
from ...core.describe import short
from ...core.errors import InvalidValue
from ...core.memory import check_memory

__all__ = ["checked_coefficients", "odr_coefficients"]


def odr_coefficients(S_1: float, M1: int, idr: int) -> np.ndarray:
    """Coefficients of mu' = c mu_i + s mu_j on disjoint pairs (i, j), c + s = S_1, c^2 + s^2 = 1 [derived].

    Parameters
    ----------
    S_1 : float, |S_1| <= sqrt(2)
    M1 : int
        M1', the number of ODR patterns, at least 2.
    idr : int
        The number of IDR patterns, at least 2 M1'.

    Returns
    -------
    ndarray (M1', idr)
    """
    bound = "at most sqrt(2) = 1.4142 in absolute value: S_1 = c + s with c^2 + s^2 = 1"
    S_1 = real("S_1", S_1, bound, lambda x: abs(x) <= math.sqrt(2))
    M1, idr = integer("M1", M1, 2), integer("idr", idr, 1)
    if idr < 2 * M1:
        raise InvalidValue(
            f"M1' = {M1} ODR patterns need {2 * M1} IDR patterns in disjoint pairs; there are {idr}. "
            f"Lower M1' to at most {idr // 2}, or give coefficients of your own."
        )
    c = (S_1 + math.sqrt(max(0.0, 2 - S_1**2))) / 2
    check_memory(f"M1' is {M1} of {idr} IDR patterns: so many rows and columns", 8 * M1 * idr, "Lower it.")
    rows = np.zeros((M1, idr))
    rows[np.arange(M1), 2 * np.arange(M1)] = c
    rows[np.arange(M1), 2 * np.arange(M1) + 1] = S_1 - c
    return rows


def checked_coefficients(coefficients: ArrayLike, M1: int) -> tuple[tuple[float, ...], ...]:
    """The coefficients as M1 orthogonal rows of norm 1; ValueError for anything else."""
    rows, M1 = numbers("coefficients", coefficients), integer("M1", M1, 1)
    if rows.ndim != 2 or len(rows) != M1:
        raise InvalidValue(f"coefficients has shape {rows.shape}; expected ({M1}, number of IDR patterns).")
    with np.errstate(over="ignore", invalid="ignore"):  # then the rows are no unit vectors
        gram = rows @ rows.T
    if not np.allclose(np.diag(gram), 1, rtol=0, atol=1e-9):
        raise InvalidValue(
            f"coefficients has rows of norm {short(np.sqrt(np.diag(gram)).round(4).tolist())}; expected 1 for each: "
            "ODR patterns have the norm beta of the IDR patterns."
        )
    if not np.allclose(gram, np.eye(M1), rtol=0, atol=1e-9):
        i, j = np.unravel_index(np.argmax(abs(gram - np.eye(M1))), gram.shape)
        raise InvalidValue(f"coefficients has rows {i} and {j} with cosine {gram[i, j]:.4f}; expected orthogonal rows.")
    return tuple(map(tuple, rows.tolist()))
