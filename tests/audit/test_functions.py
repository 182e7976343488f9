"""The parts of the audit of any function that its verdicts rest on: places, conduct, projections, Hessians, cost."""

import numpy as np
import pytest
import scipy.sparse

import nlicl
from nlicl.audit.functions.points import neighbours, unit

rng = np.random.default_rng(0)
X = rng.standard_normal(6)
SPD = (lambda B: B @ B.T + np.eye(4))(rng.standard_normal((4, 4)))


def everywhere(place):
    return True


KINDS = {
    "symmetric": (SPD, lambda a: np.array_equal(a, a.T)),
    "unit vector": (X / np.linalg.norm(X), lambda a: abs(np.linalg.norm(a) - 1) < 1e-12),
    "unit rows": (
        SPD / np.linalg.norm(SPD, axis=1, keepdims=True),
        lambda a: np.allclose(np.linalg.norm(a, axis=1), 1, rtol=1e-12),
    ),
    "probabilities": (abs(X) / abs(X).sum(), lambda a: abs(a.sum() - 1) < 1e-12 and (a > 0).all()),
    "positive": (abs(X), lambda a: (a > 0).all()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_neighbour_is_of_the_kind_of_x(kind):
    x, holds = KINDS[kind]
    assert holds(x)
    special = kind != "positive"
    for number, (place, lacks) in enumerate(neighbours([x], everywhere, 2, np.random.default_rng(1))):
        last = special and number == 2  # this one is not, so that a gradient which rests on it is found out
        assert holds(place[0]) != last and bool(lacks) == last
        assert 1e-3 < np.linalg.norm(place[0] - x) / np.linalg.norm(x) < 0.5
    assert all(holds(place[0]) for place, _ in neighbours([x], everywhere, 2, np.random.default_rng(1), kept=[0]))


@pytest.mark.parametrize("x", [np.eye(3), np.zeros((3, 3)), np.ones((3, 3)), np.diag([1.0, 2.0, 3.0])])
def test_a_matrix_that_is_symmetric_by_chance_is_not_at_the_last_place(x):
    (first, kept), (other, kept_too), (last, broken) = neighbours([x], everywhere, 2, np.random.default_rng(1))
    assert not kept and np.array_equal(first[0], first[0].T) and not np.array_equal(first[0], x)
    assert not kept_too and np.allclose(first[0] + other[0], 2 * x, rtol=0, atol=1e-12)  # to both sides of x
    assert broken and not np.array_equal(last[0], last[0].T)
    always = neighbours([x], everywhere, 2, np.random.default_rng(1), kept=[0])
    assert all(np.array_equal(place[0], place[0].T) and not less for place, less in always)


def test_places_come_near_where_the_loss_ends():
    x = np.array([1.0, 2.0])
    found = neighbours([x], lambda place: bool(np.all(abs(place[0] - x) < 1e-3)), 2, np.random.default_rng(0))
    assert len(found) == 2 and all(0 < abs(place[0] - x).max() < 1e-3 for place, _ in found)
    assert neighbours([x], lambda place: False, 2, np.random.default_rng(0)) == []


def test_steps_are_as_large_as_what_they_move():
    assert np.array_equal(unit(np.array([3.0, -1e-9, 1e9])), [3.0, 1e-9, 1e9])
    assert unit(np.array([0.0, 3.0, 4.0]))[0] == pytest.approx(5 / np.sqrt(3))
    assert np.array_equal(unit(np.zeros(2)), [1.0, 1.0])


# -- conduct


def test_what_is_no_function_gets_no_verdict():
    calls = []

    def counting(x):
        calls.append(0)
        return np.sum(x**2) + 1e-3 * len(calls)

    report = nlicl.audit_gradient(counting, lambda x: 2 * x, X)
    assert report.verdict == "undetermined" and "at the same x" in report.reason, report
    assert all(argument.verdict == "undetermined" for argument in report.arguments)


def test_a_gradient_that_needs_the_loss_before_it_is_served_and_told():
    class Net:
        def loss(self, x):
            self.x = x.copy()
            return np.sum(self.x**3)

        def gradient(self, x):
            return 3 * self.x**2

    net = Net()
    report = nlicl.audit_gradient(net.loss, net.gradient, X)
    assert report and any("last call of loss" in remark for remark in report.remarks), report


def test_points_are_checked_in_the_form_of_x():
    loss, gradient = (lambda a, b: np.sum(a * b)), (lambda a, b: (b, a))
    x = (X, X + 1)
    assert nlicl.audit_gradient(loss, gradient, x, points=[(X + 2, X), (X, X)])
    with pytest.raises(ValueError, match=r"points\[1\] has arrays of shapes .*; expected"):
        nlicl.audit_gradient(loss, gradient, x, points=[x, (X[:2], X[:2])])
    with pytest.raises(TypeError, match="points is a int; expected a list of places"):
        nlicl.audit_gradient(loss, gradient, x, points=3)
    with pytest.raises(ValueError, match=r"points\[0\]"):
        nlicl.audit_gradient(loss, gradient, x, points=[(np.array([np.nan] * 6), X)])


# -- projections


def sphere(x, v):
    return v - (x @ v) / (x @ x) * x


def test_a_gradient_on_the_sphere():
    A = SPD
    u = X[:4] / np.linalg.norm(X[:4])
    loss = lambda u: u @ A @ u  # noqa: E731
    riemannian = lambda u: sphere(u, 2 * A @ u)  # noqa: E731
    assert nlicl.audit_gradient(loss, riemannian, u).verdict == "disagree"
    assert nlicl.audit_gradient(loss, riemannian, u, tangent=sphere)
    assert nlicl.audit_gradient(loss, lambda u: 1.01 * riemannian(u), u, tangent=sphere).verdict == "disagree"
    assert nlicl.audit_gradient(
        loss, lambda u: 2 * A @ u, u, tangent=sphere
    )  # the Euclidean one has the same tangent part
    nothing = nlicl.audit_gradient(loss, lambda u: u * 1e3, u, tangent=lambda x, v: 0 * v)
    assert nothing.verdict == "undetermined", nothing  # a projection that leaves nothing proves nothing


def test_projections_are_checked():
    loss, gradient = (lambda x: np.sum(x**2)), (lambda x: 2 * x)
    for tangent, message in (
        (lambda x, v: 2 * v, "expected a projection"),
        (lambda x, v: v[:2], "expected finite real numbers of shape"),
        (lambda x, v: 1 / 0, "tangent raises ZeroDivisionError"),
    ):
        with pytest.raises(ValueError, match=message):
            nlicl.audit_gradient(loss, gradient, X, tangent=tangent)
    with pytest.raises(ValueError, match="expected one argument"):
        nlicl.audit_gradient(lambda a, b: a @ b, lambda a, b: (b, a), (X, X), tangent=sphere)
    with pytest.raises(ValueError, match="symmetric names 'S'; expected some of x"):
        nlicl.audit_gradient(loss, gradient, X, symmetric="S")
    with pytest.raises(ValueError, match="no symmetric matrix"):
        nlicl.audit_gradient(loss, gradient, rng.standard_normal((3, 3)), symmetric="x")


@pytest.mark.parametrize("factor", [1.0, 1 + 1e-6, -1.0])
def test_symmetric_matrices_by_one_triangle(factor):
    loss = lambda S: np.linalg.slogdet(np.tril(S) + np.tril(S, -1).T)[1]  # noqa: E731
    report = nlicl.audit_gradient(loss, lambda S: factor * np.linalg.inv(S), SPD, symmetric="x")
    assert report.verdict == ("agree" if factor == 1 else "disagree"), report


# -- Hessians


def quartic(x):
    return np.sum(x**4) + x[0] * x[1]


def quartic_gradient(x):
    g = 4 * x**3
    g[0] += x[1]
    g[1] += x[0]
    return g


def quartic_hessian(x):
    H = np.diag(12 * x**2)
    H[0, 1] += 1
    H[1, 0] += 1
    return H


def without_cross(x):
    return np.diag(12 * x**2)


@pytest.mark.parametrize("form", [lambda H: H, scipy.sparse.csr_array, lambda H: H.tolist()])
def test_a_whole_hessian(form):
    report = nlicl.audit_gradient(quartic, quartic_gradient, X, hessian=lambda x: form(quartic_hessian(x)))
    assert report and report.hessian_error < 1e-12, report
    wrong = nlicl.audit_gradient(quartic, quartic_gradient, X, hessian=lambda x: form(without_cross(x)))
    assert wrong.verdict == "disagree" and wrong.hessian.diagnosis, wrong


def test_the_diagonal_of_a_hessian():
    assert nlicl.audit_gradient(quartic, quartic_gradient, X, hessian=lambda x: 12 * x**2)
    wrong = nlicl.audit_gradient(quartic, quartic_gradient, X, hessian=lambda x: 6 * x**2)
    assert wrong.verdict == "disagree", wrong
    W = rng.standard_normal((2, 3))
    assert nlicl.audit_gradient(lambda W: np.sum(W**3), lambda W: 3 * W**2, W, hessian=lambda W: 6 * W)


def test_the_hessian_of_several_arguments():
    a, b = X[:3], X[3:]
    loss, gradient = (lambda a, b: np.sum(a**2 * b)), (lambda a, b: (2 * a * b, a**2))

    def hessian(a, b):
        cross = np.diag(2 * a)
        return np.block([[np.diag(2 * b), cross], [cross, np.zeros((3, 3))]])

    assert nlicl.audit_gradient(loss, gradient, (a, b), hessian=hessian)
    wrong = nlicl.audit_gradient(loss, gradient, (a, b), hessian=lambda a, b: np.triu(hessian(a, b)))
    assert wrong.verdict == "disagree", wrong
    with pytest.raises(ValueError, match=r"hessian returns shape \(3, 3\); expected \(6, 6\), or \(6,\)"):
        nlicl.audit_gradient(loss, gradient, (a, b), hessian=lambda a, b: np.eye(3))


@pytest.mark.parametrize("real_only", [False, True])
def test_a_right_hessian_beside_a_wrong_gradient(real_only):
    loss = (lambda x: float(np.real(quartic(np.array(x, float))))) if real_only else quartic
    report = nlicl.audit_gradient(loss, lambda x: 2 * quartic_gradient(x), X, hessian=quartic_hessian)
    assert report.verdict == "disagree" and report.hessian.verdict == "agree", report
    assert "loss alone" in report.hessian.witness
    report = nlicl.audit_gradient(loss, lambda x: 2 * quartic_gradient(x), X, hessian=lambda x: 2 * quartic_hessian(x))
    assert report.hessian.verdict == "disagree", report


def test_a_hessian_that_raises_is_told():
    with pytest.raises(ValueError, match="hessian raises ZeroDivisionError"):
        nlicl.audit_gradient(quartic, quartic_gradient, X, hessian=lambda x: 1 / 0)
    with pytest.raises(ValueError, match="hessian_vector raises TypeError"):
        nlicl.audit_gradient(quartic, quartic_gradient, X, hessian_vector=lambda x: x)


# -- what it costs


@pytest.mark.parametrize(("form", "most"), [(float, 1500), (lambda value: value, 1500)])
def test_a_smooth_loss_of_five_hundred_entries(form, most):
    calls = [0]
    x = np.random.default_rng(0).standard_normal(500)

    def loss(x):
        calls[0] += 1
        u = np.zeros(500) if form is float else np.zeros_like(x)  # a plain buffer takes no dual number
        u[:] = x
        return form(np.sum(u**2))

    assert nlicl.audit_gradient(loss, lambda x: 2 * x, x)
    assert calls[0] < most


def test_progress_is_told():
    seen = []
    nlicl.audit_gradient(
        lambda a, b: a @ b,
        lambda a, b: (b, a),
        (X, X + 1),
        progress=lambda done, total, name: seen.append((done, total, name)),
    )
    assert [done for done, _, _ in seen] == list(range(6)) and {total for _, total, _ in seen} == {6}
    assert "x[1] at x" in [name for _, _, name in seen]


def test_the_same_seed_gives_the_same_report():
    A = rng.standard_normal((40, 30))
    one, two = (
        nlicl.audit_gradient(
            lambda W: np.sum(np.tanh(W)), lambda W: 1 - np.tanh(W) ** 2, A, entries=7, seed=5
        ).to_dict()
        for _ in range(2)
    )
    one.pop("calls"), two.pop("calls")  # the first part goes on as long as patience allows
    assert one == two


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("tolerance", 0.01, "at most 1e-3"),
        ("tolerance", 0, "greater than 0"),
        ("tolerance", "small", "tolerance is 'small'"),
        ("entries", 0, "at least 1"),
        ("seed", -1, "at least 0"),
        ("timeout", -1, "timeout"),
        ("hessian", 3, "hessian is a int"),
        ("progress", 3, "progress is a int"),
    ],
)
def test_settings_are_checked(setting, value, message):
    with pytest.raises((ValueError, TypeError), match=message):
        nlicl.audit_gradient(np.sum, np.ones_like, X, **{setting: value})


def test_an_assertion_shows_what_a_developer_needs():
    nlicl.assert_gradient(lambda x: np.sum(np.sin(x)), np.cos, X)
    with pytest.raises(AssertionError) as failure:
        nlicl.assert_gradient(lambda x: np.sum(np.sin(x)), lambda x: -np.cos(x), X)
    text = str(failure.value)
    for words in ("disagree", "worst entry x[", "given", "expected", "dual", "sign", "either may be at fault"):
        assert words in text, text


def test_a_wrong_choice_on_a_kink_is_listed_with_both_derivatives():
    x = np.array([1.0, 0.0, -2.0])
    report = nlicl.audit_gradient(lambda x: abs(x).sum(), lambda x: np.where(x == 0, 1.5, np.sign(x)), x)
    (entry,) = report.arguments[0].wrong_entries
    assert (entry["index"], entry["given"], entry["expected"], entry["between"]) == ([1], 1.5, 0.0, [-1.0, 1.0])
