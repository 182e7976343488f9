"""Parameters, prompts and what models compute, in a notebook."""

from typing import NamedTuple

import numpy as np
import pytest

import nlicl
from nlicl.models.model import Batch
from nlicl.papers import bu2024, huang2023, li2024, onenn2024, zhang2025

LI = li2024.Problem(M1=4, M2=3, d_X=8, d_Y=3, length=5, m=6)
PROBLEMS = {
    "li2024": LI,
    "gpt2": li2024.GPT2(M1=4, M2=3, d_X=8, d_Y=3, length=5, layers=2, heads=2, width=6, hidden=7, positions=7),
    "huang2023": huang2023.Problem(K=4, length=6, d=5),
    "bu2024": bu2024.small,
    "onenn2024": onenn2024.Problem(),
    "zhang2025": zhang2025.Problem(),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_notebook_shows_them(name):
    problem = PROBLEMS[name]
    params, prompts = problem.initialize(seed=0), problem.sample(16, seed=0)
    things = {
        "params": params,
        "prompts": prompts,
        "prompt": prompts[0],
        "forward": nlicl.forward(params, prompts),
    }
    shown = {what: thing._repr_html_() for what, thing in things.items()}
    assert all(text and len(text) < 30_000 for text in shown.values()), shown
    assert all(f">{field}<" in shown["params"] for field in params._fields)
    assert "<img" in shown["params"] and "<img" in shown["prompt"] and "<img" in shown["prompts"]
    assert "Attention of the first prompt" in shown["forward"]


def test_bars_are_the_attention_of_the_first_prompt():
    params, prompts = LI.initialize(seed=0), LI.sample(3, seed=0)
    out = nlicl.forward(params, prompts)
    shown = out._repr_html_()
    assert shown.count("<rect") == 5 and all(f": {value:.4g}<" in shown for value in out.attention[0])


def test_parameters_of_millions_of_numbers_are_short():
    large = nlicl.Params(*(np.ones((2000, 2000)) for _ in range(4)), np.ones(2000))
    assert len(large._repr_html_()) < 10_000


def test_a_gradient_is_shown_as_parameters():
    assert "W_O" in nlicl.loss_and_grad(LI.initialize(seed=0), LI.sample(4, seed=0))[1]._repr_html_()


def test_hostile_numbers_leave_the_object():
    for odd in (None, "<b>", np.array(["<b>"]), np.array([np.nan])):
        shown = nlicl.Params(odd, odd, odd, odd, odd)._repr_html_()
        assert shown is None or "<b><" not in shown.replace("<div><b>", "")


class _Prompts(Batch):
    """A reader's own batch."""

    def __init__(self, prompt=None):
        self.inputs, self.prompt = np.eye(3), prompt

    length = 2

    def __len__(self):
        return 3

    def __getitem__(self, index):
        if self.prompt is None:
            raise RuntimeError
        return self.prompt


class _Prompt(NamedTuple):
    tokens: np.ndarray


def test_a_batch_of_one_s_own_is_shown():
    assert repr(_Prompts()) == "_Prompts(3 prompts of 2 contexts)"
    assert "inputs" in _Prompts()._repr_html_() and "<img" not in _Prompts()._repr_html_()
    assert "<img" in _Prompts(_Prompt(np.eye(2)))._repr_html_()
