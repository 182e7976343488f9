"""Bu, Huang, Han, Nitanda, Suzuki, Zhang, Wong: "Provably Transformers Harness Multi-Concept Word Semantics for Efficient
In-Context Learning" (NeurIPS 2024).

Words and labels as sparse codes over concepts with positive and negative semantics; softmax attention and a ReLU MLP that
learn them; gradients and their audit; the mechanism; the exact reduced recursion.

Marks say where a fact comes from: [paper] seen in public text of or about the paper, [quoted] words of the paper as a third
party quotes them, [recalled] from memory, unverified, [derived] by us and checked numerically. Only [paper] is the paper's own
statement as we read it, and no [recalled] or [derived] item is a quotation. `paper` has the settings of the paper's experiment
[quoted]; the defaults have widths, norms and noise of ours, and are quicker.

| paper                                | here                                                                          |
|--------------------------------------|-------------------------------------------------------------------------------|
| K1 concepts, dictionary of K columns | `concepts`, `dictionary` [quoted]; columns 2k and 2k+1 are mu_k^+, mu_k^-, from 0 |
| mu_k^+- = a_k +- b_k, q_k^+- = c_k +- d_k | `semantics.a`, `.b` (d_x, K1), `.c`, `.d` (d_y, K1) [recalled, signs paper] |
| x = M z + xi_x, y = Q z + xi_y       | `M` (d_x, K), `Q_labels` (d_y, K); z is `CodedPrompts.code` [sparse: paper]          |
| S = (x_1, y_1, .., x_L, y_L, x_{L+1}) | tokens (x_l; y_l), last the query (x_{L+1}; 0); L is `length` [recalled]     |
| y_S, e_l                             | `labels`; `signs` (B, L+1): the sign a token carries the shared concept with  |
| attn over the L demonstrations       | the query is no key; `query_attends` is False [recalled]                      |
| r in R^m, r_i = +-1/m, fixed         | `Params.a` [recalled]                                                         |
| W_Q^x, W_K^x; W_O^y                  | word columns of `W_Q`, `W_K`; `W_O` (m, d_y), for W_V = [0 I] [recalled]      |
| lambda, gamma; sigma_0, sigma_1      | `weight_decay`, `step_offset`; `sigma_0`, `sigma_1` [letters quoted]          |
| correct attention weight             | `mechanism.correct_attention` [paper]                                         |
"""

from ...models.transformer.prompts import Params
from ..paper import Paper, register
from . import closed, mechanism, recursion, reference, steps, theory, words
from ._shifts import Shift, shifts
from .cases import paper, problems, small, theory_case
from .gradients import TITLE, block_subject, formulas, merged_subject, one_concept_subject, subject
from .observer import Observer
from .prediction import Prediction, predict
from .problem import Problem
from .prompts import CodedPrompts, Prompt, Prompts
from .sampling import MATCHES
from .semantics import Semantics

__all__ = [
    "MATCHES",
    "PAPER",
    "TITLE",
    "CodedPrompts",
    "Observer",
    "Params",
    "Prediction",
    "Problem",
    "Prompt",
    "Prompts",
    "Semantics",
    "Shift",
    "block_subject",
    "closed",
    "formulas",
    "mechanism",
    "merged_subject",
    "one_concept_subject",
    "paper",
    "predict",
    "problems",
    "recursion",
    "reference",
    "shifts",
    "small",
    "steps",
    "subject",
    "theory",
    "theory_case",
    "words",
]

PAPER = register(
    Paper(
        name="bu2024",
        title=TITLE,
        subject=subject,
        Problem=Problem,
        Params=Params,
        problems=problems,
        notation={
            "eta": "learning_rate",
            "T": "steps",
            "B": "batch",
            "L": "length",
            "lambda": "weight_decay",
            "gamma": "step_offset",
            "K1": "concepts",
            "K": "dictionary",
            "d_X": "d_x",
            "d_Y": "d_y",
        },
        figures="nlicl.experiments.bu2024.figures",
        theorems="nlicl.experiments.bu2024.theorems",
        sweeps="nlicl.experiments.bu2024.sweeps",
    )
)
