"""Huang, Cheng, Liang: "In-Context Convergence of Transformers" (ICML 2024).

The data model, linear functions of features in context; softmax attention that learns them; gradients and their audit; the
dynamics of the population.

Marks say where a fact comes from: [paper] seen in public text of or about the paper, [quoted] its words as a third party
quotes them, [recalled] from memory, unverified, [derived] by us and checked numerically. Only [paper] is read by us as the
paper's own statement, and no [recalled] or [derived] item is a quotation. The theory names no numbers: defaults of `Problem`
are ours. Of the paper's experiment the number of prompts, the optimizer, its rate and the epochs are quoted: `Experiment` has
them, and says what is ours. Its curves are not known.

| paper                             | here                                                                              |
|-----------------------------------|-----------------------------------------------------------------------------------|
| v_1 .. v_K in R^d                 | `V` (d, K), orthonormal columns [paper]; v_1, the dominant one, has index 0       |
| p_k = P(x = v_k); N               | `frequencies` (K,); `length`                                                      |
| w, y = <w, x>                     | `omega` (B, K), omega_k = <w, v_k> [w recalled]; labels are real numbers [paper]  |
| M fixed prompts                   | `prompts` of `Experiment` [quoted]                                                |
| E(P)                              | `Prompt.P` (d+1, N+1): columns (x_i, y_i), last (x_query, 0) [recalled]           |
| M(.)                              | `Prompt.contexts`: the query's column is masked [recalled]                        |
| W^{KQ} = [Q 0; 0 0]               | `Params(Q)` (d, d), all that is trained: score_i = x_i^T Q x_query                |
| V_k(P), of size c_k               | `counts` (B, K)                                                                   |
| attn_i; Attn_k                    | `attention` (B, N); `Attn` (B, K), the sum over V_k [names paper, form recalled]  |
| A_k = v_k^T Q v_k                 | S[k,k] of S = V^T Q V, row key, column query [name paper, form recalled]          |
| B_{k,n} = v_n^T Q v_k, n != k     | S[n,k] [name paper, form recalled]                                                |
| alpha_k, beta_{k,n}               | increments of A_k, B_{k,n} in a step, over eta [form recalled, content derived]   |
| L; L_k                            | (1/2) E (yhat - y_query)^2 [1/2 recalled]; the same given x_query = v_k           |
"""

from ...models.regression.prompts import CodedPrompts, Params, Prompt, Prompts
from ...models.regression.steps import Forward
from ..paper import Paper, register
from . import adam, phases, population, reduced, reference, theory
from .experiment import Experiment
from .gradients import TITLE, formulas, population_subject, subject, task_averaged_subject
from .law import Law
from .observer import Observer
from .problem import Problem

problems = {
    "imbalanced": Problem(),
    "balanced": Problem.balanced(),
    "experiment": Experiment(),
    "experiment-balanced": Experiment.balanced(),
    "experiment-one-hot": Experiment(features="one-hot"),
    "experiment-one-hot-balanced": Experiment.balanced(features="one-hot"),
}
"""Named settings, the default first: those of the theory, and the paper's experiment with dense and with one-hot features."""

__all__ = [
    "PAPER",
    "TITLE",
    "CodedPrompts",
    "Experiment",
    "Forward",
    "Law",
    "Observer",
    "Params",
    "Problem",
    "Prompt",
    "Prompts",
    "adam",
    "formulas",
    "phases",
    "population",
    "population_subject",
    "problems",
    "reduced",
    "reference",
    "subject",
    "task_averaged_subject",
    "theory",
]

PAPER = register(
    Paper(
        name="huang2023",
        title=TITLE,
        subject=subject,
        Problem=Problem,
        Params=Params,
        problems=problems,
        notation={"eta": "learning_rate", "T": "steps", "B": "batch", "N": "length", "M": "prompts"},
        figures="nlicl.experiments.huang2023.figures",
        theorems="nlicl.experiments.huang2023.theorems",
        sweeps="nlicl.experiments.huang2023.sweeps",
    )
)
