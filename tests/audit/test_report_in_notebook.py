"""Reports of the audit in a notebook: what `print` says, escaped, short, and never an error."""

import re
from dataclasses import fields

import numpy as np
import pytest

import nlicl
from nlicl.audit import AuditReport, FormulaReport
from nlicl.audit.report.gradient import ArgumentReport, GradientReport
from nlicl.core.text import INVISIBLE

HOSTILE = "<script>alert(1)</script>\u202e\nW agree"


def wrong(w):
    return 3 * w


def loss(w):
    return w @ w


@pytest.fixture(scope="module")
def report():
    return nlicl.audit_gradient(loss, wrong, np.array([1.0, -2.0, 0.5]), mend=20)


@pytest.mark.mends
def test_a_report_shows_what_print_says(report):
    shown = report._repr_html_()
    assert "disagree" in shown and "scale" in shown and "worst entry x[" in shown
    assert "mend, line" in shown and re.search(r"3 \* w.*-&gt;.*2 \* w", shown)
    assert "<img" in shown and len(shown) < 10_000


def test_a_formula_alone_is_shown(report):
    shown = report.arguments[0]._repr_html_()
    assert "wrong on 3 of 3" in shown and "scale" in shown and "d loss / d x" in shown
    assert shown.count("<div><b>x") == 1  # its name, once


def test_a_right_one_is_short():
    shown = nlicl.audit_gradient(loss, lambda w: 2 * w, np.ones(3))._repr_html_()
    assert "gradient: agree" in shown and "<ul>" not in shown and "<pre" not in shown and "<img" not in shown


def hostile(kind, **more):
    texts = {each.name: HOSTILE for each in fields(kind) if each.type in ("str", str, "str | None", str | None)}
    texts |= {"verdict": "disagree", "expected": "agree", "draws": 3, "digits": 1.0, "wrong_draws": [0]}
    texts["worst"] = {"index": [0], "given": 1.0, "expected": 2.0, "draw": 0}
    texts["diagnosis"] = [{"kind": HOSTILE, "detail": HOSTILE}]
    texts["heat_map"] = {"draw": 0, "errors": [[1.0, 0.5]]}
    return kind(**texts | {"facts": [HOSTILE], "mistakes": 2} | more)


def shown_of_hostile_ones():
    formula = hostile(FormulaReport)
    argument = hostile(ArgumentReport, points=[HOSTILE], kinks=[])
    yield AuditReport(HOSTILE, 0, 3, [formula] * 6)._repr_html_()
    yield GradientReport(HOSTILE, 0, [HOSTILE], [argument], "disagree", HOSTILE, [HOSTILE])._repr_html_()
    yield formula._repr_html_()
    yield argument._repr_html_()


@pytest.mark.parametrize("shown", list(shown_of_hostile_ones()))
def test_a_text_is_no_markup(shown):
    assert "<script" not in shown and "&lt;script&gt;" in shown
    assert not re.search(f"[{INVISIBLE}]", shown)
    assert "2 mistakes are made at once" in shown


def test_of_many_faulty_formulas_a_few_are_shown_in_full():
    formulas = [hostile(FormulaReport, name=f"formula {n}") for n in range(40)]
    shown = AuditReport("many", 0, 3, formulas)._repr_html_()
    assert shown.count("2 mistakes are made") == 4 and "36 more are not as expected" in shown
    assert "and 16 more" in shown


def test_a_broken_report_is_still_an_object(report):
    broken = AuditReport("paper", 0, 3, [object()])  # no formula at all
    assert broken._repr_html_() is None


def test_known_errata_are_no_fault():
    formula = hostile(FormulaReport, expected="disagree", error=None)
    shown = AuditReport("paper", 0, 3, [formula])._repr_html_()
    assert "(as expected)" in shown and "<ul>" not in shown
