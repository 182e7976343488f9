"""What people hand over is taken, or refused in one sentence; and the report says what is wrong. From public bug reports.

Each test is named after its situation; the comment above names the public reports that it was met in. Beside the situation
itself stand variations of it.
"""

import json
import re
import warnings
from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest
import scipy.sparse as sp
from verdicts import outcome, says, verdict, words, wrong_in

import nlicl

rng = np.random.default_rng(0)
W, B, V = rng.standard_normal((2, 3)), rng.standard_normal(2), rng.standard_normal(3)


def names(report):
    return [argument.name for argument in report.arguments]


# ---- x


# scipy issues 6364, 6676: x0 = [1.0, 1.0]
@pytest.mark.parametrize(
    "x", [[1.0, 2.0], (1.0, 2.0), [1, 2], [1, 2.0], [np.float64(1), np.float32(2)], np.array([1, 2])]
)
def test_plain_lists_of_numbers(x):
    loss = lambda x: x[0] ** 2 + 3 * x[1]  # noqa: E731
    if isinstance(x, np.ndarray):  # integers on purpose, or by mistake
        assert re.search(r"agree|astype\(float\)", outcome(loss, lambda x: np.array([2 * x[0], 3.0]), x))
        return
    assert verdict(loss, lambda x: np.array([2 * x[0], 3.0]), x) == "agree"
    assert verdict(loss, lambda x: [2 * x[0], 3.0], x) == "agree"
    assert verdict(loss, lambda x: [2 * x[0], 2.0], x) == "disagree"


def test_a_list_of_lists_of_numbers():
    x = [[1.0, 2.0], [3.0, 4.0]]
    assert verdict(lambda x: np.sum(np.asarray(x) ** 2), lambda x: 2 * np.asarray(x), x) == "agree"
    two = lambda a, b: np.sum(np.asarray(a) * np.asarray(b))  # noqa: E731
    assert verdict(two, lambda a, b: (np.asarray(b), np.asarray(a)), ([1.0, 2.0], [3.0, 4.0])) == "agree"


@pytest.mark.parametrize("x", [0.7, np.float64(0.7), np.array(0.7), np.array([0.7]), np.array([[0.7]]), 1])
def test_scalars(x):
    found = outcome(lambda x: np.sum(np.sin(x)), np.cos, x)
    assert found == "agree" or (x is 1 and "float" in found)  # noqa: F632
    if found == "agree":
        assert verdict(lambda x: np.sum(np.sin(x)), np.sin, x) == "disagree"


def quadratic(W, b):
    return np.sum((W @ V + b) ** 2)


def by_both(W, b):
    r = 2 * (W @ V + b)
    return np.outer(r, V), r


# twitter-archive/torch-autograd issue 10: nested parameters; JAX's pytrees
def test_dicts():
    loss = lambda p: quadratic(p["W"], p["b"])  # noqa: E731
    gradient = lambda p: dict(zip("Wb", by_both(p["W"], p["b"]), strict=True))  # noqa: E731
    report = nlicl.audit_gradient(loss, gradient, {"W": W, "b": B})
    assert report.verdict == "agree" and sorted(names(report)) == ["W", "b"]
    other_order = lambda p: dict(reversed(gradient(p).items()))  # noqa: E731
    assert verdict(loss, other_order, {"W": W, "b": B}) == "agree"
    wrong = nlicl.audit_gradient(loss, lambda p: gradient(p) | {"b": -gradient(p)["b"]}, {"W": W, "b": B})
    assert wrong.verdict == "disagree" and wrong_in(wrong) == ["b"]
    assert re.search("b", outcome(loss, lambda p: {"W": gradient(p)["W"]}, {"W": W, "b": B}))
    shared = lambda p: {"W": by_both(p["W"], p["b"])[0], "B": by_both(p["W"], p["b"])[1]}  # noqa: E731
    assert "b" in outcome(loss, shared, {"W": W, "b": B})


def test_nested_containers_have_names_made_of_their_keys():
    loss = lambda one, two: np.sum(one[0] ** 2) + np.sum(two[1] ** 2)  # noqa: E731
    gradient = lambda one, two: [(2 * one[0], 0 * one[1]), (0 * two[0], 2 * two[1])]  # noqa: E731
    assert verdict(loss, gradient, [(W, B), (W, B)]) == "agree"
    net = {"layers": [{"W": W, "b": B}, {"W": W.T.copy(), "b": V}], "scale": 0.7}

    def deep(p):
        h = V
        for layer in p["layers"]:
            h = np.tanh(layer["W"] @ h + layer["b"])
        return p["scale"] * np.sum(h)

    def deep_gradient(p):
        (one, two), s = p["layers"], p["scale"]
        h1 = np.tanh(one["W"] @ V + one["b"])
        h2 = np.tanh(two["W"] @ h1 + two["b"])
        d2 = s * (1 - h2**2)
        d1 = two["W"].T @ d2 * (1 - h1**2)
        return {"layers": [{"W": np.outer(d1, V), "b": d1}, {"W": np.outer(d2, h1), "b": d2}], "scale": h2.sum()}

    report = nlicl.audit_gradient(deep, deep_gradient, net)
    assert report.verdict == "agree" and "layers[0].b" in names(report), report

    def wrong(p):
        g = deep_gradient(p)
        g["layers"][1]["b"] = 2 * g["layers"][1]["b"]
        return g

    report = nlicl.audit_gradient(deep, wrong, net)
    assert report.verdict == "disagree" and wrong_in(report) == ["layers[1].b"], report


@dataclass
class Parameters:
    W: np.ndarray
    b: np.ndarray


def test_named_tuples_and_dataclasses():
    T = namedtuple("T", "W b")
    report = nlicl.audit_gradient(lambda p: quadratic(p.W, p.b), lambda p: T(*by_both(p.W, p.b)), T(W, B))
    assert report.verdict == "agree" and names(report) == ["W", "b"]
    found = outcome(lambda p: quadratic(p.W, p.b), lambda p: Parameters(*by_both(p.W, p.b)), Parameters(W, B))
    assert found == "agree" or "Parameters" in found


def test_a_loss_of_one_list():
    loss = lambda ws: sum(np.sum(w**2) for w in ws)  # noqa: E731
    assert verdict(loss, lambda ws: [2 * w for w in ws], [W, B]) == "agree"
    assert verdict(loss, lambda ws: [2 * ws[0], 3 * ws[1]], [W, B]) == "disagree"


def test_a_dict_of_gradients_for_a_tuple_of_arguments():
    assert verdict(quadratic, lambda W, b: dict(zip("Wb", by_both(W, b), strict=True)), (W, B)) == "agree"
    assert verdict(quadratic, lambda W, b: {"b": by_both(W, b)[1], "W": by_both(W, b)[0]}, (W, B)) == "agree"
    assert verdict(quadratic, lambda W, b: {"W": by_both(W, b)[0], "b": -by_both(W, b)[1]}, (W, B)) == "disagree"


def test_integers_are_data():
    labels = np.array([0, 1])
    loss = lambda w, y: np.sum((w * y) ** 2) + w[y].sum()  # noqa: E731
    gradient = lambda w, y: 2 * w * y * y + 1  # noqa: E731
    report = nlicl.audit_gradient(loss, gradient, (B, labels))
    assert report.verdict == "agree" and len(report.arguments) == 1
    assert verdict(loss, lambda w, y: (gradient(w, y), None), (B, labels)) == "agree"
    assert verdict(loss, lambda w, y: 2 * gradient(w, y), (B, labels)) == "disagree"


def test_arguments_that_are_not_differentiated():
    loss = lambda W, b, x: np.sum((W @ x + b) ** 2)  # noqa: E731
    both = lambda W, b, x: (2 * np.outer(W @ x + b, x), 2 * (W @ x + b))  # noqa: E731
    for wrt in (("W", "b"), (0, 1)):
        options = {"names": ("W", "b", "x")} if wrt[0] == "W" else {}
        report = nlicl.audit_gradient(loss, both, (W, B, V), wrt=wrt, **options)
        assert report.verdict == "agree" and len(report.arguments) == 2
        off = lambda *p: (both(*p)[0], 1.01 * both(*p)[1])  # noqa: E731
        assert verdict(loss, off, (W, B, V), wrt=wrt, **options) == "disagree"
    one = nlicl.audit_gradient(loss, lambda W, b, x: both(W, b, x)[1], (W, B, V), wrt=1)
    assert one.verdict == "agree" and len(one.arguments) == 1
    assert re.search("wrt", outcome(loss, both, (W, B, V), wrt="U"))


# pytorch issue 55676, autograd pulls 393, 527; Theano issue 5953
@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.array([1 + 2j, 3j]), r"\.real.*\.imag|real part"),
        (np.array([1 + 2j], np.complex64), r"\.real.*\.imag|real part"),
        (sp.csr_array(np.eye(3)), r"\.data|toarray"),
        (sp.coo_matrix(np.eye(3)), r"\.data|toarray"),
        (np.zeros((0, 3)), "empty"),
        ([], "empty|holds nothing"),
        ({}, "empty|holds nothing"),
        (None, "None"),
        ("weights", "weights"),
        (np.array(["a", "b"]), "str|text|<U1"),
        (np.array([1.0, np.nan]), "NaN|finite"),
        ({"w": np.array([np.inf])}, "inf|finite"),
    ],
)
def test_what_cannot_be_differentiated_is_refused_in_a_sentence(x, words):
    found = outcome(lambda z: 1.0, lambda z: z, x)
    assert re.search(words, found), found
    assert "astype(float)" not in found or "complex" not in found


# ---- loss


# cs231n's, scikit-learn's and scipy's (jac=True) form: one function returns both
@pytest.mark.parametrize("wrap", [tuple, list])
def test_one_function_of_loss_and_gradient(wrap):
    both = lambda w: wrap((np.sum(w**2), 2 * w))  # noqa: E731
    assert verdict(both, True, V) == "agree"
    wrong = lambda w: wrap((np.sum(w**2), 3 * w))  # noqa: E731
    assert verdict(wrong, True, V) == "disagree"
    pair = lambda W, b: wrap((quadratic(W, b), by_both(W, b)))  # noqa: E731
    assert verdict(pair, True, (W, B)) == "agree"
    found = outcome(both, lambda w: both(w)[1], V)
    assert found == "agree" or re.search(r"True|\[0\]", found), found


def test_one_function_of_loss_and_a_dict_of_gradients():
    both = lambda p: (quadratic(p["W"], p["b"]), dict(zip("Wb", by_both(p["W"], p["b"]), strict=True)))  # noqa: E731
    assert verdict(both, True, {"W": W, "b": B}) == "agree"
    one = lambda w: (np.sum(w**2), {"w": 2 * w})  # noqa: E731
    for found in (outcome(one, True, V), outcome(one, lambda w: one(w)[1], V)):
        assert found == "agree" or re.search(r"dict|True|\[0\]", found), found


def test_gradient_true_of_a_function_that_returns_a_number_alone():
    found = outcome(lambda w: np.sum(w**2), True, V)
    assert re.search(r"gradient", found) and found not in ("agree", "disagree"), found


def test_a_stateful_function_of_both():
    memory = {}

    def both(w):
        memory["w"] = w
        return np.sum(np.cos(w)), -np.sin(memory["w"])

    assert verdict(both, True, V) == "agree"


# scipy issues 10078, 19126: size 1; numdifftools issue 68, xgboost issue 3037: element-wise objectives
@pytest.mark.parametrize("shape", [(1, 1), (1,), ()])
def test_a_loss_of_size_one(shape):
    A, x = np.eye(3) + 0.1, rng.standard_normal((3, 1))
    loss = lambda x: (x.T @ A @ x).reshape(shape)  # noqa: E731
    assert verdict(loss, lambda x: 2 * A @ x, x) == "agree"
    assert verdict(loss, lambda x: A @ x, x) == "disagree"


def test_a_loss_for_each_sample_is_refused_with_the_remedy():
    t = rng.standard_normal(6)
    for many in (t, np.ones((20, 30))):
        found = outcome(lambda p, many=many: (p - many) ** 2, lambda p, many=many: 2 * (p - many), 0 * many)
        assert "sum" in found and str(many.size) in found and len(found) < 400, found


def test_a_loss_of_integer_zero():
    assert verdict(lambda w: 0 if w.sum() < 5 else w.sum(), lambda w: np.zeros(3), np.full(3, 0.1)) == "undetermined"
    assert verdict(lambda w: 0 if w.sum() < 5 else w.sum(), lambda w: np.ones(3), np.full(3, 0.1)) == "disagree"
    assert verdict(lambda w: 0 if w.sum() < 5 else w.sum(), lambda w: np.ones(3), np.full(3, 3.0)) == "agree"


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "None"), ("3.0", "3.0"), (np.nan, "nan|NaN"), (np.inf, "inf"), (1j, "complex"), ({}, "dict")],
)
def test_losses_of_another_kind_are_refused_in_a_sentence(value, words):
    assert re.search(words, outcome(lambda x: value, lambda x: x, V))


# ---- gradient


# HIPS/autograd pull 393: a conj or a factor i too many
@pytest.mark.parametrize("dtype", [np.complex128, np.complex64])
def test_a_complex_gradient_is_refused(dtype):
    with pytest.raises(TypeError, match=np.dtype(dtype).name):
        nlicl.audit_gradient(lambda x: np.sum(x**2), lambda x: (2 * x + 1j).astype(dtype), V)
    with pytest.raises(TypeError, match="complex"):
        nlicl.audit_gradient(quadratic, lambda W, b: (by_both(W, b)[0], 1j * by_both(W, b)[1]), (W, B))


# scipy issues 6364, 6367, jax issues 8356, 20827, pytorch issue 65244
def test_gradients_of_another_form():
    x = rng.standard_normal(5)
    loss = lambda x: np.sum(x**2)  # noqa: E731
    refused = {
        "None": (lambda x: None, "None.*return"),
        "(n, 1)": (lambda x: 2 * x[:, None], r"\(5, 1\).*(ravel|reshape)"),
        "sparse": (lambda x: sp.csr_array(2 * x[None]), r"sparse.*toarray"),
        "too long": (lambda x: np.append(2 * x, 0), r"\(6,\)"),
        "text": (lambda x: "2 x", "2 x"),
        "a function": (lambda x: loss, "function"),
    }
    for name, (gradient, pattern) in refused.items():
        found = outcome(loss, gradient, x)
        assert re.search(pattern, found), (name, found)
    assert verdict(loss, lambda x: (2 * x,), x) == "agree"
    assert verdict(loss, lambda x: [2 * x], x) == "agree"
    assert verdict(loss, lambda x: list(2 * x), x) == "agree"
    assert verdict(loss, lambda x: np.array([2 * v for v in x], object), x) == "agree"
    assert verdict(loss, lambda x: np.array([3 * v for v in x], object), x) == "disagree"
    assert verdict(loss, lambda x: x > 0, x) == "disagree"
    assert verdict(lambda x: np.maximum(x, 0).sum(), lambda x: x > 0, x) == "agree"
    found = outcome(loss, lambda x: {"x": 2 * x}, x)
    assert found == "agree" or "dict" in found
    found = outcome(loss, lambda x: 2 * x, [x])
    assert found == "agree" or not re.search("5 arrays", found), found
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = outcome(loss, lambda x: np.asmatrix(2 * x), x)
        assert found == "agree" or re.search("matrix|ravel|reshape", found), found


def test_a_gradient_of_integers():
    assert verdict(lambda x: np.sum(3 * x), lambda x: np.full(3, 3), V) == "agree"
    assert verdict(lambda x: np.sum(3 * x), lambda x: [3, 3, 3], V) == "agree"
    assert verdict(lambda x: np.sum(3 * x), lambda x: np.full(3, 2), V) == "disagree"


def test_a_gradient_that_raises_says_its_own_error():
    def gradient(x):
        raise RuntimeError("no kernel for it")

    with pytest.raises(Exception, match="no kernel for it"):
        nlicl.audit_gradient(lambda x: np.sum(x**2), gradient, V)


def test_a_gradient_for_one_of_two_arguments_alone():
    found = outcome(quadratic, lambda W, b: by_both(W, b)[0], (W, B))
    assert found not in ("agree", "disagree") and re.search("2|two|wrt", found), found


# ---- Hessians


# scikit-learn issue 14608, tensorflow issue 5876, LightGBM 2156 and 4659, xgboost issue 15
def cubic(a, b):
    return np.sum(a**2 * b) + np.sum(b**3)


def by_cubic(a, b):
    return 2 * a * b, a**2 + 3 * b**2


def cubic_product(a, b, u, v):
    return 2 * b * u + 2 * a * v, 2 * a * u + 6 * b * v


A3, B3 = np.random.default_rng(0).standard_normal((2, 3))


def test_hessian_products():
    assert verdict(cubic, by_cubic, (A3, B3), hessian_vector=cubic_product) == "agree"
    forgotten = lambda a, b, u, v: (2 * b * u, 2 * a * u + 6 * b * v)  # noqa: E731
    report = nlicl.audit_gradient(cubic, by_cubic, (A3, B3), hessian_vector=forgotten)
    assert report.verdict == "disagree" and says(report, "hessian"), report
    assert says(report, r"x\[0\]"), report
    for scale in (0.11, 0.0, -1.0):
        wrong = lambda *p, s=scale: tuple(s * part for part in cubic_product(*p))  # noqa: E731
        report = nlicl.audit_gradient(cubic, by_cubic, (A3, B3), hessian_vector=wrong)
        assert report.verdict == "disagree" and says(report, "hessian"), report


def test_a_right_product_beside_a_wrong_gradient():
    wrong = lambda a, b: (4 * a * b, 2 * by_cubic(a, b)[1])  # noqa: E731
    report = nlicl.audit_gradient(cubic, wrong, (A3, B3), hessian_vector=cubic_product)
    assert report.verdict == "disagree" and report.reason.startswith("wrong in"), report


def test_products_of_another_form():
    found = outcome(cubic, by_cubic, (A3, B3), hessian_vector=lambda a, b, u, v: 2 * b * u)
    assert re.search("hessian_vector", found), found
    found = outcome(cubic, by_cubic, (A3, B3), hessian_vector=lambda a, b: np.eye(6))
    assert re.search("hessian_vector|hessian=", found), found


@pytest.mark.parametrize("form", ["full", "sparse", "blocks"])
def test_full_hessians(form):
    x = np.array([0.5, -1.2, 2.0, 0.7])
    loss = lambda x: np.sum(np.sin(x)) + x[0] * x[1] ** 2  # noqa: E731
    gradient = lambda x: np.cos(x) + np.array([x[1] ** 2, 2 * x[0] * x[1], 0, 0])  # noqa: E731

    def hessian(x, cross=2.0):
        H = np.diag(-np.sin(x))
        H[0, 1] = H[1, 0] = cross * x[1]
        H[1, 1] += 2 * x[0]
        return sp.csr_array(H) if form == "sparse" else H

    if form == "blocks":
        full = lambda a, b: np.block([[2 * np.diag(b), 2 * np.diag(a)], [2 * np.diag(a), 6 * np.diag(b)]])  # noqa: E731
        assert verdict(cubic, by_cubic, (A3, B3), hessian=full) == "agree"
        report = nlicl.audit_gradient(cubic, by_cubic, (A3, B3), hessian=lambda a, b: np.diag(np.diag(full(a, b))))
        assert report.verdict == "disagree" and says(report, "hessian") and says(report, "diagonal"), report
        return
    assert verdict(loss, gradient, x, hessian=hessian) == "agree"
    report = nlicl.audit_gradient(loss, gradient, x, hessian=lambda x: hessian(x, 0.0))
    assert report.verdict == "disagree" and says(report, "hessian"), report
    assert verdict(loss, gradient, x, hessian=lambda x: 2 * hessian(x)) == "disagree"


def test_diagonal_hessians():
    z, y = rng.standard_normal(6), np.array([0.0, 1, 1, 0, 1, 0])
    p = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    loss = lambda z: np.sum(np.log1p(np.exp(z)) - y * z)  # noqa: E731
    assert verdict(loss, lambda z: p(z) - y, z, hessian=lambda z: p(z) * (1 - p(z))) == "agree"
    assert verdict(loss, lambda z: p(z) - y, z, hessian=lambda z: 2 * p(z) * (1 - p(z))) == "disagree"
    assert verdict(loss, lambda z: p(z) - y, z, hessian=lambda z: sp.diags_array(p(z) * (1 - p(z)))) == "agree"


# ---- What is wrong, in words

X31, Y31, W31 = rng.standard_normal((50, 4)), rng.standard_normal(50), rng.standard_normal(4)
S31, H31 = rng.standard_normal((4, 4)), np.eye(4)[rng.integers(0, 4, 5)]


def mse(w):
    return np.mean((X31 @ w - Y31) ** 2)


def mse_gradient(w):
    return 2 * X31.T @ (X31 @ w - Y31) / 50


def ridge(w):
    return mse(w) + 0.1 * np.sum(w[:3] ** 2)


def cross_entropy(z):
    z = z.reshape(5, 4)
    return np.sum(np.log(np.exp(z).sum(1))) - np.sum(z * H31)


def residual(z):
    e = np.exp(z.reshape(5, 4))
    return e / e.sum(1, keepdims=True) - H31


def layer_norm(x):
    c = x - x.mean()
    return S31[0] @ c / np.sqrt((c * c).mean())


def layer_norm_gradient(x, twice=1):
    c = x - x.mean()
    s = 1 / np.sqrt((c * c).mean())
    return s * (S31[0] - twice * S31[0].mean() - c * s * (S31[0] * c * s).mean())


def difference(a, b):
    return np.log1p(np.exp(-np.sum(a - b)))


def exchanged(a, b):
    s = np.ones(4) / (1 + np.exp(np.sum(a - b)))
    return s, -s


# HIPS/autograd pull 412, xgboost issue 3037 (sign); ML-From-Scratch pull 126 (1/n); LightGBM issue 4659 (order)
NAMED = {
    "sign": (mse, lambda w: -mse_gradient(w), W31, r"-1|sign|minus"),
    "1/n forgotten": (mse, lambda w: 50 * mse_gradient(w), W31, r"\b50\b"),
    "factor 2": (mse, lambda w: mse_gradient(w) / 2, W31, r"1/2|0\.5|half"),
    "an odd factor": (mse, lambda w: 3.7 * mse_gradient(w), W31, r"3\.7"),
    "ridge on the bias too": (ridge, lambda w: mse_gradient(w) + 0.2 * w, W31, r"\b3\b|last"),
    "ridge forgotten": (ridge, mse_gradient, W31, r"0\.2"),
    "Fortran's order": (cross_entropy, lambda z: residual(z).ravel(order="F"), rng.standard_normal(20), "order|permut"),
    "transposed": (lambda A: np.sum(np.sin(A) * S31), lambda A: (np.cos(A) * S31).T, S31, "transpos"),
    "reversed": (mse, lambda w: mse_gradient(w)[::-1], W31, "revers|permut"),
    "mean subtracted twice": (layer_norm, lambda x: layer_norm_gradient(x, 2), W31, "constant|mean|same number"),
    "exchanged": (difference, exchanged, (W31, W31 + 0.3), r"x\[1\]|exchang|swap|sign"),
    "one row zero": (
        lambda A: np.sum(np.sin(A) * S31),
        lambda A: np.cos(A) * S31 * (np.arange(4) != 2)[:, None],
        S31,
        r"row 2",
    ),
    "one column halved": (
        lambda A: np.sum(np.sin(A) * S31),
        lambda A: np.cos(A) * S31 * np.where(np.arange(4) == 1, 0.5, 1),
        S31,
        r"column 1",
    ),
}


@pytest.mark.parametrize("name", NAMED)
def test_common_mistakes_are_named(name):
    loss, gradient, x, pattern = NAMED[name]
    report = nlicl.audit_gradient(loss, gradient, x)
    assert report.verdict == "disagree", report
    assert any(argument.diagnosis for argument in report.arguments), report
    details = " ".join(item["kind"] + " " + item["detail"] for a in report.arguments for item in a.diagnosis)
    assert re.search(pattern, details + report.reason), (details, report.reason)


def test_right_gradients_have_no_diagnosis():
    for loss, gradient, x in ((mse, mse_gradient, W31), (layer_norm, layer_norm_gradient, W31)):
        report = nlicl.audit_gradient(loss, gradient, x)
        assert report and not any(argument.diagnosis for argument in report.arguments), report


# CS224n solutions, issue 5, gensim issue 242: repeated indices, += once
def test_repeated_indices():
    U, c, negative = rng.standard_normal((6, 4)), rng.standard_normal(4), np.array([1, 1, 4])
    sigmoid = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    loss = lambda U, c: -np.log(sigmoid(U[0] @ c)) - np.log(sigmoid(-U[negative] @ c)).sum()  # noqa: E731

    def gradient(U, c, once=True):
        G, z0, z = np.zeros_like(U), sigmoid(U[0] @ c) - 1, sigmoid(U[negative] @ c)
        G[0] += z0 * c
        if once:
            G[negative] += np.outer(z, c)
        else:
            np.add.at(G, negative, np.outer(z, c))
        return G, z0 * U[0] + z @ U[negative]

    assert verdict(loss, lambda U, c: gradient(U, c, False), (U, c)) == "agree"
    report = nlicl.audit_gradient(loss, gradient, (U, c), names=("U", "center"))
    assert report.verdict == "disagree" and wrong_in(report) == ["U"] and report.arguments[0].wrong == 4, report
    assert says(report, "row 1") and says(report, r"0\.5|1/2|half") and says(report, "contradict"), report
    listed = json.dumps(report.to_dict()["arguments"][0])
    assert all(f"[1, {k}]" in listed for k in range(4)), listed


# scikit-learn issues 6076, 8087: the loss is wrong, the gradient right
def test_a_loss_that_is_wrong_itself():
    y, q = rng.standard_normal((2, 40))
    loss = lambda q: np.mean(np.where(y > q, 0.3 * (y - q), 0.7 * (y - q)))  # noqa: E731
    gradient = lambda q: np.where(y > q, -0.3, 0.7) / 40  # noqa: E731
    report = nlicl.audit_gradient(loss, gradient, q)
    assert report.verdict == "disagree" and says(report, "contradict|either"), report
    assert report.arguments[0].wrong == np.sum(y <= q), report
    mended = lambda q: np.mean(np.where(y > q, 0.3 * (y - q), 0.7 * (q - y)))  # noqa: E731
    assert verdict(mended, gradient, q) == "agree"


def test_half_by_the_order_of_operations():
    """loss / 2 * n for loss / (2 * n): the gradient is right."""
    loss = lambda w: np.sum((X31 @ w - Y31) ** 2) / 2 * 50  # noqa: E731
    report = nlicl.audit_gradient(loss, lambda w: X31.T @ (X31 @ w - Y31) / 50, W31)
    assert report.verdict == "disagree" and says(report, r"2500|0\.0004") and says(report, "contradict|either"), report


# ---- The report


# met in re-creations of scikit-learn issue 11113
@pytest.mark.parametrize("t", [np.log(2.0), 0.9, 0.2])
def test_an_agreement_does_not_contradict_itself(t):
    D, Q = rng.random((4, 4)), rng.standard_normal((4, 4))
    K = lambda t: np.exp(-0.5 * D / np.exp(t[0]) ** 2)  # noqa: E731
    gradient = lambda t: np.array([np.sum(Q * K(t) * D / np.exp(t[0]) ** 2)])  # noqa: E731
    report = nlicl.audit_gradient(lambda t: np.sum(Q * K(t)), gradient, np.array([t]))
    assert report.verdict == "agree" and not re.search(r"slope: [01]\.", words(report)), report


def test_numbers_that_mean_nothing_are_not_printed():
    loss = lambda w: 1 - w.sum() if w.sum() < 1 else 0.0  # noqa: E731
    report = nlicl.audit_gradient(loss, lambda w: -np.ones(3), np.ones(3))
    assert report.verdict == "disagree" and not re.search(r"e\+(2|3)\d\d", words(report)), report
    assert report.arguments[0].worst["expected"] == 0 and report.arguments[0].worst["given"] == -1


def strict(report):
    """to_dict() as JSON that any reader takes."""
    return json.loads(json.dumps(report.to_dict(), allow_nan=False))


def test_a_report_on_no_numbers():
    report = nlicl.audit_gradient(lambda x: np.sum(np.sin(x)), lambda x: np.cos(x) * np.nan, np.ones(2))
    assert report.verdict == "disagree" and "linear" not in words(report) and "nan" in words(report), report
    assert strict(report)["verdict"] == "disagree"


@pytest.mark.parametrize("kind", ["right", "wrong", "kink", "inf", "undetermined", "random"])
def test_a_report_is_valid_json_with_numbers(kind):
    noise = np.random.default_rng(0)
    loss, gradient, x = {
        "right": (mse, mse_gradient, W31),
        "wrong": (mse, lambda w: -mse_gradient(w), W31),
        "kink": (lambda x: np.abs(x).sum(), lambda x: np.sign(x) + 3, np.zeros(2)),
        "inf": (mse, lambda w: np.inf * mse_gradient(w), W31),
        "undetermined": (lambda x: 1.0 + 0 * x.sum(), lambda x: 0 * x, W31),
        "random": (lambda x: noise.random() * np.sum(x**2), lambda x: 2 * x, W31),
    }[kind]
    report = nlicl.audit_gradient(loss, gradient, x)
    entry = strict(report)
    assert entry["verdict"] == report.verdict
    if kind in ("right", "wrong"):
        assert isinstance(entry["arguments"][0]["worst"]["expected"], float)
    assert str(report) and report.reason and bool(report) == (report.verdict == "agree")


def test_names_that_are_a_text():
    assert re.search("names.*(text|str)", outcome(mse, mse_gradient, W31, names="weights"))
    assert verdict(quadratic, by_both, (W, B), names="Wb") == "agree"
    assert re.search("names", outcome(quadratic, by_both, (W, B), names=("W",)))


def test_the_pytest_helper():
    nlicl.assert_gradient(mse, mse_gradient, W31)
    off = mse_gradient(W31) * [1, 1, 1.5, 1]
    with pytest.raises(AssertionError) as failure:
        nlicl.assert_gradient(mse, lambda w: mse_gradient(w) * [1, 1, 1.5, 1], W31)
    message = str(failure.value)
    assert "[2]" in message and f"{off[2]:.3g}"[:4] in message and f"{mse_gradient(W31)[2]:.3g}"[:4] in message, message
    with pytest.raises(AssertionError):
        nlicl.assert_gradient(lambda w: np.random.random() * mse(w), mse_gradient, W31)  # noqa: NPY002
    with pytest.raises(TypeError):
        nlicl.assert_gradient(mse, 3, W31)


# jax issue 2648, pytorch issue 53876: slow losses
def test_a_time_limit():
    import time

    def slow(x):
        time.sleep(2e-2)
        return float(np.sum(np.real(x) ** 2))

    x = rng.standard_normal(2000)
    began = time.perf_counter()
    report = nlicl.audit_gradient(slow, lambda x: 2 * x, x, timeout=0.5)
    assert time.perf_counter() - began < 5
    assert report.verdict in ("agree", "undetermined") and re.search("time", words(report)), report
    report = nlicl.audit_gradient(slow, lambda x: 3 * x, x, timeout=0.5)
    assert report.verdict in ("disagree", "undetermined"), report


def test_losses_that_print_or_warn():
    def chatty(x):
        print("epoch 1")
        return np.sum(x**2)

    def warns(x):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("slow path", UserWarning, stacklevel=2)
        return np.sum(x**2)

    assert verdict(chatty, lambda x: 2 * x, V) == "agree"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert verdict(warns, lambda x: 2 * x, V) == "agree"
        assert verdict(warns, lambda x: 3 * x, V) == "disagree"


def test_methods_partials_and_callables_of_a_class():
    from functools import partial

    class Model:
        def __init__(self, power):
            self.power = power

        def __call__(self, x):
            return np.sum(x**self.power)

        def gradient(self, x):
            return self.power * x ** (self.power - 1)

    model = Model(3)
    assert verdict(model, model.gradient, V) == "agree"
    scaled = partial(lambda scale, x: scale * np.sum(x**2), 2.0)
    assert verdict(scaled, lambda x: 4 * x, V) == "agree"
    assert verdict(np.linalg.norm, lambda x: x / np.linalg.norm(x), V) == "agree"
    assert verdict(np.sum, np.ones_like, V) == "agree"


# ---- A paper's formula


# cTensor pull 31, LightGBM issue 1308: softmax reduced to p (1 - p)
def attention_formula(diagonal):
    def gradient(params, prompt):
        W_Q, W_K, W_V, W_O, a = params
        P, q, z = prompt.contexts, prompt.query, prompt.z
        p = np.exp(P.T @ W_K.T @ W_Q @ q)
        p = p / p.sum()
        u = W_O @ W_V @ P @ p
        J = np.diag(p * (1 - p)) if diagonal else np.diag(p) - np.outer(p, p)
        gate = -z * (1 - z * a @ np.maximum(u, 0) > 0)
        return gate * np.outer(W_Q @ q, P @ J @ P.T @ (W_V.T @ W_O.T @ (a * (u > 0))))

    return gradient


def formula_entry(function):
    return nlicl.audit_formula(function, paper="li2024", wrt="W_K", draws=15).formulas[0]


def test_a_softmax_reduced_to_its_diagonal_in_a_formula():
    assert formula_entry(attention_formula(False)).verdict == "agree"
    entry = formula_entry(attention_formula(True))
    assert entry.verdict == "disagree" and "softmax-centering" in [item["kind"] for item in entry.diagnosis]


def test_formulas_of_another_form_are_told_what_they_returned():
    right = attention_formula(False)
    assert "dict" in str(formula_entry(lambda p, s: {"W_K": right(p, s)}).error)
    assert "tuple of 2" in str(formula_entry(lambda p, s: (0.1, right(p, s))).error)
    entry = formula_entry(lambda p: 0)
    assert entry.verdict != "agree" and "formula.py" not in str(entry.error), entry.error


# ---- Other packages


# pytorch issue 5351, and any torch loss of two tensors
def test_torch_losses_of_two_tensors():
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    at = (torch.randn(4, 3, dtype=torch.float64), torch.randn(3, dtype=torch.float64))
    loss = lambda W, x: torch.logsumexp(torch.as_tensor(W) @ torch.as_tensor(x), 0)  # noqa: E731

    def gradient(W, x, factor=1.0):
        W, x = torch.as_tensor(W), torch.as_tensor(x)
        p = torch.softmax(W @ x, 0)
        return factor * torch.outer(p, x), W.T @ p

    for x in (at, tuple(a.numpy() for a in at)):
        assert verdict(loss, gradient, x) == "agree"
        assert verdict(loss, lambda W, x: gradient(W, x, 2.0), x) == "disagree"
        assert verdict(loss, lambda W, x: gradient(W, x, 1 + 1e-4), x) == "disagree"
        assert verdict(loss, lambda W, x: gradient(W, x, 1 + 1e-6), x) != "agree"
        close = nlicl.audit_gradient(loss, lambda W, x: gradient(W, x, 1 + 1e-9), x)
        assert close.verdict != "agree" or close.arguments[0].tolerance > 1e-9


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_torch_autograd(dtype):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    X, y = torch.randn(20, 4, dtype=getattr(torch, dtype)), torch.randn(20, dtype=getattr(torch, dtype))

    def loss(w):
        return ((X @ torch.as_tensor(w, dtype=X.dtype) - y) ** 2).mean()

    def gradient(w, factor=1.0):
        w = torch.as_tensor(w, dtype=X.dtype).detach().clone().requires_grad_()
        loss(w).backward()
        return factor * w.grad

    for w in (torch.randn(4, dtype=X.dtype), torch.nn.Parameter(torch.randn(4, dtype=X.dtype)), rng.standard_normal(4)):
        assert verdict(loss, gradient, w) in (("agree",) if dtype == "float64" else ("agree", "undetermined"))
        assert verdict(loss, lambda w: gradient(w, 2.0), w) != "agree"
        assert verdict(lambda w: loss(w).item(), gradient, w) in ("agree", "undetermined")


def test_a_torch_module():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)).double()
    x = torch.randn(7, 3, dtype=torch.float64)
    parameters = {name: p.detach().numpy() for name, p in net.named_parameters()}

    def loss(p):
        tensors = {name: torch.as_tensor(a) for name, a in p.items()}
        return torch.func.functional_call(net, tensors, x).square().mean()

    def gradient(p):
        tensors = {name: torch.as_tensor(a).detach().clone().requires_grad_() for name, a in p.items()}
        value = torch.func.functional_call(net, tensors, x).square().mean()
        return dict(zip(tensors, torch.autograd.grad(value, list(tensors.values())), strict=True))

    assert verdict(loss, gradient, parameters) == "agree"
    assert verdict(loss, lambda p: gradient(p) | {"2.bias": 2 * gradient(p)["2.bias"]}, parameters) == "disagree"


def test_jax_functions():
    jax = pytest.importorskip("jax")
    jnp = jax.numpy
    X, y = rng.standard_normal((20, 4)).astype(np.float32), rng.standard_normal(20).astype(np.float32)
    loss = lambda w: jnp.mean((jnp.asarray(X) @ w - jnp.asarray(y)) ** 2)  # noqa: E731
    for w in (rng.standard_normal(4), jnp.asarray(rng.standard_normal(4)), rng.standard_normal(4).astype(np.float32)):
        assert verdict(loss, jax.grad(loss), w) in ("agree", "undetermined")
        assert verdict(jax.jit(loss), jax.jit(jax.grad(loss)), w) in ("agree", "undetermined")
        assert verdict(loss, lambda w: 2 * jax.grad(loss)(w), w) != "agree"
        assert verdict(jax.value_and_grad(loss), True, w) in ("agree", "undetermined")
    tree = {"W": jnp.ones((2, 3)) * 0.3, "b": jnp.array([0.1, -0.4])}
    loss = lambda p: jnp.sum(jnp.tanh(p["W"] @ jnp.asarray(V) + p["b"]))  # noqa: E731
    assert verdict(loss, jax.grad(loss), tree) in ("agree", "undetermined")
