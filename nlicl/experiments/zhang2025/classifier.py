"""What is known in closed form of the classifier's training: its first step from W = 0, which is all of it [derived]."""

import numpy as np
from numpy.typing import NDArray

from ...models.linear_attention.prompts import Prompts

__all__ = ["first_step"]


def first_step(prompts: Prompts, rate: float) -> NDArray[np.float64]:
    """W after one step of gradient descent from 0: (rate / (2B)) sum over prompts of y_query p x_query^T.

    Parameters
    ----------
    prompts : Prompts
        Of the classifier, B of them.
    rate : float

    Returns
    -------
    ndarray (d, d)
    """
    x, y, query = prompts.tokens[:, :-1, :-1], prompts.tokens[:, :-1, -1], prompts.tokens[:, -1, :-1]
    p = np.einsum("bt,bti->bi", y, x) / y.shape[1]
    found: NDArray[np.float64] = rate / (2 * len(p)) * (prompts.labels[:, None] * p).T @ query
    return found
