"""The gradient formulas of Li et al. 2024 and of Athreya and Wang, and what the audit needs to judge them."""

import numpy as np

from ...audit.subject import Formula, Point, Subject, fill
from ...models.front import loss_and_grad
from ...models.nearest import reference
from ...models.nearest.prompts import Params, Prompt, Prompts
from ...core.seeds import generator
from .seeds import Purpose

TITLE = "One-Layer Transformer Provably Learns One-Nearest Neighbor In Context (Li et al., NeurIPS 2024)"


def dW(params: Params, prompt: Prompt) -> np.ndarray:
    """sum_{j=0..N} q_j <r, v_j - l> h_j h_0^T, r = l - u, (E, E)."""
    l, q = reference.forward(params, prompt)
    r = l - prompt.target
    H, V = prompt.P, prompt.V
    return sum(q[j] * (r @ (V[:, j] - l)) * np.outer(H[:, j], prompt.h_0) for j in range(len(q)))


formulas = {"W": Formula(dW, "W", "W", "", "derived")}


def points(draws, seed, query_attends):
    rng = generator(Purpose.POINTS, seed)

    def some():
        while True:
            yield Point(
                "random",
                Params(rng.standard_normal((8, 8))),
                Prompts(rng.standard_normal((3, 5, 4)), rng.integers(0, 3, (3, 4)), 3),
            )

    return fill([], some(), draws)


mean = lambda params, prompts: np.mean([reference.loss(params, p) for p in prompts])
subject = Subject(
    name="onenn2024",
    title=TITLE,
    formulas=formulas,
    points=points,
    definition=lambda params, prompt: (reference.loss(params, prompt), np.empty(0)),
    kernel=mean,
    source=mean,
    gradient=lambda params, prompts: loss_and_grad(params, prompts)[1],
)
