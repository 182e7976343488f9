"""The audit of GPT-2: the formulas of its layers and of the whole, and the everyday slips, each written by hand."""

import dataclasses
import json
import re

import numpy as np
import pytest
from draws import assert_close
from naive_gpt2 import gradient, normal

import nlicl
from nlicl.audit import audit_paper, check_marks
from nlicl.models.gpt2.prompts import Params
from nlicl.models.gpt2.reference import evaluate
from nlicl.papers import gpt2

WHOLE = dataclasses.replace(gpt2.subject, parts=())


def details(function, wrt):
    """What the audit says of a formula, which it must refuse."""
    draws = 20 if wrt in Params._fields else 10  # as many as there are kinds of
    report = nlicl.audit_formula(function, paper="gpt2", wrt=wrt, draws=draws)
    assert report.verdict == "disagree", report
    return [f"{item['kind']}: {item['detail']}" for item in report.formulas[0].diagnosis]


def named(function, wrt, pattern):
    """The diagnosis is this one and no other."""
    found = details(function, wrt)
    assert len(found) == 1 and re.search(pattern, found[0]), found


# ---- What is registered


def test_every_parameter_has_a_formula_and_no_name_stands_twice():
    names = [name for part in gpt2.subject.every for name in part.formulas]
    assert len(names) == len(set(names)) == len(gpt2.formulas) == 30
    assert set(Params._fields) < set(names)
    for part in gpt2.subject.every:
        point = part.points(2, 0, False)[0]
        assert set(part.formulas) == set(part.marked) == set(point.params._fields)
        assert all(formula.wrt == formula.name and formula.source for formula in part.formulas.values())


@pytest.mark.parametrize("name", gpt2.layer_subjects)
def test_layers_agree(name):
    report = audit_paper(gpt2.layer_subjects[name], draws=10)
    assert report.ok, report
    assert len(report.formulas) == 2 * len(gpt2.layer_subjects[name].formulas) + 1


def test_a_reader_s_own_gradient_is_the_library_s_and_the_paper_s():
    for point in gpt2.subject.points(30, 1, False):
        whole = gpt2.subject.gradient(point.params, point.prompts)
        prompts = [point.prompts[n] for n in range(len(point.prompts))]
        for name in Params._fields:
            expected = getattr(whole, name)
            for each in (gradient(name), gpt2.formulas[name], lambda *at, name=name: getattr(gpt2.backward(*at), name)):
                found = sum(each(point.params, prompt) for prompt in prompts) / len(prompts)
                assert_close(found, expected, 1e-12)


@pytest.mark.parametrize("wrt", ["gamma_2", "b_fc", "beta_f", "w_out", "b_out"])
def test_the_whole_agrees_by_a_reader_s_own_hand(wrt):
    report = nlicl.audit_formula(gradient(wrt), paper="gpt2", wrt=wrt)
    assert report.verdict == "agree", report


@pytest.mark.slow
def test_the_whole_audit_is_as_expected():
    report = audit_paper("gpt2", seed=3, draws=12)
    assert report.ok, report
    assert len(report.formulas) == 61


def test_draws_are_of_every_kind():
    points = gpt2.subject.points(20, 0, False)
    sizes = []
    for point in points:
        (T, d), (L, _, H, D, C) = point.prompts[0].tokens.shape, point.params.W_qkv.shape
        sizes.append((d, C, D, H, L, point.params.W_fc.shape[1], T, len(point.params.wpe), len(point.prompts[0].reads)))
    assert any(len(set(one)) == 9 for one in sizes)  # all different
    assert any(len(set(one)) == 2 for one in sizes)  # heads, their width and layers; all others
    assert {point.prompts[0].causal for point in points} == {True, False}
    assert sum(len(point.params.W_qkv) > 1 for point in points) >= 3
    assert any(point.prompts[0].reads[-1] < point.prompts[0].tokens.shape[0] - 1 for point in points)
    margins = np.concatenate([evaluate(p.params, p.prompts[n])[1] for p in points for n in range(len(p.prompts))])
    assert 0.3 < np.mean(margins > 0) < 0.9
    assert abs(margins).min() > 1e-3
    assert any("trained" in point.label for point in points) and any("initial" in point.label for point in points)


# ---- Marks


def test_marks_of_the_layers_are_right():
    assert [fault for part in gpt2.subject.parts for fault in check_marks(part, 20)] == []


@pytest.mark.slow
def test_marks_of_the_whole_are_right():
    assert check_marks(WHOLE, 20) == []


# ---- Slips in a layer


def layernorm_dx(mean=1.0, third=1.0, ddof=0, root=lambda var: np.sqrt(var + 1e-5), power=1):
    def formula(params, prompt):
        x, gamma, _ = params
        r = 1 / root(x.var(axis=1, ddof=ddof, keepdims=True))
        xh = (x - x.mean(axis=1, keepdims=True)) * r
        g = gamma * prompt.dy
        by_mean, along = g.mean(axis=1, keepdims=True), (g * xh).mean(axis=1, keepdims=True)
        return r**power * (g - mean * by_mean - third * xh * along)

    return formula


def layernorm_dgamma(form="xh", axis=0):
    def formula(params, prompt):
        x = params.x
        xh = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
        return (prompt.dy * (x if form == "x" else xh)).sum(axis=axis)

    return formula


def softmax_rows(S, seen):
    E = np.where(seen, np.exp(S - S.max(axis=-1, keepdims=True)), 0)
    return E / E.sum(axis=-1, keepdims=True)


def seen_by(T, causal, k=0):
    return np.tril(np.ones((T, T), bool), k) if causal else np.ones((T, T), bool)


def softmax_dS(form="right"):
    def formula(params, prompt):
        S, dA = params.S, prompt.dy
        every = np.ones(S.shape, bool)
        seen = seen_by(len(S), prompt.causal)
        A = softmax_rows(S, every if form in ("late", "none") else seen)
        if form == "late":
            A = A * seen
        if form == "diagonal":
            return A * (1 - A) * dA
        return A * (dA - (0 if form == "no mean" else (A * dA).sum(axis=1, keepdims=True)))

    return formula


def attention(which, form="right"):
    def formula(params, prompt):
        q, k, v = params
        H, T, D = q.shape
        do, seen = prompt.dy, seen_by(T, prompt.causal)
        forward = backward = {"sqrt(C)": np.sqrt(H * D), "no scale": 1.0, "doubled": D}.get(form, np.sqrt(D))
        if form == "no scale backward":
            backward = 1.0
        if form == "off by one":
            seen = seen_by(T, prompt.causal, -1)
            seen[0, 0] = True
        if form == "one too many":
            seen = seen_by(T, prompt.causal, 1)
        every = np.ones((T, T), bool)
        S = np.einsum("htd,hjd->htj", *((k, q) if form == "scores exchanged" else (q, k))) / forward
        A = softmax_rows(S, every if form in ("late", "late too", "none") else seen)
        full, A = A, A * seen if form in ("late", "late too") else A
        dA = np.einsum("htd,hjd->htj", do, v)
        if form == "late too":
            dA = dA * seen
            dS = full * (dA - (full * dA).sum(axis=-1, keepdims=True))
        else:
            dS = A * (dA - (0 if form == "no mean" else (A * dA).sum(axis=-1, keepdims=True)))
        if form == "turned":
            dS, A = dS.transpose(0, 2, 1), A.transpose(0, 2, 1)
        if form == "exchanged":
            q, k = k, q
        found = {"q": np.einsum("htj,hjd->htd", dS, k) / backward, "k": np.einsum("htj,htd->hjd", dS, q) / backward,
                 "v": np.einsum("htj,htd->hjd", A, do)}  # fmt: skip
        return found[which]

    return formula


def gelu_du(form="right"):
    def formula(params, prompt):
        u = params.u
        t = np.tanh(np.sqrt(2 / np.pi) * (u + 0.044715 * u**3))
        inner = np.sqrt(2 / np.pi) * (1 + (1 if form == "no 3" else 3) * 0.044715 * u**2)
        if form == "no inner":
            inner = 1
        if form == "no scale":
            inner = inner * np.sqrt(np.pi / 2)
        slope = 0.5 * (1 + t) + 0.5 * u * (1 - (t if form == "1 - t" else t**2)) * inner
        if form == "erf":
            slope = normal(u) + u * np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)
        if form == "first alone":
            slope = 0.5 * (1 + t)
        return prompt.dy * slope

    return formula


LAYER_SLIPS = [
    ("x", layernorm_dx(third=0), "missing-term: LayerNorm's third term, - xh mean.g xh., is missing"),
    ("x", layernorm_dx(mean=0), "missing-term: LayerNorm's mean term, - mean.g., is missing"),
    ("x", layernorm_dx(third=-1), "third term.* has the wrong sign"),
    ("x", layernorm_dx(ddof=1), "the unbiased variance"),
    ("x", layernorm_dx(root=lambda var: np.sqrt(var) + 1e-5), "epsilon stands outside of the root"),
    ("x", layernorm_dx(root=np.sqrt), "a term is missing: epsilon"),
    ("x", layernorm_dx(power=0), "a factor is absent: r$"),
    ("x", layernorm_dx(power=2), "a factor is doubled: r stands twice"),
    ("gamma", layernorm_dgamma("x"), "another one: x for xh"),
    ("gamma", layernorm_dgamma(axis=1), "the sum over t, the rows, is taken along the wrong axis"),
    ("beta", lambda params, prompt: prompt.dy.sum(axis=1), "the sum over t, the rows, is taken along the wrong axis"),
    ("beta", lambda params, prompt: prompt.dy.mean(axis=0), "scale: .* 1/T times the expected one"),
    ("S", softmax_dS("no mean"), "softmax-centering: the softmax's mean term, - sum_r A_tr dA_tr, is missing"),
    ("S", softmax_dS("diagonal"), "only the diagonal of the softmax's Jacobian"),
    ("S", softmax_dS("late"), "the mask comes after the softmax, and rows of A do not sum to 1"),
    ("S", softmax_dS("none"), "the causal mask is missing"),
    *((which, attention(which, "sqrt(C)"), r"1/sqrt\(C\) for 1/sqrt\(D\).*forward pass too") for which in "qkv"),
    *((which, attention(which, "no scale"), r"absent: the scale 1/sqrt\(D\), in the forward") for which in "qkv"),
    *((which, attention(which, "doubled"), r"doubled: 1/D for 1/sqrt\(D\)") for which in "qk"),
    *((which, attention(which, "late"), "the mask comes after the softmax, and rows") for which in "qkv"),
    *((which, attention(which, "late too"), "after the softmax, and masked scores have gradients") for which in "qk"),
    *((which, attention(which, "none"), "the causal mask is missing") for which in "qkv"),
    *((which, attention(which, "off by one"), "off by one: j < t for j <= t, where the first token attends to itself")
      for which in "qkv"),
    *((which, attention(which, "one too many"), r"off by one: j <= t \+ 1") for which in "qkv"),
    *((which, attention(which, "no mean"), "mean term, .* is missing") for which in "qk"),
    *((which, attention(which, "scores exchanged"), "q and k stand for each other in the scores") for which in "qkv"),
    ("q", attention("q", "exchanged"), "q_j for k_j"),
    ("k", attention("k", "exchanged"), "k_t for q_t"),
    ("q", attention("q", "turned"), r"dq is dS\^T k, transposed"),
    ("k", attention("k", "turned"), "dk is dS q, transposed"),
    ("v", attention("v", "turned"), "dv is A do, transposed"),
    ("u", gelu_du("erf"), "GELU with erf"),
    ("u", gelu_du("no 3"), "without the 3"),
    ("u", gelu_du("no inner"), "tanh' without the derivative inside of it"),
    ("u", gelu_du("no scale"), r"absent: sqrt\(2/pi\)"),
    ("u", gelu_du("1 - t"), "1 - t for 1 - t"),
    ("u", gelu_du("first alone"), "GELU's second term.* is missing"),
    ("X", lambda params, prompt: -prompt.dy @ params.W, "sign: "),
    ("W", lambda params, prompt: params.X.T @ prompt.dy, "transpose: "),
    ("b", lambda params, prompt: prompt.dy.sum(axis=1), "the sum over i, the rows, is taken along the wrong axis"),
    ("b", lambda params, prompt: prompt.dy.mean(axis=0), "scale: .* 1/n times the expected one"),
]  # fmt: skip


QUICKLY = [wrt not in "kv" or "transposed" in pattern or "for q_t" in pattern for wrt, _, pattern in LAYER_SLIPS]


@pytest.mark.parametrize(
    "number", [pytest.param(n, marks=[pytest.mark.slow] * (not quick)) for n, quick in enumerate(QUICKLY)]
)
def test_a_slip_in_a_layer_is_named(number):
    wrt, function, pattern = LAYER_SLIPS[number]
    named(function, wrt, pattern)


RIGHT = [("x", layernorm_dx()), ("gamma", layernorm_dgamma()), ("S", softmax_dS()), ("u", gelu_du()),
         *((which, attention(which)) for which in "qkv")]  # fmt: skip


@pytest.mark.parametrize("number", range(len(RIGHT)))
def test_a_layer_by_a_reader_s_own_hand_agrees(number):
    wrt, function = RIGHT[number]
    assert nlicl.audit_formula(function, paper="gpt2", wrt=wrt).verdict == "agree"


def test_a_wrong_axis_is_named_where_sizes_are_equal_too():
    """On these draws n = out: the array has the right shape."""
    part = gpt2.layer_subjects["Linear"]
    points = [point for point in part.points(40, 0, False) if len(point.params.X) == len(point.params.W)]
    square = dataclasses.replace(part, points=lambda draws, seed, attends: points)
    (entry,) = nlicl.audit_formula(lambda params, prompt: prompt.dy.sum(axis=1), paper=square, wrt="b").formulas
    assert entry.verdict == "disagree" and not entry.error
    assert "along the wrong axis" in entry.diagnosis[0]["detail"]


# ---- Slips in the whole

QUICK = [
    ("beta_f", ("no hinge",), "the indicator of an active hinge"),
    ("beta_f", ("summed",), "scale: .* R times the expected one"),
    ("b_fc", ("wrong axis",), "the sum over t, the rows, is taken along the wrong axis"),
    ("b_fc", ("no third term",), "LayerNorm's third term.*missing"),
    ("b_fc", ("erf",), "GELU with erf.* in the forward pass too"),
    ("beta_2", ("no LN_2",), "the derivative of LN_2 is left out"),
]
SLIPS = [
    ("W_o", ("no mean term",), "LayerNorm's mean term.*missing"),
    ("W_pr", ("no r",), "absent: r$"),
    ("gamma_1", ("unbiased",), "the unbiased variance.* in the forward pass too"),
    ("gamma_1", ("epsilon outside",), "epsilon stands outside"),
    ("b_qkv", ("no softmax mean",), "the softmax's mean term"),
    ("b_qkv", ("diagonal",), "only the diagonal of the softmax's Jacobian"),
    ("W_fc", ("erf backward",), "GELU with erf.* in the backward pass alone"),
    ("W_fc", ("no 3",), "without the 3"),
    ("W_fc", ("no inner",), "tanh' without the derivative inside"),
    ("b_qkv", ("sqrt(C)",), r"1/sqrt\(C\) for 1/sqrt\(D\).* in the forward pass too"),
    ("b_qkv", ("no scale",), r"absent: the scale 1/sqrt\(D\), in the forward pass too"),
    ("b_qkv", ("no scale backward",), r"absent: the scale 1/sqrt\(D\), in the backward pass alone"),
    ("b_qkv", ("mask: late",), "the mask comes after the softmax"),
    ("b_qkv", ("mask: none",), "the causal mask is missing"),
    ("W_o", ("mask: off by one",), "off by one: j < t"),
    ("W_o", ("mask: one too many",), "off by one: j <= t"),
    ("b_qkv", ("exchanged",), "q and k stand for each other throughout"),
    ("W_qkv", ("thirds",), "queries and keys stand in each other's place"),
    ("b_o", ("wrong axis",), "along the wrong axis"),
    ("b_pr", ("wrong axis",), "along the wrong axis"),
    ("W_o", ("turned",), "transposed"),
    ("W_in", ("no residual",), "the residual branch around the MLP is missing"),
    ("wpe", ("position",), "of the position before"),
    ("wpe", ("averaged",), "scale: .* 1/T times"),
    ("b_in", ("no LN_2",), "the derivative of LN_2 is left out"),
    ("W_in", ("no third term", "mask: late"), "third term|mask"),
]


@pytest.mark.parametrize("wrt, slips, pattern", QUICK)
def test_a_slip_in_the_whole_is_named(wrt, slips, pattern):
    named(gradient(wrt, *slips), wrt, pattern)


@pytest.mark.slow
@pytest.mark.parametrize("wrt, slips, pattern", SLIPS)
def test_any_slip_in_the_whole_is_named(wrt, slips, pattern):
    found = details(gradient(wrt, *slips), wrt)
    assert len(found) == len(slips) and all(re.search(pattern, detail) for detail in found), found


# ---- Command line

APPENDIX = """
import numpy as np

def dgamma(params, prompt):
    "sum_t dy_t xh_t"
    x = params.x
    xh = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    return (prompt.dy * xh).sum(axis=0)

def unbiased(params, prompt):
    x = params.x
    xh = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True, ddof=1) + 1e-5)
    return (prompt.dy * xh).sum(axis=0)

def wrong_place(params, prompt):
    return params.W_o
"""


def test_the_command_line_judges_a_layer(run, tmp_path):
    path, page = tmp_path / "appendix.py", tmp_path / "page.html"
    path.write_text(APPENDIX)
    judged = ("audit", "gpt2", "--wrt", "gamma", "--formula")
    assert run(*judged, f"{path}:dgamma", "--html", page)[0] == 0
    assert "<mo>∑</mo>" in page.read_text(encoding="utf-8")
    status, out, _ = run(*judged, f"{path}:unbiased", "--json", "-")
    assert status == 1
    assert "the unbiased variance" in json.loads(out)["formulas"][0]["diagnosis"][0]["detail"]
    status, _, err = run(*judged, f"{path}:wrong_place")
    assert status == 2 and "params has x, gamma, beta (with wrt " in err and "W_o)" in err
    status, out, _ = run("audit", "gpt2", "--wrt", "S", "--html", page)
    assert status == 0 and "library S" in out
    status, out, _ = run("papers", "gpt2")
    assert status == 0 and "r (g - mean(g) - xh mean(g xh))" in out and "d loss / d W_qkv" in out
    status, _, err = run("audit", "gpt2", "--wrt", "W_Q")
    assert status == 2 and "'W_qkv'" in err and "'gamma'" in err
