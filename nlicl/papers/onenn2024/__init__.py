"""Li, Cao, Gao, He, Liu, Klusowski, Fan, Wang: "One-Layer Transformer Provably Learns One-Nearest Neighbor In Context"
(NeurIPS 2024), with its multiclass case by Athreya and Wang.

Softmax attention with one merged matrix learns to answer with the label of the nearest context. The binary model is the case
of scalar labels, K = None.

Marks say where a fact comes from: [paper] read in the full text of Athreya and Wang, who restate model, assumptions and lemmas
of Li et al.: what is said of Li et al. under this mark is Li et al. as they restate it; [quoted] from the experiments of Li et
al. as a third party quotes them; [summary] from a public summary page; [derived] by us and checked numerically; [ours] our
choice. The text of Li et al. was not read by us. Errors found in the text of Athreya and Wang are attributed to that text.

| papers                             | here                                                                             |
|------------------------------------|----------------------------------------------------------------------------------|
| N, d, K                            | `length`, `d`, `K`; K None: the binary labels of Li et al.                       |
| x_1 .. x_N, x_{N+1} in S^{d-1}     | `inputs` (B, N+1, d), the query, called x_0 here, last                           |
| c_i in [K]; y_i = +-1              | `classes` (B, N): 0 .. K-1; -1, +1                                               |
| u_c = e_c - 1/K                    | `codes`; of width 1 for binary labels                                            |
| i* = argmin ||x_0 - x_j||          | `nearest` (B,), from 0: from the data, never from scores                         |
| H, h_j = (x_j, u_j, 0), h_0 = (x_0, 0, 1) | `Prompt.P` (E, N+1), the query last; E = d + K + 1, or d + 2              |
| W; W_ab                            | `Params(W)` (E, E): score_j = h_j^T W h_0, rows for keys; `family.blocks`        |
| q_j; l                             | `attention` (B, N+1), the query's last; `answer` (B, K)                          |
| xi1, xi2                           | W = diag(xi1 I, 0, -xi2): `family.member`, `family.place`                        |
| kappa = (K-1)/K [ours], 1 if binary | `Problem.kappa`                                                                 |
| t_j = <x_j, x_0>                   | `population.Source.cosines`                                                      |
"""

from ...models.nearest.prompts import Params, Prompt, Prompts
from ...models.nearest.steps import Forward
from ..paper import Paper, register
from . import family, population
from .gradients import TITLE, formulas, subject
from .law import Law
from .observer import Observer
from .problem import Problem

problems = {
    "multiclass": Problem(),
    "binary": Problem(K=None, learning_rate=0.1),
    "theorem": Problem(sigma=48.0),
    "population": Problem(prompts="population", learning_rate=1.0, steps=2000),
    "population-exact": Problem(d=5, length=3, prompts="population", cosines="exact", learning_rate=1.0, steps=200),
    "perturbed": Problem(init_noise=1.0),
    "cross-entropy": Problem(loss="cross-entropy"),
    "squentropy": Problem(loss="squentropy"),
    "mixture": Problem(loss="mixture"),
}
"""Named settings, the default first."""

__all__ = [
    "PAPER",
    "TITLE",
    "Forward",
    "Law",
    "Observer",
    "Params",
    "Problem",
    "Prompt",
    "Prompts",
    "family",
    "formulas",
    "population",
    "problems",
    "subject",
]

PAPER = register(
    Paper(
        name="onenn2024",
        title=TITLE,
        subject=subject,
        Problem=Problem,
        Params=Params,
        problems=problems,
        notation={
            "N": "length",
            "eta": "learning_rate",
            "B": "batch",
            "T": "steps",
            "c": "mixture",
            "eps": "init_noise",
            "epsilon": "init_noise",
            "M": "draws",
        },
        figures="nlicl.experiments.onenn2024.figures",
        theorems="nlicl.experiments.onenn2024.theorems",
        sweeps="nlicl.experiments.onenn2024.sweeps",
    )
)
