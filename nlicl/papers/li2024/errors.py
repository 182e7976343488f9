"""The classification error of Li et al. 2024: when a prediction sign(F) is wrong."""

import numpy as np
from numpy.typing import ArrayLike

from ...core.checks import boolean, numbers

__all__ = ["wrong"]


def wrong(margin: ArrayLike, ties: bool = True) -> np.ndarray:
    """Whether predictions are wrong, from zF, the label times the score.

    The paper's error is E[Pr(zF < 0)] [quoted]: as printed, F = 0 is no error. Here a tie F = 0 is an error, a departure. A
    model whose neurons are all off has F = 0 on every prompt: it predicts nothing, and as printed it would never err. The two
    differ where F is exactly 0, which is where no neuron is active. On trained models they agree [measured].

    Parameters
    ----------
    margin : array_like
        zF, of any shape.
    ties : bool
        Whether F = 0 is an error. False: the error as printed.

    Returns
    -------
    ndarray of bool
        Of the shape of `margin`.

    Raises
    ------
    ValueError, TypeError
        Margins that are not finite numbers.
    """
    margin = numbers("margin", margin)
    return margin <= 0 if boolean("ties", ties) else margin < 0
