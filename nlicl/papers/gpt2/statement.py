"""GPT-2, its layers and their losses in TeX, for a report's readers. docs/gpt2.md and docs/gpt2-audit.md say more."""

from ...audit.subject import Statement

__all__ = ["LAYERS", "WHOLE"]

WHOLE = Statement(
    about="The whole model",
    model=(
        r"x_t = W_{in}\, p_t + b_{in} + \mathrm{wpe}_t",
        r"n = \mathrm{LN}_1(x), \quad (q, k, v) = W_{qkv}\, n + b_{qkv}, \quad "
        r"A_{tj} = \mathrm{softmax}_{j \le t}\big( q_t \cdot k_j / \sqrt{D} \big)",
        r"o_t = \sum_j A_{tj}\, v_j, \quad x \leftarrow x + W_o\, o + b_o",
        r"n = \mathrm{LN}_2(x), \quad u = W_{fc}\, n + b_{fc}, \quad x \leftarrow x + W_{pr}\, \mathrm{gelu}(u) + b_{pr}",
        r"y = \mathrm{LN}_f(x), \quad F_t = w_{out} \cdot y_t + b_{out}",
    ),
    loss=r"\frac{1}{R} \sum_t \max(0,\; 1 - z_t F_t)",
    symbols=(
        (
            r"p_t",
            "token $t$ of the prompt, a vector; the three lines in the middle are one block, of which there are several",
        ),
        (r"D", "the width of a head"),
        (r"z_t, \; R", "the labels, $+1$ or $-1$, of the tokens that are read, and how many these are"),
        (
            r"\mathrm{LN}(x)",
            "$\\gamma\\, \\hat{x} + \\beta$ with $\\hat{x} = (x - \\mathrm{mean}) / \\sqrt{\\mathrm{var} + \\epsilon}$",
        ),
        (r"g_t", "the derivative of the loss by $F_t$: $g_t = -z_t\\,\\mathbf{1}[1 - z_t F_t > 0] / R$"),
        (
            r"dx, \; dn, \; du, \; \dots",
            "the derivatives of the loss by $x$, $n$, $u$, and so on, at the same place of the model",
        ),
    ),
)

_READ_OFF = r"\sum c \cdot y + \frac{1}{2} \sum y^2"
_UPSTREAM = (r"c, \; dy", "a fixed random array, and the derivative of the loss by the layer's output: $dy = c + y$")


def _layer(about: str, model: str, *symbols: tuple[str, str]) -> Statement:
    return Statement(
        about=f"The layer {about} by itself", model=(model,), loss=_READ_OFF, symbols=(*symbols, _UPSTREAM)
    )


LAYERS = {
    "LayerNorm": _layer(
        "LayerNorm",
        r"y = \gamma\, \hat{x} + \beta, \quad \hat{x} = (x - \mathrm{mean})\, r, \quad r = 1 / \sqrt{\mathrm{var} + \epsilon}",
        (r"\mathrm{mean}, \; \mathrm{var}", "of one token's entries; the variance is the biased one"),
        (r"g", "the derivative by $\\hat{x}$: $g = \\gamma\\, dy$"),
    ),
    "Softmax": _layer(
        "Softmax",
        r"y_{tj} = A_{tj} = \frac{\exp(S_{tj})}{\sum_r \exp(S_{tr})}",
        (r"S_{tj}", "the score of query $t$ and token $j$; with a causal mask, sums run over tokens up to $t$ only"),
        (r"dA", "the derivative of the loss by $A$, which is $dy$"),
    ),
    "Attention": _layer(
        "Attention",
        r"y_t = o_t = \sum_j A_{tj}\, v_j, \quad A_{tj} = \mathrm{softmax}_j(S_{tj}), \quad S_{tj} = q_t \cdot k_j / \sqrt{D}",
        (r"q, k, v", "queries, keys and values, for each of $H$ heads"),
        (r"D", "the width of a head; with a causal mask, sums run over tokens up to $t$ only"),
        (r"do_t", "the derivative of the loss by $o_t$, which is $dy_t$"),
    ),
    "GELU": _layer(
        "GELU",
        r"y = \frac{u}{2}\, (1 + t), \quad t = \tanh\big( \sqrt{2/\pi}\, (u + 0.044715\, u^3) \big)",
        (r"dh", "the derivative of the loss by $y$, which is $dy$"),
    ),
    "Linear": _layer(
        "Linear",
        r"y = Y = X\, W^T + b",
        (r"X", "a row for each token"),
        (r"dY", "the derivative of the loss by $Y$, which is $dy$"),
    ),
}
