"""What the problems of all papers share: marks of their settings, and what training takes where a paper says nothing."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from nlicl import papers
from nlicl.papers import bu2024, huang2023, li2024
from nlicl.papers.problem import BaseProblem

SETTINGS = [(name, which) for name in papers.names() for which in papers.load(name).problems]


@pytest.mark.parametrize(("name", "which"), SETTINGS)
def test_every_setting_says_where_it_comes_from(name, which):
    problem = papers.load(name).problems[which]
    found = problem.settings()
    assert set(found) == {field.name for field in dataclasses.fields(problem)}
    usual = type(problem)()
    for field, (value, mark) in found.items():
        assert value == getattr(problem, field)
        assert (mark == "set here") == (value != getattr(usual, field)), field


@pytest.mark.parametrize("name", papers.names())
def test_marks_are_of_fields_and_are_known(name):
    Problem = papers.load(name).Problem
    assert set(Problem.marks) <= {field.name for field in dataclasses.fields(Problem)}
    assert set(Problem.marks.values()) <= {"paper", "digitised", "summary", "recalled", "derived", "measured", "ours"}


def test_li2024_marks_every_field():
    """None of its defaults is a choice of ours without a reason."""
    assert set(li2024.Problem.marks) == {field.name for field in dataclasses.fields(li2024.Problem)}


def test_training_tasks_are_recalled_only_if_they_are_the_cyclic_ones():
    four = li2024.Problem(M1=4)
    assert four.settings()["training_tasks"] == [li2024.cyclic_tasks(4), "recalled"]
    others = dataclasses.replace(four, training_tasks=((0, 2), (1, 3), (2, 0), (3, 1)))  # as many, others
    assert others.settings()["training_tasks"] == [others.training_tasks, "set here"]
    assert four.out_of_domain(M1=2).settings()["training_tasks"] == [(), "set here"]


@pytest.mark.parametrize("problem", [li2024.Problem(), huang2023.Problem()])
def test_training_without_decay_schedule_and_mask_is_the_usual_one(problem):
    assert problem.weight_decay == 0 and problem.mask == {}
    assert [problem.schedule(t) for t in (0, 1, 1000)] == [1, 1, 1]


def test_bu2024_has_decay_schedule_and_mask():
    problem = bu2024.Problem()
    assert problem.weight_decay == 0.002 and set(problem.mask) == {"W_Q", "W_K"}
    assert problem.schedule(10_000) == 0.5


def test_what_they_train_on():
    assert [Problem.prompts for Problem in (li2024.Problem, bu2024.Problem, huang2023.Problem)] == [
        "fresh",
        "fresh",
        "population",
    ]


@dataclass(frozen=True)
class Toy(BaseProblem):
    size: int = 3
    scale: float = 0.5
    marks: ClassVar = {"size": "paper"}


def test_an_unmarked_default_is_ours():
    assert Toy().settings() == {"size": [3, "paper"], "scale": [0.5, "ours"]}
    assert Toy(size=4).settings() == {"size": [4, "set here"], "scale": [0.5, "ours"]}


def test_the_base_adds_no_setting():
    assert [field.name for field in dataclasses.fields(Toy)] == ["size", "scale"]
    assert np.all([Toy().weight_decay == 0, Toy().prompts == "fresh"])
