"""The audit of Zhang et al. 2025: right forms agree, and every wrong copy is caught and named."""

import dataclasses
from functools import cache

import numpy as np
import pytest

from nlicl.audit import Formula, audit_formula, audit_paper, check_marks
from nlicl.audit.bench import Bench
from nlicl.models.linear_attention.reference import forward
from nlicl.papers import zhang2025
from nlicl.papers.zhang2025 import population, reference
from nlicl.papers.zhang2025.reference import embedded

PARTS = {"merged": dataclasses.replace(zhang2025.subject, parts=()), **zhang2025.subjects}
RIGHT = zhang2025.formulas


@cache
def bench(part):
    """The draws of one loss: all formulas of the tests share what the witnesses find there."""
    return Bench(PARTS[part], 6, 0, zhang2025.subject)


@pytest.mark.parametrize("part", PARTS)
def test_marked_formulas_are_fit_for_a_diagnosis(part):
    assert check_marks(PARTS[part], draws=8) == []


@pytest.mark.slow
def test_the_paper_is_audited_and_no_complex_step_is_further_off_than_1e_13():
    """Of every right form and the library's own, on draws where yhat - y_query is no small difference of large numbers."""
    report = audit_paper("zhang2025", draws=5)
    assert report.ok, report
    right = [entry for entry in report.formulas if entry.expected == "agree"]
    assert {entry.name for entry in right} >= set(RIGHT) and len(right) > len(RIGHT)
    for entry in right:
        assert entry.witnesses["complex_step"] <= 1e-13, entry.name


# ---- Every wrong copy that the paper's derivations invite


def W_of(params, prompt, *, left=None, keys=None, v=None, e=None):
    """The gradient by W with another outer token, other keys, other values or another error."""
    keys = prompt.tokens if keys is None else keys
    v = embedded(params).V[:, -1] if v is None else v
    e = error(params, prompt) if e is None else e
    summands = v @ keys.T
    return 2 * prompt.scale * e * np.einsum("ht,ti,j->hij", summands, keys if left is None else left, prompt.query)


def V_of(params, prompt, *, keys=None, out=None, W=None):
    """The gradient by V, likewise."""
    keys = prompt.tokens if keys is None else keys
    scores = ((params.W if W is None else W) @ prompt.query) @ keys.T
    gradient = np.zeros_like(params.V)
    gradient[:, -1] = 2 * prompt.scale * error(params, prompt) * scores @ (keys if out is None else out)
    return gradient


def uncentred(params, prompt):
    """The gradient by W under softmax, its mean forgotten."""
    own = embedded(params)
    yhat, a = forward(own, prompt)
    summands = a * (own.V[:, -1] @ prompt.tokens.T)
    return 2 * prompt.scale * (yhat - prompt.z) * np.einsum("ht,ti,j->hij", summands, prompt.tokens, prompt.query)


def error(params, prompt):
    return forward(embedded(params), prompt)[0] - prompt.z


def bare(prompt):
    """Tokens without their labels."""
    return prompt.tokens * np.append(np.ones(prompt.tokens.shape[1] - 1), 0)


def without_query(params, prompt):
    """The error of the model in which the query is no key."""
    keys = prompt.tokens[:-1]
    scores = (params.W @ prompt.query) @ keys.T
    return prompt.scale * (scores * (params.V[:, -1] @ keys.T)).sum() - prompt.z


def of_B(B, Mbar=lambda Mbar: Mbar):
    def gradient(weights, law):
        s_N, Lambda = population.factor(law.N, law.scale), law.Lambda
        return s_N * (-2 * Lambda @ Lambda + 2 * B(Lambda, law.N) @ (s_N * Mbar(weights.Mbar)) @ Lambda)

    return gradient


def classified(target):
    def gradient(params, prompt):
        p = prompt.scale * prompt.X @ prompt.y
        z = p @ params.W_classifier @ prompt.x_query
        return (1 / (1 + np.exp(-z)) - target(prompt)) * np.outer(p, prompt.x_query)

    return gradient


def times(name, factor):
    return lambda params, prompt: factor(prompt) * RIGHT[name](params, prompt)


half, minus, dropped, squared = (
    lambda x: 0.5,
    lambda x: -1.0,
    lambda x: 1 / x.scale,
    lambda x: x.scale,
)
turned = lambda array: array.transpose(0, 2, 1)  # noqa: E731
first = lambda array: np.broadcast_to(array[:1], array.shape)  # noqa: E731
left_out = lambda x: x.tokens[:-1]  # noqa: E731

WRONG = {
    # 2 lost; y_q - yhat; s dropped or squared
    **{f"2 lost, {name}": (part, wrt, times(name, half), "scale", "1/2 times") for part, wrt, name in (
        ("merged", "V", "V"), ("merged", "W", "W"), ("separate", "K", "K"), ("separate", "Q", "Q"),
        ("softmax", "W_softmax", "W_softmax"), ("softmax-separate", "Q_softmax", "Q_softmax"), ("reduced", "U", "U_reduced"),
        ("population", "Mbar", "Mbar_population"))},
    **{f"y_q - yhat, {name}": (part, wrt, times(name, minus), "sign", "minus the expected") for part, wrt, name in (
        ("merged", "V", "V"), ("merged", "W", "W"), ("separate", "K", "K"), ("softmax", "V_softmax", "V_softmax"),
        ("reduced", "v", "v_reduced"), ("classifier", "W_classifier", "classifier"))},
    **{f"s dropped, {name}": (part, wrt, times(name, dropped), "scale", "1/s times") for part, wrt, name in (
        ("merged", "V", "V"), ("merged", "W", "W"), ("separate", "K", "K"), ("softmax", "W_softmax", "W_softmax"),
        ("classifier", "W_classifier", "classifier"))},
    **{f"s squared, {name}": (part, wrt, times(name, squared), "scale", "s times") for part, wrt, name in (
        ("merged", "W", "W"), ("separate", "Q", "Q"), ("softmax", "V_softmax", "V_softmax"), ("reduced", "U", "U_reduced"))},
    # xt_q xt_t^T
    "transposed": ("merged", "W", lambda p, x: turned(RIGHT["W"](p, x)), "transpose", "xt_q xt_t^T"),
    "transposed, reduced": ("reduced", "U", lambda p, x: turned(RIGHT["U_reduced"](p, x)), "transpose", "x_q p^T"),
    "transposed, classifier": ("classifier", "W_classifier",
                               lambda p, x: RIGHT["classifier"](p, x).T, "transpose", "transpose"),
    "the last column": ("merged", "V", lambda p, x: turned(RIGHT["V"](p, x)), "transpose", "last column"),
    # W^K for W^Q
    "by Q for K": ("separate", "K", lambda p, x: RIGHT["Q"](p, x), "wrong-parameter", "with respect to Q"),
    "by K for Q": ("separate", "Q", lambda p, x: RIGHT["K"](p, x), "wrong-parameter", "with respect to K"),
    # contexts only
    "contexts only, W": ("merged", "W", lambda p, x: W_of(p, x, keys=left_out(x)), "query-in-context",
                         "the prediction has it"),
    "contexts only, everywhere": ("merged", "W", lambda p, x: W_of(p, x, keys=left_out(x), e=without_query(p, x)),
                                  "query-in-context", "left out of the sums, which run to N"),
    "contexts only, V": ("merged", "V", lambda p, x: V_of(p, x, keys=left_out(x)), "query-in-context",
                         "the prediction has it"),
    # G without the label row
    "no label row, W": ("merged", "W", lambda p, x: W_of(p, x, left=bare(x)), "missing-term", "the label's row is missing"),
    "no label row twice, W": ("merged", "W", lambda p, x: W_of(p, x, left=bare(x), keys=bare(x)), "missing-term",
                              "v_h y_t is missing"),
    "no label row, V": ("merged", "V", lambda p, x: V_of(p, x, out=bare(x)), "missing-term", "the label's row is missing"),
    "no label row twice, V": ("merged", "V", lambda p, x: V_of(p, x, keys=bare(x)), "missing-term",
                              "the label's row is missing"),
    # one head's gradient with another's v
    "the previous head's v": ("merged", "W", lambda p, x: W_of(p, x, v=np.roll(p.V[:, -1], 1, axis=0)), "wrong-factor",
                              "the previous head's"),
    "the next head's v": ("merged", "W", lambda p, x: W_of(p, x, v=np.roll(p.V[:, -1], -1, axis=0)), "wrong-factor",
                          "the next head's"),
    "the first head's v": ("merged", "W", lambda p, x: W_of(p, x, v=first(p.V[:, -1])), "wrong-factor", "the first head's"),
    "the first head's W": ("merged", "V", lambda p, x: V_of(p, x, W=first(p.W)), "wrong-factor", "the first head's"),
    "another head's v, reduced": ("reduced", "U",
                                  lambda p, x: RIGHT["U_reduced"](p, x) * (np.roll(p.v, 1) / p.v)[:, None, None],
                                  "wrong-factor", "the previous head's v"),
    # dK with K for Q
    "dK with K": ("separate", "K", lambda p, x: np.einsum("hri,hji->hrj", p.K, RIGHT["W"](p, x)), "wrong-factor",
                  "W^K_h for W^Q_h"),
    "dQ with Q": ("separate", "Q", lambda p, x: np.einsum("hri,hij->hrj", p.Q, RIGHT["W"](p, x)), "wrong-factor",
                  "W^Q_h for W^K_h"),
    "dK with K, softmax": ("softmax-separate", "K_softmax",
                           lambda p, x: np.einsum("hri,hji->hrj", p.K_softmax, RIGHT["W_softmax"](p, x)), "wrong-factor",
                           "W^K_h for W^Q_h"),
    # softmax without centring
    "uncentred, W": ("softmax", "W_softmax", uncentred, "softmax-centering", "mean term, - v_h . m_h, is missing"),
    "uncentred, K": ("softmax-separate", "K_softmax", lambda p, x: np.einsum("hri,hji->hrj", p.Q_softmax, uncentred(p, x)),
                     "softmax-centering", "is missing"),
    "uncentred, Q": ("softmax-separate", "Q_softmax", lambda p, x: np.einsum("hri,hij->hrj", p.K_softmax, uncentred(p, x)),
                     "softmax-centering", "is missing"),
    # B without 1/N terms, or with tr Lambda lost; Mbar^T
    "B without 1/N": ("population", "Mbar", of_B(lambda L, N: L @ L), "missing-term", "Lambda^2/N in B is missing"),
    "B without Lambda^2/N": ("population", "Mbar", of_B(lambda L, N: L @ L + np.trace(L) / N * L), "missing-term",
                             "Lambda^2/N in B is missing"),
    "B without tr Lambda/N": ("population", "Mbar", of_B(lambda L, N: (1 + 1 / N) * L @ L), "missing-term",
                              "(tr Lambda/N) Lambda in B is missing"),
    "tr Lambda lost": ("population", "Mbar", of_B(lambda L, N: (1 + 1 / N) * L @ L + L / N), "missing-term",
                       "tr Lambda is missing"),
    "Mbar^T": ("population", "Mbar", of_B(lambda L, N: (1 + 1 / N) * L @ L + np.trace(L) / N * L, np.transpose), "transpose",
               "Mbar^T for Mbar"),
    # the classifier: the factor of the squared loss kept, y_q for yb
    "2 kept, classifier": ("classifier", "W_classifier", times("classifier", lambda x: 2), "scale", "2 times"),
    "y_q for yb": ("classifier", "W_classifier", classified(lambda x: x.z), "wrong-factor", "y_q for yb"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_copy_is_caught_and_named(name):
    part, wrt, function, kind, words = WRONG[name]
    found = bench(part).audit(Formula(function, name, wrt, "", "a copy"))
    assert found.verdict == "disagree"
    assert kind in {item["kind"] for item in found.diagnosis}, found.diagnosis
    assert words in " ".join(item["detail"] for item in found.diagnosis), found.diagnosis


def test_the_paper_s_initialisation_alone_sees_no_difference_where_u_is_0():
    """Trap: a formula that is right on u = v_x = 0 only is wrong, and the audit says what it rests on."""

    def reduced(params, prompt):
        p = prompt.X @ prompt.y
        gradient = RIGHT["W"](params, prompt)
        gradient[:, :-1, :-1] = (
            2
            * prompt.scale
            * error(params, prompt)
            * np.array([v * np.outer(p, prompt.x_query) for v in params.V[:, -1, -1]])
        )
        return gradient

    entry = audit_formula(reduced, paper=PARTS["merged"], wrt="W", draws=8).formulas[0]
    assert entry.verdict == "disagree"
    assert "it rests on an assumption, u = v_x = 0" in str(entry.diagnosis)


@pytest.mark.parametrize("part", PARTS)
def test_what_is_wrong_for_small_or_equal_sizes_alone_is_seen(part):
    """Of each kind there is a draw whose gradient is not 0."""
    formula = next(iter(PARTS[part].formulas.values()))
    seen = set()
    for point in PARTS[part].points(20, 0, False):
        for prompt in point.prompts:
            if not np.abs(formula(point.params, prompt)).max() > 0:
                continue
            if part == "population":
                D, N, H, R = len(prompt.Lambda), prompt.N, 1, 0
                s = 1 / N if prompt.scale is None else prompt.scale
                seen.add(("diagonal", not (prompt.Lambda - np.diag(np.diag(prompt.Lambda))).any() and D > 1))
            else:
                N, D = np.subtract(prompt.tokens.shape, 1).tolist()
                H = 1 if part == "classifier" else len(point.params[0])
                R = point.params[1].shape[1] if "separate" in part else 0
                s = prompt.scale
            seen |= {("D", D), ("N", N), ("H", H), ("R", R), ("N = D", N == D), ("s", s == 1), ("s > 1", s > 1)}
            seen |= {
                ("H = D", H == D),
                ("H = E", H == D + 1),
                ("R = D", R == D),
                ("R = E", R == D + 1),
                ("R = H", R == H),
            }
    wanted = {("D", 1), ("N", 1), ("N", 3), ("H", 1), ("N = D", True), ("s > 1", True)}
    if part == "population":
        wanted |= {("diagonal", True)}
    elif part != "classifier":
        wanted |= {("s", True), ("H = D", True), ("H = E", True), ("H", 3)}
    if "separate" in part:
        wanted |= {("R", 1), ("R", 3), ("R = D", True), ("R = E", True), ("R = H", True)}
    assert wanted <= seen, wanted - seen


def test_the_population_of_one_dimension_is_summed_over():
    Lambda, N, Mbar = 0.8, 2, 0.6
    B = (1 + 2 / N) * Lambda**2
    found = reference.population_loss(
        reference.Effective(np.array([[Mbar]])), reference.Population(np.array([[Lambda]]), N)
    )
    assert abs(found - (Lambda - 2 * Lambda**2 * Mbar + B * Mbar**2 * Lambda)) < 1e-14
