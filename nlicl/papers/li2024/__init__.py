"""Li, Wang, Lu, Cui, Chen: "How Do Nonlinear Transformers Learn and Generalize in In-Context Learning?" (ICML 2024).

The data model, the initialisation, the gradient formulas and the constants of the theorems.

Marks say where a fact comes from: [paper] seen in public text of or by the authors, [quoted] words of the paper as a third
party quotes them, [digitised] read off their figures, [summary] from a third-party summary, [recalled] from memory, [derived]
by us and checked numerically, [measured] in our runs. Only [paper] is read by us as the paper's own statement.

`problems` has the settings by name. "stated" starts as the paper says. "calibrated", the default, departs from that in the
outer weights a, and comes closer to the published figures. docs/li2024.md compares the two.

| paper                | here                                                                          |
|----------------------|-------------------------------------------------------------------------------|
| x = mu_j + kappa nu_k | a token's first d_X coordinates: an IDR or ODR and an IDI or ODI pattern     |
| y = +-q, 0           | its last d_Y coordinates: the label embedding; 0 for the query                |
| task (a, b)          | f = +1 on mu_a, -1 on mu_b, a coin elsewhere; patterns are counted from 0     |
| alpha, alpha'        | `alpha`: the share of contexts that carry mu_a or mu_b                        |
| l                    | `length`                                                                      |
| beta, kappa ~ U(-K, K) | norm of every pattern; coefficient of the irrelevant one                    |
| delta, xi            | scale of the initial W_Q, W_K, W_V; standard deviation of the initial W_O     |
| S_1                  | sum of an ODR pattern's coefficients in the IDR basis                         |
"""

from ...models.transformer.prompts import Params
from ..paper import Paper, register
from .errors import wrong
from .gpt2 import GPT2
from .gpt2_observer import GPT2Observer
from .gradients import TITLE, formulas, subject
from .observer import Observer
from .problem import Problem, sibling, stated
from .tasks import condition_3_2, cyclic_tasks
from .theory import batch_size, context_length, no_match_probability, number_of_neurons, number_of_steps

problems = {"calibrated": Problem(), "stated": stated, "sibling": sibling, "gpt2": GPT2(shortest=1)}
"""Named settings, the default first; "gpt2" is another model on the same prompts."""

__all__ = [
    "GPT2",
    "PAPER",
    "TITLE",
    "GPT2Observer",
    "Observer",
    "Params",
    "Problem",
    "batch_size",
    "condition_3_2",
    "context_length",
    "cyclic_tasks",
    "formulas",
    "no_match_probability",
    "number_of_neurons",
    "number_of_steps",
    "problems",
    "sibling",
    "stated",
    "subject",
    "wrong",
]

PAPER = register(
    Paper(
        name="li2024",
        title=TITLE,
        subject=subject,
        Problem=Problem,
        Params=Params,
        problems=problems,
        notation={"eta": "learning_rate", "T": "steps", "B": "batch", "l": "length"},
        figures="nlicl.experiments.li2024.figures",
        theorems="nlicl.experiments.li2024.theorems",
        sweeps="nlicl.experiments.li2024.sweeps",
    )
)
