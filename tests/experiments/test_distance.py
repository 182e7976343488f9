"""The page "How close are we?": every figure of a paper stands on it, with the numbers of its result."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from stored import RECIPES, figure

from nlicl.core.errors import InvalidValue
from nlicl.core.text import INVISIBLE
from nlicl.experiments import distance
from nlicl.experiments.claims import Claim, every, published
from nlicl.experiments.distance import distances, of_the_paper
from nlicl.experiments.figure import Original
from nlicl.experiments.series import Series, compare
from nlicl.papers.provenance import MEANINGS


@pytest.fixture(autouse=True)
def recipes(monkeypatch):
    """li2024 has three figures, of which two stand beside the paper's; the other papers have none."""
    monkeypatch.setattr(distance, "recipes_of", lambda paper: RECIPES if paper == "li2024" else {})


def test_a_figure_stands_on_the_page_with_its_numbers():
    lines = distances([figure()]).splitlines()
    (table,) = (line for line in lines if line.startswith("| Figure 2 (a), [`li2024:a`](#li2024-a) |"))
    known, ran, apart, unknown = table.strip("| ").split(" | ")[1:]
    assert known == "its curve [digitised]" and unknown == "how long an epoch is; a step was taken [ours]"
    assert ran == "seeds 0 to 2; settings: 1 [summary], 1 [recalled], 1 [derived]"
    assert apart == (
        "factor: median 2, largest 2 (ours, at 0), infinite at 1 of 3 points. "
        "order: 1 of 2 claims hold; **FAILS**: a above b: in 9 of 10. value: 0 of 1 claims hold; ?: the end: not measured"
    )
    assert "| ours | theirs | 3 | 2 | infinite | 2 | 0 | 5 |" in lines
    assert "- ours, against theirs: 0: 2, 1: 1, 2: infinite" in lines
    assert "| **FAILS** | order | a above b | in every seed | in 9 of 10 |" in lines
    assert "- [derived] eta = 1.0 (derived: near 1)" in lines and "- [summary] l = 20" in lines
    assert (
        "<details><summary>Notes: what differs from the paper's figure, and why</summary>\n\n- a note\n"
        in "\n".join(lines)
    )
    assert not any("it is so" in line for line in lines)  # a claim of ours alone


def test_what_was_not_run_and_what_is_ours_is_said():
    lines = distances([figure()]).splitlines()
    assert "| Figure 3, `li2024:b` | its order [paper] | not run | - | all numbers |" in lines
    assert "Figures of ours that stand beside none of the paper's: `c`." in lines
    assert not any(line.startswith("### li2024-b") for line in lines)


def test_claims_about_the_papers_text_in_a_figure_of_ours_are_shown():
    """They count for the status of nlicl compare, so that the page must have them."""
    lines = distances([figure("li2024-c", comparisons=[])]).splitlines()
    assert f"A figure of ours, with claims about the paper's text: {RECIPES['c'].title}." in lines
    assert "| **FAILS** | order | a above b | in every seed | in 9 of 10 |" in lines
    alone = distances([figure("li2024-c", claims=[every("ours", [1.0], 0)])])
    assert "### li2024-c" not in alone


def test_that_there_is_nothing_to_divide_is_said():
    assert "| no factor: no curve of it can be compared point by point. order: 1 of 2" in distances(
        [figure(comparisons=[])]
    )


def test_what_is_known_of_one_figure_is_said_once(monkeypatch):
    """Several of ours may stand beside one of the paper's."""
    both = RECIPES | {"d": replace(RECIPES["a"], name="d")}
    monkeypatch.setattr(distance, "recipes_of", lambda paper: both if paper == "li2024" else {})
    lines = distances([]).splitlines()
    assert "| Figure 2 (a), `li2024:d` | as for `li2024:a` | not run | - | as for `li2024:a` |" in lines
    assert sum("its curve [digitised]" in line for line in lines) == 1


def test_without_results_every_figure_is_not_run():
    assert distances([]).count("| not run |") == 2


def test_marks_that_occur_are_explained():
    page = distances([figure()])
    for mark in ("digitised", "ours", "paper", "summary", "recalled", "derived"):
        assert f"| [{mark}] | {MEANINGS[mark]} |" in page
    assert "| [quoted] |" not in page and "| [measured] |" not in page


@pytest.mark.parametrize(
    ("seeds", "options", "said"),
    [
        ([0, 1], {}, "seeds 0, 1;"),
        ([4], {"quick": True}, "a quick run; seed 4;"),
        ([0, 1, 2, 3], {"K": 5, "quick": True}, "a quick run; seeds 0 to 3; asked for: K = 5;"),
        ([0, 2, 4], {}, "seeds 0, 2, 4;"),
        ([0, 1, 10**15], {}, "seeds 0, 1, 1000000000000000;"),
    ],
)
def test_what_was_run_is_said(seeds, options, said):
    assert f"| {said} settings" in distances([figure(seeds=seeds, options=options)])


def test_a_result_with_nothing_to_compare():
    page = distances([figure(claims=[every("ours", [1.0], 0)], comparisons=[], settings={}, notes=[])])
    assert "| seeds 0 to 2; settings: none | nothing of it that could be compared |" in page
    assert "<details>" not in page
    assert of_the_paper(figure()) == figure().claims[1:]


def test_factors_that_are_all_infinite_and_those_that_never_are():
    x = np.array([1.0, 2.0])
    zero = compare(Series("none", x, np.zeros(2)), Series("theirs", x, np.ones(2)))
    assert "| factor: median infinite, infinite at 2 of 2 points. order" in distances([figure(comparisons=[zero])])
    same = compare(Series("same", x, np.ones(2)), Series("theirs", x, np.array([1.0, 3.0])))
    assert "| factor: median 2, largest 3 (same, at 2). order" in distances([figure(comparisons=[same])])


def test_texts_do_not_break_the_table():
    page = distances([figure(options={"a|b\n| c": "\x1b"})])
    assert "asked for: a\\|b \\| c = \\x1b" in page and "\x1b" not in page


NASTY = "x\u202e\x1b[31m\n| forged |\n# forged"


def test_texts_of_other_packages_hide_nothing(monkeypatch):
    """Whatever the names and titles of a paper, its recipes, and its curves are."""
    x = np.array([1.0])
    recipe = replace(RECIPES["a"], name=NASTY, title=NASTY, original=Original(NASTY, NASTY, NASTY))
    alone = replace(RECIPES["c"], name=f"c{NASTY}")
    monkeypatch.setattr(distance, "recipes_of", lambda paper: {NASTY: recipe, "c": alone} if paper == "li2024" else {})
    monkeypatch.setattr(distance, "load", lambda paper: SimpleNamespace(title=NASTY))
    claims = [published(Claim(NASTY, NASTY, NASTY, False), "order")]
    compared = [compare(Series(NASTY, x, x), Series(NASTY, x, x))]
    more = {"settings": {NASTY: [NASTY, NASTY]}, "notes": [NASTY]}
    page = distances([figure(f"li2024-{NASTY}", claims=claims, comparisons=compared, **more)])
    assert page.count("u202e") > 20 and not re.search(f"[{INVISIBLE}]|^(\\| forged|# forged)", page, re.MULTILINE)


def test_the_recipe_says_what_is_known_today():
    """Not the result, which may be older."""
    old = replace(figure().original, known="nothing")
    assert "its curve [digitised]" in distances([figure(original=old)])


def test_results_that_are_nobodys_or_there_twice():
    with pytest.raises(InvalidValue, match="'li2024-a' is there twice"):
        distances([figure(), figure()])
    for name in ("li2024-d", "nobody-a", "a", ""):
        with pytest.raises(InvalidValue, match=f"'{name}' is a figure of no paper; nlicl papers lists"):
            distances([figure(), figure(name)])


def test_papers_of_others_are_on_the_page_with_results_only(monkeypatch):
    names = [*distance.PAPERS.names(), "toy"]
    monkeypatch.setattr(type(distance.PAPERS), "names", lambda self: names)
    asked = []
    monkeypatch.setattr(distance, "recipes_of", lambda paper: asked.append(paper) or {})
    distances([])
    assert "toy" not in asked and "li2024" in asked
    with pytest.raises(InvalidValue, match="'toy-a' is a figure of no paper"):
        distances([figure("toy-a")])
    assert "toy" in asked
