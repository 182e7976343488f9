"""Names, docstrings, sources and messages of others in a report: nothing of them hides, turns text round, or makes a line."""

import json
import re
from dataclasses import fields, replace

import numpy as np
import pytest

import nlicl
from nlicl.audit import AuditReport, FormulaReport
from nlicl.audit.report.gradient import ArgumentReport, GradientReport, ProductReport
from nlicl.audit.report.html import page
from nlicl.audit.report.table import table
from nlicl.audit.report.tex import equation
from nlicl.core.text import INVISIBLE, visible
from nlicl.experiments.experiment import execute
from nlicl.papers import li2024

NASTY = "\u202ea\x1b[31m\udcff\u2028\u200b\x9b\u2066\x07é∂ש\nW_K       agree\r"
HIDDEN = re.compile(f"[{INVISIBLE}]")


def report_of(kind, **more):
    """A report whose every text is nasty."""
    texts = {each.name: NASTY for each in fields(kind) if each.type in ("str", str, "str | None", str | None)}
    texts |= {"verdict": "disagree", "expected": "agree"}
    found = {
        "draws": 3,
        "digits": 1.0,
        "worst": {"index": [0], "given": 1.0, "expected": 2.0, "draw": 0},
        "wrong_draws": [0],
        "diagnosis": [{"kind": NASTY, "detail": NASTY}],
        "activity": {NASTY + "_active": 0.5},
        "wrong_entries": [{"draw": 0, "index": [0], "given": 1.0, "expected": 2.0}],
        "heat_map": {"draw": 0, "errors": [[1.0, 0.5]]},
    }
    return kind(**texts | found | more)


def reports():
    yield AuditReport(NASTY, 0, 3, [report_of(FormulaReport)])
    product = ProductReport("disagree", NASTY, 1.0, NASTY, None, [{"kind": NASTY, "detail": NASTY}])
    one = report_of(ArgumentReport, points=[NASTY], kinks=[])
    yield GradientReport(NASTY, 0, [NASTY], [one], "disagree", NASTY, [NASTY], hessian=product)
    yield GradientReport(
        NASTY, 0, [NASTY], [replace(one, error=None, verdict="undetermined")], "undetermined", NASTY, []
    )


@pytest.mark.parametrize("report", list(reports()), ids=["paper", "function", "undetermined"])
def test_nothing_of_a_report_is_hidden(report, tmp_path):
    for text in (str(report), table(report, only_wrong=True), page(report)):
        assert not HIDDEN.search(text) and visible(NASTY[:-16]).split("\n")[0] in text
        text.encode()
    assert not [line for line in str(report).splitlines() if line.startswith("W_K       agree")]
    report.to_json(tmp_path / "report.json")
    text = (tmp_path / "report.json").read_text(encoding="utf-8")
    assert not HIDDEN.search(text) and "é∂ש" in text
    assert json.loads(text)["formulas"][0]["source"] == NASTY  # who reads it gets what there was


def test_equations_hide_nothing():
    assert "\x1c" not in equation(visible("a_i \x1c W_V")) and r"\u202e" in equation(visible("a \u202e b"))


def test_a_function_of_any_name():
    def grad(params, prompt):
        return params.a

    grad.__name__ = "a\u202eb\n"
    grad.__doc__ = "\x1b[31mred"
    text = str(nlicl.audit_formula(grad, wrt="a", draws=2))
    assert r"a\u202eb" in text and not HIDDEN.search(text)

    class Odd:
        __name__ = 5

        def __call__(self, params, prompt):
            return params.a

    assert nlicl.audit_formula(Odd(), wrt="a", draws=2).formulas[0].name == "formula"


@pytest.mark.parametrize("given", ["False", 0, 1, "no", [True], np.int64(1), 0.0])
def test_booleans_are_no_text(given):
    from nlicl.audit.marks import check_marks
    from nlicl.papers import li2024

    with pytest.raises(TypeError, match=r"query_attends is .*; expected True or False"):
        nlicl.audit_formula(li2024.formulas["a"], draws=2, query_attends=given)
    with pytest.raises(TypeError, match=r"query_attends is .*; expected True or False"):
        nlicl.audit.audit_paper(wrt="a", draws=2, query_attends=given)
    with pytest.raises(TypeError, match=r"query_attends is .*; expected True or False"):
        check_marks(li2024.PAPER.subject, query_attends=given)
    with pytest.raises(TypeError, match=r"resume is .*; expected True or False"):
        nlicl.train(li2024.Problem(), resume=given)
    with pytest.raises(TypeError, match=r"quick is .*; expected True or False"):
        list(execute([], [0], quick=given))


def test_reports_add_up_and_searches_keep_their_formula():
    def zero(params, prompt):
        return 0 * params.a

    one = nlicl.audit_formula(li2024.formulas["a"], draws=2)
    two = nlicl.audit_formula(zero, wrt="a", draws=2, query_attends=True, mend=1)
    both = one + two
    assert [entry.name for entry in both.formulas] == ["a", "zero"] and both.verdict == "disagree"
    assert [search.of for search in both.searches] == [(1,)] and [search.of for search in two.searches] == [(0,)]
    assert both.searches[0].mending() is two.searches[0].mending()
    with pytest.raises(ValueError, match="draws is 2 in one report and 3 in the other; expected the same"):
        one + nlicl.audit_formula(zero, wrt="a", draws=3, query_attends=True)
    with pytest.raises(TypeError):
        one + 3


def test_a_repr_is_one_line_with_the_diagnosis():
    report = nlicl.audit_gradient(lambda x: x @ x, lambda x: x, np.array([0.3, 0.7]), mend=0)
    assert "scale: given = 1/2 times expected" in repr(report) and "\n" not in repr(report)
    report = nlicl.audit_formula(lambda params, prompt: -li2024.formulas["a"](params, prompt), wrt="a", draws=2, mend=0)
    assert "disagree (sign: " in repr(report) and "\n" not in repr(report)
