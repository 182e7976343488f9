"""The definitions: losses of Zhang et al. 2025, each of one *prompt*, in plain NumPy, in any floating or complex dtype.

They share no code with the kernels and are what everything else is judged by. The model is that of
`nlicl.models.linear_attention.reference`; a loss has parameters of its own, which `embedded` puts into the model's:

| parameters          | prompt       | loss                                                                              |
|---------------------|--------------|-----------------------------------------------------------------------------------|
| `Params`            | `Prompt`     | (yhat - y_query)^2 of linear attention, merged keys and queries                   |
| `SeparateParams`    | `Prompt`     | the same, W_h = K_h^T Q_h                                                         |
| `Softmax`           | `Prompt`     | the same as the first of softmax attention                                        |
| `SeparateSoftmax`   | `Prompt`     | the same as the second of softmax attention                                       |
| `Heads`             | `Prompt`     | the same as the first on u = v_x = 0: v (H,) and U (H, D, D) are all that is left |
| `Block`             | `Prompt`     | log(1 + exp(-y_query z)), one head, V = e_E e_E^T, u = 0: W_classifier (D, D)     |
| `Effective`         | `Population` | the mean of the squared loss over all prompts, u = v_x = 0, at Mbar (D, D)        |
"""

from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from ...core.arrays import fitting
from ...core.checks import instance, integer
from ...core.describe import kind_of
from ...core.errors import InvalidType, InvalidValue
from ...models.linear_attention import reference
from ...models.linear_attention.prompts import Params, Prompt, SeparateParams
from ...models.overflow import finite
from .population import checked_covariance, factor

__all__ = [
    "Block",
    "Effective",
    "Heads",
    "Population",
    "SeparateSoftmax",
    "Softmax",
    "embedded",
    "every_prompt",
    "loss",
    "population_loss",
]


class Softmax(NamedTuple):
    """V and W of `Params`, where scores go through a softmax."""

    V_softmax: np.ndarray
    W_softmax: np.ndarray


class SeparateSoftmax(NamedTuple):
    """V, K and Q of `SeparateParams`, where scores go through a softmax."""

    V_softmax: np.ndarray
    K_softmax: np.ndarray
    Q_softmax: np.ndarray


class Heads(NamedTuple):
    """What acts where u = v_x = 0: v (H,), the last entry of each V_h; U (H, D, D), the upper left block of each W_h."""

    v: np.ndarray
    U: np.ndarray


class Block(NamedTuple):
    """W_classifier (D, D), all that the classifier trains: the upper left block of the one W."""

    W_classifier: np.ndarray


class Effective(NamedTuple):
    """Mbar (D, D), the effective matrix sum_h v_h U_h."""

    Mbar: np.ndarray


class Population(NamedTuple):
    """The law of prompts: covariance Lambda (D, D) of x, N contexts, s; w of mean 0 and covariance I."""

    Lambda: np.ndarray
    N: int
    scale: float | None = None


def embedded(params: Any) -> Params | SeparateParams:
    """The model's own parameters that stand for those of a loss.

    Raises
    ------
    TypeError, ValueError
        Parameters of no loss of this paper, or whose shapes do not go together.
    """
    if isinstance(params, (Params, SeparateParams)):
        return params
    if isinstance(params, Softmax):
        return Params(*params)
    if isinstance(params, SeparateSoftmax):
        return SeparateParams(*params)
    if isinstance(params, Heads):
        v, U = _fitting(params, {"v": "(H,)", "U": "(H, D, D)"})
    elif isinstance(params, (Block, Effective)):
        (U,) = _fitting(params, {params._fields[0]: "(D, D)"})
        v, U = np.ones(1, U.dtype), U[None]
    else:
        raise InvalidType(f"params is a {kind_of(params)}; expected parameters of a loss of zhang2025.")
    H, D, _ = U.shape
    V, W = np.zeros((2, H, D + 1, D + 1), np.result_type(v, U))
    V[:, -1, -1], W[:, :D, :D] = v, U
    return Params(V, W)


def loss(params: Any, prompt: Prompt) -> Any:
    """The loss of one prompt: the squared one, or the classifier's logistic one, as its parameters say."""
    return reference.loss(embedded(params), prompt, "logistic" if isinstance(params, Block) else "squared")


@np.errstate(over="ignore", invalid="ignore")  # it is found, and raised
def population_loss(weights: Effective, population: Population) -> Any:
    """The mean of (yhat - y_query)^2 over x ~ N(0, Lambda) and w, with u = v_x = 0.

    The loss is of the second degree in w and in x_query, and of the fourth in each x_n, so that its mean over few points of
    the same moments is exact: see `every_prompt`.
    """
    Lambda, N, scale = instance("population", population, Population)
    x, x_query, w, weight = every_prompt(Lambda, N)
    (Mbar,) = _fitting(instance("weights", weights, Effective), {"Mbar": "(D, D)"})
    if len(Mbar) != x.shape[2]:
        raise InvalidValue(f"weights.Mbar has shape {Mbar.shape}; expected {Lambda.shape}, that of Lambda.")
    y = np.einsum("pnd,pd->pn", x, w)
    yhat = factor(N, scale) / N * np.einsum("pn,pni,ij,pj->p", y, x, Mbar, x_query, optimize=True)
    return finite("the loss", (weight * (yhat - (w * x_query).sum(axis=1)) ** 2).sum())


def every_prompt(Lambda: np.ndarray, N: int) -> tuple[np.ndarray, ...]:
    """Prompts that stand for all: x (P, N, D), x_query and w (P, D), and their weights (P,), which sum to 1.

    A context takes the points 0 and sqrt(D + 2) times those of a spherical 5-design, with the moments of N(0, I) up to the
    fifth; queries and tasks take sqrt(D) e_j, with those up to the second that matter. D is 1, 2 or 3.
    """
    Lambda, N = checked_covariance(Lambda), integer("N", N, 1)
    D = len(Lambda)
    if D > 3 or N > 3:
        raise InvalidValue(f"Lambda is {D} by {D} with N = {N}; expected D and N of at most 3, to sum over all.")
    return _every_prompt(tuple(map(tuple, Lambda.tolist())), N)


@lru_cache(32)
def _every_prompt(rows: tuple[tuple[float, ...], ...], N: int) -> tuple[np.ndarray, ...]:
    root = np.linalg.cholesky(np.array(rows))
    D = len(root)
    if D == 1:
        design = np.array([[1.0], [-1.0]])
    elif D == 2:
        angles = np.arange(6) * np.pi / 3
        design = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    else:  # the corners of an icosahedron
        golden = (1 + 5**0.5) / 2
        corners = [(0.0, one, other * golden) for one in (1, -1) for other in (1, -1)]
        design = np.array([np.roll(corner, turn) for corner in corners for turn in range(3)]) / np.hypot(1, golden)
    points = np.concatenate([np.zeros((1, D)), np.sqrt(D + 2) * design]) @ root.T
    chance = np.array([2 / (D + 2)] + [D / (D + 2) / len(design)] * len(design))
    places = np.array(list(product(range(len(points)), repeat=N)))
    axes = np.array(list(product(range(D), repeat=2)))
    contexts, pair = (index.ravel() for index in np.indices((len(places), len(axes))))
    x_query = np.sqrt(D) * root.T[axes[pair, 0]]
    w = np.sqrt(D) * np.eye(D)[axes[pair, 1]]
    return points[places[contexts]], x_query, w, chance[places].prod(axis=1)[contexts] / D**2


def _fitting(params: Any, shapes: dict[str, str]) -> list[np.ndarray]:
    given = {f"params.{name}": getattr(params, name) for name in shapes}
    return fitting(given, dict(zip(given, shapes.values(), strict=True)), complex_too=True)
