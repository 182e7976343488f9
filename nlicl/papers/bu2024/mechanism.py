"""What attention and neurons have learnt: the correct attention weight, products with concepts, idempotents' coefficients.

Arrays in, arrays out. W stands for W_K^T W_Q on words, (d_x, d_x). The paper plots maxima of concept-specific, complement
and noise products [paper]; what each of them is exactly is our choice [derived].
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ...core.arrays import as_array, check_finite, given, real_array
from ...core.checks import LARGEST, instance, integer, numbers, sound
from ...core.errors import InvalidType, InvalidValue
from ...models.overflow import finite
from ...models.transformer.checks import real_params
from ...models.transformer.prompts import Params
from ...models.transformer.steps import Forward
from .prompts import CodedPrompts
from .semantics import Semantics

__all__ = [
    "Answers",
    "Coefficients",
    "Products",
    "answers",
    "coefficients",
    "correct_attention",
    "dead_neurons",
    "error",
    "products",
    "word_matrix",
]


@sound
def correct_attention(attention: np.ndarray, prompts: CodedPrompts) -> np.ndarray:
    """attn_+, the attention on the demonstrations that have the query's sign.

    Parameters
    ----------
    attention : ndarray (B, L)
        As `nlicl.forward` returns it.
    prompts : CodedPrompts
        The prompts it belongs to.

    Returns
    -------
    ndarray (B,)
        Each from 0 (no such demonstration) to 1.

    Raises
    ------
    TypeError, ValueError
        Prompts without signs; attention of other prompts, by its shape.
    """
    _check_prompts(prompts)
    attention = real_array(attention, "attention", "(B, L)")
    check_finite(attention, "attention")
    expected = (len(prompts), prompts.length)
    if attention.shape != expected:
        raise InvalidValue(
            f"attention has shape {attention.shape}; expected {expected} of these prompts. Take it from "
            "nlicl.forward(params, prompts).attention."
        )
    return np.sum(attention * (prompts.signs[:, :-1] == prompts.signs[:, -1:]), axis=1)


def _check_prompts(prompts: object) -> None:
    instance("prompts", prompts, CodedPrompts, "as problem.sample gives them: they say the sign of a demonstration")


def error(score: ArrayLike, labels: ArrayLike) -> float:
    """The 0-1 loss, P(y F < 0), where F = 0 counts as half an error [derived]: with all neurons dead it is chance.

    Parameters
    ----------
    score, labels : ndarray (B,)
        Labels count by their sign.

    Returns
    -------
    float
        NaN counts as an error: it is no answer.

    Raises
    ------
    ValueError
        Shapes other than (B,), or different ones.
    """
    given_score = as_array(score, "score")
    if given_score.dtype.kind not in "fiu":
        raise InvalidType(f"score {given(score, given_score)}; expected an array (B,) of numbers.")
    score, labels = given_score, np.asarray(numbers("labels", labels))
    if score.ndim != 1 or score.shape != labels.shape:
        raise InvalidValue(f"score and labels have shapes {score.shape} and {labels.shape}; expected (B,), the same.")
    if not score.size:
        raise InvalidValue("score and labels are empty; expected at least one answer.")
    with np.errstate(all="ignore"):  # a product that overflows keeps its sign
        margin = score * np.sign(labels)
    return float(np.mean(~(margin >= 0)) + np.mean(margin == 0) / 2)


class Answers(NamedTuple):
    """On a batch, each a float.

    Attributes
    ----------
    error : 0-1 loss, as `error` counts it
    attention : mean of attn_+
    loss : mean logistic loss, without L2
    """

    error: float
    attention: float
    loss: float


@sound
def answers(out: Forward, prompts: CodedPrompts) -> Answers:
    """What the model makes of prompts: 0-1 loss, correct attention, logistic loss.

    Parameters
    ----------
    out : nlicl.models.front.Forward
        As `nlicl.forward(params, prompts)` returns it.
    prompts : CodedPrompts
        The same.

    Returns
    -------
    Answers
    """
    _check_prompts(prompts)
    out = instance("out", out, Forward, "as nlicl.forward gives it")
    score = real_array(out.score, "out.score", "(B,)")
    check_finite(score, "out.score")
    return Answers(
        error(score, prompts.labels),
        float(np.mean(correct_attention(out.attention, prompts))),
        float(np.mean(np.logaddexp(0, -prompts.labels * score))),
    )


def dead_neurons(preactivation: np.ndarray) -> float:
    """The share of neurons with h_i <= 0 on every prompt.

    Parameters
    ----------
    preactivation : ndarray (B, m)
        As `nlicl.forward` returns it.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        Not such an array.
    """
    preactivation = real_array(preactivation, "preactivation", "(B, m)")
    if not preactivation.size:
        raise InvalidValue(f"preactivation has shape {preactivation.shape}; expected (B, m) with B, m >= 1.")
    active = preactivation > 0
    return float(np.mean(~active.any(axis=0)))


@sound
def word_matrix(params: Params, d_x: int) -> np.ndarray:
    """W = W_K^xT W_Q^x (d_x, d_x), of the word columns: scores are x_l^T W x_query. ValueError for d_x out of range."""
    params, d_x = real_params(params), integer("d_x", d_x, -LARGEST)
    if not 1 <= d_x <= params.W_Q.shape[1]:
        raise InvalidValue(
            f"d_x is {d_x}; expected 1 to {params.W_Q.shape[1]}, as params.W_Q has shape {params.W_Q.shape}."
        )
    return params.W_K[:, :d_x].T @ params.W_Q[:, :d_x]


class Coefficients(NamedTuple):
    """Coefficients along the idempotents a_k a_k^T/||a_k||^2 and b_k b_k^T/||b_k||^2 [technique paper, this form recalled].

    Attributes
    ----------
    alpha_Q, beta_Q, alpha_K, beta_K : ndarray (K1,)
        Of W_Q^x and W_K^x: a_k^T W a_k/||a_k||^2 and b_k^T W b_k/||b_k||^2.
    alpha_O, beta_O : ndarray (m, K1)
        <w_i, c_k> and <w_i, d_k>, w_i the rows of W_O^y.
    """

    alpha_Q: np.ndarray
    beta_Q: np.ndarray
    alpha_K: np.ndarray
    beta_K: np.ndarray
    alpha_O: np.ndarray
    beta_O: np.ndarray


@sound
def coefficients(params: Params, semantics: Semantics) -> Coefficients:
    """The idempotent decomposition's coefficients.

    Parameters
    ----------
    params : Params
        With m_a = d_x and m_b = d_y, as `problem.initialize` makes them.
    semantics : Semantics

    Returns
    -------
    Coefficients

    Raises
    ------
    ValueError
        Matrices of other sizes.
    """
    params, semantics = real_params(params), instance("semantics", semantics, Semantics)
    a, b, c, d = semantics.a, semantics.b, semantics.c, semantics.d
    d_x, d_y = len(a), len(c)
    if params.W_Q.shape[0] != d_x or params.W_O.shape[1] != d_y or params.W_Q.shape[1] != d_x + d_y:
        raise InvalidValue(
            f"params has W_Q {params.W_Q.shape} and W_O {params.W_O.shape}; expected ({d_x}, {d_x + d_y}) and (m, {d_y}): the "
            "decomposition is of square word blocks and of label rows."
        )
    W_Q, W_K = params.W_Q[:, :d_x], params.W_K[:, :d_x]

    def along(W: np.ndarray, x: np.ndarray) -> np.ndarray:
        return finite("a product", np.sum(x * (W @ x), axis=0)) / finite("a product", np.sum(x * x, axis=0))

    return Coefficients(along(W_Q, a), along(W_Q, b), along(W_K, a), along(W_K, b), params.W_O @ c, params.W_O @ d)


class Products(NamedTuple):
    """Maxima over all indices that are not said, each a float; j != k where both stand.

    Attributes
    ----------
    specific : b_k^T W b_k
    cross : |b_j^T W b_k|; 0 for one concept
    mixed : |a_j^T W b_k| and |b_j^T W a_k|, j = k too
    shared : |a_j^T W a_k|, j = k too
    nu : |nu_j^T W mu_k^+-| and |mu_k^+-^T W nu_j|; 0 without irrelevant words
    xi : |xi^T W mu_k^+-| and |mu_k^+-^T W xi|, xi a noise vector
    mlp_specific, mlp_complement : |<w_i, d_k>|, |<w_i, c_k>|
    mlp_noise : |<w_i, xi_y>|
    """

    specific: float
    cross: float
    mixed: float
    shared: float
    nu: float
    xi: float
    mlp_specific: float
    mlp_complement: float
    mlp_noise: float


@sound
def products(params: Params, semantics: Semantics, nu: np.ndarray, xi_x: np.ndarray, xi_y: np.ndarray) -> Products:
    """Products of the weights with concepts and noise, as the paper's figure has them in kind [paper]; details are ours.

    Parameters
    ----------
    params : Params
    semantics : Semantics
    nu : ndarray (d_x, K - 2 K1)
        The irrelevant words, `problem.nu`.
    xi_x, xi_y : ndarray (d_x, n), (d_y, n)
        Noise vectors of words and labels.

    Returns
    -------
    Products

    Raises
    ------
    ValueError
        Arrays of other sizes.
    """
    params, semantics = real_params(params), instance("semantics", semantics, Semantics)
    a, b = semantics.a, semantics.b
    d_x, d_y = len(a), len(semantics.c)
    if params.W_O.shape[1] != d_y or params.W_Q.shape[1] != d_x + d_y:
        raise InvalidValue(
            f"params has W_O {params.W_O.shape} and W_Q {params.W_Q.shape}; expected (m, {d_y}) and (m_a, {d_x + d_y}): rows "
            "of W_O are compared with labels. Use initialize() without m_b, or measure=None."
        )
    nu, xi_x, xi_y = (numbers(name, xi) for name, xi in (("nu", nu), ("xi_x", xi_x), ("xi_y", xi_y)))
    for name, xi, d in (("nu", nu, d_x), ("xi_x", xi_x, d_x), ("xi_y", xi_y, d_y)):
        if np.ndim(xi) != 2 or len(xi) != d:
            raise InvalidValue(f"{name} has shape {np.shape(xi)}; expected ({d}, n), a vector a column.")
    W, W_O = word_matrix(params, d_x), params.W_O
    mu = semantics.words()
    bWb = finite("a product", b.T @ W @ b)
    to_mu, from_mu = W @ mu, W.T @ mu  # x^T W mu and mu^T W x are products of x with these
    return Products(
        specific=float(np.diag(bWb).max()),
        cross=_largest(bWb - np.diag(np.diag(bWb))),
        mixed=max(_largest(a.T @ W @ b), _largest(b.T @ W @ a)),
        shared=_largest(a.T @ W @ a),
        nu=max(_largest(nu.T @ to_mu), _largest(nu.T @ from_mu)),
        xi=max(_largest(xi_x.T @ to_mu), _largest(xi_x.T @ from_mu)),
        mlp_specific=_largest(W_O @ semantics.d),
        mlp_complement=_largest(W_O @ semantics.c),
        mlp_noise=_largest(W_O @ xi_y),
    )


def _largest(array: np.ndarray) -> float:
    return float(abs(array).max(initial=0.0))
