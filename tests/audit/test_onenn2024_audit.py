"""The audit of onenn2024: every wrong copy that one is likely to make, written from scratch, is caught and named."""

from functools import lru_cache

import numpy as np
import pytest

from nlicl.audit import Formula, audit_formula, audit_paper, check_marks, verdict
from nlicl.audit.bench import Bench
from nlicl.papers import onenn2024
from nlicl.papers.onenn2024 import formulas

SUBJECTS = {part.parameters[0]: part for part in onenn2024.subject.every}
SUBJECTS["W"] = onenn2024.subject


@lru_cache(None)
def cases(wrt):
    return Bench(SUBJECTS[wrt], 20, 1).single(False)


def diagnosis(function, wrt):
    formula = Formula(function, "given", wrt, "", "")
    report = verdict.reach(formula, cases(wrt), lambda case: function(case.params, case.each[0]), SUBJECTS[wrt])
    assert report.verdict == "disagree"
    return [(item["kind"], item["detail"]) for item in report.diagnosis]


def softmax(scores):
    exps = np.exp(scores - scores.max())
    return exps / exps.sum()


# ---- One prompt


def token_form(r=None, own=True, centre=True, codes=0.0, target=None, outer=np.outer, sums=None):
    """sum_j q_j <r, v_j - l> h_j h_0^T with slips."""

    def formula(params, prompt):
        H, h_0, (W,) = prompt.P, prompt.h_0, params
        V = prompt.V.copy()
        if prompt.K is not None:
            V[:, :-1] += codes / prompt.K
        q = softmax(H.T @ W @ h_0)
        l = V @ q
        i = prompt.nearest if target is None else target(H.T @ W @ h_0, prompt)
        found = l - V[:, i] if r is None else r(l, V[:, i], prompt.c, prompt)
        total = 0
        for j in range(len(q) if own else len(q) - 1):
            total = total + q[j] * (found @ (V[:, j] - l * centre)) * outer(H[:, j], h_0)
        return total

    return formula


def squentropy(sum_over_all=False, factor=2.0):
    def r(l, u, c, prompt):
        e = np.eye(len(l))[c]
        return softmax(l) - e + factor / (len(l) - 1) * l * (1 if sum_over_all else 1 - e)

    return r


def label_form(kappa=lambda K: (K - 1) / K, squares_of_query=False, own=True):
    """sum_j gamma_j hbar_j h_0^T with slips."""

    def formula(weights, inputs):
        W, X, K = weights.W_labels, inputs.X, inputs.K
        H = np.zeros((len(W), X.shape[1]))
        H[: len(X)], H[-1, -1] = X, 1
        q = softmax(H.T @ W @ H[:, -1])
        gamma = gammas(q, inputs.nearest, kappa_of(K, kappa), squares_of_query)
        gamma[-1] *= own
        return np.outer(H @ gamma, H[:, -1])

    return formula


def kappa_of(K, slip=lambda K: (K - 1) / K):
    """kappa, perhaps a wrong one; 1 for binary labels."""
    return 1.0 if K is None else slip(K)


def gammas(q, i, kappa, squares_of_query=False):
    omega = q[i] - (q[:-1] ** 2).sum() - squares_of_query * q[-1] ** 2
    gamma = kappa * q * (q + omega)
    gamma[i] -= kappa * q[i]
    gamma[-1] = kappa * q[-1] * omega
    return gamma


def reduced(sign=-1, tbar_with_query=True, squares_of_query=False, kappa=None):
    """(partial_1, partial_2) with slips."""

    def formula(weights, cosines):
        (xi1, xi2), t, K, i = weights.xi, cosines.t, cosines.K, cosines.nearest
        q = softmax(np.append(xi1 * t, xi1 + sign * xi2))
        gamma = gammas(q, i, kappa_of(K, kappa) if kappa else kappa_of(K), squares_of_query)
        tbar = q[:-1] @ t + q[-1] * tbar_with_query
        first = kappa_of(K) * ((q[:-1] ** 2 * (t - tbar)).sum() - q[i] * (t[i] - tbar))
        if squares_of_query or kappa:
            first = gamma @ np.append(t, 1)
        return np.array([first, -gamma[-1]])

    return formula


SLIPS = {
    "sum over contexts only": ("W", token_form(own=False), "query-in-context", "the query's own token is left out"),
    "v_j for v_j - l": ("W", token_form(centre=False), "softmax-centering", "- l, is missing"),
    "h_0 h_j^T": ("W", token_form(outer=lambda a, b: np.outer(b, a)), "transpose", "transpose of the gradient"),
    "u - l": ("W", token_form(r=lambda l, u, c, x: u - l), "sign", "minus the expected one"),
    "1/2 lost": ("W", token_form(r=lambda l, u, c, x: 2 * (l - u)), "scale", "2 times"),
    "i* by scores": ("W", token_form(target=lambda s, x: s[:-1].argmax()), "wrong-factor",
                     "the context with the largest score for i*"),
    "e_c for u_c in all codes": ("W", token_form(codes=1.0), "missing-term", "- 1/K is missing in every code of the answer"),
    "no target": ("W", token_form(r=lambda l, u, c, x: l), "missing-term", "the target is missing"),
    "contexts only, squentropy": ("W_squentropy", token_form(r=squentropy(), own=False), "query-in-context", "query's own"),
    "squentropy over all k": ("W_squentropy", token_form(r=squentropy(sum_over_all=True)), "extra-term", "over all k"),
    "1/(K-1) for 2/(K-1)": ("W_squentropy", token_form(r=squentropy(factor=1.0)), "wrong-factor", "1/(K-1) for 2/(K-1)"),
    "cross-entropy for the mixture": ("W_mixture", token_form(r=lambda l, u, c, x: softmax(l) - np.eye(len(l))[c]), None, ""),
    "1/K for kappa": ("W_labels", label_form(lambda K: 1 / K), "scale", "1/(K-1) times"),
    "K/(K-1) for kappa": ("W_labels", label_form(lambda K: K / (K - 1)), "scale", "1/kappa^2 times"),
    "no kappa": ("W_labels", label_form(lambda K: 1.0), "scale", "1/kappa times"),
    "q_0^2 in S": ("W_labels", label_form(squares_of_query=True), "extra-term", "q_0^2 stands in S"),
    "no gamma_0": ("W_labels", label_form(own=False), None, ""),
    "1/K for kappa, in xi": ("xi", reduced(kappa=lambda K: 1 / K), "scale", "1/(K-1) times"),
    "K/(K-1) for kappa, in xi": ("xi", reduced(kappa=lambda K: K / (K - 1)), "scale", "1/kappa^2 times"),
    "q_0^2 in S, in xi": ("xi", reduced(squares_of_query=True), "extra-term", "q_0^2 stands in S"),
    "tbar without q_0": ("xi", reduced(tbar_with_query=False), "query-in-context", "or that of tbar, runs over contexts"),
    "+ xi2 in the query's score": ("xi", reduced(sign=1), "sign", "xi2 has the wrong sign in the query's score"),
}  # fmt: skip


@pytest.mark.parametrize("name", SLIPS)
def test_wrong_copies_are_named(name):
    wrt, function, kind, words = SLIPS[name]
    found = diagnosis(function, wrt)
    if kind is not None:
        assert len(found) == 1 and found[0][0] == kind and words in found[0][1], found


def test_what_the_slips_are_made_from_is_right():
    right = {"W": token_form(), "W_squentropy": token_form(r=squentropy()), "W_labels": label_form(), "xi": reduced()}
    for wrt, function in right.items():
        for case in cases(wrt):
            want = formulas[wrt](case.params, case.each[0])
            assert abs(function(case.params, case.each[0]) - want).max() <= 1e-13


def test_e_c_for_u_c_in_the_target_alone_changes_no_gradient():
    """Codes and answers are orthogonal to 1_K, and u_c - e_c is along it: the loss grows by 1/(2K), and nothing else."""
    shifted = token_form(r=lambda l, u, c, x: l - (u + (1 / x.K if x.K else 0)))
    for case in cases("W"):
        want = formulas["W"](case.params, case.each[0])
        assert abs(shifted(case.params, case.each[0]) - want).max() <= 1e-14


def test_points_see_what_they_must():
    """Targets that the scores do not name, gradients in every block, the query's own weight."""
    differ = shares = 0
    for case in cases("W"):
        prompt, (W,) = case.each[0], case.params
        q = softmax(prompt.P.T @ W @ prompt.h_0)
        differ += q[:-1].argmax() != prompt.nearest
        shares += 1e-3 < q[-1] < 0.999
    assert differ >= 5 and shares >= 10


def test_marks_have_no_faults():
    assert check_marks(onenn2024.subject, draws=20) == []


@pytest.mark.slow
def test_the_audit_finds_what_is_printed_wrong():
    report = audit_paper("onenn2024", draws=15)
    assert report.ok, report
    entries = {entry.name: entry for entry in report.formulas}
    printed = {name for name, entry in entries.items() if entry.verdict == "disagree"} - {"negative control"}
    assert printed == {"W11_printed", "xi1_step_printed"}
    (query,) = entries["W11_printed"].diagnosis
    assert (
        query["kind"] == "query-in-context" and "gamma_0 x_0 x_0^T, is left out of the sum in W_11" in query["detail"]
    )
    (step,) = entries["xi1_step_printed"].diagnosis
    assert step == {"kind": "wrong-factor", "detail": "a factor is absent: 1/d in the step of xi1"}
    right = [entry for entry in report.formulas if entry.verdict == "agree"]
    assert {"W", "W_matrix", "W_mixture", "W_ce", "W_squentropy", "W_labels", "xi", "xi2_printed", "xi_step"} <= {
        entry.name for entry in right
    }
    for entry in right:
        both = [entry.witnesses[name] for name in ("complex_step", "complex_step_reference")]
        assert max(both) <= 1e-13, (entry.name, both)


@pytest.mark.parametrize("wrt", SUBJECTS)
@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_wrong_for_small_or_equal_sizes_alone_is_seen(wrt, seed):
    """Of each kind there is a draw whose gradient is not 0."""
    formula = next(iter(SUBJECTS[wrt].formulas.values()))
    seen = set()
    for point in SUBJECTS[wrt].points(20, seed, False):
        for prompt in point.prompts:
            if not np.abs(formula(point.params, prompt)).max() > 0:
                continue
            if wrt in ("xi", "traces"):
                N, d, K = len(prompt.t), prompt.d, prompt.K
                seen |= {("xi1 < 0", point.params[0][0] < 0), ("xi2 < 0", point.params[0][1] < 0)}
            else:
                N, d, K = prompt.X.shape[1] - 1, len(prompt.X), prompt.K
            seen |= {("N", N), ("K", K), ("d", d), ("N = d", d == N), ("K = d", d == K), ("K = N", K == N)}
            if wrt == "W":
                seen.add((K, prompt.c))
            if wrt == "W_mixture":
                seen |= {("c", prompt.mixture), ("c = 1", "N = d", prompt.mixture == 1 and d == N)}
    wanted = {("N", 1), ("N", 2), ("d", 2), ("K", 2), ("N = d", True), ("K = d", True), ("K = N", True)}
    if wrt in ("xi", "traces"):
        wanted |= {("K", None), ("xi1 < 0", True), ("xi2 < 0", True)}
    else:
        wanted |= {("d", 1)}
    wanted |= {"W": {(None, -1), (None, 1)}, "W_labels": {("K", None)}}.get(wrt, set())
    if wrt == "W_mixture":
        wanted |= {("c", 0.0), ("c", 1.0), ("c = 1", "N = d", True)}
    assert wanted <= seen, wanted - seen


def test_a_formula_that_is_wrong_for_one_context_alone_does_not_agree():
    def formula(weights, cosines):
        return formulas["xi"](weights, cosines) * (1 + (len(cosines.t) == 1))

    report = audit_formula(formula, paper="onenn2024", wrt="xi", mend=0)
    assert report.verdict == "disagree"
