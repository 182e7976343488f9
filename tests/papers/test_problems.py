"""What the problems of all papers share: settings that say where their values come from."""

import dataclasses
from dataclasses import dataclass

import pytest

from nlicl import papers
from nlicl.papers import li2024
from nlicl.papers.li2024.problem import MARKS
from nlicl.papers.problem import marked_settings

SETTINGS = [(name, which) for name in papers.names() for which in papers.load(name).problems]
KNOWN = {"paper", "digitised", "summary", "recalled", "derived", "measured", "ours"}


@pytest.mark.parametrize(("name", "which"), SETTINGS)
def test_every_setting_says_where_it_comes_from(name, which):
    problem = papers.load(name).problems[which]
    found = problem.settings()
    assert set(found) == {field.name for field in dataclasses.fields(problem)}
    usual = type(problem)()
    for field, (value, mark) in found.items():
        assert value == getattr(problem, field)
        assert mark == "set here" if value != getattr(usual, field) else mark in KNOWN, field


def test_li2024_marks_every_field():
    """None of its defaults is a choice of ours without a reason."""
    assert set(MARKS) == {field.name for field in dataclasses.fields(li2024.Problem)}
    assert set(MARKS.values()) <= KNOWN - {"ours"}


def test_training_tasks_are_recalled_only_if_they_are_the_cyclic_ones():
    four = li2024.Problem(M1=4)
    assert four.settings()["training_tasks"] == [li2024.cyclic_tasks(4), "recalled"]
    others = dataclasses.replace(four, training_tasks=((0, 2), (1, 3), (2, 0), (3, 1)))  # as many, others
    assert others.settings()["training_tasks"] == [others.training_tasks, "set here"]
    assert four.out_of_domain(M1=2).settings()["training_tasks"] == [(), "set here"]


@dataclass(frozen=True)
class Toy:
    size: int = 3
    scale: float = 0.5


def test_an_unmarked_default_is_ours():
    assert marked_settings(Toy(), {"size": "paper"}) == {"size": [3, "paper"], "scale": [0.5, "ours"]}
    assert marked_settings(Toy(size=4), {"size": "paper"}) == {"size": [4, "set here"], "scale": [0.5, "ours"]}
