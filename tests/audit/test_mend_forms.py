"""Mends of gradients in every form in which one writes them: dicts, classes, lambdas, closures, helpers, decorators."""

import functools
from typing import NamedTuple

import numba
import numpy as np
import pytest
from mending import flat, patched, right_everywhere, texts_fit

import nlicl

RNG = np.random.default_rng(11)
A, B = RNG.standard_normal((6, 3)), RNG.standard_normal(6)
W0 = np.array([0.3, -1.2, 0.8])


class Weights(NamedTuple):
    w: np.ndarray
    b: np.ndarray


def mended(loss, wrong, x, source=None, **settings):
    """The best mend's function and the repair; all repairs are right and fit the text."""
    report = nlicl.audit_gradient(loss, wrong, x, mend=40, **settings)
    assert report.verdict == "disagree"
    mending = report.searches[0].mending()
    assert mending.repairs, mending.note
    for repair in mending.repairs:
        texts_fit(repair, source or wrong)
        right_everywhere(loss, repair.function, x)
    assert report.mended() is mending.repairs[0].function
    return mending.repairs[0]


def squares(w):
    return 0.5 * np.sum((A @ w - B) ** 2)


# ---- dict, named tuple, both at once


def affine(p):
    return np.sum(np.tanh(A @ p["w"] + p["b"]))


def affine_wrong(p):
    h = np.tanh(A @ p["w"] + p["b"])
    d = 1 - h
    return {"w": A.T @ d, "b": d}


def affine_of(p):
    return np.sum(np.tanh(A @ p.w + p.b))


def affine_of_wrong(p):
    d = 1 - np.tanh(A @ p.w + p.b) ** 2
    return Weights(-A.T @ d, 2 * d)


def both(w):
    r = A @ w - B
    value = 0.5 * np.sum(r**2)
    return value, A.T @ r / len(r)


def test_a_dict():
    repair = mended(affine, affine_wrong, {"w": W0, "b": 0.3 * B})
    assert isinstance(repair.function({"w": W0, "b": B}), dict) and len(repair.changes) == 1


def test_a_named_tuple_with_a_mistake_in_each_argument():
    repair = mended(affine_of, affine_of_wrong, Weights(W0, 0.3 * B))
    assert isinstance(repair.function(Weights(W0, B)), Weights) and repair.changes[0].line == repair.changes[-1].line


def test_loss_and_gradient_of_one_function():
    report = nlicl.audit_gradient(both, True, W0, mend=40)
    repaired = report.mended()
    for repair in report.searches[0].mending().repairs:
        texts_fit(repair, both)
    right_everywhere(lambda w: both(w)[0], lambda w: repaired(w)[1], W0)
    for w in RNG.standard_normal((5, 3)):
        assert repaired(w)[0] == both(w)[0]


# ---- classes


class Net:
    def __init__(self):
        self.cache = {}

    def loss(self, w):
        self.cache["r"] = A @ w - B
        return 0.5 * np.sum(self.cache["r"] ** 2)

    def backward(self, w):
        return -self.pulled(self.cache["r"])

    def pulled(self, r):
        return A.T @ r

    def helper_is_wrong(self, w):
        return self.pushed(self.cache["r"])

    def pushed(self, r):
        return A.T @ r / 2


class Private:
    """With names that the class changes, and a parent."""

    def __init__(self):
        self.__scale = 2.0

    def loss(self, w):
        return self.__scale * squares(w)

    def gradient(self, w):
        return self.__scale * (A.T @ (B - A @ w))


class Child(Net):
    def backward(self, w):
        g = super().backward(w)
        return g

    def loss(self, w):
        super().loss(w)
        return -3 * squares(w)


class Called:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, w):
        return self.factor * A.T @ (A @ w + B)


def test_a_method_that_uses_what_the_loss_has_stored():
    net = Net()
    repair = mended(net.loss, net.backward, W0, Net.backward)
    assert "pulled" in repair.changes[0].before or "r" in repair.changes[0].before
    assert Net.pulled(net, B) is not None and np.array_equal(Net.pulled(net, B), A.T @ B)


@pytest.mark.slow
def test_a_mistake_in_a_method_that_is_called():
    net = Net()
    mended(net.loss, net.helper_is_wrong, W0, Net.helper_is_wrong)
    assert np.array_equal(net.pushed(B), A.T @ B / 2)  # the class is as it was


def test_a_method_with_private_names():
    private = Private()
    mended(private.loss, private.gradient, W0, Private.gradient)


def test_a_method_that_calls_its_parent():
    child = Child()
    mended(child.loss, child.backward, W0, Child.backward)


def test_an_object_that_is_called():
    mended(squares, Called(1.0), W0, Called.__call__)


# ---- lambdas, closures, wrappers

in_a_line = (lambda w: A.T @ (A @ w - B), lambda w: A.T @ (B - A @ w))  # the second is wrong
alone = lambda w: (  # noqa: E731
    A.T  # the transposed
    @ (A @ w - B)
    * 0.5
)


def problem(A, b):
    scale = 3.0

    def loss(w):
        return scale * np.sum((A @ w - b) ** 2)

    def gradient(w):
        return scale * A.T @ (A @ w - b)

    return loss, gradient


def timed(function):
    @functools.wraps(function)
    def call(*arguments):
        call.count += 1
        return function(*arguments)

    call.count = 0
    return call


@timed
def decorated(w):
    return A.T @ (A @ w + B)


@numba.njit
def compiled(w):
    return A.T @ (A @ w - B) / w.size


def scaled(factor, w):
    return factor * A.T @ (B - A @ w)


def test_a_lambda_over_lines():
    repair = mended(squares, alone, W0)
    assert "# the transposed" in repair.text


def test_the_second_of_two_lambdas_in_a_line():
    repair = mended(squares, in_a_line[1], W0)
    assert "in_a_line = (lambda w: A.T @ (A @ w - B), lambda w: " in repair.text


def test_a_closure():
    loss, gradient = problem(2 * A, B)
    mended(loss, gradient, W0)


def test_a_partial_with_its_argument_given():
    mended(squares, functools.partial(scaled, 1.0), W0, scaled)


def test_a_decorated_function():
    mended(squares, decorated, W0, decorated.__wrapped__)


@pytest.mark.slow
@pytest.mark.compiled
def test_a_compiled_function():
    mended(squares, compiled, W0, compiled.py_func)


# ---- helpers of the file


def residual(w):
    return A @ w - B


def pulled_back(r):
    return A.T @ r * 2


def with_helpers(w):
    return pulled_back(residual(w))


def shares_all(w):
    return A.T @ residual(w)


def of_residual(w):
    return np.sum(residual(w) ** 2)


def test_a_helper_that_the_loss_does_not_call_is_mended():
    repair = mended(lambda w: 0.5 * of_residual(w), with_helpers, W0)
    assert "def residual(w):\n    return A @ w - B\n" in repair.text


def test_a_helper_that_the_loss_calls_is_left_as_it_is():
    report = nlicl.audit_gradient(of_residual, shares_all, W0, mend=40)
    for repair in report.searches[0].mending().repairs:
        assert "def residual(w):\n    return A @ w - B\n" in repair.text
        right_everywhere(of_residual, repair.function, W0)
    assert report.mended() is not None


# ---- data, spheres, symmetric matrices


def with_data(X, count, name):
    return count * np.sum(np.sin(X))


def with_data_wrong(X, count, name):
    return np.cos(X)


def rayleigh(x):
    return x @ (A.T @ A) @ x / 2


def rayleigh_wrong(x):
    g = -A.T @ A @ x
    return g - x * (x @ g)


def log_det(S):
    return np.log(np.linalg.det(S))


def log_det_wrong(S):
    return -np.linalg.inv(S)


def test_data_beside_the_arguments():
    report = nlicl.audit_gradient(with_data, with_data_wrong, (W0, 4, "sum"), mend=40)
    for repair in report.searches[0].mending().repairs:
        assert np.allclose(flat(repair.function(W0, 7, ""))[0], 7 * np.cos(W0))
    assert report.mended() is not None


@pytest.mark.slow
def test_a_gradient_on_a_sphere():
    x = W0 / np.linalg.norm(W0)
    report = nlicl.audit_gradient(rayleigh, rayleigh_wrong, x, tangent=lambda x, v: v - x * (x @ v), mend=40)
    repaired = report.mended()
    y = np.array([0.6, 0.0, -0.8])
    right = A.T @ A @ y
    assert np.allclose(repaired(y) - y * (y @ repaired(y)), right - y * (y @ right))


@pytest.mark.slow
def test_a_symmetric_matrix():
    S = A.T @ A + np.eye(3)
    report = nlicl.audit_gradient(log_det, log_det_wrong, S, symmetric="x", names=("x",), mend=40)
    given = report.mended()(2 * S + np.eye(3))
    assert np.allclose((given + given.T) / 2, np.linalg.inv(2 * S + np.eye(3)))


CODE = """import numpy as np

A = np.array([[1.0, 2.0], [0.5, -1.0], [0.3, 0.9]])
x0 = np.array([0.4, -0.7])


def loss(x):
    return np.sum(np.tanh(A @ x))


def grad(x):
    h = np.tanh(A @ x)
    return A.T @ (1 - h)
"""


def test_functions_in_a_file_by_the_command(run, tmp_path, monkeypatch):
    import json

    monkeypatch.chdir(tmp_path)
    (tmp_path / "code.py").write_text(CODE)
    status, out, _ = run("audit", "code.py:loss", "--gradient", "grad", "--at", "x0", "--mend", 5, "--json", "-")
    (repair, *_) = json.loads(out)["formulas"][0]["repairs"]
    assert status == 1 and (tmp_path / "code.py").read_text() == CODE
    text = patched(CODE, repair["diff"])
    scope = {}
    exec(compile(text, "code.py", "exec"), scope)
    right_everywhere(scope["loss"], scope["grad"], scope["x0"])
    assert CODE.split("\n")[repair["line"] - 1].count(repair["before"]) and repair["file"] == "code.py"
