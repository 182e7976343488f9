"""Right gradients of unusual but proper losses agree, and the same ones a little off do not.

Losses go through NumPy's and SciPy's functions, through Python, through files of state, through other number types. None is an
excuse for a false alarm, and none for a wrong gradient that agrees.
"""

import copy
import functools
import math
import warnings

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
import scipy.special
import scipy.stats
from numba import njit

import nlicl

rng = np.random.default_rng(11)
x5, y5, p5 = rng.standard_normal(5), rng.standard_normal(5), rng.random(5) + 0.5
A, R, C = rng.standard_normal((4, 4)), rng.standard_normal((4, 4)), rng.standard_normal((6, 5))
POSITIVE = A @ A.T + np.eye(4)
sp = scipy.special


def verdict(*arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nlicl.audit_gradient(*arguments, **options).verdict


def fourier_slope(x):
    return 2 * np.real(np.fft.ifft(np.fft.fft(x) * np.arange(5))) * 5


def nuclear_slope(A):
    U, _, V = np.linalg.svd(A)
    return U @ V


def ordered(x, weights):
    g = np.zeros_like(x)
    g[np.argsort(x)] = weights
    return g


def loop(x):
    total = 0.0
    for k, value in enumerate(x):
        total += k * math.sin(value) if isinstance(value, float) else k * np.sin(value)
    return total


@njit
def compiled(x):
    total = 0.0
    for k in range(len(x)):
        total += k * math.sin(x[k])
    return total


def typed(x):
    assert isinstance(x, np.ndarray) and x.dtype == np.float64
    return np.sum(np.sin(x))


@functools.lru_cache
def cached(*x):
    return float(sum(math.sin(v) for v in x))


def in_place(x):
    x = np.asarray(x).copy()
    x *= 2
    x[1:] += x[:-1]
    x[x < 0] *= 0.5
    return np.sum(x)


def in_place_slope(x):
    z = 2 * x
    s = z.copy()
    s[1:] += z[:-1]
    g = np.where(s < 0, 0.5, 1.0)
    return 2 * (g + np.append(g[1:], 0))


SMOOTH = {
    # of NumPy
    "prod": (np.prod, lambda x: np.prod(x) / x, x5),
    "prod with a zero": (
        np.prod,
        lambda x: np.array([np.prod(np.delete(x, k)) for k in range(4)]),
        np.array([1.0, 0, 2, 3]),
    ),
    "cumprod": (lambda x: np.cumprod(x)[-1] + x[0], lambda x: np.prod(x) / x + np.eye(5)[0], x5),
    "diff": (
        lambda x: np.sum(np.diff(x) ** 2),
        lambda x: 2 * (np.append(0, np.diff(x)) - np.append(np.diff(x), 0)),
        x5,
    ),
    "roll": (lambda x: x @ np.roll(x, 1), lambda x: np.roll(x, 1) + np.roll(x, -1), x5),
    "pad": (lambda x: np.sum(np.pad(x, 1, mode="edge") ** 2), lambda x: 2 * x * [2, 1, 1, 1, 2], x5),
    "polyval": (lambda x: np.polyval(x, 2.0) ** 2, lambda x: 2 * np.polyval(x, 2.0) * 2.0 ** np.arange(4, -1, -1), x5),
    "kron": (lambda A: np.sum(np.kron(A, A)), lambda A: 2 * A.sum() * np.ones_like(A), A),
    "tensordot": (lambda A: np.tensordot(A, R, 2) ** 2, lambda A: 2 * np.sum(A * R) * R, A),
    "einsum": (lambda A: np.einsum("ij,jk,ki->", A, R, A), lambda A: (R @ A).T + (A @ R).T, A),
    "matrix power": (
        lambda A: np.trace(np.linalg.matrix_power(A, 3)),
        lambda A: 3 * np.linalg.matrix_power(A, 2).T,
        A,
    ),
    "det": (np.linalg.det, lambda A: np.linalg.det(A) * np.linalg.inv(A).T, A),
    "inv": (lambda A: np.trace(np.linalg.inv(A)), lambda A: -np.linalg.matrix_power(np.linalg.inv(A), 2).T, POSITIVE),
    "solve": (
        lambda b: np.sum(np.linalg.solve(POSITIVE, b) ** 2),
        lambda b: 2 * np.linalg.solve(POSITIVE.T, np.linalg.solve(POSITIVE, b)),
        x5[:4],
    ),
    "nuclear norm": (lambda A: np.linalg.norm(A, "nuc"), nuclear_slope, A),
    "singular values": (lambda A: np.linalg.svd(A, compute_uv=False).sum(), nuclear_slope, A),
    "Frobenius norm": (np.linalg.norm, lambda A: A / np.linalg.norm(A), A),
    "norm of order 1": (lambda x: np.linalg.norm(x, 1), np.sign, x5),
    "norm of order inf": (
        lambda x: np.linalg.norm(x, np.inf),
        lambda x: np.sign(x) * (abs(x) == abs(x).max()),
        x5,
    ),
    "var": (np.var, lambda x: 2 * (x - x.mean()) / 5, x5),
    "std, ddof": (lambda x: np.std(x, ddof=1), lambda x: (x - x.mean()) / 4 / np.std(x, ddof=1), x5),
    "median": (np.median, lambda x: ordered(x, [0, 0, 1, 0, 0]), x5),
    "quantile": (lambda x: np.quantile(x, 0.3), lambda x: ordered(x, [0, 0.8, 0.2, 0, 0]), x5),
    "sort": (lambda x: np.sort(x) @ np.arange(5.0), lambda x: ordered(x, np.arange(5.0)), x5),
    "partition": (lambda x: np.partition(x, 2)[:2].sum(), lambda x: ordered(x, [1.0, 1, 0, 0, 0]), x5),
    "argmax": (lambda x: x[np.argmax(x)] ** 2, lambda x: 2 * x * (x == x.max()), x5),
    "select": (
        lambda x: np.select([x < 0, x < 1], [x**2, x], default=2 * x - 1).sum(),
        lambda x: np.select([x < 0, x < 1], [2 * x, 1.0], default=2.0),
        x5,
    ),
    "piecewise": (
        lambda x: np.piecewise(x, [x < 0, x >= 0], [lambda v: v**2, lambda v: v]).sum(),
        lambda x: np.where(x < 0, 2 * x, 1.0),
        x5,
    ),
    "where with a NaN not taken": (
        lambda x: np.where(x > 0, np.log(np.where(x > 0, x, 1)), 0 * x).sum(),
        lambda x: np.where(x > 0, 1 / np.where(x > 0, x, 1), 0),
        x5,
    ),
    "nan_to_num": (lambda x: np.nan_to_num(x**2).sum(), lambda x: 2 * x, x5),
    "floor": (lambda x: np.sum(x**2 + np.floor(3 * x)), lambda x: 2 * x, x5),
    "modulo": (lambda x: np.sum(np.mod(x, 0.7) ** 2), lambda x: 2 * np.mod(x, 0.7), x5),
    "sinc": (
        lambda x: np.sinc(x).sum(),
        lambda x: np.cos(np.pi * x) / x - np.sin(np.pi * x) / (np.pi * x**2),
        x5,
    ),
    "Fourier": (lambda x: np.sum(np.arange(5) * abs(np.fft.fft(x)) ** 2), fourier_slope, x5),
    "complex numbers within": (
        lambda x: abs(np.exp(1j * x).sum()) ** 2,
        lambda x: -2 * np.imag(np.conj(np.exp(1j * x).sum()) * np.exp(1j * x)),
        x5,
    ),
    "trapezoid": (lambda x: np.trapezoid(x**2), lambda x: 2 * x * [0.5, 1, 1, 1, 0.5], x5),
    "vectorize": (lambda x: np.vectorize(math.exp)(x).sum(), np.exp, x5),
    "bincount": (
        lambda x: (np.bincount([0, 1, 1, 0, 2], weights=x) ** 2).sum(),
        lambda x: 2 * np.bincount([0, 1, 1, 0, 2], weights=x)[[0, 1, 1, 0, 2]],
        x5,
    ),
    "add.at": (
        lambda x: (lambda z: (np.add.at(z, [0, 1, 1, 0, 2], x), (z**2).sum())[1])(np.zeros(3, x.dtype)),
        lambda x: 2 * np.bincount([0, 1, 1, 0, 2], weights=x)[[0, 1, 1, 0, 2]],
        x5,
    ),
    "power of a parameter": (lambda x: np.sum(p5**x), lambda x: p5**x * np.log(p5), x5),
    "logarithms of all kinds": (
        lambda x: (np.log2(x) + np.log10(x) + np.log1p(x)).sum(),
        lambda x: 1 / x / math.log(2) + 1 / x / math.log(10) + 1 / (1 + x),
        p5,
    ),
    # of SciPy
    "erf": (lambda x: sp.erf(x).sum(), lambda x: 2 / math.sqrt(math.pi) * np.exp(-(x**2)), x5),
    "gammaln": (lambda x: sp.gammaln(x).sum(), sp.digamma, p5),
    "betaln": (lambda x: sp.betaln(x, 2.0).sum(), lambda x: sp.digamma(x) - sp.digamma(x + 2), p5),
    "xlogy": (lambda x: sp.xlogy(x, x).sum(), lambda x: np.log(x) + 1, p5),
    "expit": (lambda x: sp.expit(x).sum(), lambda x: sp.expit(x) * sp.expit(-x), x5),
    "logsumexp": (sp.logsumexp, sp.softmax, x5),
    "log_ndtr": (
        lambda x: sp.log_ndtr(x).sum(),
        lambda x: np.exp(-(x**2) / 2 - sp.log_ndtr(x)) / math.sqrt(2 * math.pi),
        x5,
    ),
    "Bessel": (lambda x: sp.jv(1, x).sum(), lambda x: sp.jvp(1, x), p5),
    "normal density": (lambda x: scipy.stats.norm.logpdf(x, 1, 2).sum(), lambda x: -(x - 1) / 4, x5),
    "expm": (lambda A: np.trace(scipy.linalg.expm(A)), lambda A: scipy.linalg.expm(A).T, A / 3),
    "Cholesky solve": (
        lambda b: b @ scipy.linalg.cho_solve(scipy.linalg.cho_factor(POSITIVE), b),
        lambda b: 2 * np.linalg.solve(POSITIVE, b),
        x5[:4],
    ),
    "sparse data": (
        lambda x: np.sum((scipy.sparse.csr_array(C) @ x) ** 2),
        lambda x: 2 * C.T @ (C @ x),
        x5,
    ),
    # of Python
    "loop": (loop, lambda x: np.arange(5) * np.cos(x), x5),
    "sum of a generator": (lambda x: sum(v**3 for v in x), lambda x: 3 * x**2, x5),
    "math": (lambda x: math.fsum(math.exp(v) for v in x), np.exp, x5),
    "tolist": (lambda x: sum(v * v for v in x.tolist()), lambda x: 2 * x, x5),
    "compiled": (compiled, lambda x: np.arange(5) * np.cos(x), x5),
    "type checked": (typed, np.cos, x5),
    "cached by value": (lambda x: cached(*map(float, x)), np.cos, x5),
    "deep copies": (lambda x: np.sum(copy.deepcopy(x) ** 2), lambda x: 2 * x, x5),
    "in place on a copy": (in_place, in_place_slope, x5),
    "object array": (lambda x: np.sum(np.array(list(x), object) ** 2), lambda x: 2 * x, x5),
    "long double": (lambda x: np.sum(x.astype(np.longdouble) ** 2), lambda x: 2 * x, x5),
    "linear": (lambda x: y5 @ x, lambda x: y5, x5),
    "linear, from a list": (lambda x: 3 * x[0] - x[4], lambda x: [3, 0, 0, 0, -1], x5),
    "maximum of nothing else": (lambda x: max(*x, 0.0) ** 2, lambda x: 2 * x * (x == x.max()) * (x > 0), x5),
    "if": (lambda x: np.sum(x**2) if x.sum() > 0 else np.sum(x**3), lambda x: 2 * x if x.sum() > 0 else 3 * x**2, x5),
    "while": (
        lambda x: next(s for k in range(99) for s in [np.sum(x**2) * 0.5**k] if s < 1),
        lambda x: 2 * x * next(0.5**k for k in range(99) if np.sum(x**2) * 0.5**k < 1),
        x5,
    ),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_right_gradients_agree_and_others_do_not(name):
    loss, gradient, x = SMOOTH[name]
    assert verdict(loss, gradient, x) == "agree"
    assert verdict(loss, lambda x: 1.001 * np.asarray(gradient(x)), x) == "disagree"

    def one(x):
        g = np.array(gradient(x), float)
        g[np.unravel_index(np.argmax(abs(g)), g.shape)] *= -1
        return g

    assert verdict(loss, one, x) == "disagree"


ARRAYS = {
    "Fortran's order": lambda x: np.asfortranarray(x),
    "a view with gaps": lambda x: np.repeat(np.repeat(x, 2, 0), 3, 1)[::2, ::3],
    "reversed": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "read-only": lambda x: (lambda y: (y.flags.__setattr__("writeable", False), y)[1])(x.copy()),
    "big-endian": lambda x: x.astype(">f8"),
    "long double": lambda x: x.astype(np.longdouble),
    "nested lists": lambda x: x.tolist(),
    "a column": lambda x: x.reshape(-1, 1),
    "three axes": lambda x: x.reshape(2, 2, 3),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_all_kinds(name):
    x = ARRAYS[name](np.random.default_rng(0).standard_normal((4, 3)))
    loss, gradient = (lambda x: np.sum(np.sin(np.asarray(x)))), (lambda x: np.cos(np.asarray(x)))
    assert verdict(loss, gradient, x) == "agree"
    assert verdict(loss, lambda x: gradient(x) * 1.01, x) == "disagree"


@pytest.mark.parametrize("start", ["zeros", "ones", "integers", "huge", "tiny"])
def test_logistic_regression_from_common_starts(start):
    r = np.random.default_rng(3)
    X, y = r.integers(0, 3, (30, 4)).astype(float), r.choice([-1.0, 1.0], 30)
    w = {
        "zeros": np.zeros(4),
        "ones": np.ones(4),
        "integers": np.array([1.0, -2, 3, 0]),
        "huge": 1e3 * r.standard_normal(4),
        "tiny": 1e-8 * r.standard_normal(4),
    }[start]
    loss = lambda w: np.logaddexp(0, -y * (X @ w)).mean()  # noqa: E731
    gradient = lambda w: -X.T @ (y * sp.expit(-y * (X @ w))) / 30  # noqa: E731
    assert verdict(loss, gradient, w) == "agree"
    assert verdict(loss, lambda w: gradient(w) * 1.001, w) == "disagree"
    if start not in ("tiny", "zeros"):
        assert verdict(loss, lambda w: gradient(w) + 1e-3 * w, w) == "disagree"


def test_a_saturated_softmax_with_exact_zeros():
    z = np.array([1000.0, 0.0, -1000.0, 900.0])
    loss = lambda z: sp.logsumexp(z) - z[3]  # noqa: E731
    gradient = lambda z: sp.softmax(z) - np.eye(4)[3]  # noqa: E731
    assert verdict(loss, gradient, z) == "agree"
    assert verdict(loss, lambda z: gradient(z) * [1, 1, 1, 1.001], z) == "disagree"
    assert verdict(loss, lambda z: gradient(z) + np.array([0, 1e-3, 0, 0]), z) == "disagree"


def test_an_embedding_of_which_few_rows_are_used():
    E = np.random.default_rng(0).standard_normal((200, 8))
    used = np.array([3, 17, 17, 150])

    def gradient(E):
        G = np.zeros_like(E)
        np.add.at(G, used, 2 * E[used])
        return G

    assert verdict(lambda E: np.sum(E[used] ** 2), gradient, E) == "agree"

    def once(E):
        G = np.zeros_like(E)
        G[used] += 2 * E[used]
        return G

    report = nlicl.audit_gradient(lambda E: np.sum(E[used] ** 2), once, E)
    assert report.verdict == "disagree" and report.arguments[0].worst["index"][0] == 17, report


@pytest.mark.parametrize("n", [3, 6, 9])
def test_an_ill_conditioned_solve(n):
    H = scipy.linalg.hilbert(n)
    b = np.random.default_rng(n).standard_normal(n)
    loss = lambda b: 0.5 * b @ np.linalg.solve(H, b)  # noqa: E731
    gradient = lambda b: np.linalg.solve(H, b)  # noqa: E731
    assert verdict(loss, gradient, b) in (("agree",) if n < 6 else ("agree", "undetermined"))
    assert verdict(loss, lambda b: 2 * gradient(b), b) == "disagree"


def test_rounded_and_quantised_losses_have_gradient_zero_almost_everywhere():
    loss = lambda x: np.round(4 * x).sum()  # noqa: E731
    assert verdict(loss, lambda x: 0 * x, x5) in ("undetermined", "agree")
    assert verdict(loss, lambda x: 4 + 0 * x, x5) != "agree"  # straight through


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_small_dtypes_of_x(dtype):
    x = x5.astype(dtype)
    loss, gradient = (lambda x: np.sum(np.sin(x))), np.cos
    assert verdict(loss, gradient, x) in ("agree", "undetermined")
    assert verdict(loss, lambda x: -gradient(x), x) != "agree"


@pytest.mark.parametrize("seed", range(4))
def test_losses_that_never_repeat_a_seed_do_not_depend_on_the_audits(seed):
    """Global random state is the caller's: the audit neither sets it nor uses it."""
    np.random.seed(seed)  # noqa: NPY002
    expected = np.random.RandomState(seed).random(3)
    verdict(lambda x: np.sum(x**2), lambda x: 2 * x, x5)
    assert np.array_equal(np.random.random(3), expected)  # noqa: NPY002


def test_verdicts_repeat():
    for loss, gradient, x in (SMOOTH["nuclear norm"], SMOOTH["median"], SMOOTH["math"]):
        one, two = (nlicl.audit_gradient(loss, gradient, x, seed=4).to_dict() for _ in range(2))
        assert one == two
