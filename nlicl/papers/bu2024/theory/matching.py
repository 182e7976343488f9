"""The match rules: the law of n_+, the number of demonstrations with the query's sign, and of the attention on them."""

import math

import numpy as np

from ....core.checks import choice, integer, real
from ....core.errors import InvalidValue
from ....core.memory import check_memory
from ..closed import sigmoid

__all__ = ["RULES", "attention_law", "floor_error", "initial_attention", "match_law"]

RULES = ("at-least-one", "balanced", "iid", "conditioned")
"""What decides n_+, the number of demonstrations that have the query's sign: see `match_law`."""
_LONGEST = 10**6  # demonstrations with independent signs
_SATURATED = 1e300  # a product beyond which attention does not change any more


def match_law(length: int, match: str) -> np.ndarray:
    """P(n_+ = j), j = 0 .. L, of the number of demonstrations with the query's sign [derived].

    Parameters
    ----------
    length : int
        L, at least 1; at most 10**6 unless match is "balanced", as all is summed exactly.
    match : {"at-least-one", "balanced", "iid", "conditioned"}
        "iid": independent fair signs. "at-least-one": the same, and if none matches, one of them drawn uniformly is turned:
        P(n_+ = 1) = (L+1)/2^L. "conditioned": independent signs given that one matches. "balanced": n_+ = L/2, L even.

    Returns
    -------
    ndarray (L+1,)
    """
    L, match = integer("length", length, 1), choice("match", match, RULES)
    check_memory(f"length is {L}: so many are the values of n_+", 40 * L, "Lower it.")
    if match == "balanced":
        if L % 2:
            raise InvalidValue(
                f"length is {L} with match 'balanced'; expected an even number: half of the signs are +1."
            )
        return (np.arange(L + 1) == L // 2).astype(float)
    law = _binomial(L)
    if match == "at-least-one":
        law[1] += law[0]
        law[0] = 0
    elif match == "conditioned":
        law[0] = 0
        law /= law.sum()
    return law


def _binomial(L: int) -> np.ndarray:
    """C(L, j)/2^L, j = 0 .. L, each rounded once. From the middle outwards, until what is left rounds to 0."""
    if L > _LONGEST:
        raise InvalidValue(
            f"length is {L}; expected at most {_LONGEST} unless match is 'balanced': binomial coefficients are exact, and "
            "larger ones take minutes. Lower it."
        )
    law = np.zeros(L + 1)
    all_signs, j = 2**L, L // 2
    coefficient = math.comb(L, j)
    while j >= 0 and (share := coefficient / all_signs) > 0:
        law[j] = law[L - j] = share
        coefficient = coefficient * j // (L - j + 1)
        j -= 1
    return law


def attention_law(length: int, match: str, product: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """attn_+ for n_+ = 0 .. L and its law: n_+/(n_+ + n_- exp(-2 product)) [derived].

    Parameters
    ----------
    length, match
        As `match_law`.
    product : float
        b^T W b, which is beta_Q beta_K ||b||^2, if a^T W b and b^T W a are 0.

    Returns
    -------
    attn_plus, probabilities : ndarray (L+1,)
    """
    probabilities = match_law(length, match)
    product = real("product", product, "b^T W b", lambda x: True)
    with np.errstate(divide="ignore"):
        log_n = np.log(np.arange(len(probabilities)))
    gap = 2 * min(max(product, -_SATURATED), _SATURATED)  # finite: with n_+ = 0 or L the log-odds are infinite
    return sigmoid(log_n - log_n[::-1] + gap), probabilities


def initial_attention(length: int, match: str, product: float) -> float:
    """E[attn_+] for product = b^T W b, which is sigma_0^2 ||b||^2 at the start [derived]; arguments as `attention_law`."""
    attn_plus, probabilities = attention_law(length, match, product)
    return float(probabilities @ attn_plus)


def floor_error(length: int) -> float:
    """2^-L: the least 0-1 error of any parameters with independent signs, one concept, no noise [derived].

    With all signs equal the score is the same for both signs of the query.
    """
    return 0.5 ** integer("length", length, 1)
