"""The audit of Bu et al. 2024: right formulas agree, wrong ones of every kind we know are caught and named."""

import itertools
import random
from functools import lru_cache

import numpy as np
import pytest

import nlicl
from nlicl.audit import Formula, check_marks, verdict
from nlicl.audit.bench import Bench
from nlicl.audit.mistakes import PLAIN, Mark, edits
from nlicl.papers import bu2024
from nlicl.papers.bu2024 import formulas, gradients, reference
from nlicl.papers.bu2024.closed import sigmoid

SUBJECT = bu2024.subject
PART = {wrt: part for part in SUBJECT.every for wrt in part.formulas}
NAMES = tuple(PART)
FIRST = [next(iter(part.formulas)) for part in SUBJECT.every]
DRAWS, FEW = 11, 6  # random points, the initialisation, a trained point, a pruned neuron or prompts of one concept


@lru_cache(None)
def bench(first, seed=0, draws=DRAWS):
    """The draws of a part of the subject, by its first formula."""
    return Bench(PART[first], draws, seed, SUBJECT)


def cases_of(wrt, seed=0, draws=DRAWS):
    return bench(next(iter(PART[wrt].formulas)), seed, draws).single(False)


def report_on(function, wrt, seed=0):
    formula = Formula(function, "given", wrt, "", "")
    cases = cases_of(wrt, seed)
    return verdict.reach(formula, cases, lambda case: function(case.params, case.prompts[0]), PART[wrt])


def found(report):
    """Kinds of the diagnosis; where a formula has no value somewhere, that is said besides what is wrong elsewhere."""
    kinds = {item["kind"] for item in report.diagnosis}
    return kinds - {"shape"} if report.error is not None else kinds


def details(report):
    return "; ".join(item["detail"] for item in report.diagnosis)


def wrong_forms(wrt):
    return edits(PART[wrt].marked[wrt], [(case.params, case.prompts[0]) for case in cases_of(wrt)])


def edited(wrt, *chosen):
    mark = Mark(chosen)
    return lambda params, prompt: PART[wrt].marked[wrt](params, prompt, mark)


def check(mistakes):
    """Every mistake (name, wrt, function, kind, words) disagrees and gets its kind alone, and its words in the details."""
    wrong = []
    for name, wrt, function, kind, words in mistakes:
        report = report_on(function, wrt)
        if report.verdict != "disagree" or found(report) != {kind} or words not in details(report):
            wrong.append(f"{wrt}, {name}: {report.verdict}, {found(report)} for {kind}: {details(report)}")
    assert not wrong, "\n".join(wrong)
    return len(mistakes)


# ---------------------------------------------------------------- right formulas


@pytest.mark.parametrize("seed, draws", [(0, DRAWS), (1, FEW), (2, 3)])
@pytest.mark.parametrize("first", FIRST)
def test_all_is_as_expected(first, seed, draws):
    """Formulas and the library's batched gradients agree with the complex step and all other witnesses.

    The library to 2e-14; a formula, on a prompt whose phi_l nearly cancel phibar, to some 1e-13.
    """
    judged = bench(first, seed, draws)
    for formula in PART[first].formulas.values():
        for report, limit in ((judged.audit(formula), 2e-13), (judged.audit_library(formula.wrt), 2e-14)):
            assert (report.verdict, report.expected, report.diagnosis) == ("agree", "agree", []), (
                report.name,
                report.reason,
            )
            assert report.control_caught and report.max_relative_error <= limit, report.name
            assert max(report.witnesses[name] for name in ("complex_step", "complex_step_reference")) <= limit
            assert abs(report.witnesses["taylor_slope"] - 2) < 0.05 and report.cosine == pytest.approx(1, abs=1e-12)
            assert 0.2 < report.activity["relu_active"] < 0.8


def test_what_is_registered():
    assert tuple(formulas) == NAMES == ("W_Q", "W_K", "W_V", "W_O", "a", "W_QK", "W_Qx", "W_Kx", "W_Oy", "W_Q1", "W_K1")
    assert SUBJECT.parameters == list(NAMES)
    for name, formula in formulas.items():
        assert formula.source.startswith("derived from the definition (not the paper's text)")
        assert ("frozen in training" in formula.source) == (name in ("W_V", "a"))
        assert formula.expected == "agree" and formula.equation.startswith("g ")


def test_draws_are_generic_and_tell_something():
    """No symmetric matrix but at the start and after few steps; both signs among demonstrations; live neurons."""
    for first in FIRST:
        points = bench(first).points(False)
        labels = [point.label for point in points]
        assert sum(len(point.prompts) for point in points) == DRAWS
        if first in ("W_Q", "W_Qx"):
            assert {"the paper's initialisation", "trained for 60 steps"} < set(labels)
        for point in points:
            if point.label.startswith("random"):
                for W in point.params:
                    assert W.ndim == 1 or W.shape[0] != W.shape[1] or abs(W - W.T).max() > 0.1
            for prompt in point.prompts if hasattr(point.prompts[0], "signs") else ():
                assert set(prompt.signs[:-1]) == {1, -1}
    assert all(case.prompts[0].one_concept for case in cases_of("W_Q1"))
    kinds = {case.prompts[0].one_concept for case in cases_of("W_Qx")}
    assert kinds == {True, False}


@pytest.mark.parametrize("wrt", NAMES)
def test_edited_without_an_edit_is_the_formula(wrt):
    for case in cases_of(wrt):
        want = formulas[wrt](case.params, case.prompts[0])
        got = PART[wrt].marked[wrt](case.params, case.prompts[0], PLAIN)
        assert got.shape == want.shape == getattr(case.params, wrt).shape
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-12 * abs(want).max())


def test_the_closed_form_is_for_prompts_of_one_concept():
    """Elsewhere it is wrong, and that is seen."""
    report = report_on(lambda blocks, prompt: formulas["W_K1"](reference.OneConcept(*blocks), prompt), "W_Kx")
    assert report.verdict == "disagree"
    one = [n for n, case in enumerate(cases_of("W_Kx")) if case.prompts[0].one_concept]
    assert one and not set(one) & set(report.wrong_draws)


# ---------------------------------------------------------------- wrong forms of the marked gradients: each is named


@pytest.mark.parametrize("wrt", NAMES)
def test_every_edit_is_named(wrt):
    wrong = wrong_forms(wrt)
    assert len(wrong) >= (12 if wrt == "a" else 17)  # the list has not shrunk behind our back
    step = 1 if wrt.endswith(("x", "y", "1", "a")) else 3  # those of whole matrices are those of their blocks
    check([(edit, wrt, edited(wrt, edit), edit.kind, edit.detail) for edit in wrong[::step]])


def test_every_wrong_form_is_one_of_its_own():
    """None changes nothing, no two are the same: else one of them could not be named."""
    for attends in (False, True):
        assert check_marks(SUBJECT, DRAWS, 0, attends) == []


@pytest.mark.parametrize("wrt", ["W_Kx", "W_Oy", "W_Q1"])
def test_pairs_of_edits_are_named(wrt):
    def distinct(x, y):
        details = f"{x.detail}; {y.detail}"
        only = "only the first" in details
        first = ("I_1", "a_1 for", "attn_1 for", "W_O^y(1,.)", "p_1 for", "p_s for")
        of_score = "the score F for G" in details  # nothing of G is left
        inside = {"relu-gate", "r_i in G", "<w_i, d_k> in G"} & {x.slot, y.slot}
        return x.slot != y.slot and not (only and any(name in details for name in first)) and not (of_score and inside)

    pairs = [pair for pair in itertools.combinations(wrong_forms(wrt), 2) if distinct(*pair)]
    for x, y in random.Random(wrt).sample(pairs, 4):
        report = report_on(edited(wrt, x, y), wrt)
        assert report.verdict == "disagree"
        assert found(report) == {x.kind, y.kind}, (x, y, details(report))


def test_other_draws_give_the_same_names():
    for wrt in ("W_Kx", "W_K1", "W_QK"):
        for edit in wrong_forms(wrt)[::4]:
            report = report_on(edited(wrt, edit), wrt, seed=1)
            assert (report.verdict, found(report)) == ("disagree", {edit.kind}), (wrt, edit)


# ---------------------------------------------------------------- wrong forms, written here


def score_of(params, prompt):
    if hasattr(params, "W_QK"):
        params = reference.full_merged(params)
    if hasattr(params, "W_V"):
        return nlicl.models.transformer.reference.forward(params, prompt).score
    return reference.forward(params, prompt).F


def with_g(wrt, slope):
    """The right formula with another function of y and F in the place of g = -y sigmoid(-y F)."""

    def function(params, prompt):
        y, F = prompt.z, score_of(params, prompt)
        return formulas[wrt](params, prompt) / (-y * sigmoid(-y * F)) * slope(y, F)

    return function


WRONG_SLOPES = {
    "sigmoid(yF) for sigmoid(-yF)": (
        lambda y, F: -y * sigmoid(y * F),
        "wrong-factor",
        "sigmoid(z F) for sigmoid(-z F)",
    ),
    "y dropped": (lambda y, F: -sigmoid(-y * F), "wrong-factor", ""),
    "e_q inserted": (lambda y, F: -y * y * sigmoid(-y * F), "wrong-factor", ""),
    "sigmoid dropped": (lambda y, F: -y, "wrong-factor", "a factor is absent: sigmoid(-z F)"),
    "sigmoid(-F)": (lambda y, F: -y * sigmoid(-F), "wrong-factor", "sigmoid(-F) for sigmoid(-z F)"),
    "ascent": (lambda y, F: y * sigmoid(-y * F), "sign", "minus the expected one"),
    "2 for 4": (lambda y, F: -y * sigmoid(-y * F) / 2, "scale", "1/2 times"),
}


@pytest.mark.parametrize("name", WRONG_SLOPES)
def test_wrong_slopes_of_the_loss(name):
    slope, kind, words = WRONG_SLOPES[name]
    mistakes = []
    for wrt in NAMES:
        sign = "e_q = y_S is there once too often" if wrt.endswith("1") else "a factor is absent: the label z"
        mistakes.append((name, wrt, with_g(wrt, slope), kind, words or sign))  # the same two mistakes: y^2 = 1
    check(mistakes)


@pytest.mark.parametrize("strength", [0.002, 0.0371, -2.0])
def test_the_l2_term_is_no_part_of_it(strength):
    def function(wrt):
        return lambda params, prompt: formulas[wrt](params, prompt) + strength * getattr(params, wrt)

    check([("L2", wrt, function(wrt), "extra-term", f"lambda {wrt} with lambda = {strength:g}:") for wrt in NAMES])


def test_transposed_results():
    """Visible at generic parameters: square ones too."""
    check([
        ("T", wrt, lambda params, prompt, w=wrt: formulas[w](params, prompt).T, "transpose", "transpose of the gradient")
        for wrt in NAMES if wrt != "a"
    ])  # fmt: skip


def block_gradient(wrt, mistake=None):
    """The gradient of a word block or of W_O^y in matrix form, independent of the library's, with a mistake in it."""

    def function(blocks, prompt):
        W_Q, W_K, W_O, r = blocks
        X, Y, x_q, y = prompt.x, prompt.y, prompt.x_q, prompt.z
        s = X.T @ W_K.T @ W_Q @ x_q
        attn = np.exp(s - s.max()) / np.exp(s - s.max()).sum()
        v = Y @ attn
        h = W_O @ v
        F = r @ np.clip(h, 0, None)
        g = -y / (1 + np.exp(y * F))
        zeta = r if mistake == "no gate" else r * (h > 0)
        phi = Y.T @ W_O.T @ zeta
        J = np.diag(attn) - np.outer(attn, attn)
        J = {"no phibar": np.diag(attn), "phibar added": np.diag(attn) + np.outer(attn, attn),
             "uniform": np.diag(attn) - np.outer(attn, np.full_like(attn, 1 / len(attn)))}.get(mistake, J)  # fmt: skip
        chi = X @ J @ phi if mistake != "uniform" else X @ J.T @ phi
        if wrt == "W_Oy":
            return g * np.outer(zeta, v)
        if wrt == "W_Qx":
            key = {"W_K^T": W_K.T, "W_Q": W_Q}.get(mistake, W_K)
            return g * np.outer(key @ chi, x_q)
        probe = {"W_Q^T": W_Q.T, "W_K": W_K}.get(mistake, W_Q)
        return g * np.outer(probe @ x_q, chi)

    return function


MISTAKES = [
    ("W_Oy", "no gate", "relu-gate", "1[u_i > 0] is missing"),
    ("W_Qx", "no gate", "relu-gate", "1[u_i > 0] is missing"),
    ("W_Kx", "no gate", "relu-gate", "1[u_i > 0] is missing"),
    ("W_Qx", "no phibar", "softmax-centering", "mean term, - sum_r attn_r p_r, is missing"),
    ("W_Kx", "no phibar", "softmax-centering", "mean term, - sum_r attn_r p_r, is missing"),
    ("W_Kx", "phibar added", "softmax-centering", "has the wrong sign"),
    ("W_Qx", "W_K^T", "wrong-factor", "W_K^xT p_s -> W_K^x p_s"),
    ("W_Kx", "W_Q^T", "wrong-factor", "W_Q^xT p_query -> W_Q^x p_query"),
    ("W_Qx", "W_Q", "wrong-factor", "W_Q^x p_s -> W_K^x p_s"),
    ("W_Kx", "W_K", "wrong-factor", "W_K^x p_query -> W_Q^x p_query"),
]


def test_mistakes_in_an_independent_form():
    for wrt in ("W_Qx", "W_Kx", "W_Oy"):
        report = report_on(block_gradient(wrt), wrt)
        assert (report.verdict, report.diagnosis) == ("agree", [])
    check([(mistake, wrt, block_gradient(wrt, mistake), kind, words) for wrt, mistake, kind, words in MISTAKES])


def one_concept(wrt, mistake=None):
    """The closed form of docs/bu2024.md, with attn_+ from the score gap, independent of the library's."""

    def function(blocks, prompt):
        W_Q, W_K, W_O, r = blocks
        a, b, c, d, e_q = prompt.a, prompt.b, prompt.c, prompt.d, prompt.signs[-1]
        x_q = a + e_q * b
        n_plus = np.sum(prompt.signs[:-1] == e_q)
        n_minus = len(prompt.signs) - 1 - n_plus
        plus = 1 / (1 + n_minus / n_plus * np.exp(-2 * e_q * b @ W_K.T @ W_Q @ x_q))
        h = W_O @ (c + e_q * (2 * plus - 1) * d)
        F = r @ np.clip(h, 0, None)
        g = -e_q / (1 + np.exp(e_q * F))
        G = (r if mistake == "no gate" else r * (h > 0)) @ (W_O @ d)
        G = (r * (h > 0)) @ (W_O @ c) if mistake == "c for d" else G
        slope = {"2 for 4": 2, "e_q": 4 * e_q}.get(mistake, 4) * plus * (1 if mistake == "attn_+" else 1 - plus) * G
        if wrt == "W_K1":
            probe = {"W_Q^T": W_Q.T, "W_K": W_K}.get(mistake, W_Q)
            return g * slope * np.outer(probe @ x_q, a if mistake == "a for b" else b)
        key = {"W_K^T": W_K.T, "W_Q": W_Q}.get(mistake, W_K)
        return g * slope * np.outer(key @ (a if mistake == "a for b" else b), x_q)

    return function


CLOSED_MISTAKES = {
    "e_q": ("wrong-factor", "the sign e_q = y_S is there once too often"),
    "2 for 4": ("scale", "1/2 times"),
    "no gate": ("relu-gate", "1[u_i > 0] is missing"),
    "c for d": ("wrong-factor", "<w_i, c_k> for <w_i, d_k> in G"),
    "attn_+": ("wrong-factor", "a factor is absent: attn_-"),
    "a for b": ("wrong-factor", "a_k for b_k"),
}
CLOSED_TRANSPOSES = [("W_K1", "W_Q^T", "W_Q^xT x_q"), ("W_K1", "W_K", "W_K^x x_q -> W_Q^x x_q"),
                     ("W_Q1", "W_K^T", "W_K^xT b_k"), ("W_Q1", "W_Q", "W_Q^x b_k -> W_K^x b_k")]  # fmt: skip


def test_mistakes_in_the_closed_form():
    for wrt in ("W_Q1", "W_K1"):
        report = report_on(one_concept(wrt), wrt)
        assert (report.verdict, report.diagnosis) == ("agree", []), wrt
        check([(name, wrt, one_concept(wrt, name), *expected) for name, expected in CLOSED_MISTAKES.items()])
    check(
        [(mistake, wrt, one_concept(wrt, mistake), "wrong-factor", words) for wrt, mistake, words in CLOSED_TRANSPOSES]
    )


def test_queries_and_keys_exchanged():
    mistakes = []
    for wrt in ("W_Qx", "W_Kx"):

        def swapped(blocks, prompt, wrt=wrt):
            return formulas[wrt](blocks._replace(W_Qx=blocks.W_Kx, W_Kx=blocks.W_Qx), prompt)

        mistakes.append(("swapped", wrt, swapped, "wrong-factor", "stand for each other"))
        other = {"W_Qx": "W_Kx", "W_Kx": "W_Qx"}[wrt]
        mistakes.append(("other", wrt, formulas[other].function, "wrong-parameter", f"with respect to {other}"))
    check(mistakes)


@pytest.mark.parametrize("wrt", ["W_Qx", "W_Kx"])
def test_the_whole_matrix_is_no_block(wrt):
    """Label columns included, as `dW_K` has them: another shape."""
    whole = {"W_Qx": gradients.dW_Q, "W_Kx": gradients.dW_K}[wrt]
    report = report_on(lambda blocks, prompt: whole(reference.full(blocks), prompt), wrt)
    assert report.verdict == "disagree" and {item["kind"] for item in report.diagnosis} == {"shape"}


# ---------------------------------------------------------------- from outside


def test_a_formula_of_the_reader_s(run, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "import numpy as np\n"
        "def right(merged, prompt):\n"
        "    p, q = prompt.keys, prompt.query\n"
        "    s = p.T @ merged.W_QK @ q\n"
        "    attn = np.exp(s - s.max()) / np.exp(s - s.max()).sum()\n"
        "    h = merged.W_O @ merged.W_V @ p @ attn\n"
        "    F = merged.a @ np.maximum(h, 0)\n"
        "    phi = (merged.a * (h > 0)) @ merged.W_O @ merged.W_V @ p\n"
        "    g = -prompt.z / (1 + np.exp(prompt.z * F))\n"
        "    return g * np.outer(p @ (attn * (phi - attn @ phi)), q)\n"
        "def wrong(merged, prompt):\n"
        "    return right(merged, prompt).T\n"
    )
    status, out, _ = run("audit", "bu2024", "--wrt", "W_QK", "--formula", f"{path}:right", "--draws", 4)
    assert status == 0 and "agree" in out
    status, out, _ = run("audit", "bu2024", "--wrt", "W_QK", "--formula", f"{path}:wrong", "--draws", 4)
    assert status == 1 and "transpose" in out


def test_places_of_a_seed_whose_first_blocks_have_no_telling_prompt():
    """A batch of no prompts is refused: such blocks are passed over."""
    for part in bu2024.subject.every:
        assert sum(len(point.prompts) for point in part.points(4, 701, False)) == 4
