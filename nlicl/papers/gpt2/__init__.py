"""GPT-2: Radford et al., "Language models are unsupervised multitask learners" (2019), on the prompts of Li et al. 2024.

The gradient of the whole and of each layer, written by hand, and their audit. The model's equations are in
`nlicl.models.gpt2.reference`; the data, the initial parameters and the training are those of `nlicl.papers.li2024.GPT2`.

Marks say where a fact comes from: [source] read in the released code of GPT-2, [derived] by us and checked numerically.
Nothing here is a quotation.
"""

from ...models.gpt2.prompts import Params, Prompt, Prompts
from ..paper import Paper, register
from .gradients import TITLE, backward, formulas, layer_subjects, subject
from .problem import Problem

__all__ = [
    "PAPER",
    "TITLE",
    "Params",
    "Problem",
    "Prompt",
    "Prompts",
    "backward",
    "formulas",
    "layer_subjects",
    "subject",
]

PAPER = register(
    Paper(
        name="gpt2",
        title=TITLE,
        subject=subject,
        Problem=Problem,
        Params=Params,
        problems={"usual": Problem(shortest=1)},
    )
)
