"""The model of the two papers and their losses in TeX, for a report's readers. docs/onenn2024.md says where it comes from."""

from ...audit.subject import Statement

__all__ = ["LABELS", "MIXTURE", "SQUARED", "SQUENTROPY", "TRACES", "XI"]

_MODEL = (r"q_j = \frac{\exp(h_j^T W h_0)}{\sum_{m=0}^{N} \exp(h_m^T W h_0)}, \quad l = \sum_{j=1}^{N} q_j\, u_{c_j}",)
_TOKENS = (
    (
        r"h_j = (x_j, u_{c_j}, 0)",
        "token $j$: the input $x_j$, the code of its class, and a zero; there are $N$ of them",
    ),
    (r"h_0 = (x_0, 0, 1)", "the query's token, which is one of its own keys"),
    (r"u_c", "the code of class $c$: $e_c - 1/K$ for $K$ classes; for binary labels the label itself"),
    (r"u", "the code of the class $c^*$ of the nearest example $i^*$, the answer that is wanted"),
)
_CODES = (
    (r"v_j", "the label code of token $j$: $v_j = u_{c_j}$, and $v_0 = 0$"),
    (r"r", "the derivative of the loss by the answer $l$"),
)
_TOKEN_FORM = (
    r"\sum_{j=0}^{N} q_j\, \langle r, v_j - l \rangle\, h_j h_0^T",
    "the token form of the gradient, in which only $r$ depends on the loss",
)
_CROSS = r"-\log \mathrm{softmax}(l)_{c^*}"

SQUARED = Statement(
    about="One prompt, squared loss, in W",
    model=_MODEL,
    loss=r"\frac{1}{2} \| l - u \|^2",
    symbols=(*_TOKENS, *_CODES, (r"H, \; V", "the matrix of all tokens as columns, and its rows of labels")),
)

MIXTURE = Statement(
    about="One prompt, a mixture of squared loss and cross-entropy",
    model=_MODEL,
    loss=rf"\frac{{1-c}}{{2}} \| l - u \|^2 + c\, \big( {_CROSS} \big)",
    symbols=(*_TOKENS, *_CODES, _TOKEN_FORM, (r"c", "the share of the cross-entropy, from 0 to 1")),
)

SQUENTROPY = Statement(
    about="One prompt, squentropy",
    model=_MODEL,
    loss=rf"{_CROSS} + \frac{{1}}{{K-1}} \sum_{{k \ne c^*}} l_k^2",
    symbols=(*_TOKENS, *_CODES, _TOKEN_FORM, (r"K", "the number of classes")),
)

_MEAN = r"\frac{1}{2}\, \mathbb{E}\, \| l - u \|^2"
_LABELS = (
    (r"\mathbb{E}", "the mean over all vectors of labels, the inputs given"),
    (r"\kappa", "$(K-1)/K$ for $K$ classes, 1 for binary labels"),
    (r"i^*", "the example that is nearest to the query"),
    (r"\omega", "$\\omega = q_{i^*} - \\sum_{j \\le N} q_j^2$"),
)

LABELS = Statement(
    about="Labels averaged, in W",
    model=_MODEL,
    loss=_MEAN,
    symbols=(*_TOKENS, *_LABELS, (r"\gamma_j", "the coefficient of token $j$ in the averaged gradient")),
)

_FAMILY = (
    r"W = \mathrm{diag}(\xi_1 I,\, 0,\, -\xi_2), \quad q_j \propto \exp(\xi_1 t_j), \quad q_0 \propto \exp(\xi_1 - \xi_2)",
    r"l = \sum_{j=1}^{N} q_j\, u_{c_j}",
)
_COSINES = (
    (r"t_j", "the cosine $\\langle x_j, x_0 \\rangle$ of example $j$ and the query, $t_0 = 1$"),
    (r"\bar{t}", "the mean of the cosines under attention, the query's among them"),
    *_LABELS,
    (r"\partial_1, \; \partial_2", "the derivatives by $\\xi_1$ and $\\xi_2$"),
)

XI = Statement(about="Labels averaged, on a family with two parameters", model=_FAMILY, loss=_MEAN, symbols=_COSINES)

TRACES = Statement(
    about="The same, by the trace of a block of W",
    model=_FAMILY,
    loss=_MEAN,
    symbols=(
        (
            r"\mathrm{traces}",
            "the parameters $(\\mathrm{tr}\\, W_{11}, -W_{33}) = (d\\, \\xi_1, \\xi_2)$, in dimension $d$",
        ),
        *_COSINES,
    ),
)
