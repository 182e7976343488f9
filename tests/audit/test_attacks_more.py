"""More attacks on the audit of any function: each states what should be, whether or not it is."""

import numpy as np
import pytest

from nlicl import audit_gradient
from nlicl.core.errors import InvalidInput

rng = np.random.default_rng(1)
X, Y = rng.standard_normal((30, 6)), rng.standard_normal(30)
W = np.array([0.31, -0.72, 1.4, 0.55, -1.23, 0.9])


def verdict(loss, gradient, x, **settings):
    """The verdict, or "refused"."""
    try:
        return audit_gradient(loss, gradient, x, **settings).verdict
    except InvalidInput:
        return "refused"


def squares(x):
    return np.sum(x**2)


def doubled(x):
    return 2 * x


# ----- a small part of the loss that dual numbers do not see: a penalty that asks for the type of its argument


def _if_array(w):
    return np.sum(w**2) if isinstance(w, np.ndarray) else 0.0


def _if_scalars(w):
    return sum(v * v for v in w if np.isscalar(v))


def _if_floats(w):
    return sum(v * v for v in w if isinstance(v, float))


def _if_class(w):
    return np.sum(w**2) if type(w).__name__ == "ndarray" else 0.0


def _if_interface(w):
    return np.sum(w**2) if hasattr(w, "__array_interface__") else 0.0


def _from_text(w):
    return sum(float(str(v)) ** 2 for v in w)


def _from_format(w):
    return sum(float(f"{v:.17g}") ** 2 for v in w)


def _stored_by_text():
    stored = {}

    def penalty(w):
        key = str(w)
        if key not in stored:
            stored[key] = np.sum(w**2)
        return stored[key]

    return penalty


def _stored_by_format():
    stored = {}

    def penalty(w):
        key = ",".join(f"{v:.17g}" for v in w)
        if key not in stored:
            stored[key] = np.sum(w**2)
        return stored[key]

    return penalty


PENALTIES = {  # each makes a new one, with an empty store
    "isinstance of an array": lambda: _if_array,
    "np.isscalar": lambda: _if_scalars,
    "isinstance of a float": lambda: _if_floats,
    "name of the class": lambda: _if_class,
    "hasattr": lambda: _if_interface,
    "float of a text": lambda: _from_text,
    "float of a formatted text": lambda: _from_format,
    "stored by its text": _stored_by_text,
    "stored by its formatted text": _stored_by_format,
}


@pytest.mark.parametrize("size", [1e-7, 1e-6, 1e-5, 1e-4])
@pytest.mark.parametrize("name", PENALTIES)
def test_a_right_gradient_of_a_small_penalty(name, size):
    penalty = PENALTIES[name]()
    assert (
        verdict(
            lambda w: np.sum((X @ w - Y) ** 2) + size * penalty(w),
            lambda w: 2 * X.T @ (X @ w - Y) + 2 * size * w,
            W,
        )
        != "disagree"
    )


@pytest.mark.parametrize("size", [1e-6, 1e-5, 1e-4])
@pytest.mark.parametrize("name", PENALTIES)
def test_a_gradient_without_a_small_penalty(name, size):
    penalty = PENALTIES[name]()
    assert (
        verdict(lambda w: np.sum((X @ w - Y) ** 2) + size * penalty(w), lambda w: 2 * X.T @ (X @ w - Y), W) != "agree"
    )


def test_weight_decay_of_the_arrays_of_a_list():
    def loss(A, v):
        decay = sum(np.sum(p**2) for p in (A, v) if isinstance(p, np.ndarray))
        return np.sum((np.tanh(X @ A) @ v - Y) ** 2) + 1e-6 * decay

    def gradient(A, v, decay=1e-6):
        h = np.tanh(X @ A)
        r = 2 * (h @ v - Y)
        return [X.T @ (np.outer(r, v) * (1 - h * h)) + 2 * decay * A, h.T @ r + 2 * decay * v]

    x = [np.random.default_rng(2).standard_normal((6, 3)), np.array([0.3, -1.0, 0.8])]
    assert verdict(loss, gradient, x) != "disagree"
    assert verdict(loss, lambda A, v: gradient(A, v, 0.0), x) != "agree"


# ----- points= with other data than x has


@pytest.mark.parametrize(
    ("loss", "gradient", "x", "point", "settings"),
    [
        (
            lambda w, k: np.sum(abs(w) ** k),
            lambda w, k: [2 * w, None],
            [np.array([0.3, 0.5, 0.7]), 2],
            [np.array([0.3, 0.5, 0.7]), 3],
            {},
        ),
        (
            lambda w, a: a * np.sum(w**2),
            lambda w, a: [4 * w, None],
            [np.array([0.3, 0.5, 0.7]), np.array(2.0)],
            [np.array([0.3, 0.5, 0.7]), np.array(3.0)],
            {"wrt": 0},
        ),
        (
            lambda p: p["a"] * np.sum(p["w"] ** 2),
            lambda p: {"w": 4 * p["w"], "a": None},
            {"w": W, "a": 2},
            {"w": W, "a": 5},
            {},
        ),
        (
            lambda X, y, w: np.sum((X @ w - y) ** 2),
            lambda X, y, w: [None, None, 2 * X.T @ (X @ w) - 2 * y[0] * X[0]],
            [np.eye(3), np.array([1.0, 0, 0]), np.array([0.3, 0.4, 1.0])],
            [np.eye(3), np.array([1.0, 2, 3]), np.array([0.3, 0.4, 1.0])],
            {"wrt": 2},
        ),
    ],
)
def test_points_with_other_data(loss, gradient, x, point, settings):
    """The gradient is wrong at the place that the user names. It may be refused, but not agree."""
    assert verdict(loss, gradient, x, points=[point], **settings) != "agree"


@pytest.mark.parametrize("point", [{"w": W}, {"q": W, "a": 2}, {"w": W, "a": 2, "b": 3}])
def test_points_of_other_keys(point):
    """A key is missing, is another, or is one too many: the place is not in the form of x."""
    loss = lambda p: p["a"] * np.sum(p["w"] ** 2)  # noqa: E731
    with pytest.raises(InvalidInput):
        audit_gradient(loss, lambda p: {"w": 2 * p["a"] * p["w"], "a": None}, {"w": W, "a": 2}, points=[point])


def test_points_of_another_key_for_the_only_array():
    with pytest.raises(InvalidInput):
        audit_gradient(lambda p: squares(p["w"]), lambda p: {"w": 2 * p["w"]}, {"w": W}, points=[{"q": W}])


# ----- the memory layout of x


def test_a_gradient_that_is_wrong_for_the_memory_layout_of_x():
    """It is wrong for x in Fortran order, which was given, and right for a copy in C order."""
    x = np.asfortranarray(np.arange(12.0).reshape(3, 4) / 7 - 0.5)
    assert verdict(squares, lambda a: (2 * a).ravel("K").reshape(a.shape), x) != "agree"


# ----- exceptions that escape


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def test_an_exception_that_has_no_text():
    def loss(x):
        raise Mute

    assert verdict(loss, doubled, W) == "refused"


class Proxy:
    """A loss that forwards its attributes to something that refuses them."""

    def __call__(self, x):
        return squares(x)

    def __getattr__(self, name):
        raise RuntimeError(name)


def test_a_loss_whose_attributes_raise():
    assert verdict(Proxy(), doubled, W) in ("agree", "refused")


class NoRepr:
    def __repr__(self):
        raise RuntimeError("no text")


@pytest.mark.parametrize("setting", ["tolerance", "seed", "entries", "timeout"])
def test_a_setting_without_a_text(setting):
    assert verdict(squares, doubled, W, **{setting: NoRepr()}) == "refused"


@pytest.mark.parametrize("call", [2, 5, 20, 30, 40, 50, 60])
def test_a_loss_that_ends_the_process_later(call):
    calls = [0]

    def loss(x):
        calls[0] += 1
        if calls[0] == call:
            raise SystemExit(3)
        return squares(x)

    assert verdict(loss, doubled, W) != "disagree"  # and no SystemExit


# ----- texts that do not help, and sizes at the ends


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_hessian_that_is_not_finite_is_not_called_zero(bad):
    report = audit_gradient(squares, doubled, W, hessian=lambda x: np.full((6, 6), bad))
    assert report.verdict == "disagree" and "given is zero" not in report.reason, report.reason
    report = audit_gradient(squares, doubled, W, hessian_vector=lambda x, v: np.full(6, bad))
    assert report.verdict == "disagree" and "given is zero" not in report.reason, report.reason


def test_derivatives_that_are_the_smallest_number():
    assert verdict(lambda x: np.sum(x) * 5e-324, lambda x: np.full(6, 5e-324), W) != "disagree"


# ----- guards: these hold


def test_jumps_beside_x():
    assert verdict(lambda x: np.sum(np.floor(x) * x), np.floor, W) == "agree"
    assert verdict(lambda x: np.sum((x % 0.3) ** 2), lambda x: 2 * (x % 0.3), W + 0.01) == "agree"
    assert verdict(lambda x: squares(x) + round(float(x[0]), 1) * x[1], lambda x: _rounded(x), W) == "agree"


def _rounded(x):
    out = 2 * x
    out[1] += round(float(x[0]), 1)
    return out


def _overlapping(x):
    y = x.copy()
    y[1:] = y[:-1]
    np.add(y[1:], y[:-1], out=y[1:])
    y[:] = y[::-1]
    y.reshape(2, 3).T[0] *= y[1]
    return np.sum(y**2 * np.arange(6))


def _shuffled(x):
    y = x.copy()
    np.random.default_rng(0).shuffle(y)
    y.flat[::2] = np.random.default_rng(1).permutation(x)[::2] ** 2
    return np.sum(y**2 * np.arange(6))


def _reduced(x):
    y = np.zeros_like(x)
    np.add.at(y, [0, 0, 2, 2, 5, 0], x**2)
    np.exp(x, out=y, where=np.array([1, 0, 0, 1, 0, 0], bool))
    return np.sum(np.add.reduceat(y, [0, 2, 4]) ** 2) + np.sum(np.multiply.accumulate(x))


@pytest.mark.parametrize("loss", [_overlapping, _shuffled, _reduced])
def test_changes_in_place(loss):
    def gradient(x):
        out = np.zeros(6)
        for i in range(6):
            z = x.astype(complex)
            z[i] += 1e-30j
            out[i] = loss(z).imag / 1e-30
        return out

    def wrong(x):
        out = gradient(x)
        out[0] += 1e-6
        return out

    assert verdict(loss, gradient, W) == "agree"
    assert verdict(loss, wrong, W) == "disagree"


@pytest.mark.parametrize("dtype", [">f8", ">f4", np.longdouble, np.float32])
def test_kinds_of_floats(dtype):
    assert verdict(squares, doubled, W.astype(dtype)) == "agree"
    assert verdict(squares, lambda x: (2.02 * x).astype(x.dtype), W.astype(dtype)) == "disagree"


def test_errors_of_numpy_that_raise():
    with np.errstate(all="raise"):
        assert verdict(lambda x: np.sum(np.exp(-(x**2))), lambda x: -2 * x * np.exp(-(x**2)), W * 22) == "agree"
        assert verdict(squares, doubled, W * 1e150) == "agree"
        assert verdict(squares, doubled, W * 1e-150) == "agree"
        assert verdict(squares, lambda x: 2.1 * x, W) == "disagree"
        assert np.geterr()["over"] == "raise"


def test_an_interrupt_passes():
    calls = [0]

    def loss(x):
        calls[0] += 1
        if calls[0] == 25:
            raise KeyboardInterrupt
        return squares(x)

    with pytest.raises(KeyboardInterrupt):
        audit_gradient(loss, doubled, W)
    assert verdict(squares, doubled, W) == "agree"
