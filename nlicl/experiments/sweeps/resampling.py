"""The bootstrap over seeds: a seed counts as one draw at every setting at once, since its randomness is the same at all."""

import numpy as np
from numpy.typing import NDArray

from ...core import seeds

__all__ = ["interval", "resampled"]


def resampled(n_seeds: int, draws: int, seed: int) -> NDArray[np.float64]:
    """How often each seed counts (draws, n_seeds), if as many as there are are drawn with replacement."""
    rng = seeds.generator(seeds.Sweeps.RESAMPLING, seed)
    return rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=draws).astype(float)


def interval(
    value: float, drawn: NDArray[np.float64], n_seeds: int, level: float = 0.95
) -> tuple[float, float] | tuple[None, None]:
    """The percentile interval of an estimate over seeds, widened for few seeds.

    Percentiles of the bootstrap are too narrow for few seeds, as if an interval of Student's t were taken with the normal
    distribution's quantile and the variance with n in the place of n - 1. The ends are moved away from the estimate by these
    two factors, t / 1.96 and sqrt(n / (n - 1)): together 1.58 for 5 seeds, and 1.05 for 30. With Gaussian noise, every seed at
    every setting and nothing censored, the mean over seeds of the seeds' own estimates is the estimate, and the result is
    near its t interval.

    Parameters
    ----------
    value : float
        The estimate.
    drawn : ndarray (draws,)
        The same of each draw. NaN, where it could not be estimated, counts as infinitely low and as infinitely high.
    n_seeds : int
    level : float

    Returns
    -------
    (float, float) or (None, None)
        None: fewer than two seeds have no spread.
    """
    from scipy.stats import norm, t

    if n_seeds < 2:
        return None, None
    tail = (1 - level) / 2
    low = float(np.quantile(np.where(np.isnan(drawn), -np.inf, drawn), tail, method="lower"))
    high = float(np.quantile(np.where(np.isnan(drawn), np.inf, drawn), 1 - tail, method="higher"))
    wider = float(t.isf(tail, n_seeds - 1) / norm.isf(tail)) * np.sqrt(n_seeds / (n_seeds - 1))
    return float(value - wider * max(value - low, 0)), float(value + wider * max(high - value, 0))
