"""What the problems of all papers share: settings that say where their values come from."""

import dataclasses
from dataclasses import dataclass

import pytest

from nlicl import papers
from nlicl.core.errors import InvalidValue
from nlicl.papers import li2024
from nlicl.papers.provenance import MEANINGS, marked_settings

SETTINGS = [(name, which) for name in papers.names() for which in papers.load(name).problems]


@pytest.mark.parametrize(("name", "which"), SETTINGS)
def test_every_setting_says_where_it_comes_from(name, which):
    problem = papers.load(name).problems[which]
    found = problem.settings()
    assert set(found) == {field.name for field in dataclasses.fields(problem)}
    usual = type(problem)()
    for field, (value, mark) in found.items():
        assert value == getattr(problem, field)
        assert mark in MEANINGS, field
        assert mark != "set here" or value != getattr(usual, field), field


def test_li2024_has_a_reason_for_every_default():
    """None is a choice of ours without one."""
    assert "ours" not in {mark for _, mark in li2024.Problem().settings().values()}


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


def test_a_mark_belongs_to_a_value():
    marks = {"size": "paper", "scale": {0.5: "ours", 2.0: "quoted"}}
    assert marked_settings(Toy(), marks) == {"size": [3, "paper"], "scale": [0.5, "ours"]}
    assert marked_settings(Toy(size=4, scale=2.0), marks) == {"size": [4, "set here"], "scale": [2.0, "quoted"]}
    assert marked_settings(Toy(scale=1.0), marks)["scale"] == [1.0, "set here"]


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        ({"size": "paper"}, "does not say where scale comes from"),
        ({"size": "paper", "scale": {1.0: "hearsay"}}, "hearsay"),
    ],
)
def test_no_field_goes_without_a_mark(marks, said):
    with pytest.raises(InvalidValue, match=said):
        marked_settings(Toy(), marks)
