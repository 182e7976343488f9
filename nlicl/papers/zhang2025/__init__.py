"""Zhang, Singh, Latham, Saxe: "Training Dynamics of In-Context Learning in Linear Attention" (ICML 2025, arXiv 2501.16265).

Multi-head linear attention on linear regression in context, with merged or with separate keys and queries, and softmax as a
switch; gradients and their audit; training from saddle to saddle; the classifier of Frei and Vardi 2024 as a special case.

Marks say where a fact comes from: [paper] abstracts and the authors' description of the paper, [source] read in the authors'
released code, [summary] a public reading note, [seen] read off the authors' published pictures by eye, [derived] by us and
checked numerically, [ours] a choice of ours. The full text of the paper was not read; no item is a quotation.

| paper                               | here                                                                              |
|-------------------------------------|-----------------------------------------------------------------------------------|
| X (D+1) x (N+1)                     | `Prompt.P`, columns xt_n = (x_n; y_n), last (x_query; 0); `tokens` has them as rows |
| w ~ N(0, I), y = <w, x>             | a task vector for each prompt, no noise [source]                                  |
| Lambda, lambda_d                    | `Problem.Lambda` (D, D), `eigenvalues` (D,), the largest first, of sum 1 [source] |
| N, H, R                             | `length`, `heads`, `rank`; rank None: merged keys and queries                     |
| W^V_h, W^KQ_h                       | `Params(V, W)` (H, E, E), E = D + 1: score of key t is xt_t^T W^KQ xt_query [source] |
| W^K_h, W^Q_h                        | `SeparateParams(V, K, Q)`, K and Q (H, R, E), W^KQ = W^K^T W^Q [source]           |
| 1/N before the sum over heads       | `scale`: None is 1/N, the paper's; 1 is the code's [source]                       |
| beta = (1/N) sum_n y_n x_n          | the context correlation [summary]                                                 |
| v_h, U_h; u, v_x                    | what acts at the initialisation; what is 0 there [summary]                        |
| Mbar = sum_h v_h U_h                | the effective matrix [ours]                                                       |
| L; L(M_m)                           | mean of (yhat - y_query)^2, without 1/2 [source]; its golden values               |
"""

from ...models.linear_attention.prompts import Params, Prompt, Prompts, SeparateParams
from ...models.linear_attention.statistics import Statistics
from ...models.linear_attention.steps import Forward
from ..paper import Paper, register
from . import population, reduced, reference
from .classifier import Accuracies, Classifier, accuracies
from .gradients import TITLE, formulas, subject, subjects
from .law import Law
from .observer import Observer, effective
from .problem import Problem

problems = {
    "merged": Problem(),
    "separate": Problem(heads=5, rank=1, init=0.01, P=80_000, learning_rate=0.02, steps=10_001),
    "ranks": Problem(
        d=8, heads=9, rank=2, init=5e-3, init_version="per head", P=80_000, learning_rate=0.02, steps=20_001
    ),
    "icl-iwl": Problem(covariance="white", icl=0.2, learning_rate=5e-4, steps=4001),
    "softmax-merged": Problem(heads=4, softmax=True, init=1e-4, P=1000, learning_rate=0.2, steps=3000),
    "softmax-separate": Problem(heads=5, rank=1, softmax=True, init=0.01, P=2000, learning_rate=0.2, steps=9000),
    "classifier": Classifier(),
}
"""Named settings, the default first: the authors' commands, of linear attention; softmax attention with settings of ours; the
classifier of Frei and Vardi."""

__all__ = [
    "PAPER",
    "TITLE",
    "Accuracies",
    "Classifier",
    "Forward",
    "Law",
    "Observer",
    "Params",
    "Problem",
    "Prompt",
    "Prompts",
    "SeparateParams",
    "Statistics",
    "accuracies",
    "effective",
    "formulas",
    "population",
    "problems",
    "reduced",
    "reference",
    "subject",
    "subjects",
]

PAPER = register(
    Paper(
        name="zhang2025",
        title=TITLE,
        subject=subject,
        Problem=Problem,
        Params=Params,
        problems=problems,
        notation={
            "D": "d",
            "N": "length",
            "seq_len": "length",
            "H": "heads",
            "R": "rank",
            "s": "scale",
            "lr": "learning_rate",
            "eta": "learning_rate",
            "c": "icl",
            "epochs": "steps",
            "T": "steps",
            "B": "tasks",
        },
        figures="nlicl.experiments.zhang2025.figures",
        theorems="nlicl.experiments.zhang2025.theorems",
        sweeps="nlicl.experiments.zhang2025.sweeps",
    )
)
