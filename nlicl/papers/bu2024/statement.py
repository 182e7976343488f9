"""The model of Bu et al. 2024 and its loss in TeX, for a report's readers. docs/bu2024.md says where each of it comes from."""

from ...audit.subject import Statement

__all__ = ["BLOCKS", "FULL", "MERGED", "ONE_CONCEPT"]

LOSS = r"\log\big( 1 + \exp(-y_S F) \big)"

_SHARED = (
    (r"y_S", "the label of the query, $+1$ or $-1$"),
    (r"g", "the derivative of the loss by $F$: $g = -y_S\\,\\sigma(-y_S F)$ with the logistic function $\\sigma$"),
    (r"\zeta", "the derivative of $F$ by $h$: $\\zeta_i = r_i\\,\\mathbf{1}[h_i > 0]$, 0 where neuron $i$ is inactive"),
)
_TOKENS = (
    (r"p_l, \; p_q", "the demonstrations, tokens $l = 1, \\dots, L$, and the query"),
    (r"r", "the outer weights, which the library stores as $a$"),
    *_SHARED,
    (
        r"\omega, \; \phi_l",
        "$\\omega = W_O^T \\zeta$ and $\\phi_l = \\omega^T W_V\\, p_l$, with the mean $\\bar{\\phi}$ under attention",
    ),
    (r"\chi", "the sum $\\sum_l \\mathrm{attn}_l\\, (\\phi_l - \\bar{\\phi})\\, p_l$"),
)
_WORDS = (
    (r"x_l, \; y_l, \; x_q", "word and label of demonstration $l$, and the word of the query"),
    (r"W_Q^x, \; W_K^x, \; W_O^y", "the blocks that train: of words in queries and keys, and of labels in the MLP"),
    (r"r", "the outer weights"),
    *_SHARED,
)

FULL = Statement(
    about="All matrices",
    model=(
        r"\mathrm{attn}_l = \mathrm{softmax}_l\big( (W_K\, p_l)^T\, W_Q\, p_q \big), \quad "
        r"v = \sum_{l=1}^{L} \mathrm{attn}_l\, W_V\, p_l",
        r"h = W_O\, v, \quad F = r^T\, \mathrm{relu}(h)",
    ),
    loss=LOSS,
    symbols=_TOKENS,
)

MERGED = Statement(
    about="Queries and keys merged into one matrix",
    model=(
        r"\mathrm{attn}_l = \mathrm{softmax}_l\big( p_l^T\, W_{QK}\, p_q \big), \quad "
        r"v = \sum_{l=1}^{L} \mathrm{attn}_l\, W_V\, p_l",
        r"h = W_O\, v, \quad F = r^T\, \mathrm{relu}(h)",
    ),
    loss=LOSS,
    symbols=_TOKENS,
)

_REDUCED = (
    r"\mathrm{attn}_l = \mathrm{softmax}_l\big( (W_K^x\, x_l)^T\, W_Q^x\, x_q \big), \quad "
    r"v = \sum_{l=1}^{L} \mathrm{attn}_l\, y_l",
    r"h = W_O^y\, v, \quad F = r^T\, \mathrm{relu}(h)",
)

BLOCKS = Statement(
    about="The blocks that train",
    model=_REDUCED,
    loss=LOSS,
    symbols=(
        *_WORDS,
        (
            r"\phi_l",
            "$\\phi_l = \\omega^T y_l$ with $\\omega = (W_O^y)^T \\zeta$, and the mean $\\bar{\\phi}$ under attention",
        ),
        (r"\chi_x", "the sum $\\sum_l \\mathrm{attn}_l\\, (\\phi_l - \\bar{\\phi})\\, x_l$"),
    ),
)

ONE_CONCEPT = Statement(
    about="The blocks that train, on prompts of one concept $k$ without noise",
    model=_REDUCED,
    loss=LOSS,
    symbols=(
        *_WORDS,
        (r"a_k, \; b_k", "the words of concept $k$ are $a_k + b_k$ and $a_k - b_k$, with $a_k$ orthogonal to $b_k$"),
        (r"c_k, \; d_k", "its labels are $c_k + d_k$ and $c_k - d_k$, likewise"),
        (
            r"\mathrm{attn}_+, \; \mathrm{attn}_-",
            "the attention on the demonstrations with the query's sign, and with the other",
        ),
        (r"w_i", "row $i$ of $W_O^y$"),
    ),
)
