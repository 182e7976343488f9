"""The law of prompts of Bu et al. 2024: signs of the demonstrations, and which concepts and words a token carries.

| paper                        | here                                                                       |
|------------------------------|----------------------------------------------------------------------------|
| e_1 .. e_L, e_q              | `signs` (n, L+1): the sign each token carries the shared concept with      |
| z in {0, 1}^K                | `code` (n, L+1, K): columns 2k and 2k+1 are concept k's two words, then nu |
| the shared concept k         | `concept` (n,)                                                             |
"""

import math
from typing import Any

import numpy as np

from ...core.arrays import as_array
from ...core.checks import choice, instance
from ...core.describe import short
from ...core.errors import InvalidType, InvalidValue
from ...kernels.products import are_finite
from .semantics import Semantics
from .theory import RULES

__all__ = [
    "MATCHES",
    "bytes_of_token",
    "check_semantics",
    "checked_match",
    "checked_weights",
    "count_prompts",
    "draw_code",
    "draw_noise",
    "draw_signs",
    "every_prompt",
    "one_concept",
]

MATCHES = tuple(rule for rule in RULES if rule != "conditioned")
"""The rules that prompts are drawn by: see `theory.match_law`."""
_MOST_SIGNS = 12  # demonstrations whose signs are enumerated


def bytes_of_token(columns: int, concepts: int, presence: float, noise: int) -> int:
    """How much memory a token takes while it is drawn: its code, random numbers for that or noise, and the columns it has."""
    at_once = max(8 * concepts, 8 * (columns - 2 * concepts), 8 * noise + 20 * math.ceil(1 + presence * columns))
    return columns + 2 * concepts + at_once + 24


def count_prompts(concepts: int, L: int, match: str) -> int:
    """How many `every_prompt` lists. ValueError for L > 12 unless signs are balanced."""
    if match != "balanced" and L > _MOST_SIGNS:
        raise InvalidValue(f"length is {L}: 2^{L} signs are too many to enumerate. Expected at most {_MOST_SIGNS}.")
    return 2 * concepts * (1 if match == "balanced" else 2**L)


def draw_signs(rng: np.random.Generator, n: int, L: int, match: str) -> np.ndarray:
    """Random signs e_l (n, L+1), the query's last, of int8; their law is the match rule's."""
    query = np.where(rng.random(n) < 0.5, 1, -1)
    signs = np.empty((n, L + 1), np.int8)
    signs[:, -1] = query
    if match == "balanced":
        half = np.tile(np.repeat([1, -1], L // 2), (n, 1))
        signs[:, :-1] = rng.permuted(half, axis=1)
        return signs
    signs[:, :-1] = np.where(rng.random((n, L)) < 0.5, 1, -1)
    if match == "at-least-one":
        chosen = rng.integers(L, size=n)
        unmatched = np.flatnonzero(~(signs[:, :-1] == query[:, None]).any(axis=1))
        signs[unmatched, chosen[unmatched]] = query[unmatched]
    return signs


def draw_code(
    rng: np.random.Generator, concept: np.ndarray, signs: np.ndarray, concepts: int, columns: int, presence: float
) -> np.ndarray:
    """A random code (n, L+1, K) of every token, of bool.

    Parameters
    ----------
    rng : numpy.random.Generator
    concept : ndarray of int (n,)
        The shared concept, which every token carries with the sign that `signs` says.
    signs : ndarray of int (n, L+1)
    concepts, columns : int
        K1 and K.
    presence : float
        p_z: every other concept is there with this probability, then with a random sign; and so is every nu_j.

    Returns
    -------
    ndarray of bool (n, L+1, K)
    """
    K1, each = concepts, np.arange(len(concept))
    present = rng.random((*signs.shape, K1)) < presence
    negative = rng.random((*signs.shape, K1)) < 0.5
    present[each, :, concept] = True
    negative[each, :, concept] = signs < 0
    code = np.empty((*signs.shape, columns), bool)
    code[..., 0 : 2 * K1 : 2] = present & ~negative
    code[..., 1 : 2 * K1 : 2] = present & negative
    code[..., 2 * K1 :] = rng.random((*signs.shape, columns - 2 * K1)) < presence
    return code


def every_prompt(concepts: int, L: int, match: str) -> tuple[np.ndarray, np.ndarray]:
    """The shared concepts (n,) and the signs (n, L+1) of all equally likely prompts; the order of the signs does not matter.

    n is 2 K1 for balanced signs, else 2 K1 2^L, as `count_prompts` says.
    """
    if match == "balanced":
        matching = [L // 2]  # number of demonstrations with the query's sign, once for each equally likely case
    else:
        matching = [j for j in range(L + 1) for _ in range(math.comb(L, j))]
        if match == "at-least-one":
            matching[0] = 1  # the one prompt without a match gets one
    mine = np.arange(L + 1) < np.array(matching)[:, None]
    mine[:, -1] = True
    one = np.where(mine, 1, -1).astype(np.int8)  # a query of sign +1
    return np.repeat(np.arange(concepts), 2 * len(one)), np.concatenate([one, -one] * concepts)


def one_concept(concept: np.ndarray, signs: np.ndarray, columns: int) -> np.ndarray:
    """The code (n, L+1, K) of tokens that carry the shared concept alone, with these signs, of bool."""
    code = np.zeros((*signs.shape, columns), bool)
    np.put_along_axis(code, (2 * concept[:, None] + (signs < 0))[..., None], True, axis=2)
    return code


def draw_noise(rng: np.random.Generator, shape: tuple[int, ...], d_x: int, sigma_xi: float) -> np.ndarray:
    """Gaussian noise on words and labels (n, L+1, d); none on the query's label. ValueError if it overflows."""
    noise = rng.standard_normal(shape)
    with np.errstate(over="ignore"):
        noise *= sigma_xi
    if not are_finite(noise):
        raise InvalidValue(f"sigma_xi is {sigma_xi:g}: noise of that size overflows float64. Lower it.")
    noise[:, -1, d_x:] = 0  # a query has no label
    return noise


# ---- Checks


def checked_match(match: Any, length: int) -> str:
    """The match rule; ValueError for an unknown one, and for balanced signs of an odd number of demonstrations."""
    match = choice("match", match, MATCHES)
    if match == "balanced" and length % 2:
        raise InvalidValue(f"length is {length} with match 'balanced'; expected an even number, half of each sign.")
    return match


def check_semantics(semantics: Any, d_x: int, d_y: int) -> None:
    """TypeError or ValueError unless these are semantics of such dimensions."""
    instance("semantics", semantics, Semantics)
    if (len(semantics.a), len(semantics.c)) != (d_x, d_y):
        raise InvalidValue(
            f"semantics has d_x = {len(semantics.a)} and d_y = {len(semantics.c)}; expected the problem's, {d_x} and {d_y}."
        )


def checked_weights(weights: Any, K1: int) -> np.ndarray:
    """`weights` as K1 probabilities of sum 1; TypeError or ValueError for anything else."""
    expected = f"expected {K1} probabilities of sum 1, one for each concept of the semantics drawn from"
    array = as_array(weights, "concept_weights")
    if array.dtype.kind not in "fiu":
        raise InvalidType(f"concept_weights is {short(weights)}; {expected}.")
    array = array.astype(float)
    if array.shape != (K1,) or not np.all(array >= 0) or not abs(array.sum() - 1) <= 1e-9:
        raise InvalidValue(f"concept_weights is {short(weights)}; {expected}.")
    return array / array.sum()
