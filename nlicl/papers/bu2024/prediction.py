"""What the theory of the early phase says of a run, from the parameters it starts with [derived]."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...core.checks import instance
from ...models.transformer.checks import real_params
from ...models.transformer.prompts import Params
from . import theory
from .coordinates import project
from .semantics import Semantics

if TYPE_CHECKING:
    from .problem import Problem

__all__ = ["Prediction", "early", "predict"]


class Prediction(NamedTuple):
    """For each concept.

    Attributes
    ----------
    R, X : ndarray (K1,)
        Of the neurons and of attention, at the start.
    m_plus : ndarray (K1,)
        The number of neurons with o_c > 0.
    lambda_star : ndarray (K1,)
        Weight decay from which on a start with R = 0 fails.
    learns : ndarray of bool (K1,)
        Whether the concept escapes the saddle before the horizon 1/lambda.
    step : ndarray (K1,)
        When, about, with the problem's step sizes; inf where it does not.
    """

    R: np.ndarray
    X: np.ndarray
    m_plus: np.ndarray
    lambda_star: np.ndarray
    learns: np.ndarray
    step: np.ndarray


def early(params: Params, semantics: Semantics, k: int) -> theory.Early:
    """`theory.Early` of concept k, with beta = sqrt(beta_Q beta_K), 0 where the product is negative."""
    with np.errstate(over="ignore", invalid="ignore"):  # of parameters or prompts that have run away: not finite
        state = project(params, semantics, k)
        beta = np.sqrt(max(0.0, state.Q[1, 1] * state.K[1, 1]))
        return theory.early_quantities(params.a, state.o_c, state.o_d, beta)


def predict(problem: "Problem", params: Params) -> Prediction:
    """Which concepts a run learns, and when it leaves the saddle, by the theory of the early phase.

    It holds for small norms and balanced signs; for another match rule its rate has that rule's factor, and the push that a
    guaranteed match gives R is left out, so that steps are rather too many.

    Parameters
    ----------
    problem : Problem
        With weight decay, and eta_0 = 2/(lambda gamma).
    params : Params
        Where the run starts, `problem.initialize(seed=seed)`.

    Returns
    -------
    Prediction

    Raises
    ------
    ValueError
        Parameters of other sizes than the problem's; no weight decay.
    """
    from .problem import Problem  # which has an observer that takes `early` from here

    p, params = instance("problem", problem, Problem), real_params(params)
    norms = theory.norms(p.norm_x, p.norm_y, p.kappa_x, p.kappa_y)
    k_0 = theory.early_rate(norms.b, norms.d, p.concepts, p.length, p.match)
    found = [early(params, p.semantics, k) for k in range(p.concepts)]
    R, m_plus, X = (np.array(values, float) for values in zip(*found, strict=True))
    if k_0 == 0 or p.sigma_0 == 0:  # one demonstration, or W_Q = W_K = 0: attention does not move
        never = np.full(p.concepts, np.inf)
        return Prediction(R, X, m_plus, np.zeros(p.concepts), np.zeros(p.concepts, bool), never)
    T_b = theory.escape_time(R, X, k_0)
    star = [theory.lambda_star(p.sigma_0, norms.b, norms.d, p.concepts, len(params.a), m) for m in m_plus]
    learns = np.asarray(theory.succeeds(R, X, k_0, p.weight_decay))
    step = np.asarray(theory.escape_step(T_b, p.weight_decay, p.step_offset))
    return Prediction(R, X, m_plus, np.array(star), learns, step)
