"""The models of Zhang et al. 2025 and their losses in TeX, for a report's readers. docs/zhang2025.md has the sources."""

from ...audit.subject import Statement

__all__ = ["STATEMENTS"]

_YHAT = r"\hat{y} = s \sum_{h=1}^{H} \big[ W^V_h X a_h \big]_{D+1}"
_LINEAR = rf"{_YHAT}, \quad a_h = X^T W^{{KQ}}_h\, \tilde{{x}}_q"
_SOFTMAX = rf"{_YHAT}, \quad a_h = \mathrm{{softmax}}\big( X^T W^{{KQ}}_h\, \tilde{{x}}_q \big)"
_APART = r"W^{KQ}_h = (W^K_h)^T\, W^Q_h"
_SQUARED = r"(\hat{y} - y_q)^2"

_SHARED = (
    (r"X", "the tokens $\\tilde{x}_t = (x_t, y_t)$ as columns, $N$ examples and last the query"),
    (r"\tilde{x}_q", "the query's token $(x_q, 0)$, which is one of its own keys"),
    (r"s", "a fixed factor, $1/N$ or 1"),
    (r"e", "the error $\\hat{y} - y_q$, where $y_q$ is the label that is to be predicted"),
    (r"v_h", "the last row of $W^V_h$; the other rows do nothing"),
    (r"e_{D+1}", "the unit vector of a token's label"),
)
_GRAM = (r"G", "$G = X X^T$, over all tokens")
_MEAN = ((r"a_{ht}", "the weight of head $h$ on token $t$"), (r"m_h", "the mean token of head $h$: $m_h = X a_h$"))
_REDUCED = (
    (r"x_n, \; y_n", "input and label of example $n$; there are $N$ of them"),
    (r"x_q, \; y_q", "the query, and the label that is to be predicted"),
)

STATEMENTS = {
    "merged": Statement(
        about="Linear attention, keys and queries merged",
        model=(_LINEAR,),
        loss=_SQUARED,
        symbols=(
            (r"V, \; W", "the parameters: $V_h = W^V_h$ and $W_h = W^{KQ}_h$, a matrix for each of $H$ heads"),
            *_SHARED,
            _GRAM,
        ),
    ),
    "separate": Statement(
        about="Linear attention, keys and queries apart",
        model=(_LINEAR, _APART),
        loss=_SQUARED,
        symbols=((r"V, \; K, \; Q", "the parameters: $W^V_h$, $W^K_h$ and $W^Q_h$ of each head"), *_SHARED, _GRAM),
    ),
    "softmax": Statement(
        about="Softmax attention, keys and queries merged",
        model=(_SOFTMAX,),
        loss=_SQUARED,
        symbols=((r"V, \; W", "the parameters: $W^V_h$ and $W^{KQ}_h$ of each head"), *_SHARED, *_MEAN),
    ),
    "softmax-separate": Statement(
        about="Softmax attention, keys and queries apart",
        model=(_SOFTMAX, _APART),
        loss=_SQUARED,
        symbols=((r"V, \; K, \; Q", "the parameters: $W^V_h$, $W^K_h$ and $W^Q_h$ of each head"), *_SHARED, *_MEAN),
    ),
    "reduced": Statement(
        about="The two-layer linear network that linear attention is on the paper's initialisation",
        model=(r"\hat{y} = s \sum_{h=1}^{H} v_h\, p^T U_h\, x_q, \quad p = \sum_{n=1}^{N} y_n x_n",),
        loss=_SQUARED,
        symbols=(
            (r"v_h, \; U_h", "the parameters: a number and a $D \\times D$ matrix for each of $H$ heads"),
            *_REDUCED,
            (r"s", "a fixed factor, $1/N$ or 1"),
            (r"e", "the error $\\hat{y} - y_q$"),
        ),
    ),
    "population": Statement(
        about="The same on the population",
        model=(r"\hat{y} = \frac{s_N}{N} \sum_{n=1}^{N} y_n\, x_n^T \bar{M} x_q, \quad y_n = \langle w, x_n \rangle",),
        loss=r"\mathbb{E}\, (\hat{y} - \langle w, x_q \rangle)^2",
        symbols=(
            (r"\bar{M}", "the parameter, a $D \\times D$ matrix"),
            (r"\mathbb{E}", "the mean over inputs $x \\sim N(0, \\Lambda)$ and over tasks $w$"),
            (r"s_N", "$N$ times the fixed factor $s$: 1 where $s = 1/N$"),
        ),
    ),
    "classifier": Statement(
        about="The classifier of Frei and Vardi",
        model=(r"z = s \sum_{n=1}^{N} y_n\, x_n^T W x_q",),
        loss=r"\log\big( 1 + \exp(-y_q z) \big)",
        symbols=(
            (r"W", "the parameter, a $D \\times D$ matrix"),
            *_REDUCED,
            (r"\bar{y}", "the label as 0 or 1: $(1 + y_q)/2$"),
            (r"s", "a fixed factor, $1/N$ or 1"),
        ),
    ),
}
"""By the name of the subject."""
