"""Texts of others on pages of figures, in their data, and in reports of theorems: nothing hides, or makes a line."""

import json
import re

import numpy as np

from nlicl.cli.reproduce import print_claims
from nlicl.core.files import to_json
from nlicl.core.text import INVISIBLE
from nlicl.experiments.claims import Claim
from nlicl.experiments.figure import Figure
from nlicl.experiments.page import page
from nlicl.experiments.series import Comparison, Series
from nlicl.experiments.theorem import Condition, Theorem, report

NASTY = "a\u202e\x1b[31m\udcff\u2028\u200b\x9bé∂\n| holds | forged\r\n# forged"
HIDDEN = re.compile(f"[{INVISIBLE}]|^(\\| holds \\| forged|# forged)", re.MULTILINE)
CLAIM = Claim(NASTY, NASTY, NASTY, True)


def test_figures():
    series = Series(NASTY, np.arange(2.0), np.arange(2.0))
    figure = Figure(
        NASTY,
        {NASTY: [NASTY, NASTY]},
        [0],
        [series],
        [CLAIM],
        [series],
        [Comparison(NASTY, NASTY, *5 * [1.0], [(1.0, 1.0)])],
        [NASTY],
        "a-b",
    )
    text = page("a", "b", [figure])
    assert not re.search(f"[{INVISIBLE}]", text)
    assert text.count(r"a\u202e\x1b[31m\udcff\u2028\u200b\x9bé∂") >= 8
    assert not HIDDEN.search(text) and not HIDDEN.search(figure.to_csv())
    assert json.loads(to_json(figure.to_dict()))["title"] == NASTY


def test_theorems():
    theorem = Theorem(NASTY, NASTY, {NASTY: [NASTY, NASTY]}, [0], [Condition(NASTY, NASTY, True)], [CLAIM], [NASTY])
    assert not HIDDEN.search(report(theorem)) and r"\u202e" in report(theorem)


def test_claims_as_they_are_printed(run, monkeypatch):
    monkeypatch.setattr("nlicl.cli._doctor", lambda options: print_claims([CLAIM]) or 0)
    status, out, err = run("doctor")
    assert (status, err) == (0, "") and not HIDDEN.search(out) and out.count("\n") == 2
