"""What is said of a wrong gradient by the arrays that its function has, and where nothing fits."""

import sys
from functools import partial

import numpy as np
import pytest

from nlicl.audit import audit_formula, audit_gradient
from nlicl.audit.functions import Files, audit_files
from nlicl.audit.patterns import Seen, explain
from nlicl.audit.process import find
from nlicl.audit.scope import Scope, around, bounded, held
from nlicl.models.transformer import reference
from nlicl.papers import li2024

rng = np.random.default_rng(7)
X, W1, v0, w0 = (
    rng.standard_normal((12, 4)),
    rng.standard_normal((4, 5)),
    rng.standard_normal(5),
    rng.standard_normal(4),
)
y, t, weights = rng.standard_normal(12), (rng.random(12) < 0.5) * 1.0, rng.random(12) + 0.5
labels = np.arange(12) % 3
n, decay = len(y), 0.3


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def network(W, v):
    return np.mean((np.maximum(X @ W, 0) @ v - y) ** 2)


def network_gradient(W, v, gate):
    a = X @ W
    h = np.maximum(a, 0)
    r = 2 * (h @ v - y) / n
    dh = np.outer(r, v)
    return X.T @ (dh * gate(a, h, dh)), h.T @ r


def logistic(w):
    return np.mean(np.logaddexp(0, X @ w) - t * (X @ w)) + decay / 2 * w @ w


def logistic_gradient(w, change):
    p = sigmoid(X @ w)
    return X.T @ change(p) / n + decay * w


def weighted(w):
    return 0.5 * np.sum(weights * (X @ w - y) ** 2)


def weighted_gradient(w):
    r = X @ w - y
    return X.T @ r


def classes(W):
    z = X @ W
    return np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(12), labels])


def classes_gradient(W):  # at the labels alone
    P = softmax(X @ W)
    dz = np.zeros_like(P)
    dz[np.arange(12), labels] = P[np.arange(12), labels] - 1
    return X.T @ dz / n


CASES = {
    "no gate": (network, lambda W, v: network_gradient(W, v, lambda a, h, dh: 1.0), (W1, v0), "gate", "X^T @ (dh * [a <= 0])"),
    "relu's value": (network, lambda W, v: network_gradient(W, v, lambda a, h, dh: h), (W1, v0), "formula", "[a > 0]"),
    "a gate of dh": (
        network, lambda W, v: network_gradient(W, v, lambda a, h, dh: dh > 0), (W1, v0), "formula", "X^T @ (dh * [a > 0])"
    ),
    "no label": (logistic, lambda w: logistic_gradient(w, lambda p: p), w0, "term", "X^T @ t"),
    "sigmoid' twice": (
        logistic, lambda w: logistic_gradient(w, lambda p: (p - t) * p * (1 - p)), w0, "formula", "expected = 0.3 * x"
    ),
    "no weights": (weighted, weighted_gradient, w0, "formula", "X^T @ (r * weights)"),
    "labels alone": (classes, classes_gradient, W1[:, :3], "formula", "X^T @ (P - onehot(labels))"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_made_of_the_functions_arrays_is_named(name):
    loss, gradient, x, kind, words = CASES[name]
    found = audit_gradient(loss, gradient, x, mend=0).formulas[0].diagnosis
    assert kind in [one["kind"] for one in found], found
    assert any(words in one["detail"] for one in found), found


def test_a_factor_that_the_function_has_is_named():
    s = np.exp(rng.standard_normal(4))

    def loss(w):
        return np.sum(s * np.sin(w))

    def gradient(w):
        return np.cos(w)

    (found, *_) = audit_gradient(loss, gradient, w0, mend=0).formulas[0].diagnosis
    assert found == {"kind": "wrong-factor", "detail": "expected = given times s"}


def test_numbers_of_the_function_name_a_factor():
    rate = 0.37

    def gradient(w):
        return rate * w

    found = audit_gradient(lambda w: w @ w / 2, gradient, w0, mend=0).formulas[0].diagnosis[0]
    assert found["kind"] == "scale" and "0.37 is also rate" in found["detail"]


def test_functions_in_a_file_tell_their_variables_too(tmp_path):
    file = tmp_path / "wrong.py"
    file.write_text(
        "import numpy as np\n"
        "X, t = np.cos(np.arange(20.0)).reshape(5, 4) + np.eye(5, 4), np.array([0.0, 1, 1, 0, 1])\n"
        "x = np.array([0.3, -0.2, 0.5, 0.1])\n"
        "def loss(w):\n    return np.sum(np.logaddexp(0, X @ w) - t * (X @ w))\n"
        "def gradient(w):\n    p = 1 / (1 + np.exp(-X @ w))\n    return X.T @ ((p - t) * p)\n"
    )
    known = {}
    named = [find(known, "", f"{file}:{name}", "FILE.py:NAME", "a.py:b") for name in ("loss", "gradient", "x")]
    report = audit_files(Files(*named), timeout=30.0, mend=0)
    details = [one["detail"] for one in report.formulas[0].diagnosis]
    assert "expected = X^T @ (p - t); given is no multiple of it" in details


# ---- Where nothing fits


def seen(make, points=3, shape=(5, 4), own=None):
    """`make(x)` -> (given, expected) at some points."""
    start, found = rng.standard_normal(shape), []
    for _ in range(points):
        x = start * (1 + 0.1 * rng.standard_normal(shape))
        given, expected = make(x)
        found.append(Seen(x, given, expected, 1e-10 * abs(expected) + 1e-13, {}, own or {}))
    return found


def said(make, **more):
    return explain("x", seen(make, **more), {})


def test_lost_properties_are_named():
    def centred(x):
        e = np.sin(3 * x)
        return np.exp(x) * e, e - e.mean(axis=0)

    (found,) = said(centred)
    assert found["kind"] == "structure" and found["detail"] == "expected has the sum 0 along axis 0, and given has not"

    def tangent(x):
        e = np.cos(7 * x)
        return e**3 + x**2, e - (e * x).sum() * x / (x * x).sum()

    (found,) = said(tangent, shape=(6,))
    assert found == {"kind": "structure", "detail": "expected has <., x> = 0, and given has not"}


def test_a_difference_of_low_rank():
    A, B = rng.standard_normal((5, 2)), rng.standard_normal((2, 4))
    (found,) = said(lambda x: (np.sin(x) + A @ np.diag(np.exp(x[0, :2])) @ B, np.sin(x)))
    assert found == {"kind": "low-rank", "detail": "given - expected has rank 2 of 4: a few outer products"}


def test_a_difference_that_is_the_same_everywhere():
    D = rng.standard_normal((5, 4))
    (found,) = said(lambda x: (np.sin(x) + D, np.sin(x)))
    assert found["kind"] == "constant-term" and "same array at every point" in found["detail"]


def test_factors_of_one_sign():
    (found,) = said(lambda x: (np.sin(x) * (1.1 + 0.1 * np.cos(9 * x)), np.sin(x)))
    assert found["kind"] == "structure" and "another factor in each entry" in found["detail"]


def test_no_gradient_and_another_functions_gradient():
    M = rng.standard_normal((4, 4))

    def loss(x):
        return np.sum(np.cos(x @ M @ x * x))

    report = audit_gradient(loss, lambda x: np.tanh(M @ np.sin(x)), w0, mend=0)
    (found,) = report.formulas[0].diagnosis
    assert found["kind"] == "no-gradient" and "derivative is not symmetric" in found["detail"]
    report = audit_gradient(loss, lambda x: M.T @ np.tanh(np.exp(M @ x)), w0, mend=0)
    kinds = [one["kind"] for one in report.formulas[0].diagnosis]
    assert kinds == ["other-function"]


def test_an_argument_on_which_given_does_not_depend():
    def loss(w, b):
        return np.sum(np.sin(X @ w + b[0] ** 3) * y)

    def gradient(w, b):
        r = np.cos(np.sin(X @ w)) * y
        return X.T @ r, r.sum() * 3 * b**2

    report = audit_gradient(loss, gradient, (w0, np.array([0.7])), mend=0)
    (found,) = report.formulas[0].diagnosis
    assert found["kind"] == "structure" and found["detail"].startswith("given stays the same where x[1] moves"), found


@pytest.mark.parametrize("seed", range(24))
def test_of_unrelated_arrays_nothing_is_made(seed):
    rng = np.random.default_rng(seed)
    shape = [(), (1,), (2,), (3,), (3, 4), (4, 4)][seed % 6]
    count, start, found = 6, rng.standard_normal(shape), []
    data = {"X": rng.standard_normal((count, shape[0] if shape else 3)), "y": np.sign(rng.standard_normal(count))}
    for k in range(1 + seed % 3):
        x = start * (1 + 0.1 * k * rng.standard_normal(shape))
        given, expected, h = rng.standard_normal((3, *shape))
        own = {
            "r": rng.standard_normal(count),
            "s": np.array(rng.standard_normal()),
            "h": np.asarray(h),
            "c": np.array(0.1),
        }
        error = np.asarray(1e-10 * abs(expected) + 1e-14 if seed % 2 else np.full(shape, 1e-6))
        found.append(Seen(np.asarray(x), np.asarray(given), np.asarray(expected), error, {}, data | own))
    assert [one["kind"] for one in explain("x", found, {"n": count})] == ["unknown"]


def test_what_is_computed_of_given_itself_explains_nothing():
    r = rng.standard_normal((3, 6))
    A = rng.standard_normal((6, 5))
    found = [
        Seen(x, A.T @ r[k], np.sin(x), np.full(5, 1e-10), {}, {"A": A, "r": r[k], "g": 2 * A.T @ r[k]})
        for k, x in enumerate(rng.standard_normal((3, 5)))
    ]
    assert all("A^T @ r" not in one["detail"] and "g" not in one["detail"].split() for one in explain("x", found, {}))


# ---- What a function has


def outer_function(x):
    scale = {"half": x / 2}

    def inner(z):
        twice = 2 * z
        return twice + 1

    return inner(x) + scale["half"]


def test_variables_are_seen():
    scope = Scope([outer_function])
    with scope.watching():
        outer_function(np.array([1.0, 2.0]))
    assert set(scope.own()) == {"x", "scale['half']"}
    assert set(scope.called()) == {"z", "twice", "inner()"}
    np.testing.assert_array_equal(scope.called()["inner()"], [3.0, 5.0])
    assert set(around([weighted_gradient])) == {"X", "y"}
    assert sys.getprofile() is None


def test_variables_that_cannot_be_looked_at_do_no_harm():
    class Bad(tuple):
        @property
        def _fields(self):
            raise RuntimeError("not for you")

    def function(x):
        bad = Bad((1.0, x))
        return bad[1]

    scope = Scope([function])
    with scope.watching():
        assert function(2.0) == 2.0
    assert scope.own() == {}


def test_a_profiler_that_runs_is_left_alone():
    def profiler(frame, event, argument):
        return None

    scope = Scope([partial(outer_function)])
    sys.setprofile(profiler)
    try:
        with scope.watching():
            outer_function(np.ones(2))
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(None)
    assert scope.own() == {}


def test_few_arrays_are_kept():
    many = {f"a{k}": np.zeros(3000) for k in range(100)}
    assert len(bounded(many)) == 43 and "b" not in bounded({"b": np.zeros(10**6)})
    assert held([outer_function], lambda: False) == []


# ---- Formulas


@pytest.mark.parametrize("wrt", ["W_O", "a"])
def test_a_formula_without_a_wrong_form_is_compared_with_what_the_gradient_computes(wrt):
    right = li2024.formulas[wrt].function

    def wrong(params, prompt):
        u = reference.forward(params, prompt).preactivation
        return right(params, prompt) * (u**2)[(...,) + (None,) * (wrt == "W_O")]

    found = audit_formula(wrong, paper="li2024", wrt=wrt, draws=8, mend=0).formulas[0].diagnosis
    assert found[0]["kind"] == "wrong-factor" and "given = expected times u^2" in found[0]["detail"], found
    assert found[0]["detail"].endswith("sizes)")


def test_what_fits_near_x_alone_is_not_said():
    scale = 0.6
    target = np.array([3.0, -3.0, 3.0, -3.0, 0.1, -0.1])
    A = np.vstack([X[:5], X[5:6] * 0.1])

    def huber(w):
        r = A @ w - target
        return np.sum(np.where(abs(r) <= 1, r**2 / 2, abs(r) - 0.5))

    def gradient(w):  # without the sign
        r = A @ w - target
        return A.T @ np.where(abs(r) <= 1, r, 1.0)

    def details(**more):
        found = audit_gradient(huber, gradient, scale * w0, mend=0, **more).formulas[0].diagnosis
        return " ".join(one["detail"] for one in found)

    assert "given - expected is the same array at every point" not in details()
    assert "given - expected is the same array at every point" in details(points=[1.02 * scale * w0, 0.98 * scale * w0])


def test_one_sample_is_named():
    def gradient(w):  # of all samples but the third
        r = 2 * (X @ w - y)
        r[2] = 0
        return X.T @ np.sin(r)

    def loss(w):
        return -np.sum(np.cos(2 * (X @ w - y))) / 2

    (found, *_) = audit_gradient(loss, gradient, w0, mend=0).formulas[0].diagnosis
    assert found["kind"] == "term" and "row 2 of X" in found["detail"], found
    A = rng.standard_normal((7, 4))

    def rank_one(x):
        return np.sin(x) + np.outer(np.exp(x[:, 0]), A[3]) * x[0, 1], np.sin(x)

    (found,) = said(rank_one, own={"A": A})
    assert found["kind"] == "rank-one" and "the right factor is a multiple of row 3 of A" in found["detail"], found


def test_a_mean_in_every_entry():
    (found, *_) = said(lambda x: (0 * x + np.sin(x).mean(), np.sin(x)))
    assert found == {"kind": "constant-term", "detail": "given is mean(expected), the same in every entry"}
    (found, *_) = said(lambda x: (0 * x + np.sin(x).mean(axis=1, keepdims=True), np.sin(x)))
    assert found["detail"] == "given is mean(expected) along axis 1, the same in every entry"


def test_where_it_is_wrong_is_said_besides():
    A = rng.standard_normal((5, 2)) * np.array([[1], [0], [1], [0], [0]])

    def two_rows(x):
        return np.sin(x) + A @ np.exp(x[:2]), np.sin(x)

    kinds = [(one["kind"], one["detail"]) for one in said(two_rows, own={"A": A})]
    assert kinds[-1] == ("entries", "wrong only in rows 0 and 2") and len(kinds) > 1, kinds
