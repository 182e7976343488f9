"""`nlicl papers`: what there is of each paper, each setting with its mark, as text and as JSON."""

import dataclasses
import json
import re
import sys

import pytest

from nlicl import papers
from nlicl.core.registry import PAPERS
from nlicl.experiments.registry import sweeps
from nlicl.papers.provenance import MEANINGS

SETTINGS = [(name, which) for name in papers.names() for which in papers.load(name).problems]


@pytest.mark.parametrize("name", papers.names())
def test_a_paper_counts_the_marks_of_its_settings(run, name):
    status, out, err = run("papers", name)
    assert (status, err) == (0, "") and out.endswith(f"what the marks mean: nlicl papers {name}:NAME\n")
    for which, problem in papers.load(name).problems.items():
        marks = [mark for _, mark in problem.settings().values()]
        counts = ", ".join(f"{marks.count(mark)} [{mark}]" for mark in MEANINGS if mark in marks)
        assert re.search(rf"^    {re.escape(which)} +{re.escape(counts)}$", out, re.MULTILINE)
    table = out.split("  Settings, by")[1].splitlines()[1:-1]
    assert len({len(re.match(r" +[^ ]+ +", line)[0]) for line in table}) == 1  # they start in one column


@pytest.mark.parametrize(("name", "which"), SETTINGS)
def test_settings_are_listed_with_their_marks(run, name, which):
    status, out, err = run("papers", f"{name}:{which}")
    assert (status, err) == (0, "")
    problem = papers.load(name).problems[which]
    head, table, legend = out.strip("\n").split("\n\n")
    assert head.startswith(f"{name}:{which}, {type(problem).__name__}: ")
    found = [line.split(maxsplit=1) for line in table.splitlines()]
    optimizer = {"optimizer"} if hasattr(problem, "optimizer") else set()
    assert {key for key, _ in found} == {field.name for field in dataclasses.fields(problem)} | optimizer
    settings = problem.settings()
    for key, rest in found:
        value, mark = settings[key]
        assert rest.split("[")[-1] == f"{mark}]" and rest.removesuffix(f"[{mark}]").strip() == str(value)
    meanings = {
        mark: meaning.strip() for mark, _, meaning in (line.strip().partition("]") for line in legend.splitlines())
    }
    assert meanings == {f"[{mark}": MEANINGS[mark] for _, mark in settings.values()}


def test_all_of_it_as_json(run, tmp_path):
    file = tmp_path / "papers.json"
    status, out, err = run("papers", "--json", file)
    assert (status, err) == (0, "") and out == run("papers")[1]
    data = json.loads(file.read_text(encoding="utf-8"))
    assert run("papers", "--json", "-") == (0, file.read_text(encoding="utf-8"), "")
    assert data["marks"] == MEANINGS and list(data["papers"]) == papers.names()
    for name, about in data["papers"].items():
        paper = papers.load(name)
        assert about["title"] == paper.title
        assert [each["name"] for each in about["formulas"]] == list(paper.formulas)
        keys = {"name", "wrt", "expected", "equation", "source", "domain", "erratum"}
        assert all(set(each) == keys for each in about["formulas"])
        assert all(set(each) == {"name", "title", "original"} for each in about["figures"])
        assert all(set(each) == {"name", "title"} for each in about["theorems"])
        known = sweeps(name)
        assert [each["name"] for each in about["sweeps"]] == list(known)
        for each in about["sweeps"]:
            named = known[each["name"]]
            assert (each["title"], each["claim"]) == (named.title, named.claim)
            theory = {axis: {"exponent": said.exponent, "source": said.source} for axis, said in named.theory.items()}
            assert each["theory"] == theory
        assert list(about["problems"]) == list(paper.problems)
        for which, problem in paper.problems.items():
            assert about["problems"][which]["type"] == type(problem).__name__
            marks = {key: mark for key, (_, mark) in about["problems"][which]["settings"].items()}
            assert marks == {key: mark for key, (_, mark) in problem.settings().items()}


@pytest.mark.parametrize("name", papers.names())
def test_sweeps_are_listed_with_how_they_are_run(run, name):
    out, known = run("papers", name)[1], sweeps(name)
    assert (f"  Sweeps, by nlicl sweep {name}:NAME, a rough version with --quick\n" in out) is bool(known)
    for each in known.values():
        assert re.search(rf"^    {re.escape(each.name)} +{re.escape(each.title)}$", out, re.MULTILINE)


def test_what_is_known_of_a_papers_figure(run, monkeypatch):
    from nlicl.experiments import registry
    from nlicl.experiments.figure import Original

    known = dict(registry.figures("bu2024"))
    known["ood"] = dataclasses.replace(known["ood"], original=Original("Figure 3", "its panels [paper]", "D*"))
    monkeypatch.setattr(registry, "figures", lambda name: known)
    status, out, _ = run("papers", "bu2024")
    assert status == 0 and "; beside Figure 3\n" in out
    (shown,) = (each for each in json.loads(run("papers", "bu2024", "--json", "-")[1])["papers"]["bu2024"]["figures"]
                if each["name"] == "ood")  # fmt: skip
    assert shown["original"] == {"name": "Figure 3", "known": "its panels [paper]", "unknown": "D*"}


def test_json_of_one_paper_and_of_one_of_its_settings(run):
    everything = json.loads(run("papers", "--json", "-")[1])["papers"]["li2024"]
    one = json.loads(run("papers", "li2024", "--json", "-")[1])["papers"]
    assert one == {"li2024": everything}
    which = json.loads(run("papers", "li2024:sibling", "--json", "-")[1])["papers"]["li2024"]
    assert which == {**everything, "problems": {"sibling": everything["problems"]["sibling"]}}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bu2024:refrence"], "bu2024 has no settings 'refrence' (did you mean reference?); it has reference"),
        (["bu2024:"], "bu2024:: expected PAPER or PAPER:NAME"),
        (["nobody:x"], "paper is 'nobody'; expected one of"),
        (["bu2024", "--json", "nowhere/x.json"], "--json nowhere/x.json: there is no folder nowhere; make it first"),
        (["bu2024", "--json", "."], "--json .: is a folder; expected the name of a file"),
    ],
)
def test_what_cannot_be_listed(run, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    status, out, err = run("papers", *arguments)
    assert (status, out) == (2, "") and said in err and err.count("\n") == 1


# ---- Papers of other packages

OTHER = """
from dataclasses import dataclass
from typing import NamedTuple
from nlicl.audit.subject import Subject
from nlicl.papers.paper import Paper, register


class Params(NamedTuple):
    Q: object


class Thing:
    def __repr__(self):
        return "a thing"


@dataclass(frozen=True)
class Problem:
    size: int = 3
{method}

def nothing(*_):
    pass


PAPER = register(
    Paper("other", "Other", Subject("other", "Other", {{}}, nothing, nothing, nothing, nothing, nothing), Problem, Params)
)
"""


@pytest.fixture
def other(tmp_path, monkeypatch, run):
    """other(method of its Problem) installs a paper, "other"; returns `run`."""

    def install(method):
        (tmp_path / "other_paper.py").write_text(OTHER.format(method=method), encoding="utf-8")
        about = tmp_path / "other-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text("[nlicl.papers]\nother = other_paper:PAPER\n")
        return run

    monkeypatch.syspath_prepend(tmp_path)
    yield install
    PAPERS._things.pop("other", None)
    sys.modules.pop("other_paper", None)


def returning(value):
    return f"\n    def settings(self):\n        return {value}\n"


def test_a_problem_without_settings_of_its_own(other):
    run = other("")
    status, out, err = run("papers", "other")
    assert (status, err) == (0, "") and "\n    default      no settings() of its own\n" in out
    status, out, err = run("papers", "other:default")
    assert (status, err) == (0, "") and "no settings() of its own" in out
    data = json.loads(run("papers", "--json", "-")[1])
    assert data["papers"]["other"]["problems"] == {"default": {"type": "Problem", "settings": None}}
    assert "li2024" in data["papers"]


def test_values_and_marks_of_somebody_elses(other):
    run = other(returning("{'size': [Thing(), 'ours'], 'b': (10**5000, 'hearsay'), 'c': [float('nan'), 'paper']}"))
    status, out, err = run("papers", "other:default")
    assert (status, err) == (0, "") and "a thing" in out and "[hearsay]  no mark of nlicl's" in out
    status, out, err = run("papers", "other", "--json", "-")
    found = json.loads(out)["papers"]["other"]["problems"]["default"]["settings"]
    assert status == 0 and found == {"size": ["a thing", "ours"], "b": ["10**5000", "hearsay"], "c": ["nan", "paper"]}
    assert "    default      1 [paper], 1 [ours], 1 [hearsay]\n" in run("papers", "other")[1]


@pytest.mark.parametrize(
    "value", ["3", "{'size': 3}", "{'size': [3]}", "{3: [3, 'ours']}", "{'size': [3, None]}", "None"]
)
def test_settings_that_are_none(other, value):
    run = other(returning(value))
    status, out, err = run("papers", "other:default")
    assert (status, out) == (2, "") and "expected a dict of name to [value, mark]" in err and err.count("\n") == 1
    status, out, err = run("papers")
    assert status == 2 and "settings() of other:default returns" in err and "li2024: " in out


def test_settings_that_raise_name_the_paper(other):
    run = other("\n    def settings(self):\n        raise KeyError('W_X')\n")
    status, _, err = run("papers", "other")
    assert status == 2 and "the paper other raises KeyError: 'W_X'" in err and err.count("\n") == 1
