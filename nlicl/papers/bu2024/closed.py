"""Closed forms for a prompt of one concept k without noise [derived]: attention, score, and the score's attention gradients.

Words are x_l = a + e_l b, labels y_l = c + e_l d with signs e_l = +-1; the query's is e_q, n_+ demonstrations have its sign
and n_- have not. W_Q, W_K stand here for the word blocks W_Q^x, W_K^x, W_O for W_O^y, b^T W x_q for (W_K b)^T W_Q x_q.
"""

from typing import Any, NamedTuple

import numpy as np

from ...core.arrays import as_array, fitting, given
from ...core.checks import integer, sound
from ...core.describe import short
from ...core.errors import InvalidType, InvalidValue
from ...models.overflow import finite

__all__ = ["ClosedForm", "closed_form", "sigmoid"]


class ClosedForm(NamedTuple):
    """What the model computes on one prompt, and gradients of its score.

    Attributes
    ----------
    gap : float
        s_+ - s_- = 2 e_q b^T W x_q.
    attn_plus, attn_minus : float
        Total attention on demonstrations with the query's sign, and on the others.
    v : ndarray (d_y,)
        sum_l attn_l y_l = c + e_q (2 attn_+ - 1) d.
    preactivation : ndarray (m,)
        h = W_O v.
    score : float
        F = r^T relu(h).
    G : float
        sum_i r_i 1[h_i > 0] <w_i, d>.
    dW_Q, dW_K : ndarray (m_a, d_x)
        dF/dW_Q = 4 attn_+ attn_- G (W_K b) x_q^T and dF/dW_K = 4 attn_+ attn_- G (W_Q x_q) b^T.
    """

    gap: float
    attn_plus: float
    attn_minus: float
    v: np.ndarray
    preactivation: np.ndarray
    score: float
    G: float
    dW_Q: np.ndarray
    dW_K: np.ndarray


@sound
def closed_form(
    W_Q: np.ndarray,
    W_K: np.ndarray,
    W_O: np.ndarray,
    r: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    d: np.ndarray,
    e_q: int,
    n_plus: int,
    n_minus: int,
) -> ClosedForm:
    """Attention, score and its gradients on a noise-free prompt of one concept [derived].

    Parameters
    ----------
    W_Q, W_K : ndarray (m_a, d_x)
        Word blocks of the attention matrices, W_Q[:, :d_x]; any real parameters, not only those of a training.
    W_O : ndarray (m, d_y)
    r : ndarray (m,)
        The output vector, `Params.a`.
    a, b : ndarray (d_x,)
        Concept and semantic direction of the words: mu^+- = a +- b, of any length and angle.
    c, d : ndarray (d_y,)
        Of the labels.
    e_q : {-1, 1}
        The query's sign.
    n_plus, n_minus : int
        Demonstrations with the query's sign and with the other one; at least 0, not both 0.

    Returns
    -------
    ClosedForm

    Raises
    ------
    TypeError, ValueError
        An argument of another dtype or shape, not finite, or out of range.
    """
    given = {"W_Q": W_Q, "W_K": W_K, "W_O": W_O, "r": r, "a": a, "b": b, "c": c, "d": d}
    W_Q, W_K, W_O, r, a, b, c, d = fitting(given, _SHAPES)
    if isinstance(e_q, (bool, np.timedelta64)) or not isinstance(e_q, (int, float, np.number)) or e_q not in (-1, 1):
        raise InvalidValue(f"e_q is {short(e_q)}; expected the query's sign, -1 or 1.")
    n_plus, n_minus = integer("n_plus", n_plus, 0), integer("n_minus", n_minus, 0)
    if n_plus + n_minus == 0:
        raise InvalidValue("n_plus and n_minus are both 0; expected a demonstration at least.")

    x_q = a + e_q * b
    key, query = W_K @ b, W_Q @ x_q
    gap = finite("the gap of the scores", 2 * e_q * key @ query)
    with np.errstate(divide="ignore"):
        odds = np.log(n_plus) - np.log(n_minus) + gap
    attn_plus, attn_minus = sigmoid(odds), sigmoid(-odds)  # 1/(1 + (n_-/n_+) exp(-gap))
    v = c + e_q * (attn_plus - attn_minus) * d  # sum_l attn_l y_l
    h = finite("a pre-activation", W_O @ v)
    zeta = np.where(h > 0, r, 0)
    G = zeta @ (W_O @ d)
    slope = 4 * attn_plus * attn_minus * G
    return ClosedForm(
        gap, attn_plus, attn_minus, v, h, zeta @ h, G, slope * np.outer(key, x_q), slope * np.outer(query, b)
    )


def sigmoid(x: Any) -> Any:
    """1/(1 + exp(-x)) of a number or an array; 0 where exp(-x) overflows."""
    if not isinstance(x, float) and (type(x) is not np.ndarray or x.dtype.kind != "f"):
        x = as_array(x, "x")
        if x.dtype.kind not in "fiu":
            raise InvalidType(f"x {given(x, x)}; expected a number, or an array of them.")
        with np.errstate(over="ignore"):  # a long double
            x = x.astype(float)[()]
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


_SHAPES = {
    "W_Q": "(m_a, d_x)",
    "W_K": "(m_a, d_x)",
    "W_O": "(m, d_y)",
    "r": "(m,)",
    "a": "(d_x,)",
    "b": "(d_x,)",
    "c": "(d_y,)",
    "d": "(d_y,)",
}
