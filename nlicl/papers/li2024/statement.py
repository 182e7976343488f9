"""The model of Li et al. 2024 and its loss in TeX, for a report's readers. docs/li2024.md says where each of it comes from."""

from ...audit.subject import Statement

__all__ = ["STATEMENT"]

STATEMENT = Statement(
    model=(
        r"F(\Psi; P) = a^T\, \mathrm{relu}(u), \quad u = W_O \sum_{i=1}^{l} W_V\, p_i\, \mathrm{attn}_i",
        r"\mathrm{attn}_i = \mathrm{softmax}_i\big( (W_K\, p_i)^T\, W_Q\, p_{\mathrm{query}} \big)",
    ),
    loss=r"\max(0,\; 1 - z F)",
    symbols=(
        (
            r"\Psi",
            "the parameters $W_Q, W_K$ ($m_a \\times d$), $W_V$ ($m_b \\times d$), $W_O$ ($m \\times m_b$), $a$ ($m$)",
        ),
        (r"p_i", "token $i$ of the prompt $P$, an example: its input above its label; there are $l$ of them"),
        (r"p_{\mathrm{query}}", "the query, whose label is asked for: the last token, with zeros for its label"),
        (r"z", "the label of the query, $+1$ or $-1$; the hinge loss is active where $1 - zF > 0$"),
        (r"g", "the derivative of the loss by $F$: $g = -z\\,\\mathbf{1}[1 - zF > 0]$"),
        (r"u_i, \; I_i", "the input of neuron $i$, and whether the neuron is active: $I_i = \\mathbf{1}[u_i > 0]$"),
        (r"\mathrm{attn}_s, \; \mathrm{sm}_s", "the attention of the query on token $s$, weights that sum to 1"),
        (
            r"s, r",
            "tokens that the query attends to: the $l$ examples, or $l + 1$ with the query itself where the query attends",
        ),
        (r"W_{O(i, \cdot)}", "row $i$ of $W_O$"),
    ),
)
