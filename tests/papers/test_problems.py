"""What the problems of all papers share: settings that say where their values come from."""

import dataclasses
from dataclasses import dataclass

import pytest

from nlicl import papers
from nlicl.core.errors import InvalidValue
from nlicl.papers import bu2024, li2024
from nlicl.papers.provenance import MEANINGS, marked_settings

SETTINGS = [(name, which) for name in papers.names() for which in papers.load(name).problems]
KINDS = {
    kind: None
    for name in papers.names()
    for paper in [papers.load(name)]
    for kind in map(type, paper.problems.values())
}


def check_marks(problem):
    """Every field of a problem has its value and a mark, and only what is not its default is set here."""
    found = problem.settings()
    names = [field.name for field in dataclasses.fields(problem)] + ["optimizer"] * hasattr(problem, "optimizer")
    fields = {name: getattr(problem, name) for name in names}
    assert found.keys() == fields.keys()
    usual = type(problem)()
    for name, pair in found.items():
        assert isinstance(pair, list) and len(pair) == 2, name
        value, mark = pair
        assert value == fields[name] and type(value) is type(fields[name]), name
        assert mark in MEANINGS, name
        assert mark != "set here" or value != getattr(usual, name), name


@pytest.mark.parametrize(("name", "which"), SETTINGS)
def test_every_setting_says_where_it_comes_from(name, which):
    check_marks(papers.load(name).problems[which])


def test_the_kinds_of_problems_are_all_there():
    """The test below would pass on an empty list."""
    names = {f"{kind.__module__.split('.')[2]}.{kind.__name__}" for kind in KINDS}
    assert names >= {"li2024.Problem", "li2024.GPT2", "huang2023.Problem", "bu2024.Problem"}
    assert {name for name, _ in SETTINGS} >= {"li2024", "huang2023", "bu2024", "gpt2"}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_default_has_a_mark_of_its_own(kind):
    """A default is never "set here": that says nothing of where it comes from."""
    usual = kind()
    check_marks(usual)
    assert [name for name, (_, mark) in usual.settings().items() if mark == "set here"] == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_a_new_field_without_a_mark_is_seen(kind):
    more = dataclasses.make_dataclass("More", [("new", int, 3)], bases=(kind,), frozen=True)
    with pytest.raises(InvalidValue, match="does not say where new comes from"):
        more().settings()


@pytest.mark.parametrize("spoil", ["left out", "unknown", "of another value", "none", "set here"])
def test_the_check_of_marks_sees_a_wrong_one(spoil, monkeypatch):
    kind = next(iter(KINDS))
    right = kind().settings()
    name = next(iter(right))
    wrong = {
        "left out": {key: pair for key, pair in right.items() if key != name},
        "unknown": right | {name: [right[name][0], "hearsay"]},
        "of another value": right | {name: [None, right[name][1]]},
        "none": right | {name: right[name][:1]},
        "set here": right | {name: [right[name][0], "set here"]},
    }
    check_marks(kind())
    monkeypatch.setattr(kind, "settings", lambda self: wrong[spoil])
    with pytest.raises(AssertionError):
        check_marks(kind())


def test_li2024_has_a_reason_for_every_default():
    """None is a choice of ours without one."""
    assert "ours" not in {mark for _, mark in li2024.Problem().settings().values()}


QUOTED = {"alpha", "length", "m_a", "m_b", "delta"}


@pytest.mark.parametrize("which", ["calibrated", "stated", "sibling", "gpt2"])
def test_what_a_third_party_quotes_of_li2024_is_marked(which):
    found = {name for name, (_, mark) in li2024.problems[which].settings().items() if mark == "quoted"}
    assert (
        found
        == {
            "calibrated": QUOTED,
            "stated": QUOTED | {"a_scale"},
            "sibling": QUOTED | {"a_scale"},
            "gpt2": {"alpha", "length"},
        }[which]
    )


def test_a_value_that_is_not_quoted_loses_the_mark():
    found = dataclasses.replace(li2024.stated, a_scale="2/m", m_a=20, d_X=40, delta=0.15, alpha=0.7).settings()
    assert found["a_scale"] == ["2/m", "derived"]
    assert {found[name][1] for name in ("m_a", "delta", "alpha", "d_X")} == {"set here"}
    assert found["m_b"] == [60, "quoted"]
    assert li2024.Problem(d_X=40).settings()["m_a"] == [None, "set here"]  # it stands for d = 70


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


@dataclass(frozen=True)
class Listed:
    """A default of another package need not be hashable."""

    sizes: list = dataclasses.field(default_factory=lambda: [1, 2])


def test_a_default_may_be_a_list():
    assert marked_settings(Listed(), {"sizes": "paper"}) == {"sizes": [[1, 2], "paper"]}
    assert marked_settings(Listed([3]), {"sizes": "paper"}) == {"sizes": [[3], "set here"]}


def test_the_rate_that_weight_decay_gives_is_derived():
    """At whatever lambda and gamma; a rate that is given is not, be it the default's."""
    for problem, mark in (
        (bu2024.small, "derived"),
        (bu2024.Problem(weight_decay=0.01), "derived"),
        (bu2024.Problem(learning_rate=0.1, weight_decay=0.01), "set here"),
        (bu2024.Problem(learning_rate=0.2, weight_decay=0.0), "set here"),
    ):
        assert problem.settings()["learning_rate"] == [problem.learning_rate, mark]


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


def test_replacing_a_field_that_others_rest_on_says_what_to_do():
    with pytest.raises(InvalidValue, match="training_tasks=None takes the usual ones of this M1"):
        dataclasses.replace(li2024.Problem(), M1=4)
    assert dataclasses.replace(li2024.Problem(), M1=4, training_tasks=None) == li2024.Problem(M1=4)
