"""Diagnoses: wrong formulas are made from the right ones in every way we know, and each must be named, and nothing else.

Mistakes come from three sources: the right formulas changed from outside (sign, factors, rows, shapes), the wrong
forms of the paper's marked gradient, alone and in pairs, and a closed form written here, independently, with mistakes that are
on no list, which must not be given a name.
"""

import itertools
import random
import warnings
from functools import lru_cache

import numpy as np
import pytest

from nlicl.audit import Formula, audit_formula, check_marks, verdict
from nlicl.audit.bench import Bench
from nlicl.audit.mistakes import Mark, edits
from nlicl.papers import li2024

SUBJECT = li2024.subject
NAMES = ("W_Q", "W_K", "W_V", "W_O", "a")
MODELS = [pytest.param(False, id="l"), pytest.param(True, id="l+1")]
PAIRS = 6  # of edits, for each parameter and model


@lru_cache(None)
def bench(seed=0):
    return Bench(SUBJECT, 20, seed)


def right(wrt):
    return li2024.formulas[wrt].function


def report_on(function, wrt, attends, seed=0):
    formula = Formula(function, "given", wrt, "", "")
    return verdict.reach(
        formula, bench(seed).single(attends), lambda case: function(case.params, case.prompts[0]), SUBJECT
    )


def kinds(report):
    return {item["kind"] for item in report.diagnosis}


def details(report):
    return "; ".join(item["detail"] for item in report.diagnosis)


def changed(wrt, change):
    """The right formula with `change(gradient, params, prompt)` done to what it returns."""
    return lambda params, prompt: change(np.array(right(wrt)(params, prompt)), params, prompt)


def wrong_forms(wrt, attends):
    return edits(SUBJECT.marked[wrt], [(case.params, case.prompts[0]) for case in bench().single(attends)])


def edited(wrt, *chosen):
    mark = Mark(chosen)
    return lambda params, prompt: SUBJECT.marked[wrt](params, prompt, mark)


def check(wrt, attends, mistakes):
    """Every mistake (name, function, kinds, words) disagrees and gets exactly its kinds, and its words in the details."""
    wrong = []
    for name, function, expected, words in mistakes:
        report = report_on(function, wrt, attends)
        found = kinds(report)
        if report.error is not None:  # where a formula has no value, that is said besides what is wrong elsewhere
            found -= {"shape"}
        items = [tuple(item.items()) for item in report.diagnosis]
        assert len(items) == len(set(items)), f"{name}: {items}"
        if report.verdict != "disagree" or found != expected or words not in details(report):
            wrong.append(f"{name}: {report.verdict}, {sorted(found)} for {sorted(expected)}: {details(report)}")
    assert not wrong, "\n".join(wrong)
    return len(mistakes)


# ---- Right formulas, changed from outside


FACTORS = {
    "2": (lambda p, x: 2.0, "2 times"),
    "1/2": (lambda p, x: 0.5, "1/2 times"),
    "-2": (lambda p, x: -2.0, "-2 times"),
    "pi": (lambda p, x: np.pi, "3.14159 times"),
    "1/l": (lambda p, x: 1 / (len(x.tokens) - 1), "1/l times"),
    "l+1": (lambda p, x: len(x.tokens), "l+1 times"),
    "m": (lambda p, x: len(p.a), "m times"),
    "-m": (lambda p, x: -len(p.a), "-m times"),
    "sqrt(m)": (lambda p, x: np.sqrt(len(p.a)), "sqrt(m) times"),
    "d": (lambda p, x: p.W_Q.shape[1], "d times"),
    "1/sqrt(d)": (lambda p, x: p.W_Q.shape[1] ** -0.5, "1/sqrt(d) times"),
}


@pytest.mark.parametrize("attends", MODELS)
@pytest.mark.parametrize("wrt", NAMES)
def test_signs_and_factors(wrt, attends):
    mistakes = [("sign", changed(wrt, lambda g, p, x: -g), {"sign"}, "minus the expected one")]
    for name, (factor, words) in list(FACTORS.items())[:: 3 if attends else 1]:
        mistakes.append((name, changed(wrt, lambda g, p, x, f=factor: f(p, x) * g), {"scale"}, f"is {words}"))
    check(wrt, attends, mistakes)


def test_a_factor_is_named_once_and_exactly():
    for name, (factor, words) in FACTORS.items():
        report = report_on(changed("W_V", lambda g, p, x, f=factor: f(p, x) * g), "W_V", False)
        assert len(report.diagnosis) == 1, name
        assert f"is {words} the expected one" in report.diagnosis[0]["detail"]


def test_a_factor_that_changes_from_draw_to_draw():
    report = report_on(changed("W_V", lambda g, p, x: g * np.linalg.norm(x.query)), "W_V", False)
    assert kinds(report) == {"scale"}
    assert "another number on each draw" in details(report)


@pytest.mark.parametrize("attends", MODELS)
@pytest.mark.parametrize("wrt", NAMES[:4])
def test_transposed_results(wrt, attends):
    mistakes = [
        ("T", changed(wrt, lambda g, p, x: g.T), {"transpose"}, "transpose of the gradient"),
        ("-2 T", changed(wrt, lambda g, p, x: -2 * g.T), {"transpose"}, "-2 times"),
    ]
    check(wrt, attends, mistakes)


@pytest.mark.parametrize("attends", MODELS)
@pytest.mark.parametrize("wrt", NAMES)
def test_the_gradient_of_another_parameter(wrt, attends):
    others = [name for name in NAMES if name != wrt]
    words = "the gradient with respect to {}"
    mistakes = [(other, right(other), {"wrong-parameter"}, words.format(other)) for other in others]
    mistakes += [(f"-{o}", changed(o, lambda g, p, x: -g), {"wrong-parameter"}, words.format(o)) for o in others]
    check(wrt, attends, mistakes)


def times_in(index, factor):
    def change(gradient, params, prompt):
        gradient[index] *= factor
        return gradient

    return change


def largest_times(factor):
    def change(gradient, params, prompt):
        gradient.flat[np.argmax(abs(gradient))] *= factor
        return gradient

    return change


@pytest.mark.slow
@pytest.mark.parametrize("attends", MODELS)
@pytest.mark.parametrize("wrt", NAMES)
def test_some_entries(wrt, attends):
    row = f"{SUBJECT.rows[wrt]} (row)" if wrt in SUBJECT.rows else "row"
    mistakes = [
        ("a row", changed(wrt, times_in(1, 1 + 1e-6)), {"entries"}, f"{row} 1 only"),
        ("the last row", changed(wrt, times_in(-1, 1 - 1e-6)), {"entries"}, f"{row} -1 only"),
        ("an entry", changed(wrt, largest_times(1 + 1e-9)), {"entries"}, "entries only"),
        ("an entry's sign", changed(wrt, largest_times(-1)), {"entries"}, "entries only"),
    ]
    if wrt != "a":
        mistakes.append(("a column", changed(wrt, times_in((slice(None), 2), 1.5)), {"entries"}, "column 2 only"))
    check(wrt, attends, mistakes)


def test_some_draws():
    for wrt in ("W_K", "W_O"):  # most entries of dW_K are alive, those of dW_O only in active rows
        report = report_on(changed(wrt, lambda g, p, x: g * (2 if x.z > 0 else 1)), wrt, False)
        assert kinds(report) <= {"entries", "scale"}
        assert report.diagnosis
    report = report_on(changed("W_K", lambda g, p, x: g * (2 if len(p.W_K) == 3 else 1)), "W_K", False)
    assert kinds(report) == {"entries"}
    assert "right on the others" in details(report)


def test_only_an_entry_on_a_kink():
    def change(gradient, params, prompt):
        gradient[~params.W_O.any(axis=1)] = 1e3  # the pruned neuron: u_i = 0 exactly
        return gradient

    report = report_on(changed("W_O", change), "W_O", False)
    assert report.verdict == "disagree"
    assert kinds(report) == {"entries"}
    assert "on a kink" in details(report)


@pytest.mark.parametrize("wrt", NAMES)
def test_no_number_at_all(wrt):
    nan = report_on(changed(wrt, times_in(0, np.nan)), wrt, False)
    assert (nan.verdict, kinds(nan)) == ("disagree", {"entries"})
    assert "nan at [0" in details(nan)
    assert kinds(report_on(changed(wrt, times_in(0, np.inf)), wrt, False)) == {"entries"}
    some = report_on(changed(wrt, lambda g, p, x: g * (np.nan if x.z > 0 else 1)), wrt, False)
    assert (some.verdict, kinds(some)) == ("disagree", {"entries"})


@pytest.mark.parametrize("wrt", NAMES)
def test_wrong_shapes(wrt):
    for change in (
        lambda g, p, x: g[:-1],
        lambda g, p, x: g.sum(),
        lambda g, p, x: g[None],
        lambda g, p, x: g.ravel()[1:],
    ):
        report = report_on(changed(wrt, change), wrt, False)
        assert (report.verdict, kinds(report)) == ("disagree", {"shape"})
        assert "wherever" not in details(report)  # wrong everywhere: no sizes explain it
        assert report.error is not None


def test_failing_somewhere_names_the_sizes_only_if_they_explain_it():
    def square_only(params, prompt):
        return right("W_V")(params, prompt) + 0 * (params.W_Q.T @ prompt.query)

    report = report_on(square_only, "W_V", False)
    assert report.verdict == "disagree"
    assert kinds(report) == {"shape"}
    assert "wherever d and m_a differ" in details(report)

    def positive_only(params, prompt):
        if prompt.z < 0:
            raise RuntimeError("no such label")
        return right("W_V")(params, prompt)

    report = report_on(positive_only, "W_V", False)
    assert report.verdict == "disagree"
    assert kinds(report) == {"unknown"}  # sizes are not to blame
    assert "RuntimeError: no such label" in details(report)


@pytest.mark.parametrize("wrt", NAMES)
def test_raising_everywhere_says_so_and_guesses_nothing(wrt):
    def function(params, prompt):
        raise ZeroDivisionError("by design")

    report = report_on(function, wrt, False)
    assert report.verdict == "undetermined"
    assert "ZeroDivisionError: by design" in report.error
    assert report.diagnosis == []


@pytest.mark.slow
@pytest.mark.parametrize("wrt", NAMES)
def test_zeros_and_junk_are_unknown(wrt):
    def noise(gradient, params, prompt):
        return np.random.default_rng(int(1e6 * abs(prompt.query[0]))).standard_normal(gradient.shape)

    for change in (lambda g, p, x: 0 * g, lambda g, p, x: np.ones_like(g), noise):
        report = report_on(changed(wrt, change), wrt, False)
        assert report.verdict == "disagree"
        # of what is 1 everywhere just that is said
        assert kinds(report) == {"unknown"} or details(report).startswith("given is 1 "), details(report)
        assert change is not noise or kinds(report) == {"unknown"}


@pytest.mark.slow
@pytest.mark.parametrize("wrt", NAMES)
def test_small_errors_everywhere_are_not_named_after_a_factor(wrt):
    for size in (1e-8, 1e-5):

        def noise(gradient, params, prompt, size=size):
            return gradient * (1 + size * np.random.default_rng(3).uniform(1, 2, gradient.shape))

        report = report_on(changed(wrt, noise), wrt, False)
        assert report.verdict == "disagree" and kinds(report) <= {"unknown", "precision"}, (size, details(report))


# ---- The wrong forms of the marked gradient, alone and in pairs


@pytest.mark.parametrize("attends", MODELS)
@pytest.mark.parametrize("wrt", NAMES)
def test_without_a_change_it_is_the_gradient(wrt, attends):
    report = report_on(edited(wrt), wrt, attends)
    assert (report.verdict, report.diagnosis) == ("agree", [])


@pytest.mark.parametrize("attends", MODELS)
@pytest.mark.parametrize("wrt", NAMES)
def test_every_change_of_one_factor_is_named(wrt, attends):
    wrong = wrong_forms(wrt, attends)
    count = check(wrt, attends, [(edit, edited(wrt, edit), {edit.kind}, edit.detail) for edit in wrong])
    assert count >= (6 if wrt == "a" else 18)  # the list has not shrunk behind our back


@pytest.mark.parametrize("attends", MODELS)
def test_every_wrong_form_is_one_of_its_own(attends):
    """None changes nothing, no two are the same: else one of them could not be named."""
    assert check_marks(SUBJECT, 20, 0, attends) == []


def distinct(x, y):
    """Whether two edits change two factors: where only the first summand counts, the first factor for all is no change."""
    only = any("only the first" in edit.detail for edit in (x, y))
    first = ("I_1", "a_1 for", "attn_1 for", "W_O(1,.)", "p_1 for", "p_s for")
    return x.slot != y.slot and not (only and any(name in edit.detail for edit in (x, y) for name in first))


@pytest.mark.slow
@pytest.mark.parametrize("attends", MODELS)
@pytest.mark.parametrize("wrt", NAMES)
def test_pairs_of_changes_are_named(wrt, attends):
    pairs = [pair for pair in itertools.combinations(wrong_forms(wrt, attends), 2) if distinct(*pair)]
    chosen = random.Random(f"{wrt}{attends}").sample(pairs, min(PAIRS, len(pairs)))
    check(
        wrt,
        attends,
        [((x, y), edited(wrt, x, y), {x.kind, y.kind}, x.detail) for x, y in chosen],
    )


@pytest.mark.parametrize("wrt", NAMES)
def test_a_change_and_a_factor_are_both_named(wrt):
    edit = next(edit for edit in wrong_forms(wrt, False) if edit.kind == "hinge-gate")
    function = edited(wrt, edit)
    report = report_on(lambda p, x: -2 * function(p, x), wrt, False)
    assert report.verdict == "disagree"
    assert kinds(report) == {"hinge-gate", "scale"}
    assert "-2 times" in details(report)


@pytest.mark.parametrize("wrt", NAMES)
def test_right_but_at_an_inactive_hinge(wrt):
    """Without the indicator, in words of its own: it is invisible wherever the hinge is active."""

    def function(params, prompt):
        active = li2024.formulas[wrt](params, prompt)
        if active.any():
            return active
        far = params._replace(a=-params.a)  # the other side of the hinge: active, and F turns around with a
        flipped = li2024.formulas[wrt](far, prompt)
        return flipped if wrt == "a" else -flipped

    report = report_on(function, wrt, False)
    assert report.verdict == "disagree"
    assert kinds(report) == {"hinge-gate"}


def test_two_mistakes_and_a_third():
    """As printed for dW_K and judged against the l model: three changes, all named."""
    printed = li2024.formulas["W_K_printed"]
    cases = [case for case in bench().single(False) if printed.defined(case.params)]
    report = verdict.reach(printed, cases, lambda case: printed(case.params, case.prompts[0]), SUBJECT)
    assert kinds(report) == {"hinge-gate", "wrong-factor", "query-in-context"}
    assert "W_Q^T p_query -> W_Q p_query" in details(report)


# ---- The covariance form of docs/li2024.md, written here independently, with mistakes on no list and some that are


def closed(wrt, mistake=None):
    def function(params, prompt):
        W_Q, W_K, W_V, W_O, a = params
        X, p_query, z = prompt.keys, prompt.query, prompt.z
        scores = (W_K @ X).T @ (W_Q @ p_query)
        scores = scores / np.sqrt(len(W_Q)) if mistake == "temperature" else scores
        attn = np.exp(scores - scores.max())
        attn = attn / attn.sum()
        h = X @ attn
        v = W_V @ h
        u = W_O @ v
        F = a @ np.maximum(u, 0)
        g = -z * (1 - z * F > 0)
        g = {"no sign": -g * z, "logistic": -z / (1 + np.exp(z * F)), "squared": F - z, "margin 2": -z * (2 - z * F > 0),
             "squared hinge": -2 * z * max(0, 1 - z * F), "zero-one": -z * (z * F < 0), "no label": -1.0 * (z * F < 1),
             "no hinge": -z}.get(mistake, g)  # fmt: skip
        c = a * {"leaky": np.where(u > 0, 1, 0.01), "no relu": 1, "tanh": 1 - np.tanh(u) ** 2}.get(mistake, u > 0)
        e = W_V.T @ W_O.T @ c
        mean = {"no mean": 0, "plus the mean": -1, "twice the mean": 2}.get(mistake, 1) * np.outer(h, h)
        C = (X * attn) @ X.T - mean
        C = X @ X.T / X.shape[1] - np.outer(h, h) if mistake == "uniform covariance" else C
        C = X @ np.diag(attn * (1 - attn)) @ X.T if mistake == "diagonal" else C
        q = {"context for query": prompt.contexts[:, -1], "mean for query": h, "unit query": p_query / 3}.get(
            mistake, p_query
        )
        if wrt == "W_Q":
            return g * np.outer(W_K @ C @ e, q)
        if wrt == "W_K":
            return g * np.outer(W_Q @ q, C @ e)
        if wrt == "W_V":
            return g * np.outer(W_O.T @ c, h)
        return g * np.outer(c, v) if wrt == "W_O" else g * np.maximum(u, 0)

    return function


@pytest.mark.parametrize("attends", MODELS)
@pytest.mark.parametrize("wrt", NAMES)
def test_closed_form_agrees(wrt, attends):
    report = report_on(closed(wrt), wrt, attends)
    assert (report.verdict, report.diagnosis, report.error) == ("agree", [], None)


KNOWN = [("no hinge", {"hinge-gate"}, NAMES), ("no relu", {"relu-gate"}, NAMES[:4]), ("no label", {"wrong-factor"}, NAMES),
         ("no mean", {"softmax-centering"}, NAMES[:2]), ("plus the mean", {"softmax-centering"}, NAMES[:2]),
         ("twice the mean", {"extra-term"}, NAMES[:2]), ("diagonal", {"softmax-centering"}, NAMES[:2]),
         ("temperature", {"wrong-factor"}, ("W_Q", "W_V", "W_O", "a")), ("zero-one", {"hinge-gate"}, NAMES)]  # fmt: skip


@pytest.mark.parametrize("attends", MODELS)
def test_known_mistakes_in_other_words(attends):
    for mistake, expected, where in KNOWN:
        for wrt in where:
            report = report_on(closed(wrt, mistake), wrt, attends)
            assert (report.verdict, kinds(report)) == ("disagree", expected), (mistake, wrt, details(report))


def test_the_softmax_reduced_to_its_diagonal_is_said_so():
    for wrt in NAMES[:2]:
        function = closed(wrt, "diagonal")
        report = report_on(function, wrt, False)
        assert [item["kind"] for item in report.diagnosis] == ["softmax-centering"]
        assert "only the diagonal of the softmax's Jacobian is there: attn_s (1 - attn_s) p_s for" in details(report)
        report = report_on(lambda p, x, f=function: 2 * f(p, x), wrt, False)  # 2 p (1 - p), as in a library of trees
        assert kinds(report) == {"softmax-centering", "scale"} and "2 times" in details(report)


UNLISTED = ["logistic", "squared", "margin 2", "squared hinge", "leaky",  "uniform covariance",
            "context for query", "mean for query"]  # fmt: skip


TOLD = {
    "squared": "given - expected is an outer product (rank one) at every point",
    "leaky": "expected = given times I by row",
    "mean for query": "a factor is another one: sum_r attn_r p_r for p_query",
}


@pytest.mark.slow
@pytest.mark.parametrize("wrt", NAMES)
@pytest.mark.parametrize("mistake", UNLISTED)
def test_mistakes_on_no_list_get_no_wrong_name(wrt, mistake):
    """Where they lie, at most, or that a number is another one on each draw; never the name of something else."""
    touched = {"leaky": NAMES[:4]} | dict.fromkeys(UNLISTED[5:], NAMES[:2])
    report = report_on(closed(wrt, mistake), wrt, False)
    if wrt not in touched.get(mistake, NAMES):
        assert report.verdict == "agree"
        return
    assert report.verdict == "disagree"
    assert len(report.diagnosis) == 1
    if mistake in TOLD and (wrt, details(report)[: len(TOLD[mistake])]) != (wrt, TOLD[mistake]):
        assert kinds(report) <= {"entries", "unknown", "scale"}, details(report)
    if mistake in TOLD:  # from the numbers, and right
        return
    assert kinds(report) <= {"entries", "unknown"} or kinds(report) == {"scale"}, details(report)
    if kinds(report) == {"scale"}:
        assert "another number on each draw" in details(report)
    if mistake in ("uniform covariance", "context for query"):
        assert kinds(report) == {"unknown"}, details(report)


# ---- Other conditions


def test_float32_mistakes_are_named_too():
    for wrt in NAMES:
        single = changed(wrt, lambda g, p, x: (-g).astype(np.float32))
        assert kinds(report_on(single, wrt, False)) == {"sign"}
        edit = next(edit for edit in wrong_forms(wrt, False) if edit.kind == "relu-gate")
        function = edited(wrt, edit)
        report = report_on(lambda p, x, f=function: f(p, x).astype(np.float32), wrt, False)
        assert kinds(report) == {"relu-gate"}


@pytest.mark.slow
def test_other_draws_give_the_same_diagnoses():
    for wrt in ("W_K", "W_O"):
        for edit in wrong_forms(wrt, False)[::3]:
            report = report_on(edited(wrt, edit), wrt, False, seed=1)
            found = kinds(report) - ({"shape"} if report.error else set())
            assert (report.verdict, found) == ("disagree", {edit.kind}), (wrt, edit)


def test_few_draws_disagree_and_do_not_fail():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for draws in (2, 3, 5):
            for wrt in ("W_K", "a"):
                formula = changed(wrt, lambda g, p, x: -g)
                report = audit_formula(formula, wrt=wrt, draws=draws)
                assert report.verdict == "disagree"
                assert "sign" in kinds(report.formulas[0])
