"""Right calls of the theory of Zhang et al. 2025: population, descent through heads, closed forms."""

from collections.abc import Callable
from typing import Any

import numpy as np

from nlicl.papers.zhang2025 import dynamics, population, reduced

__all__ = ["EXCEPTIONS", "add"]

EXCEPTIONS = {
    "nlicl.papers.zhang2025.population.checked_covariance": "a check itself",
    "nlicl.papers.zhang2025.population.checked_length": "a check itself",
    "nlicl.papers.zhang2025.population.checked_matrix": "a check itself",
    "nlicl.papers.zhang2025.population.factor": "a check itself",
    "nlicl.papers.zhang2025.reduced.checked_weights": "a check itself",
    "nlicl.papers.zhang2025.reduced.Descent": "what descend returns",
}


def add(call: Callable[..., None]) -> None:
    """Add the calls."""
    rng = np.random.default_rng(0)
    Lambda = np.array([[0.5, 0.1, 0.0], [0.1, 0.3, 0.05], [0.0, 0.05, 0.2]])
    Mbar = rng.standard_normal((3, 3))
    merged = reduced.Merged(rng.standard_normal(2), rng.standard_normal((2, 3, 3)))
    separate = reduced.Separate(*(0.3 * rng.standard_normal(shape) for shape in ((2,), (2, 1, 3), (2, 1, 3))))
    of: dict[str, Any] = {"Lambda": Lambda, "N": 7}

    call(population.second_moment, **of)
    call(population.loss, Mbar=Mbar, scale=0.5, **of)
    call(population.gradient, Mbar=Mbar, scale=0.5, **of)
    call(population.optimum, scale=0.5, **of)
    call(population.least_loss, **of)
    call(population.amplitudes, eigenvalues=np.array([0.5, 0.3, 0.2]), N=7)
    call(population.saddle_losses, **of)
    call(population.fixed_points, **of)
    call(population.spectrum, Lambda=Lambda)

    call(reduced.effective, weights=merged)
    call(reduced.effective, weights=separate)
    call(reduced.head_gradients, weights=merged, scale=0.5, **of)
    call(reduced.head_gradients, weights=separate, scale=None, **of)
    call(reduced.descend, weights=separate, learning_rate=0.1, steps=3, scale=0.5, keep=[0, 2], **of)
    call(reduced.reduced, params=_full(rng))

    call(dynamics.imbalance, weights=merged)
    call(dynamics.imbalance, weights=separate)
    call(dynamics.white_course, t=np.array([0.0, 2.0]), D=3, N=7, w_0=0.1, eigenvalue=0.5)
    call(dynamics.early_rate, Lambda=Lambda)
    call(dynamics.early_product, weights=merged, Lambda=Lambda)
    call(dynamics.product_at, level=0.8, **of)
    call(dynamics.merged_half_steps, weights=merged, level=0.8, learning_rate=0.01, scale=0.5, **of)
    call(dynamics.Pi, x=np.array([0.1, 0.5]))
    call(dynamics.aligned_time, v=np.array([0.3, 0.5]), v_0=0.1, eigenvalue=0.4, amplitude=1.5)
    call(dynamics.aligned_course, t=np.array([0.0, 5.0]), v_0=0.1, eigenvalue=0.4, amplitude=1.5)
    call(dynamics.flow_time, kind="merged", steps=np.array([0, 5]), learning_rate=0.01, N=7, scale=0.5)
    call(dynamics.in_units_of_beta, weights=merged, N=7, scale=0.5)
    call(dynamics.drop_steps, losses=np.array([1.0, 0.4]), levels=np.array([1.0, 0.3]))
    call(dynamics.flat_stretches, losses=np.ones(5), length=2, change=0.1)


def _full(rng: np.random.Generator) -> Any:
    """Parameters of the full model."""
    from nlicl.models.linear_attention.prompts import Params

    return Params(rng.standard_normal((2, 4, 4)), rng.standard_normal((2, 4, 4)))
