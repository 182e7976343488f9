"""The audit: right formulas agree in every dress, wrong ones never do, and where nothing was tested it says so."""

import dataclasses
import json
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pytest

import nlicl
from nlicl import Prompts, loss_and_grad
from nlicl.audit import AuditReport, Formula, Point, Subject, audit_formula, audit_paper, fill, kinks, verdict
from nlicl.audit.bench import Bench
from nlicl.audit.witnesses import Case, taylor_slope
from nlicl.cli import main
from nlicl.papers import li2024

SUBJECT = li2024.subject
NAMES = ("W_Q", "W_K", "W_V", "W_O", "a")


@lru_cache(None)
def bench(draws=20, seed=0):
    return Bench(SUBJECT, draws, seed)


@lru_cache(None)
def whole(draws=20, seed=0):
    return audit_paper(draws=draws, seed=seed)


def report_on(function, wrt, attends=False):
    return bench().audit(Formula(function, "given", wrt, "", ""), attends)


def right(wrt):
    return li2024.formulas[wrt].function


# ---- What is registered


@pytest.mark.parametrize(
    "draws, seed",
    [(20, 0), pytest.param(8, 1, marks=pytest.mark.slow), pytest.param(11, 2, marks=pytest.mark.slow), (4, 3)],
)
def test_everything_registered_gets_its_expected_verdict(draws, seed):
    report = whole(draws, seed)
    assert report.ok, str(report)
    assert [f.name for f in report.formulas[:5]] == list(NAMES)
    expected = ["agree"] * 10 + ["disagree"] * 5
    assert [f.verdict for f in report.formulas] == expected
    assert all(f.control_caught for f in report.formulas)


def test_the_other_model():
    report = audit_paper(draws=8, seed=1, query_attends=True)
    assert report.ok, str(report)
    assert all(f.query_attends for f in report.formulas)
    assert [f.verdict for f in report.formulas] == ["agree"] * 10 + ["disagree"] * 5


def test_how_closely_right_formulas_agree():
    for formula in whole().formulas:
        if formula.expected == "agree":
            assert formula.witnesses["complex_step"] <= 1e-13, formula.name
            assert formula.witnesses["complex_step_reference"] <= 1e-13, formula.name
            assert formula.witnesses["extended"] <= 1e-11, formula.name
            assert formula.witnesses["finite_difference"] <= 1e-6, formula.name
            assert formula.digits >= 13
            assert formula.cosine == pytest.approx(1, abs=1e-14)
            slope = formula.witnesses["taylor_slope"]
            linear = formula.wrt in ("W_V", "W_O", "a")  # the loss is, on one smooth piece
            assert (slope is None) if linear else slope == pytest.approx(2, abs=0.1)


def test_the_slope_of_wrong_formulas_is_1():
    for formula in whole().formulas:
        if "_printed" in formula.name:
            assert formula.witnesses["taylor_slope"] == pytest.approx(1, abs=0.1)


def test_draws_are_of_every_kind():
    cases = bench().single(False)
    assert len(cases) == 20
    labels = " ".join(case.label for case in cases)
    for word in ("rectangular", "square", "the paper's initialisation", "trained", "pruned"):
        assert word in labels
    active = [case.margins[-1] > 0 for case in cases]
    assert 0.25 < np.mean(active) < 0.9
    square = [case.params for case in cases if case.params.W_Q.shape[0] == case.params.W_Q.shape[1]]
    assert any(not np.allclose(params.W_Q, params.W_Q.T) for params in square)


def test_few_draws_still_have_both_sides_of_the_hinge():
    for seed in range(5):
        for attends in (False, True):
            active = [case.margins[-1] > 0 for case in Bench(SUBJECT, 2, seed).single(attends)]
            assert sorted(active) == [False, True]


def test_the_same_seed_the_same_report():
    one, other = (audit_formula(li2024.formulas["a"], draws=4, seed=5).to_dict() for _ in range(2))
    assert one == other
    assert one != audit_formula(li2024.formulas["a"], draws=4, seed=6).to_dict()


# ---- The report


FIELDS = {"wrt", "equation", "source", "verdict", "expected", "erratum", "max_relative_error", "digits", "cosine", "worst",
          "witnesses", "activity", "control_caught", "diagnosis"}  # fmt: skip


def test_json_of_a_paper(tmp_path):
    report = whole()
    report.to_json(tmp_path / "report.json")
    data = json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)
    assert data == json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert {k: data[k] for k in ("nlicl", "paper", "seed", "draws")} == {
        "nlicl": nlicl.__version__, "paper": "li2024", "seed": 0, "draws": 20}  # fmt: skip
    for entry in data["formulas"]:
        assert entry.keys() >= FIELDS
        assert entry["witnesses"].keys() >= {"complex_step", "finite_difference", "extended", "taylor_slope"}
        assert entry["activity"].keys() >= {"hinge_active", "relu_active", "kink_margin"}
        assert entry["worst"].keys() == {"index", "given", "expected", "draw", "label", "sizes"}
        assert (entry["diagnosis"] == []) == (entry["verdict"] == "agree")
        assert entry["verdict"] == entry["expected"]
    names = [entry["name"] for entry in data["formulas"] if entry["erratum"]]
    assert names == [f"{name}_printed" for name in NAMES[:4]] + ["negative control"]


def test_json_of_every_kind_of_failure(tmp_path):
    for function in (lambda p, x: right("a")(p, x) * np.nan, lambda p, x: None, lambda p, x: np.zeros(99),
                     lambda p, x: np.full(len(p.a), np.inf), lambda p, x: 1 / 0):  # fmt: skip
        report = audit_formula(function, wrt="a", draws=4)
        text = json.dumps(report.to_dict(), allow_nan=False)
        assert json.loads(text)["formulas"][0]["verdict"] in ("disagree", "undetermined")
        assert str(report) and repr(report)
        assert not report.ok


def test_worst_entry_is_where_the_error_is():
    def off(params, prompt):
        gradient = right("W_V")(params, prompt)
        gradient[1, 2] += 1e-3 * abs(gradient).max()
        return gradient

    report = audit_formula(off, wrt="W_V").formulas[0]
    assert report.worst["index"] == [1, 2]
    case = bench().single(False)[report.worst["draw"]]
    assert report.worst["expected"] == case.complex_step("W_V")[0][1, 2]
    assert report.worst["given"] == off(case.params, case.prompts[0])[1, 2]
    active = [n for n, case in enumerate(bench().single(False)) if case.complex_step("W_V")[0].any()]
    assert report.wrong_draws == active


def test_verdicts_of_a_report_are_summed_up():
    def of(*verdicts):
        reports = [dataclasses.replace(whole().formulas[0], verdict=v) for v in verdicts]
        return AuditReport("li2024", 0, 20, reports).verdict

    assert of("agree", "agree") == "agree"
    assert of("agree", "undetermined") == "undetermined"
    assert of("agree", "undetermined", "disagree") == "disagree"


def test_plain_functions_and_formulas():
    def gradient(params, prompt):
        """My appendix, equation 7.

        More words."""
        return right("a")(params, prompt)

    entry = audit_formula(gradient, wrt="a", draws=4).formulas[0]
    assert (entry.verdict, entry.name, entry.equation, entry.source) == (
        "agree", "gradient", "My appendix, equation 7.", "test_audit.py")  # fmt: skip
    assert audit_formula(lambda params, prompt: right("a")(params, prompt), wrt="a", draws=4).verdict == "agree"
    assert audit_formula(li2024.formulas["a"], wrt="a", draws=4).verdict == "agree"


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        ({"paper": "li2042"}, ValueError, ["paper is 'li2042'", "'li2024'"]),
        ({"wrt": None}, ValueError, ["wrt is not given", "'W_Q', 'W_K', 'W_V', 'W_O', 'a'"]),
        ({"wrt": "W_X"}, ValueError, ["wrt is 'W_X'; expected one of 'W_Q'"]),
        ({"formula": li2024.formulas["W_Q"]}, ValueError, ["wrt is 'a'", "'W_Q'"]),
        ({"formula": np.zeros(3)}, TypeError, ["formula is a ndarray; expected a function"]),
        ({"formula": "W_Q"}, TypeError, ["formula is a str"]),
        ({"draws": 0}, ValueError, ["draws is 0; expected at least 2"]),
        ({"draws": 1}, ValueError, ["draws is 1; expected at least 2"]),
        ({"draws": 2.5}, TypeError, ["draws is 2.5; expected an integer"]),
        ({"draws": True}, TypeError, ["draws is True"]),
        ({"draws": "9"}, TypeError, ["draws is '9'"]),
        ({"draws": 10**9}, ValueError, ["draws is 1000000000; expected at most 10000"]),
        ({"seed": -1}, ValueError, ["seed is -1; expected at least 0"]),
        ({"seed": None}, TypeError, ["seed is None"]),
    ],
)
def test_bad_arguments(arguments, error, words):
    arguments = {"formula": right("a"), "wrt": "a"} | arguments
    with pytest.raises(error) as caught:
        audit_formula(**arguments)
    for word in words:
        assert word in str(caught.value)


def test_bad_arguments_of_a_paper():
    for arguments in ({"paper": "none"}, {"wrt": "W_X"}, {"draws": 1}, {"seed": -1}):
        with pytest.raises(ValueError):
            audit_paper(**arguments)


@pytest.mark.parametrize("seed", [2**40, 10**30])
def test_large_seeds_are_seeds(seed):
    assert audit_formula(li2024.formulas["a"], draws=2, seed=seed).verdict == "agree"


def test_few_draws_are_said_to_prove_little():
    few, many = (str(audit_formula(li2024.formulas["a"], draws=draws)) for draws in (14, 15))
    assert "So few draws as 14 leave out whole kinds of places and prove little" in few
    assert "prove little" not in many
    wrong = audit_formula(lambda p, x: -right("a")(p, x), wrt="a", draws=2)
    assert "prove little" not in str(wrong)  # it is wrong on two draws, and that is proved


def test_a_formula_defined_nowhere_is_an_error():
    formula = dataclasses.replace(li2024.formulas["a"], defined=lambda params: False, domain="never")
    with pytest.raises(ValueError, match=r"defined on none of 4 draws \(never\); use more draws"):
        audit_formula(formula, draws=4)


# ---- Right formulas in other dress


def einsum(params, prompt):
    W_Q, W_K, W_V, W_O, a = params
    X = prompt.contexts
    scores = np.einsum("kd,ds,ke,e->s", W_K, X, W_Q, prompt.query)
    attn = np.exp(scores) / np.exp(scores).sum()
    h = np.einsum("ds,s->d", X, attn)
    u = np.einsum("ij,jd,d->i", W_O, W_V, h)
    g = -prompt.z * (1 - prompt.z * np.einsum("i,i->", a, np.maximum(u, 0)) > 0)
    C = np.einsum("ds,s,es->de", X, attn, X) - np.einsum("d,e->de", h, h)
    c = np.where(u > 0, a, 0.0)
    Ce = np.einsum("de,je,ij,i->d", C, W_V, W_O, c)
    return {
        "W_Q": g * np.einsum("kd,d,e->ke", W_K, Ce, prompt.query),
        "W_K": g * np.einsum("kd,d,e->ke", W_Q, prompt.query, Ce),
        "W_V": g * np.einsum("ij,i,d->jd", W_O, c, h),
        "W_O": g * np.einsum("i,jd,d->ij", c, W_V, h),
        "a": g * np.maximum(u, 0),
    }


def from_library(params, prompt):
    batch = Prompts(prompt.tokens[None], [prompt.z], prompt.query_attends)
    return loss_and_grad(params, batch)[1]._asdict()


def careless(params, prompt):
    """Writes over all it was given."""
    result = from_library(params, prompt)
    for array in (*params, prompt.tokens):
        array[...] = np.nan
    return result


@pytest.mark.parametrize("write", [einsum, from_library, careless])
def test_other_ways_to_write_it(write):
    before = [case.params.W_Q.copy() for case in bench().single(False)]
    for wrt in NAMES:
        report = report_on(lambda p, x, wrt=wrt: write(p, x)[wrt], wrt)
        assert (report.verdict, report.diagnosis) == ("agree", []), wrt
    assert all(np.array_equal(old, case.params.W_Q) for old, case in zip(before, bench().single(False), strict=True))


def test_other_types():
    for convert in (np.ndarray.tolist, lambda g: g.astype(np.float32), lambda g: g.astype(np.longdouble), np.asfortranarray,
                    lambda g: g.astype(object), np.ma.asarray):  # fmt: skip
        assert report_on(lambda p, x, f=convert: f(right("W_V")(p, x)), "W_V").verdict == "agree"
    assert report_on(lambda p, x: right("W_V")(p, x) + 0j, "W_V").verdict != "agree"
    assert report_on(lambda p, x: (1.01 * right("W_V")(p, x)).astype(np.float32), "W_V").verdict == "disagree"


# ---- Nothing active


def only_inactive(subject=SUBJECT):
    def points(draws, seed, attends):
        cases = [case for case in bench().single(attends) if case.margins[-1] < 0]
        return [Point(case.label, case.params, case.prompts) for case in cases]

    return dataclasses.replace(subject, points=points)


@pytest.mark.parametrize("wrt", NAMES)
def test_where_nothing_was_active_nothing_is_proved(wrt):
    inactive = Bench(only_inactive(), 20, 0)
    report = inactive.audit(li2024.formulas[wrt])
    assert report.verdict == "undetermined"
    assert "nothing was active" in report.reason
    assert report.control_caught is False
    gross = inactive.audit(Formula(lambda p, x: 0 * getattr(p, wrt), "zero", wrt, "", ""))
    assert gross.verdict == "undetermined"


@pytest.mark.parametrize("wrt", NAMES)
def test_wrong_only_where_the_hinge_is_inactive_is_caught(wrt):
    def function(params, prompt):
        gradient = right(wrt)(params, prompt)
        return gradient if gradient.any() else gradient + 1e-3

    report = report_on(function, wrt)
    assert report.verdict == "disagree"
    cases = bench().single(False)
    assert all(not cases[n].complex_step(wrt)[0].any() for n in report.wrong_draws)


# ---- Detection


@pytest.mark.parametrize("wrt", NAMES)
@pytest.mark.parametrize("attends", [False, True])
def test_a_billionth_in_one_entry_is_caught(wrt, attends):
    def off(params, prompt, size=1e-9):
        gradient = right(wrt)(params, prompt)
        gradient.flat[np.argmax(abs(gradient))] *= 1 + size
        return gradient

    assert report_on(off, wrt, attends).verdict == "disagree"
    assert report_on(lambda p, x: off(p, x, 1e-14), wrt, attends).verdict == "agree"


@pytest.mark.parametrize("wrt", NAMES)
def test_a_millionth_in_the_smallest_live_entry_of_one_draw_is_caught(wrt):
    cases = bench().single(False)
    first = next(n for n, case in enumerate(cases) if case.complex_step(wrt)[0].any())

    def off(params, prompt):
        gradient = right(wrt)(params, prompt)
        if np.array_equal(prompt.tokens, cases[first].prompts[0].tokens):
            alive = np.where(abs(gradient) > 1e-3 * abs(gradient).max(), abs(gradient), np.inf)
            gradient.flat[np.argmin(alive)] *= 1 + 1e-6
        return gradient

    report = report_on(off, wrt)
    assert (report.verdict, report.wrong_draws) == ("disagree", [first])


# ---- When the audit itself is broken


FLOAT64 = np.dtype(np.float64)


def test_a_control_that_is_not_caught_takes_the_verdict_away(monkeypatch):
    assert report_on(right("W_V"), "W_V").verdict == "agree"
    monkeypatch.setitem(verdict.CONTROL, FLOAT64, 0.0)  # the broken copy is none
    report = report_on(right("W_V"), "W_V")
    assert (report.verdict, report.control_caught) == ("undetermined", False)
    assert "negative control" in report.reason


def test_a_tolerance_too_wide_fails_the_control(monkeypatch):
    monkeypatch.setitem(verdict.TOLERANCE, FLOAT64, 1e-3)
    report = report_on(right("W_V"), "W_V")
    assert (report.verdict, report.control_caught) == ("undetermined", False)


@pytest.mark.parametrize("broken", ["kernel", "definition", "source"])
def test_a_broken_witness_is_no_witness(broken):
    whole_one = getattr(SUBJECT, broken)

    def scaled(params, prompts):
        value = whole_one(params, prompts)
        return (value[0] * (1 + 1e-6), value[1]) if isinstance(value, tuple) else value * (1 + 1e-6)

    report = Bench(dataclasses.replace(SUBJECT, **{broken: scaled}), 5, 0).audit(li2024.formulas["W_V"])
    assert report.verdict == "undetermined"
    assert ("witnesses disagree" if broken != "source" else "but not with longdouble differences") in report.reason


def test_a_wrong_library_gradient_is_caught():
    def gradient(params, prompts):
        grads = SUBJECT.gradient(params, prompts)
        return grads._replace(W_Q=grads.W_Q.T.copy().T * (1 + 1e-9))

    wrong = Bench(dataclasses.replace(SUBJECT, gradient=gradient), 5, 0)
    assert wrong.audit_library("W_Q").verdict == "disagree"
    assert wrong.audit_library("W_K").verdict == "agree"


# ---- Kinks


def test_on_kink():
    slopes = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    assert kinks.on_kink(np.array([1.0, 2.0, -1.0]), slopes).tolist() == [False, False]
    assert kinks.on_kink(np.array([0.0, 2.0, -1.0]), slopes).tolist() == [True, False]
    assert kinks.on_kink(np.array([1.0, 0.0, -1.0]), slopes).tolist() == [False, True]
    assert kinks.on_kink(np.array([1.0, 1e-15, -1.0]), slopes).tolist() == [False, True]  # zero up to rounding
    assert kinks.on_kink(np.array([1.0, 1e-9, -1.0]), slopes).tolist() == [False, False]
    assert kinks.on_kink(np.array([0.0]), np.array([[0.0]])).tolist() == [False]  # it is zero and stays zero
    assert bool(kinks.on_kink(np.array([0.0, 1.0]), np.array([2.0, 0.0])))


def test_crossing():
    margins, slopes = np.array([1.0, -2.0]), np.array([[0.5, 0.0, 1.0], [4.0, 0.0, 0.0]])
    assert kinks.crossing(margins, slopes).tolist() == [0.5, np.inf, 1.0]
    assert kinks.crossing(np.array([0.0]), np.array([1.0])) == 0
    assert kinks.crossing(np.array([0.0]), np.array([0.0])) == np.inf


def test_certified():
    def at(t):
        return np.array([1 - t, 2 + t])

    assert kinks.certified(at(0.0), at, 0.5)
    assert not kinks.certified(at(0.0), at, 1.5)  # ahead
    assert not kinks.certified(at(0.0), at, 2.5)
    assert not kinks.certified(at(0.0), lambda t: np.array([1 - t, 2 + t])[::-1] * [1, -1], 0.5)
    assert not kinks.certified(np.array([1.0]), lambda t: np.array([1.0 + t]), 1.5)  # behind


def test_smooth_functions_have_no_kinks():
    none, slopes = np.empty(0), np.empty((0, 2, 3))
    assert not kinks.on_kink(none, slopes).any() and kinks.on_kink(none, slopes).shape == (2, 3)
    assert (kinks.crossing(none, slopes) == np.inf).all()
    assert kinks.certified(none, lambda t: none, 1.0)


# ---- The audit knows functions and arrays, not papers


class Toy(NamedTuple):
    slope: np.ndarray
    shift: np.ndarray


def toy_subject(power=2, hinges=()):
    """|slope x + shift - z|^power / power of a prompt's query x, plus c max(0, shift_0) for c in `hinges`."""

    def definition(params, prompt):
        r = params.slope @ prompt.query + params.shift - prompt.z
        loss = (r**power).sum() / power
        for c in hinges:
            loss = loss + (c * params.shift[0] if params.shift[0].real > 0 else 0)
        return loss, params.shift[:1] if hinges else np.empty(0)

    def mean(params, prompts):
        return sum(definition(params, prompt)[0] for prompt in prompts) / len(prompts)

    def slope(params, prompt):
        r = params.slope @ prompt.query + params.shift - prompt.z
        return np.outer(r ** (power - 1), prompt.query)

    def shift(params, prompt):
        r = params.slope @ prompt.query + params.shift - prompt.z
        return r ** (power - 1) + np.eye(3)[0] * sum(hinges) * (params.shift[0] > 0)

    def gradient(params, prompts):
        return Toy(*(sum(f(params, prompt) for prompt in prompts) / len(prompts) for f in (slope, shift)))

    def points(draws, seed, attends):
        rng = np.random.default_rng(seed)
        found = []
        for _ in range(draws):
            parameters = Toy(rng.standard_normal((3, 4)), rng.standard_normal(3))
            if hinges:
                parameters.shift[0] = 0
            found.append(Point("toy", parameters, Prompts(rng.standard_normal((1, 3, 4)), [1.0])))
        return found

    formulas = {"slope": Formula(slope, "slope", "slope", "", ""), "shift": Formula(shift, "shift", "shift", "", "")}
    return Subject(
        "toy", "A toy", formulas, points, definition, mean, mean, gradient,
        sizes=lambda params, prompt: {"three": 3},
    )  # fmt: skip


@pytest.mark.parametrize("wrt", ["slope", "shift"])
@pytest.mark.parametrize("power", [2, 3])
def test_another_model_with_other_names_and_no_kinks(wrt, power):
    subject = toy_subject(power)
    toy = Bench(subject, 4, 0)
    report = toy.audit(subject.formulas[wrt])
    assert report.verdict == "agree"
    assert report.witnesses["complex_step"] < 1e-14
    assert report.witnesses["extended"] < 1e-13
    assert report.witnesses["finite_difference"] < 1e-8
    assert report.witnesses["taylor_slope"] == pytest.approx(2, abs=0.02)
    assert toy.audit_library(wrt).verdict == "agree"
    wrong = toy.audit(Formula(lambda p, x: -subject.formulas[wrt](p, x), "minus", wrt, "", ""))
    assert (wrong.verdict, [item["kind"] for item in wrong.diagnosis]) == ("disagree", ["sign"])
    assert wrong.witnesses["taylor_slope"] == pytest.approx(1, abs=0.02)
    json.dumps(wrong.to_dict(), allow_nan=False)


def resting_on(*words):
    """The toy, with some words in `holds` of every other point."""
    subject = toy_subject()

    def points(draws, seed, attends):
        return [p._replace(holds=words * (n % 2)) for n, p in enumerate(subject.points(draws, seed, attends))]

    return dataclasses.replace(subject, points=points, rows={"slope": "output"})


def wrong_where(condition):
    """The toy's gradient, twice too large where the condition on its parameters holds."""
    slope = toy_subject().formulas["slope"]
    return lambda params, prompt: slope(params, prompt) * (2 if condition(params) else 1)


def test_a_formula_that_is_right_where_an_assumption_holds():
    subject = resting_on("even numbers")
    odd = {p.params.slope[0, 0] for p in subject.points(8, 0, False) if not p.holds}
    report = audit_formula(wrong_where(lambda params: params.slope[0, 0] in odd), paper=subject, wrt="slope", draws=8)
    (item,) = report.formulas[0].diagnosis
    assert item["kind"] == "entries"
    assert item["detail"].startswith(
        "it rests on an assumption, even numbers: right on all 4 draws that meet it, wrong on 4 of"
    )
    some = list(odd)[:2]  # wrong on half of those without is enough, on fewer it explains too little
    half = audit_formula(wrong_where(lambda params: params.slope[0, 0] in some), paper=subject, wrt="slope", draws=8)
    assert "wrong on 2 of the 4 that do not" in str(half)
    one = audit_formula(wrong_where(lambda params: params.slope[0, 0] == some[0]), paper=subject, wrt="slope", draws=8)
    assert "assumption" not in str(one)
    other = audit_formula(
        wrong_where(lambda params: params.slope[0, 0] != some[0]), paper=subject, wrt="slope", draws=8
    )
    assert "assumption" not in str(other)
    assert "right on only 1 of the 8 draws that are not zero, " in str(other)


def test_a_formula_is_judged_where_its_domain_holds():
    subject = resting_on("even numbers")
    odd = {p.params.slope[0, 0] for p in subject.points(8, 0, False) if not p.holds}
    wrong = Formula(
        wrong_where(lambda params: params.slope[0, 0] in odd), "given", "slope", "", "", domain="even numbers"
    )
    entry = audit_formula(wrong, paper=subject, draws=8).formulas[0]
    assert (entry.verdict, entry.draws) == ("agree", 4) and "even numbers: 4 of 8 draws" in entry.note
    paper = dataclasses.replace(subject, formulas={"given": wrong})
    control = audit_paper(paper, draws=8).formulas[-1]
    assert (control.name, control.verdict, control.draws) == ("negative control", "disagree", 4)


def test_a_paper_may_have_a_name_for_rows():
    def off(params, prompt):
        gradient = toy_subject().formulas["slope"](params, prompt)
        gradient[1] *= 2
        return gradient

    assert "wrong in output (row) 1 only" in str(audit_formula(off, paper=resting_on(), wrt="slope", draws=4))
    assert "wrong in row 1 only" in str(audit_formula(off, paper=toy_subject(), wrt="slope", draws=4))


def test_points_are_filled_to_the_number_of_draws():
    point = Point("fixed", None, [1, 2, 3])
    for draws in range(1, 9):
        found = fill([point], iter([point._replace(label=str(n)) for n in range(9)]), draws)
        assert sum(len(p.prompts) for p in found) == draws
        assert [p.label for p in found] == ["fixed", "0", "1", "2"][: -(-draws // 3)]


def test_parameters_of_all_losses_in_their_order():
    other = dataclasses.replace(toy_subject(), formulas={"x": Formula(None, "x", "x", "", "")})
    subject = dataclasses.replace(toy_subject(), parts=(other,))
    assert subject.parameters == ["slope", "shift", "x"] and subject.every == (subject, other)


def test_witnesses_of_a_polynomial():
    subject = toy_subject(power=2)
    point = subject.points(1, 3, False)[0]
    case = Case(subject, *point)
    exact = subject.formulas["slope"](point.params, point.prompts[0])
    np.testing.assert_allclose(case.complex_step("slope")[0], exact, rtol=1e-14)
    np.testing.assert_allclose(case.kernel_step("slope"), exact, rtol=1e-14)
    np.testing.assert_allclose(case.differences("slope"), exact, rtol=1e-8, atol=1e-9)


def test_a_value_between_the_two_sides_of_a_kink_passes():
    subject = toy_subject(
        hinges=(1.0,)
    )  # shift_0 = 0 sits on the kink: the loss rises by 0 on the left, 1 on the right
    toy = Bench(subject, 3, 0)

    def at(t):
        def function(params, prompt):
            return subject.formulas["shift"](params, prompt) + t * np.eye(3)[0]

        return toy.audit(Formula(function, "given", "shift", "", "")).verdict

    for t in (0, 0.25, 0.5, 1):
        assert at(t) == "agree", t
    for t in (-0.01, 1.01, 3, -3, np.nan):
        assert at(t) == "disagree", t

    def elsewhere(params, prompt):
        return subject.formulas["shift"](params, prompt) + 1e-6 * np.eye(3)[1]

    assert toy.audit(Formula(elsewhere, "given", "shift", "", "")).verdict == "disagree"


def test_sides_of_a_kink():
    subject = toy_subject(hinges=(2.0, 1.0))
    point = subject.points(1, 0, False)[0]
    case = Case(subject, *point)
    smooth = subject.formulas["shift"](point.params, point.prompts[0])[0]
    np.testing.assert_allclose(case.sides("shift", (0,)), (smooth, smooth + 3), atol=1e-6)
    assert kinks.on_kink(case.margins, case.complex_step("shift")[1]).tolist() == [True, False, False]
    assert np.isnan(case.differences("shift")).tolist() == [True, False, False]


def test_the_pruned_neuron_may_take_either_side():
    """relu'(0) is 0 by our convention; 1, as some print it, is as much a derivative at a kink."""

    def other_side(params, prompt):
        gradient = right("W_O")(params, prompt)
        pruned = ~params.W_O.any(axis=1)
        if pruned.any():
            bumped = params._replace(
                W_O=params.W_O + 1e-9 * pruned[:, None] * (params.W_V @ prompt.contexts).sum(axis=1)
            )
            u = nlicl.forward(bumped, Prompts(prompt.tokens[None], [prompt.z])).preactivation[0]
            if not (u[pruned] > 0).all():
                bumped = params._replace(W_O=2 * params.W_O - bumped.W_O)
            gradient[pruned] = from_library(bumped, prompt)["W_O"][pruned]
        return gradient

    case = next(case for case in bench().single(False) if "pruned" in case.label)
    mine = other_side(case.params, case.prompts[0])
    assert abs(mine - case.complex_step("W_O")[0]).max() > 1e-3  # it is the other side indeed
    assert report_on(other_side, "W_O").verdict == "agree"
    assert report_on(lambda p, x: 2 * other_side(p, x) - right("W_O")(p, x), "W_O").verdict == "disagree"


def test_taylor_slope_of_known_remainders():
    steps = 2.0 ** -np.arange(6)
    assert taylor_slope(3 * steps**2, 1e-20 * steps, steps) == pytest.approx(2)
    assert taylor_slope(3 * steps, 1e-20 * steps, steps) == pytest.approx(1)
    assert taylor_slope(1e-20 * steps, 1e-20 * steps, steps) is None  # rounding only
    assert taylor_slope(np.where(steps > 0.1, steps**2, 0), 1e-9 * steps, steps) == pytest.approx(2)


def test_a_wrong_formula_is_wrong_even_where_nothing_is_active():
    """Zero everywhere proves nothing, but another number than zero is an error."""

    def inactive(draws, seed, query_attends):
        points = li2024.subject.points(3 * draws, seed, query_attends)
        found = [
            p._replace(prompts=p.prompts[1:2]) for p in points if p.label.startswith("random") and len(p.prompts) > 1
        ]
        return found[:draws]

    subject = dataclasses.replace(li2024.subject, points=inactive)
    right, printed = li2024.formulas["W_V"], dataclasses.replace(li2024.formulas["W_V_printed"], query_attends=False)
    assert nlicl.audit_formula(right, paper=subject, draws=4).verdict == "undetermined"
    assert nlicl.audit_formula(printed, paper=subject, draws=4).verdict == "disagree"


# ---- The command


@pytest.mark.parametrize("paper, names", [("li2024", "W_Q, W_K, W_V, W_O, a"), ("huang2023", "Q, S, AB")])
def test_a_formula_without_its_parameter_is_told_those_of_its_paper(paper, names, capsys):
    assert main(["audit", paper, "--formula", "appendix.py:grad"]) == 2
    error = capsys.readouterr().err
    assert f"of {paper} one of {names}; for example --wrt {names.split(',')[0]}, or --formula " in error


def test_reports_to_standard_output(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["audit", "--wrt", "a", "--draws", "4"]
    assert main([*arguments, "--json", "-", "--html", "page.html"]) == 0
    assert json.loads(capsys.readouterr().out)["draws"] == 4
    assert main([*arguments, "--html", "-"]) == 0
    assert capsys.readouterr().out == (tmp_path / "page.html").read_text()
    assert main([*arguments, "--html", "-", "--json", "-"]) == 2
    assert "name a file for one of them" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
