"""`report.formulas[0].at(15)`: one draw in hand. And what a failed audit says in a test."""

import copy
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

import nlicl
from nlicl.audit import Formula, FormulaReport, audit_paper
from nlicl.audit.bench import Bench
from nlicl.audit.functions import general
from nlicl.audit.report import AuditReport
from nlicl.papers import li2024

RIGHT = li2024.formulas["W_V"].function


def partly(params, prompt):
    """Half too large; no array where z = 1 and the query is short."""
    if prompt.z > 0:
        raise ValueError("z is positive")
    return 1.5 * RIGHT(params, prompt)


@pytest.fixture(scope="module")
def report():
    return nlicl.audit_formula(partly, paper="li2024", wrt="W_V", draws=8, mend=0)


def cube(x):
    return np.sum(x**3)


X = np.array([1.0, 2.0, 3.0])


@pytest.fixture(scope="module")
def of_function():
    return nlicl.audit_gradient(cube, lambda x: 2 * x**2, X, mend=0)


def test_a_draw_has_what_the_formula_got_and_gave(report):
    entry = report.formulas[0]
    assert entry.wrong_draws
    for n in range(8):
        draw = entry.at(n)
        assert draw.number == n
        np.testing.assert_allclose(draw.expected, RIGHT(draw.params, draw.prompt), rtol=1e-9, atol=1e-13)
        if draw.prompt.z > 0:
            assert draw.given is None and draw.wrong and "raises ValueError: z is positive" in draw.remark
            assert "z = 1" in draw.holds and f"Draw({n}, no array: " in repr(draw)
        else:
            np.testing.assert_array_equal(draw.given, partly(draw.params, draw.prompt))
            assert draw.wrong == (n in entry.wrong_draws) and draw.remark == ""
            assert ("wrong by " if draw.wrong else "right: ") in repr(draw) and "z = -1" in repr(draw)
        assert "\n" not in repr(draw)


def test_numbers_out_of_range_name_the_range(report, of_function):
    for entry, last in ((report.formulas[0], 7), (of_function.arguments[0], 2)):
        for wrong in (last + 1, -1):
            with pytest.raises(ValueError, match=f"draw is {wrong}; expected one of .* from 0 to {last}"):
                entry.at(wrong)
        for wrong in (True, 1.0, "1", None):
            with pytest.raises(TypeError, match=f"expected an integer from 0 to {last}"):
                entry.at(wrong)
        assert entry.at(np.int64(1)).number == 1


def test_what_is_made_anew_is_the_same_to_the_last_digit(report):
    draw = report.formulas[0].at(3)
    case = Bench(li2024.subject, 8, 0).single(False)[3]
    for one, other in zip(draw.params, case.params, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(draw.prompt.tokens, case.each[0].tokens)
    for again in (pickle.loads(pickle.dumps(report)), copy.deepcopy(report)):
        other = again.formulas[0].at(3)
        np.testing.assert_array_equal(other.given, draw.given)
        np.testing.assert_array_equal(other.params.W_Q, draw.params.W_Q)
        assert repr(other) == repr(draw)
    json.dumps(report.to_dict(), allow_nan=False)
    assert "hand" not in report.to_dict()["formulas"][0]


def test_a_paper_that_is_not_registered_is_told(report):
    mine = replace(li2024.subject, points=li2024.subject.points)
    own = nlicl.audit_formula(partly, paper=mine, wrt="W_V", draws=2, mend=0).formulas[0]
    assert own.at(1).number == 1
    own.hand.recipe = pickle.loads(pickle.dumps(replace(own.hand.recipe, subject=None)))
    with pytest.raises(ValueError, match=r"another process.*li2024.*Audit the formula again"):
        own.at(1)
    stored = {k: v for k, v in report.to_dict()["formulas"][0].items() if k not in ("repairs", "mend")}
    with pytest.raises(ValueError, match="this report on partly holds no draws"):
        FormulaReport(**stored).at(1)


def test_only_draws_that_were_judged_are_counted():
    formula = Formula(
        RIGHT, "square only", "W_V", "", "", domain="square", defined=lambda p: len(p.W_Q) == p.W_Q.shape[1]
    )
    entry = nlicl.audit_formula(formula, paper="li2024", draws=8).formulas[0]
    assert 0 < entry.draws < 8
    for n in range(entry.draws):
        draw = entry.at(n)
        assert len(draw.params.W_Q) == draw.params.W_Q.shape[1]
        np.testing.assert_allclose(draw.given, draw.expected, rtol=1e-9, atol=1e-13)


@pytest.mark.slow
def test_the_librarys_own_gradients_are_given_batches():
    for entry in audit_paper("li2024", wrt="W_V", draws=8, mend=0).formulas:
        draw = entry.at(entry.draws - 1)
        assert (len(draw.prompt) if entry.name.startswith("library") else draw.prompt.z) is not None
        assert draw.wrong == (entry.draws - 1 in entry.wrong_draws)


def test_a_place_of_any_function(of_function):
    entry = of_function.arguments[0]
    place = entry.at(0)
    assert (place.label, place.wrong) == ("x", True)
    np.testing.assert_array_equal(place.x, X)
    np.testing.assert_array_equal(place.given, 2 * X**2)
    np.testing.assert_allclose(place.expected, 3 * X**2)
    assert repr(place) == "PlaceInHand(0, wrong by 9 in the worst entry: x)"
    assert repr(pickle.loads(pickle.dumps(of_function)).arguments[0].at(2)) == repr(entry.at(2))
    right = nlicl.audit_gradient(cube, lambda x: 3 * x**2, X).arguments[0]
    assert repr(right.at(1)) == "PlaceInHand(1, right: near x (1))" and right.mistakes == 0
    assert entry.mistakes == 1


# ---- In a test


def test_a_failed_check_begins_with_what_is_wrong(report, of_function):
    with pytest.raises(AssertionError) as caught:
        report.check()
    first, _, rest = str(caught.value).partition("\n\n")
    assert first == report.formulas[0].in_short and "\n" not in first
    assert first.startswith("partly: disagree (") and "1.5 times" in first
    assert rest == str(report)
    with pytest.raises(AssertionError, match=r"^gradient: disagree\. Wrong in x"):
        of_function.check()
    for function in (AuditReport.check, general.assert_gradient):
        assert "__tracebackhide__" in function.__code__.co_varnames  # pytest shows the test's own line


def test_a_repr_is_one_line_with_the_diagnosis(report, of_function):
    for shown in (report, report.formulas[0], of_function, of_function.arguments[0]):
        assert "\n" not in repr(shown) and "disagree (" in repr(shown) and "times" in repr(shown)
    agrees = nlicl.audit_gradient(cube, lambda x: 3 * x**2, X).arguments[0]
    assert repr(agrees) == "ArgumentReport(x: agree)"
    raises = nlicl.audit_formula(lambda params, prompt: 1 / 0, paper="li2024", wrt="a", draws=2, mend=0)
    assert "undetermined (" in repr(raises) and "ZeroDivisionError" in repr(raises)
