"""The audit of huang2023's formulas: slips of the pen, each written from scratch, so that names of mistakes mean what they
say; formulas that rest on an assumption; prompts taken for others."""

import dataclasses
import itertools
from functools import lru_cache

import numpy as np
import pytest
from draws import assert_close

from nlicl.audit import Formula, audit_formula, verdict
from nlicl.audit.bench import Bench
from nlicl.papers import huang2023
from nlicl.papers.huang2023 import formulas

SUBJECTS = {"Q": huang2023.subject, "S": huang2023.task_averaged_subject, "AB": huang2023.population_subject}
right = formulas["Q"].function


@lru_cache(None)
def cases(wrt):
    return Bench(SUBJECTS[wrt], 8, 1).single(False)


def diagnosis(function, wrt):
    formula = Formula(function, "given", wrt, "", "")
    report = verdict.reach(formula, cases(wrt), lambda case: function(case.params, case.each[0]), SUBJECTS[wrt])
    assert report.verdict == "disagree"
    return [(item["kind"], item["detail"]) for item in report.diagnosis]


def softmax(scores):
    exps = np.exp(scores - scores.max())
    return exps / exps.sum()


def attention_of(scores, c):
    with np.errstate(divide="ignore"):
        return softmax(scores + np.log(c))


def others_of(A, k):
    return sum(A[m] ** 2 for m in range(len(A)) if m != k)


def alpha_of(A, k):
    return A[k] * (others_of(A, k) + (1 - A[k]) ** 2)


def beta_of(A, k, n):
    return A[n] * (others_of(A, k) - A[n] - A[k] * (1 - A[k]))


def increments(alpha=alpha_of, beta=beta_of, Attn=attention_of, column=lambda S, k: S[:, k], shift=0):
    """-D from alpha_k, beta_{k,n} and Attn as given; the mean over counts is taken over words of N + shift contexts."""

    def formula(weights, law):
        p, N, _ = law
        D = np.zeros((len(p), len(p)))
        for word in itertools.product(range(len(p)), repeat=N + shift):
            c, chance = np.bincount(word, minlength=len(p)), np.prod(p[list(word)])
            for n, k in np.ndindex(D.shape):
                A = Attn(column(weights.AB, k), c)
                D[n, k] += p[k] * chance * (alpha(A, k) if n == k else beta(A, k, n))
        return -D

    return formula


def beta_with(bracket):
    return {"beta": lambda A, k, n: A[n] * bracket(A, k, n, others_of(A, k))}


def alpha_with(bracket):
    return {"alpha": lambda A, k: A[k] * bracket(A, k, others_of(A, k))}


AB_SLIPS = {
    "beta without Attn_k(1-Attn_k)": (beta_with(lambda A, k, n, o: o - A[n]), "missing-term",
                                      "- Attn_k (1 - Attn_k) is missing in beta_{k,n}"),
    "its sign flipped": (beta_with(lambda A, k, n, o: o - A[n] + A[k] * (1 - A[k])), "wrong-factor",
                         "- Attn_k (1 - Attn_k) has the wrong sign in beta_{k,n}"),
    "Attn_k for it": (beta_with(lambda A, k, n, o: o - A[n] - A[k]), "wrong-factor", "absent: 1 - Attn_k in"),
    "Attn_n(1-Attn_n) for it": (beta_with(lambda A, k, n, o: o - A[n] - A[n] * (1 - A[n])), "wrong-factor",
                                "- Attn_n (1 - Attn_n) for - Attn_k (1 - Attn_k)"),
    "(1-Attn_k)^2 as in alpha": (beta_with(lambda A, k, n, o: o - A[n] + (1 - A[k]) ** 2), "wrong-factor", "as in alpha_k"),
    "beta without - Attn_n": (beta_with(lambda A, k, n, o: o - A[k] * (1 - A[k])), "missing-term", "- Attn_n is missing"),
    "beta without the sum": (beta_with(lambda A, k, n, o: -A[n] - A[k] * (1 - A[k])), "missing-term",
                             "the sum over m != k of Attn_m^2 is missing in beta_{k,n}"),
    "beta's sum leaves out n": (beta_with(lambda A, k, n, o: o - A[n] ** 2 - A[n] - A[k] * (1 - A[k])), "missing-term",
                                "leaves out m = n in beta_{k,n}"),
    "beta without Attn_n in front": ({"beta": lambda A, k, n: beta_of(A, k, n) / A[n] if A[n] else others_of(A, k)
                                      - A[k] * (1 - A[k])}, "wrong-factor", "absent: Attn_n in beta_{k,n}"),
    "only alpha": ({"beta": lambda A, k, n: 0.0}, "missing-term", "beta_{k,n} is missing"),
    "only beta": ({"alpha": lambda A, k: 0.0}, "missing-term", "alpha_k is missing"),
    "beta's sign": ({"beta": lambda A, k, n: -beta_of(A, k, n)}, "sign", "beta_{k,n} has the wrong sign"),
    "alpha's sign": ({"alpha": lambda A, k: -alpha_of(A, k)}, "sign", "alpha_k has the wrong sign"),
    "alpha without (1-Attn_k)^2": (alpha_with(lambda A, k, o: o), "missing-term", "(1 - Attn_k)^2 is missing in alpha_k"),
    "1-Attn_k for its square": (alpha_with(lambda A, k, o: o + 1 - A[k]), "wrong-factor", "1 - Attn_k for (1 - Attn_k)^2"),
    "alpha without the sum": (alpha_with(lambda A, k, o: (1 - A[k]) ** 2), "missing-term", "is missing in alpha_k"),
    "the sum squared as a whole": (alpha_with(lambda A, k, o: 2 * (1 - A[k]) ** 2), "wrong-factor",
                                   "the square of the sum over m != k of Attn_m for the sum of squares in alpha_k"),
    "sums over k, too": (alpha_with(lambda A, k, o: o + A[k] ** 2 + (1 - A[k]) ** 2)
                         | beta_with(lambda A, k, n, o: o + A[k] ** 2 - A[n] - A[k] * (1 - A[k])), "extra-term",
                         "the sum over m != k of Attn_m^2 includes m = k"),
    "B transposed in the scores": ({"column": lambda S, k: S[k]}, "wrong-factor", "x_query^T Q x_i for the scores"),
    "no c_n": ({"Attn": lambda scores, c: softmax(scores)}, "wrong-factor", "absent: c_n in the softmax"),
    "N - 1 contexts": ({"shift": -1}, "missing-term", "the mean is over N - 1 of them"),
}  # fmt: skip


@pytest.mark.parametrize("name", AB_SLIPS)
def test_slips_in_alpha_and_beta_are_named(name):
    changes, kind, words = AB_SLIPS[name]
    ((found, detail),) = diagnosis(increments(**changes), "AB")
    assert found == kind and words in detail, (found, detail)


def test_the_increments_that_slips_are_made_from_are_right():
    for case in cases("AB"):
        assert_close(increments()(case.params, case.each[0]), formulas["alpha_beta"](case.params, case.each[0]), 1e-13)


def column_form(a=attention_of, g=lambda a, e: a * (e - a @ e), e_k=1.0, row=False):
    """Column k of the task-averaged gradient."""

    def formula(weights, counted):
        c, k, _ = counted
        found = a(weights.S[k] if row else weights.S[:, k], c)
        gradient = np.zeros_like(weights.S)
        gradient[:, k] = g(found, found - e_k * np.eye(len(c))[k])
        return gradient

    return formula


S_SLIPS = {
    "no c_n": ({"a": lambda s, c: softmax(s)}, "wrong-factor", "absent: c_n in the softmax, which runs over all features"),
    "scores from the row": ({"row": True}, "wrong-factor", "x_query^T Q x_i for the scores x_i^T Q x_query"),
    "a + e_k": ({"e_k": -1.0}, "wrong-factor", "the target has the wrong sign: a + e_k for a - e_k"),
    "the Jacobian's diagonal": ({"g": lambda a, e: a * (1 - a) * e}, "softmax-centering", "only the diagonal"),
    "the target not in the mean": ({"g": lambda a, e: a * (e - a @ a)}, "missing-term", "sum_m a_m^2 for sum_m a_m e_m"),
}  # fmt: skip


@pytest.mark.parametrize("name", S_SLIPS)
def test_slips_in_the_simplex_form_are_named(name):
    changes, kind, words = S_SLIPS[name]
    ((found, detail),) = diagnosis(column_form(**changes), "S")
    assert found == kind and words in detail, (found, detail)


def token_form(Q=lambda Q: Q, res=lambda yhat, z: yhat - z, weight=lambda attn, y, yhat: attn * (y - yhat), left=None,
               right=None, attn=softmax):  # fmt: skip
    """res sum_i attn_i (y_i - yhat) x_i x_query^T."""

    def formula(params, prompt):
        X, y, x_query = prompt.X, prompt.y, prompt.x_query
        found = attn(X.T @ Q(params.Q) @ x_query)
        yhat = found @ y
        x_i = X if left is None else left(params.Q, X)
        return res(yhat, prompt.z) * np.outer(
            x_i @ weight(found, y, yhat), x_query if right is None else right(X, found)
        )

    return formula


def per_feature(counts):
    """The coded form with `counts(c)` for c in the softmax."""

    def formula(params, prompt):
        V, c, omega, k = prompt.code
        Attn = attention_of(V.T @ params.Q @ V[:, k], counts(c))
        yhat = Attn @ omega
        return np.outer(V @ ((yhat - omega[k]) * Attn * (omega - yhat)), V[:, k])

    return formula


Q_SLIPS = {
    "yhat + y_query": (token_form(res=lambda yhat, z: yhat + z), "wrong-factor", "yhat + y_query for yhat - y_query"),
    "|yhat - y_query|": (token_form(res=lambda yhat, z: abs(yhat - z)), "wrong-factor", "|yhat - y_query|"),
    "Q^T in the scores only": (token_form(Q=np.transpose), "wrong-factor", "x_query^T Q x_i for the scores x_i^T Q x_query"),
    "Q made symmetric": (token_form(Q=lambda Q: (Q + Q.T) / 2), "wrong-factor", "(Q + Q^T)/2 for Q in the scores"),
    "the Jacobian's diagonal": (token_form(weight=lambda a, y, yhat: a * (1 - a) * y), "softmax-centering", "diagonal"),
    "no normalisation": (token_form(attn=np.exp), "wrong-factor", "the softmax is not normalised"),
    "linear attention": (token_form(attn=lambda s: s / len(s)), "wrong-factor", "attention without a softmax"),
    "no y_i": (token_form(weight=lambda a, y, yhat: -a * yhat), "missing-term", "y_i is missing"),
    "Q x_i": (token_form(left=lambda Q, X: Q @ X), "wrong-factor", "Q x_i for x_i"),
    "the context for x_query": (token_form(right=lambda X, a: X @ a), "wrong-factor", "sum_j attn_j x_j for x_query"),
    "scores over sqrt(N)": (token_form(attn=lambda s: softmax(s / np.sqrt(len(s)))), "wrong-factor", "sqrt(N)"),
    "no c_n, features of contexts": (per_feature(lambda c: c > 0), "wrong-factor", "absent: c_n in the softmax over features"),
    "no c_n, all features": (per_feature(np.ones_like), "wrong-factor", "the query's feature even where no context has it"),
}  # fmt: skip


@pytest.mark.parametrize("name", Q_SLIPS)
def test_slips_in_the_token_form_are_named(name):
    function, kind, words = Q_SLIPS[name]
    ((found, detail),) = diagnosis(function, "Q")
    assert found == kind and words in detail, (found, detail)


def test_a_formula_that_needs_orthonormal_features_is_said_to():
    """Attn as a function of inner products: exact for orthonormal features, wrong for inputs in general position."""

    def by_inner_products(params, prompt):
        X, x_query = prompt.X, prompt.x_query
        attn = softmax(X.T @ params.Q @ x_query)
        Attn = X.T @ X @ attn  # of each token's feature
        share = Attn / (X.T @ X).sum(axis=1)
        yhat = share @ prompt.y
        return (yhat - prompt.z) * np.outer(X @ (share * (prompt.y - yhat)), x_query)

    (item,) = audit_formula(by_inner_products, paper="huang2023", wrt="Q").formulas[0].diagnosis
    assert item["kind"] == "entries"
    assert (
        "it rests on an assumption, orthonormal features: right on all 17 draws that meet it, wrong on 3"
        in item["detail"]
    )
    assert "inputs in general position" in item["detail"]
    everywhere = audit_formula(lambda p, x: right(p, x) + 1e-3 * abs(p.Q), paper="huang2023", wrt="Q").formulas[0]
    assert "assumption" not in str(everywhere.diagnosis)


def test_a_formula_may_say_what_it_rests_on():
    """It is then judged on the draws that meet it, and only there."""
    wrong_elsewhere = lambda p, x: right(p, x) @ np.outer(x.x_query, x.x_query)  # noqa: E731
    formula = Formula(wrong_elsewhere, "given", "Q", "", "", domain="orthonormal features")
    entry = audit_formula(formula, paper="huang2023").formulas[0]
    assert entry.verdict == "agree" and "orthonormal features: 17 of 20 draws" in entry.note
    never = dataclasses.replace(formula, domain="features in a plane")
    with pytest.raises(ValueError, match=r"defined on none of 20 draws \(features in a plane\)"):
        audit_formula(never, paper="huang2023")


# ---- Objects taken for others


def of_both(read):
    """A formula that asks params or prompt for something."""
    return lambda params, prompt: read(params, prompt) * np.zeros_like(params[0])


TAKEN = [
    ("Q", lambda p, x: x.y_query, "no attribute 'y_query'", "prompt has tokens, z, "),
    ("Q", lambda p, x: x.p[0], "no attribute 'p'", "x_query, y (with wrt AB it has p)"),
    ("S", lambda p, x: x.tokens.sum(), "no attribute 'tokens'", "counts, query, query_attends (with wrt Q it has tokens)"),
    ("AB", lambda p, x: x.counts.sum(), "no attribute 'counts'", "p, length, query_attends (with wrt S it has counts)"),
    ("S", lambda p, x: p.Q.sum(), "no attribute 'Q'", "params has S (with wrt Q it has Q)"),
    ("Q", lambda p, x: x[0], "not subscriptable", "prompt has tokens, z, "),
    ("Q", lambda p, x: [*x], "must be an iterable, not Prompt", "prompt has tokens, z, "),
    ("Q", lambda p, x: unpacked(p), "values to unpack", "params has Q"),
]  # fmt: skip


def unpacked(params):
    W_Q, W_K = params
    return W_Q @ W_K


@pytest.mark.parametrize("timeout", [None, 30.0])
@pytest.mark.parametrize("wrt, read, error, advice", TAKEN)
def test_what_a_prompt_has_is_said_to_whom_asks_it_in_vain(wrt, read, error, advice, timeout):
    entry = audit_formula(of_both(read), paper="huang2023", wrt=wrt, draws=2, timeout=timeout).formulas[0]
    assert error in entry.error and advice in entry.error, entry.error
    assert "with wrt" not in entry.error or "it has" in advice


def test_errors_of_other_things_get_no_advice():
    for read in (lambda p, x: p.Q.no_such_thing, lambda p, x: {}["x"], lambda p, x: [0][p.Q.size]):
        error = audit_formula(of_both(read), paper="huang2023", wrt="Q", draws=2).formulas[0].error
        assert "has" not in error.replace("has no attribute", ""), error
