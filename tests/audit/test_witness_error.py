"""Where float64 rounds, behind a saturated softmax: right formulas are not called wrong there, nor wrong ones right."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from nlicl.audit import AuditReport, Formula, audit_paper, verdict, witnesses
from nlicl.audit.bench import Bench
from nlicl.audit.witnesses import Case
from nlicl.models.transformer import reference
from nlicl.papers import bu2024, li2024

SUBJECT = li2024.subject
DRAWS = 12


@lru_cache(None)
def random_points(seed):
    """Four random points of li2024 with three prompts each."""
    return [point for point in SUBJECT.points(24, seed, False) if point.label.startswith("random")][:4]


def saturated(factor, kept, seed=2):
    """li2024 on random points with W_Q and W_K grown and the hinge open; the first `kept` points stay as they are."""

    def points(draws, _, query_attends):
        found = list(random_points(seed))
        for k in range(kept, len(found)):
            params, prompts = found[k].params, found[k].prompts
            params = params._replace(W_Q=factor * params.W_Q, W_K=factor * params.W_K)
            scores = np.array([reference.forward(params, prompt).score for prompt in prompts])
            labels = np.where(scores > 0, -1.0, 1.0)
            found[k] = found[k]._replace(params=params, prompts=type(prompts)(prompts.tokens, labels, query_attends))
        return found

    return replace(SUBJECT, points=points)


@lru_cache(None)
def bench(factor, kept, seed=2):
    return Bench(saturated(factor, kept, seed), DRAWS, seed)


def report_on(function, factor, kept, wrt="W_K"):
    return bench(factor, kept).audit(Formula(function, "given", wrt, "", ""))


def registered(params, prompt):
    return li2024.formulas["W_K"](params, prompt)


def covariance(params, prompt):
    F, attn, context, u = reference.forward(params, prompt)
    p, z = prompt.keys, prompt.z
    g = -z * (1 - z * F > 0) * ((params.a * (u > 0)) @ params.W_O @ params.W_V)
    return np.outer(params.W_Q @ prompt.query, ((p * attn) @ p.T - np.outer(context, context)) @ g)


def sums(params, prompt):
    F, attn, context, u = reference.forward(params, prompt)
    back = -prompt.z * (1 - prompt.z * F > 0) * params.a * (u > 0)
    mean = back @ (params.W_O @ (params.W_V @ context))
    found = np.zeros_like(params.W_K)
    for weight, p in zip(attn, prompt.keys.T, strict=True):
        found += weight * (back @ (params.W_O @ (params.W_V @ p)) - mean) * np.outer(params.W_Q @ prompt.query, p)
    return found


RIGHT = [registered, covariance, sums]


def times(factor, where=lambda peak: True):
    """The right formula times a factor where the largest attention weight is as asked."""

    def formula(params, prompt):
        peak = reference.forward(params, prompt).attention.max()
        return registered(params, prompt) * (factor if where(peak) else 1.0)

    return formula


# ---- Right formulas


@pytest.mark.parametrize("formula", RIGHT)
def test_right_formulas_agree_beside_saturated_draws(formula):
    report = report_on(formula, 4.0, 2)
    assert (report.verdict, report.wrong_draws, report.wrong_entries) == ("agree", [], []), report.reason
    assert report.control_caught
    # What the report's numbers say is what the verdict rests on: the draws that tell.
    assert report.max_relative_error <= 1e-10 and report.digits >= 10
    assert report.witnesses["complex_step_reference"] <= 1e-10
    assert report.witnesses["finite_difference"] <= verdict.DIFFERENCES_AGREE


def test_the_report_says_which_draws_are_left_out():
    report = report_on(sums, 4.0, 2)
    assert report.verdict == "agree"
    assert report.reason.startswith("left out as evidence: 4 of 12 draws, 6, 7, 9, 10, where")
    assert "saturated softmax" in report.reason
    assert report.reason in str(AuditReport("li2024", 0, DRAWS, [report]))
    wrong = report_on(WRONG["a millionth"], 4.0, 2)
    assert wrong.verdict == "disagree" and wrong.note.startswith("left out as evidence: ")
    assert wrong.note in str(AuditReport("li2024", 0, DRAWS, [wrong]))


def test_the_library_agrees_beside_saturated_draws():
    assert bench(3.0, 2).audit_library("W_K").verdict == "agree"
    assert bench(3.0, 2).audit_library("W_Q").verdict == "agree"


@pytest.mark.parametrize("formula", RIGHT)
@pytest.mark.parametrize("factor, kept", [(10.0, 0), (10.0, 2), (35.0, 2), (100.0, 0)])  # down to 1e-300 and to zero
def test_gradients_below_rounding_are_never_called_wrong(formula, factor, kept):
    report = report_on(formula, factor, kept)
    assert report.verdict != "disagree", (kept, report.worst)
    assert report.wrong_draws == []
    assert report.verdict == "agree" or report.reason


def test_a_gradient_whose_terms_cancel_exactly():
    def points(draws, seed, query_attends):  # all contexts of a prompt are equal: attention does not matter
        found = SUBJECT.points(draws, seed, query_attends)
        for k in range(0, len(found), 2):
            tokens = found[k].prompts.tokens.copy()
            tokens[:, :-1] = tokens[:, :1]
            found[k] = found[k]._replace(prompts=type(found[k].prompts)(tokens, found[k].prompts.labels, query_attends))
        return found

    equal = Bench(replace(SUBJECT, points=points), DRAWS, 0)
    for formula in RIGHT:
        report = equal.audit(Formula(formula, "given", "W_K", "", ""))
        assert report.verdict == "agree", (formula, report.reason, report.worst)


def test_differences_that_round_do_not_object(monkeypatch):
    looked = []
    closer = verdict._Measured.look_closer
    monkeypatch.setattr(verdict._Measured, "look_closer", lambda self: (looked.append(self.wrt), closer(self))[1])
    report = report_on(registered, 2.8, 0)
    assert looked == ["W_K"]  # a difference did object, by rounding of its own
    assert report.verdict == "agree" and report.witnesses["finite_difference"] <= verdict.DIFFERENCES_AGREE


def test_a_formula_in_float32():
    def single(formula):
        return lambda params, prompt: np.asarray(formula(params, prompt), np.float32)

    for formula in RIGHT:
        assert report_on(single(formula), 3.0, 2).verdict == "agree"
    for wrong in (times(1.01), times(2.0, lambda peak: peak > 0.999)):
        assert report_on(single(wrong), 3.0, 2).verdict == "disagree"


# ---- Wrong formulas


WRONG = {
    "twice": times(2.0),
    "minus": times(-1.0),
    "a millionth": times(1 + 1e-6),
    "twice where saturated": times(2.0, lambda peak: peak > 0.999),
    "a millionth where saturated": times(1 + 1e-6, lambda peak: peak > 0.999),
    "zero where saturated": times(0.0, lambda peak: peak > 0.999),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_formulas_disagree_beside_saturated_draws(name):
    report = report_on(WRONG[name], 4.0, 2)
    assert report.verdict == "disagree"
    assert report.max_relative_error >= 0.9e-6
    assert [item["kind"] for item in report.diagnosis] != []
    if name in ("twice", "minus"):
        assert [item["kind"] for item in report.diagnosis] == [{"twice": "scale", "minus": "sign"}[name]]


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("factor", [3.0, 10.0, 100.0])
def test_on_saturated_draws_alone_wrong_formulas_never_agree(name, factor):
    report = report_on(WRONG[name], factor, 0)
    assert report.verdict != "agree"
    assert report.verdict == "disagree" or report.reason


def test_draws_that_are_left_out_are_not_the_only_evidence():
    report = report_on(sums, 10.0, 0)
    assert report.verdict == "undetermined"
    assert report.reason.startswith("too few draws tell: left out as evidence")


# ---- The witnesses


def sharp():
    """The case of the sharpest attention that has a gradient of some size."""
    sizes = {case: abs(case.complex_step("W_K")[0]).max() for case in bench(3.0, 0).single(False)}
    return min((case for case, size in sizes.items() if size > 1e-8), key=sizes.get)


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="longdouble is no wider than float64 here")
def test_the_precise_gradient_is_that_of_the_formula_in_longdouble():
    case = sharp()
    wide = case.params._replace(**{k: v.astype(np.longdouble) for k, v in case.params._asdict().items()})
    truth = registered(wide, case.each[0])
    scale = float(abs(truth).max())
    precise, error = case.precise("W_K")
    rough = case.complex_step("W_K")[0]
    assert truth.dtype == np.longdouble
    assert abs(precise - truth).max() <= 1e-11 * scale
    assert abs(rough - truth).max() > 1e-10 * scale  # float64 has lost digits there
    assert abs(rough - truth).max() <= 1.01 * error <= 1e-4 * scale


def test_where_nothing_cancels_rounding_is_a_unit_in_the_last_place():
    case = next(case for case in bench(1.0, 99).single(False) if case.complex_step("W_V")[0].any())
    precise, error = case.precise("W_V")
    assert error <= 8 * witnesses.EPS * abs(precise).max()


@pytest.mark.parametrize("formula", RIGHT)
def test_without_a_wider_longdouble(formula, monkeypatch):
    monkeypatch.setattr(witnesses, "WIDE", np.complex128)
    alike = Bench(saturated(4.0, 2), DRAWS, 2)
    assert alike.audit(Formula(formula, "given", "W_K", "", "")).verdict == "agree"
    assert alike.audit(Formula(WRONG["a millionth"], "given", "W_K", "", "")).verdict == "disagree"


def test_witnesses_that_differ_by_rounding_do_not_conflict():
    report = report_on(registered, 3.0, 0)
    apart = [abs(case.kernel_step("W_K") - case.complex_step("W_K")[0]).max() / size for case in bench(3.0, 0).single(False)
             if (size := abs(case.complex_step("W_K")[0]).max()) > 0]  # fmt: skip
    assert max(apart) > verdict.WITNESSES_AGREE
    assert "witnesses disagree" not in report.reason and report.verdict == "agree"


def test_a_kernel_that_is_wrong_where_attention_is_saturated_conflicts():
    subject = saturated(3.0, 0)

    def kernel(params, prompts):
        peak = max(reference.forward(params, prompt).attention.real.max() for prompt in prompts)
        return subject.kernel(params, prompts) * (1 + 1e-6 * (peak > 0.9999))

    report = Bench(replace(subject, kernel=kernel), DRAWS, 2).audit(Formula(registered, "given", "W_K", "", ""))
    assert report.verdict == "undetermined" and "witnesses disagree" in report.reason


def test_a_definition_that_overflows_grants_nothing():
    case = sharp()
    subject = replace(case.subject, definition=lambda params, prompt: (np.nan * params.a.sum(), np.empty(0)))
    assert Case(subject, "", case.params, case.prompts).precise("W_K")[1] == 0


# ---- As it was found


def test_the_draw_that_was_called_wrong():
    """Seed 1, 100 draws: the formula is off by 5e-10 of an entry, and the witness in float64 by 6e-9."""
    points = SUBJECT.points(100, 1, False)
    number = {id(point): sum(len(p.prompts) for p in points[:k]) for k, point in enumerate(points)}
    odd = next(k for k, point in enumerate(points) if number[id(point)] <= 38 < number[id(point)] + len(point.prompts))
    few = [*points[:4], points[odd]]
    found = Bench(replace(SUBJECT, points=lambda *_: few), 11, 1)
    assert found.audit(li2024.formulas["W_K"]).verdict == "agree"
    assert found.audit(Formula(times(1 + 1e-6), "given", "W_K", "", "")).verdict == "disagree"


@pytest.mark.slow
@pytest.mark.parametrize("paper, draws, seed", [(li2024, 100, 1), (bu2024, 200, 2)])
def test_many_draws(paper, draws, seed):
    found = Bench(paper.subject, draws, seed)
    for wrt in ("W_Q", "W_K"):
        assert found.audit(paper.formulas[wrt]).verdict == "agree"


# ---- The negative control of the model that is asked for


@pytest.mark.parametrize("query_attends", [None, False, True])
def test_the_control_is_a_formula_of_the_model_that_is_judged(query_attends):
    report = audit_paper("huang2023", wrt="Q", draws=6, query_attends=query_attends)
    assert report.ok, str(report)
    control = next(entry for entry in report.formulas if entry.name == "negative control")
    assert control.verdict == "disagree"
    assert 0.5e-6 < control.max_relative_error < 2e-6  # for its one entry, not for its model
    known = {entry.name for entry in report.formulas if entry.erratum} - {"negative control"}
    assert known == {None: set(), False: {"Q_unmasked"}, True: {"Q", "Q_coded"}}[query_attends]
