"""Pages and headlines of what nobody means to write: texts that hold markup, bombs of TeX, numbers out of all proportion."""

import html
import re
import time

import numpy as np
import pytest

import nlicl
from nlicl.audit import AuditReport, Formula
from nlicl.audit.bench import Bench
from nlicl.audit.facts import Judged, plain_facts
from nlicl.audit.report.columns import Background
from nlicl.audit.report.findings import FormulaReport
from nlicl.audit.report.headline import headline, sentences
from nlicl.audit.report.html import page
from nlicl.audit.report.plain import to_tex
from nlicl.audit.report.tex import equation
from nlicl.papers import li2024

SQUARE = np.array([[1.0, 2.0], [2.0, 5.0]])


def items(report):
    """The list of what is wrong, as text."""
    return [html.unescape(re.sub("<.*?>", "", item)) for item in re.findall("<li.*?</li>", page(report), re.DOTALL)]


def audited(function, wrt="W_K", draws=6):
    return AuditReport(
        "li2024", 0, draws, [Bench(li2024.subject, draws, 0).audit(Formula(function, "dg", wrt, "", ""))]
    )


def failing(params, prompt):
    if prompt.z > 0:
        raise ValueError("<script>alert('x')</script>. And so on")
    return np.zeros_like(params.W_K)


@pytest.mark.parametrize("text", ["1[" * 3000 + "x_1", "x_{" * 3000, "sqrt(" * 3000 + "x_1"])
def test_brackets_in_brackets_are_no_formula(text):
    start = time.perf_counter()
    assert to_tex(text) == "" and equation(text) == f"<p>{text}</p>"
    assert time.perf_counter() - start < 2


def test_a_sentence_ends_where_the_headline_ends_it():
    report = audited(failing)
    first, *rest = sentences(report)
    assert not rest and "And so on" in first
    shown = html.unescape(re.findall("<h1>(.*?)</h1>", page(report))[0])
    assert shown == first == headline(report) and "<script" not in page(report)
    assert sum("raises ValueError" in item for item in items(report)) == 1


def test_a_name_keeps_its_letters():
    def dg(params, prompt):
        return None

    assert any(item.startswith("dg returns None") for item in items(audited(dg)))


@pytest.mark.parametrize(("value", "not_said"), [(1e308, "should be zero"), (1e-320, "has the wrong sign")])
def test_numbers_out_of_all_proportion_get_no_false_facts(value, not_said):
    cases = Bench(li2024.subject, 6, 0).single(False)
    given = {n: np.full_like(case.params.W_K, value) for n, case in enumerate(cases)}
    bad = [n for n, case in enumerate(cases) if value > 1 or case.complex_step("W_K")[0].any()]
    facts = plain_facts(Judged("W_K", cases, given, bad, li2024.subject), [{"kind": "unknown", "detail": ""}])
    assert not any(not_said in fact or "all 6 draws where it is wrong and should not be" in fact for fact in facts)


@pytest.mark.parametrize(("n", "words"), [(4, "One more verdict is not as"), (5, "2 more verdicts are not as")])
def test_verdicts_are_counted_in_words_that_fit(n, words):
    bad = [
        FormulaReport("dg", "a", "dg", "", "agree", None, 20, verdict="disagree", background=Background(role="formula"))
        for _ in range(n)
    ]
    assert f"{words} expected." in headline(AuditReport("li2024", 0, 20, bad))


def test_a_gradient_that_is_right_at_some_points_only_is_said_to_be():
    report = nlicl.audit_gradient(
        lambda x: np.sum(x @ x), lambda x: np.add.outer(x.sum(axis=0), x.sum(axis=0)), SQUARE, mend=0
    )
    assert report.verdict == "agree" and report.formulas[0].elsewhere == [3]
    assert "d loss / d x at 3 of 4 points, just those where x is symmetric, to 1" in headline(report)
    places = [report.formulas[0].at(n) for n in range(4)]
    assert [place.wrong for place in places] == [False, False, False, True]


def test_nan_is_wrong_wherever_it_is():
    report = nlicl.audit_gradient(lambda x: x @ x / 2, lambda x: x * np.nan, np.array([1.0, 2.0, 3.0]), mend=0)
    assert report.formulas[0].wrong_draws == [0, 1, 2] and "at all 3 points" in headline(report)
    assert "the same array" not in str(report)


def test_a_wrong_entry_on_a_kink_is_not_wrong_by_nothing():
    report = nlicl.audit_gradient(
        lambda x: np.sum(abs(x)), lambda x: np.sign(x) + 3.0 * (x == 0), np.array([0.0, 1.0, -2.0]), mend=0
    )
    assert repr(report.formulas[0].at(0)) == "PlaceInHand(0, wrong: x)"


def test_a_wrong_hessian_is_not_lost_in_a_sum():
    report = nlicl.audit_gradient(lambda x: x @ x / 2, lambda x: x, np.ones(3), hessian=lambda x: 2 * np.eye(3), mend=0)
    assert report.verdict == "disagree"
    with pytest.raises(TypeError, match="do not add up"):
        report + report


def test_float32_on_some_draws_is_no_kink():
    right = li2024.formulas["W_V"].function

    def dg(params, prompt):
        return np.float32(right(params, prompt)) if prompt.z > 0 else right(params, prompt)

    report = audited(dg, "W_V")
    assert report.verdict == "disagree"
    assert [item["kind"] for item in report.formulas[0].diagnosis] == ["precision"] and "kink" not in str(
        report.formulas[0]
    )
