"""The model of Huang et al. 2023 and its losses in TeX, for a report's readers. docs/huang2023.md says where it comes from."""

from ...audit.subject import Statement

__all__ = ["POPULATION", "PROMPT", "TASK_AVERAGED"]

_FEATURES = (r"v_n", "the features $v_1, \\dots, v_K$: every input is one of them")

PROMPT = Statement(
    about="One prompt, in Q",
    model=(
        r"\hat{y} = \sum_{i=1}^{N} \mathrm{attn}_i\, y_i, \quad "
        r"\mathrm{attn}_i = \frac{\exp(x_i^T Q\, x_{\mathrm{query}})}{\sum_{j=1}^{N} \exp(x_j^T Q\, x_{\mathrm{query}})}",
    ),
    loss=r"\frac{1}{2} (\hat{y} - y_{\mathrm{query}})^2",
    symbols=(
        (r"Q", "the parameter, a $d \\times d$ matrix: keys and queries of softmax attention, merged"),
        (r"x_i, \; y_i", "example $i$ of the prompt and its label; there are $N$ of them"),
        (r"x_{\mathrm{query}}, \; y_{\mathrm{query}}", "the query, and the label that is to be predicted"),
        (
            r"V, \; c",
            "the matrix of the distinct inputs $v_n$ as columns, and how often each occurs among the examples",
        ),
        (r"\omega_n, \; k", "the label that $v_n$ has under the prompt's task, and the number of the query's input"),
        (r"\mathrm{Attn}_n", "the attention on all examples with the input $v_n$ together"),
        (r"N+1", "the number of keys where the query attends to itself; its own label then counts as 0"),
    ),
)

TASK_AVERAGED = Statement(
    about="One prompt, averaged over its task, in S",
    model=(r"S = V^T Q\, V, \quad a_m = \mathrm{softmax}_m\big( S_{m,k} + \log c_m \big)",),
    loss=r"\frac{1}{2} \| a - e_k \|^2",
    symbols=(
        (r"S", "the parameter, $K \\times K$: the scores of features; row $m$ is a key, column $k$ is the query"),
        _FEATURES,
        (r"c_m, \; k", "how many examples have feature $m$, and which feature the query has"),
        (r"a_m", "the attention on all examples of feature $m$ together"),
        (r"e_k", "the unit vector of feature $k$"),
    ),
)

POPULATION = Statement(
    about="The population, in S",
    model=(
        r"\hat{y} = \sum_{i=1}^{N} \mathrm{attn}_i\, y_i, \quad y_i = \langle w, x_i \rangle, \quad "
        r"A_k = v_k^T Q\, v_k, \quad B_{k,n} = v_n^T Q\, v_k",
    ),
    loss=r"\frac{1}{2}\, \mathbb{E}\, (\hat{y} - \langle w, x_{\mathrm{query}} \rangle)^2",
    symbols=(
        (r"AB", "the parameter, $K \\times K$: $A_k$ on the diagonal, $B_{k,n}$ in row $n$ of column $k$"),
        _FEATURES,
        (r"\mathbb{E}", "the mean over tasks $w$ and over inputs, which are $v_k$ with probability $p_k$"),
        (r"\mathrm{Attn}_n", "the attention on all examples of feature $n$ together"),
        (r"D", "the increments $\\alpha_k$ and $\\beta_{k,n}$ of $A_k$ and $B_{k,n}$: minus the gradient"),
    ),
)
