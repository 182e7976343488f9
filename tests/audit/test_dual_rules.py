"""Every rule of the dual numbers against a derivative that knows nothing of it."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

from nlicl.audit.dual import Dual, lift, parts


def differences(f, x, v, h=2e-3):
    """d/dt f(x + tv), by central differences extrapolated over five steps (Romberg)."""
    rows = [
        (np.asarray(f(x + t * v), float) - np.asarray(f(x - t * v), float)) / (2 * t) for t in h / 2.0 ** np.arange(5)
    ]
    for k in range(1, 5):
        rows = [(4**k * fine - coarse) / (4**k - 1) for coarse, fine in pairwise(rows)]
    return rows[0]


def check(f, x, v, tolerance=1e-8, witness=differences):
    x, v = np.array(x, float), np.array(v, float)
    y = f(lift(x, v))
    assert isinstance(y, Dual), f"plain result {y!r}"
    value, tangent = parts(y)
    with np.errstate(all="ignore"):
        plain = np.asarray(f(x.copy()))
        want = witness(f, x.copy(), v)
    assert value.shape == plain.shape and value.dtype == plain.dtype
    np.testing.assert_allclose(value, plain, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(tangent, want, rtol=tolerance, atol=tolerance * max(1, np.abs(want).max(initial=0)))


def complex_step(f, x, v):
    return f(x + 1e-30j * v).imag / 1e-30


rng = np.random.default_rng(5)
X, V = rng.permutation(np.linspace(0.21, 0.79, 12)).reshape(3, 4), rng.standard_normal((3, 4))
C = rng.permutation(np.linspace(0.325, 0.915, 12)).reshape(3, 4)
S, SV = rng.standard_normal((4, 4)) + 3 * np.eye(4), rng.standard_normal((4, 4))
TALL, TV = rng.standard_normal((5, 3)), rng.standard_normal((5, 3))
A = rng.standard_normal((4, 3))
B = rng.standard_normal((2, 4, 4)) + 3 * np.eye(4)
BV = rng.standard_normal((2, 4, 4))

HOLOMORPHIC = [
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "square", "reciprocal", "sin", "cos",
    "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "arcsinh", "arctanh", "positive", "negative",
]  # fmt: skip


@pytest.mark.parametrize("name", HOLOMORPHIC)
def test_unary_ufuncs_by_complex_step(name):
    check(getattr(np, name), X, V, 1e-13, complex_step)


OTHER_UNARY = [
    "cbrt",
    "deg2rad",
    "radians",
    "rad2deg",
    "degrees",
    "fabs",
    "absolute",
    "conjugate",
    "sign",
    "floor",
    "ceil",
]


@pytest.mark.parametrize("name", [*OTHER_UNARY, "trunc", "heaviside"])
def test_other_unary_ufuncs(name):
    f = getattr(np, name)
    check(
        (lambda x: f(x - 0.5, 1.0)) if name == "heaviside" else lambda x: f(x - 0.5),
        np.where(abs(X - 0.5) < 0.02, 0.3, X),
        V,
    )


def test_arccosh_and_tanh_far_out():
    check(np.arccosh, 1 + X, V)
    check(np.tanh, 40 * (X - 0.5), V, 1e-12, lambda f, x, v: v / np.cosh(x) ** 2)


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide", "power"])
def test_binary_ufuncs_by_complex_step(name):
    f = getattr(np, name)
    check(lambda x: f(x, C), X, V, 1e-13, complex_step)
    check(lambda x: f(C, x), X, V, 1e-13, complex_step)
    check(lambda x: f(x, x[0] + 1), X, V, 1e-13, complex_step)
    check(lambda x: f(x[:, None], x), X, V, 1e-13, complex_step)
    check(lambda x: f(x, 2), X, V, 1e-13, complex_step)
    check(lambda x: f(3, x), X, V, 1e-13, complex_step)


OTHER_BINARY = [
    "arctan2",
    "logaddexp",
    "logaddexp2",
    "hypot",
    "copysign",
    "float_power",
    "maximum",
    "minimum",
    "fmax",
    "fmin",
]


@pytest.mark.parametrize("name", [*OTHER_BINARY, "remainder", "fmod"])
def test_other_binary_ufuncs(name):
    f = getattr(np, name)
    for g in (lambda x: f(x, C), lambda x: f(C, x), lambda x: f(x, x[0] + 0.1), lambda x: f(3 * x + 0.1, 0.7)):
        check(g, X, V)


@pytest.mark.parametrize("k", [0, 1, 2, 3, 0.5, -1, 2.5])
def test_powers_of_negative_numbers_and_zero(k):
    x, v = np.array([0.0, -1.5, 2.0]), np.array([1.0, -2.0, 0.5])
    if k == int(k):
        y = parts(lift(x, v) ** k)[1] if k >= 0 else parts(lift(x[1:], v[1:]) ** k)[1]
        want = np.array([0, 0, 0]) if k == 0 else k * x ** (k - 1.0) * v if k >= 1 else (k * x[1:] ** (k - 1.0) * v[1:])
        np.testing.assert_allclose(y, want, rtol=1e-14)
    assert parts(lift(np.zeros(1), np.ones(1)) ** 2.5)[1] == 0
    assert parts(0.0 ** lift(np.full(1, 2.0), np.ones(1)))[1] == 0


FUNCTIONS = {
    "reshape": lambda x: np.reshape(x, (2, 6)),
    "ravel": np.ravel,
    "transpose": lambda x: np.transpose(x) @ C,
    "moveaxis": lambda x: np.moveaxis(x, 0, 1),
    "swapaxes": lambda x: np.swapaxes(x, 0, 1),
    "squeeze": lambda x: np.squeeze(x[:, None]),
    "expand_dims": lambda x: np.expand_dims(x, 1),
    "concatenate": lambda x: np.concatenate([x, C, 2 * x]),
    "concatenate axis": lambda x: np.concatenate([x, C, 2 * x], axis=1),
    "stack": lambda x: np.stack([x, C], axis=1),
    "stack of scalars": lambda x: np.stack([x[0, 0], 2 * x[1, 1]]),
    "vstack": lambda x: np.vstack([x, C]),
    "hstack": lambda x: np.hstack([x, C]),
    "dstack": lambda x: np.dstack([x, C]),
    "column_stack": lambda x: np.column_stack([x, C[:, 0]]),
    "block": lambda x: np.block([[x, C], [C, x]]),
    "append": lambda x: np.append(x, C),
    "insert": lambda x: np.insert(x, 1, x[0] * 2, axis=0),
    "insert plain": lambda x: np.insert(x, 1, 7.0, axis=1),
    "delete": lambda x: np.delete(x, 1, 0),
    "split": lambda x: np.split(x, 2, axis=1)[1],
    "array_split": lambda x: np.array_split(x, 2)[1],
    "tile": lambda x: np.tile(x, (2, 1)),
    "repeat": lambda x: np.repeat(x, 2, axis=1),
    "roll": lambda x: np.roll(x, 1, axis=0),
    "flip": lambda x: np.flip(x) * C,
    "fliplr": np.fliplr,
    "rot90": np.rot90,
    "broadcast_to": lambda x: np.broadcast_to(x, (2, 3, 4)),
    "broadcast_arrays": lambda x: np.broadcast_arrays(x, C)[0],
    "atleast_3d": np.atleast_3d,
    "diag": np.diag,
    "diag of a vector": lambda x: np.diag(x[0]),
    "diagonal": np.diagonal,
    "diagflat": np.diagflat,
    "tril": np.tril,
    "triu": np.triu,
    "trace": np.trace,
    "take": lambda x: np.take(x, [2, 0], axis=0),
    "take_along_axis": lambda x: np.take_along_axis(x, np.array([[0, 1], [2, 3], [1, 1]]), axis=1),
    "compress": lambda x: np.compress([True, False, True], x, axis=0),
    "extract": lambda x: np.extract(C > 0.5, x),
    "pad": lambda x: np.pad(x, 1, constant_values=3.0),
    "pad reflect": lambda x: np.pad(x, 1, mode="reflect"),
    "meshgrid": lambda x: np.meshgrid(x[0], C[0])[0],
    "select": lambda x: np.select([C > 0.7, C > 0.5], [x, 2 * x], 3.0),
    "where": lambda x: np.where(C > 0.5, x, x * x),
    "where scalar": lambda x: np.where(C > 0.5, x, 1.0),
    "choose": lambda x: np.choose(np.array([0, 1, 0, 1]), [x, x * x]),
    "piecewise": lambda x: np.piecewise(x, [x < 0.5, x >= 0.5], [lambda t: t**2, lambda t: 3 * t]),
    "resize": lambda x: np.resize(x, (2, 9)),
    "copy": lambda x: np.copy(x) * 2,
    "full_like": lambda x: np.full_like(x, x[0, 0]),
    "linspace": lambda x: np.linspace(x[0], x[1], 5),
    "sum": np.sum,
    "sum axis": lambda x: np.sum(x, axis=0),
    "sum axes": lambda x: np.sum(x, axis=(0, 1), keepdims=True),
    "sum where": lambda x: np.sum(x, axis=1, where=C > 0.5, initial=2.0),
    "mean": np.mean,
    "mean axis": lambda x: np.mean(x, axis=-1, keepdims=True),
    "average": lambda x: np.average(x, axis=0, weights=[1, 2, 3]),
    "average by weights": lambda x: np.average(C, axis=1, weights=x),
    "cumsum": lambda x: np.cumsum(x, axis=0),
    "cumsum flat": np.cumsum,
    "prod": np.prod,
    "prod axis": lambda x: np.prod(x, axis=1),
    "prod with zero": lambda x: np.prod(x - x[0, 0] + V[0, 0] * 0, axis=1),
    "cumprod": lambda x: np.cumprod(x, axis=1),
    "var": np.var,
    "var axis": lambda x: np.var(x, axis=0, ddof=1, keepdims=True),
    "var where": lambda x: np.var(x, axis=1, where=C > 0.4),
    "std": lambda x: np.std(x, axis=1),
    "nansum": lambda x: np.nansum(np.where(C > 0.5, x, np.nan)),
    "nanmean": lambda x: np.nanmean(np.where(C > 0.5, x, np.nan), axis=0 if (C > 0.5).any(0).all() else None),
    "diff": lambda x: np.diff(x, axis=1),
    "diff prepend": lambda x: np.diff(x[0], prepend=0.0, append=x[0, 0]),
    "ediff1d": lambda x: np.ediff1d(x, to_end=3.0),
    "gradient": lambda x: np.gradient(x)[0],
    "trapezoid": lambda x: np.trapezoid(x, dx=0.5),
    "trapezoid x": lambda x: np.trapezoid(x * x, x, axis=0),
    "trapezoid x of one axis": lambda x: np.trapezoid(x, x[:, 0] ** 2, axis=0),
    "cov": np.cov,
    "corrcoef": np.corrcoef,
    "sliding_window_view": lambda x: np.lib.stride_tricks.sliding_window_view(x, 2, axis=1) * 2,
    "ptp": lambda x: np.ptp(x, axis=0),
    "bincount": lambda x: np.bincount([0, 2, 2, 1], weights=x[0]),
    "dot": lambda x: np.dot(x, A),
    "dot both": lambda x: np.dot(x, x.T),
    "vector dot": lambda x: np.dot(x[0], x[1]),
    "inner": lambda x: np.inner(x, C),
    "outer": lambda x: np.outer(x, x),
    "tensordot": lambda x: np.tensordot(x, x, axes=([1], [1])),
    "einsum": lambda x: np.einsum("ij,ik,jk->i", x, x, S),
    "einsum one": lambda x: np.einsum("ij->j", x),
    "einsum view": lambda x: np.einsum("ij->ji", x) * 2,
    "kron": lambda x: np.kron(x, x[:2]),
    "vdot": lambda x: np.vdot(x, x * C),
    "cross": lambda x: np.cross(x[:, :3], x[:, 1:]),
    "convolve": lambda x: np.convolve(x[0], x[1], "same"),
    "correlate": lambda x: np.correlate(x[0], x[1], "full"),
    "matmul": lambda x: x @ A,
    "reflected matmul": lambda x: A @ x,
    "matmul batch": lambda x: x @ B @ x.T,
    "matmul vectors": lambda x: x[0] @ x[1],
    "multi_dot": lambda x: np.linalg.multi_dot([x, A, x]),
    "polyval": lambda x: np.polyval([1.0, x[0, 0], 3.0], x),
    "vander": lambda x: np.vander(x[0]),
    "sort": lambda x: np.sort(x, axis=0),
    "sort flat": lambda x: np.sort(x, axis=None),
    "argsort": lambda x: x[0][np.argsort(x[0])],
    "partition": lambda x: np.partition(x, 1, axis=1)[:, 1],
    "max": np.max,
    "max axis": lambda x: np.max(x, axis=0, keepdims=True),
    "max axes": lambda x: np.max(x[None], axis=(0, 2)),
    "max initial": lambda x: np.max(x, axis=0, initial=0.6),
    "max where": lambda x: np.max(x, axis=0, initial=-9.0, where=C > 0.5),
    "min": lambda x: np.min(x, axis=1),
    "argmax": lambda x: x[np.arange(3), np.argmax(x, axis=1)],
    "argmin": lambda x: x.ravel()[np.argmin(x)],
    "median": np.median,
    "median axis": lambda x: np.median(x, axis=1, keepdims=True),
    "quantile": lambda x: np.quantile(x, [0.1, 0.77], axis=1),
    "percentile": lambda x: np.percentile(x, 30),
    "clip": lambda x: np.clip(x, 0.35, 0.6),
    "clip dual bounds": lambda x: np.clip(C, x - 0.1, None),
    "interp": lambda x: np.interp(x, [0.0, 0.4, 0.7, 1], [1.0, 3.0, 2.0, 5]),
    "interp fp": lambda x: np.interp(C, [0.0, 0.4, 0.7, 1], x[0]),
    "nan_to_num": lambda x: np.nan_to_num(np.where(C > 0.5, x, np.nan)),
    "sinc": np.sinc,
    "norm": np.linalg.norm,
    "norm of three axes": lambda x: np.linalg.norm(x.reshape(2, 3, 2)),
    "norm axis": lambda x: np.linalg.norm(x, axis=1),
    "norm keepdims": lambda x: np.linalg.norm(x, axis=0, keepdims=True),
    "norm 1": lambda x: np.linalg.norm(x[0], 1),
    "norm 3": lambda x: np.linalg.norm(x - 0.5, 3, axis=1),
    "norm inf": lambda x: np.linalg.norm(x[0], np.inf),
    "norm -inf": lambda x: np.linalg.norm(x[0], -np.inf),
    "norm fro": lambda x: np.linalg.norm(x, "fro", keepdims=True),
    "norm nuc": lambda x: np.linalg.norm(x, "nuc"),
    "norm matrix 2": lambda x: np.linalg.norm(x, 2),
    "norm matrix 1": lambda x: np.linalg.norm(x, 1),
    "norm matrix inf": lambda x: np.linalg.norm(x, np.inf, axis=(0, 1)),
    "add.reduce": np.add.reduce,
    "multiply.reduce": np.multiply.reduce,
    "maximum.reduce": lambda x: np.maximum.reduce(x, axis=1),
    "logaddexp.reduce": lambda x: np.logaddexp.reduce(x, axis=1),
    "logaddexp.reduce keepdims": lambda x: np.logaddexp.reduce(x, axis=0, keepdims=True),
    "add.accumulate": np.add.accumulate,
    "maximum.accumulate": lambda x: np.maximum.accumulate(x, axis=1),
    "subtract.outer": lambda x: np.subtract.outer(x[0], x[1]),
    "add.reduceat": lambda x: np.add.reduceat(x, [0, 2], axis=1),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    check(FUNCTIONS[name], X, V)


def positive(x):
    return x @ np.swapaxes(x, -1, -2) + np.eye(x.shape[-1])


SQUARE = {
    "det": np.linalg.det,
    "slogdet": lambda x: np.linalg.slogdet(x)[1],
    "inv": np.linalg.inv,
    "pinv": np.linalg.pinv,
    "solve": lambda x: np.linalg.solve(x, A),
    "solve vector": lambda x: np.linalg.solve(x, np.arange(4.0)),
    "solve right": lambda x: np.linalg.solve(x, x[..., :2] ** 2),
    "cholesky": lambda x: np.linalg.cholesky(positive(x)),
    "cholesky of the raw matrix": lambda x: np.linalg.cholesky(x + 9 * np.eye(4)),
    "eigh": lambda x: np.linalg.eigh(x)[0],
    "eigh vectors": lambda x: np.linalg.eigh(x)[1] ** 2,
    "eigh upper": lambda x: np.linalg.eigh(x, "U")[1] ** 2,
    "eigvalsh": lambda x: np.linalg.eigvalsh(x, "U"),
    "svd values": lambda x: np.linalg.svd(x, compute_uv=False),
    "svd u": lambda x: np.linalg.svd(x)[0] ** 2,
    "svd v": lambda x: np.linalg.svd(x)[2] ** 2,
    "qr q": lambda x: np.linalg.qr(x)[0],
    "qr r": lambda x: np.linalg.qr(x)[1],
    "qr mode r": lambda x: np.linalg.qr(x, "r"),
    "matrix_power": lambda x: np.linalg.matrix_power(x, 5),
    "matrix_power -2": lambda x: np.linalg.matrix_power(x, -2),
    "matrix norm": lambda x: np.linalg.norm(x, 2, axis=(-2, -1)),
    "trace": lambda x: np.trace(x, axis1=-2, axis2=-1),
}


@pytest.mark.parametrize("name", SQUARE)
def test_square_matrices(name):
    check(SQUARE[name], S, SV, 1e-7)
    check(SQUARE[name], B, BV, 1e-7)


TALL_FUNCTIONS = {
    "pinv": np.linalg.pinv,
    "pinv wide": lambda x: np.linalg.pinv(x.T),
    "lstsq": lambda x: np.linalg.lstsq(x, x[:, :2] ** 2)[0],
    "lstsq vector": lambda x: np.linalg.lstsq(x, np.arange(5.0))[0],
    "lstsq residuals": lambda x: np.linalg.lstsq(x, np.arange(5.0))[1],
    "qr q": lambda x: np.linalg.qr(x)[0],
    "qr r": lambda x: np.linalg.qr(x)[1],
    "svd u": lambda x: np.linalg.svd(x, full_matrices=False)[0] ** 2,
    "svd v": lambda x: np.linalg.svd(x.T, full_matrices=False)[2] ** 2,
    "svd s": lambda x: np.linalg.svd(x.T, full_matrices=False)[1],
}


@pytest.mark.parametrize("name", TALL_FUNCTIONS)
def test_tall_matrices(name):
    check(TALL_FUNCTIONS[name], TALL, TV, 1e-7)


@pytest.mark.parametrize("x", [np.zeros((3, 3)), np.diag([1.0, 2, 0]), np.ones((3, 3)), np.diag([1.0, 0, 0])])
def test_det_of_singular_matrices(x):
    check(np.linalg.det, x, SV[:3, :3])


@pytest.mark.parametrize("upper", [False, True])
def test_the_triangle_that_is_not_read_has_no_influence(upper):
    a = positive(S)
    other = np.triu(np.ones((4, 4)), 1) if not upper else np.tril(np.ones((4, 4)), -1)
    assert not parts(np.linalg.cholesky(lift(a, other), upper=upper))[1].any()
    np.testing.assert_allclose(np.linalg.cholesky(a + other, upper=upper), np.linalg.cholesky(a, upper=upper))
    assert not parts(np.linalg.eigvalsh(lift(a, other), "U" if upper else "L"))[1].any()
    check(lambda x: np.linalg.cholesky(x, upper=upper), a, SV)


SPECIAL = [
    "gammaln", "loggamma", "gamma", "digamma", "psi", "rgamma", "erf", "erfc", "erfcx", "erfi", "dawsn",
    "erfinv", "ndtr", "log_ndtr", "ndtri", "expit", "logit", "log_expit", "entr", "i0", "i1", "i0e", "i1e",
    "j0", "j1", "k0", "k1", "exprel", "exp1", "expi", "exp10", "cosm1", "spence", "log1p", "expm1", "exp2",
    "cbrt", "erfcinv",
]  # fmt: skip
SPECIAL_2 = [
    "xlogy", "xlog1py", "rel_entr", "kl_div", "huber", "pseudo_huber", "betaln", "beta", "poch", "binom",
    "boxcox", "boxcox1p",
]  # fmt: skip


@pytest.mark.parametrize("name", SPECIAL)
def test_special_functions(name):
    check(getattr(scipy.special, name), X, V)


def test_special_functions_of_negative_numbers():
    for name in [
        "gammaln",
        "gamma",
        "psi",
        "rgamma",
        "i0e",
        "i1e",
        "exprel",
        "log_ndtr",
        "expit",
        "log_expit",
        "erfcx",
    ]:
        check(getattr(scipy.special, name), -X, V)


@pytest.mark.parametrize("name", SPECIAL_2)
def test_special_functions_of_two(name):
    f = getattr(scipy.special, name)
    for g in (lambda x: f(x, C), lambda x: f(C, x), lambda x: f(x, x[0] * 2.2)):
        check(g, X, V)


@pytest.mark.parametrize("name", ["gammainc", "gammaincc", "jv", "iv", "kv"])
def test_special_functions_by_their_second_argument(name):
    check(lambda x: getattr(scipy.special, name)(1.3, x), X, V)


def test_the_incomplete_beta_function_and_the_inverse_of_log_ndtr():
    check(lambda x: scipy.special.betainc(1.5, 0.7, x), X, V)
    check(scipy.special.ndtri_exp, -X, V)


def test_terms_of_entropy_at_zero():
    zero, b = lift(np.zeros(1), np.zeros(1)), lift(np.full(1, 2.0), np.ones(1))
    s = scipy.special
    assert [float(parts(f(zero, b))[1][0]) for f in (s.xlogy, s.xlog1py, s.rel_entr, s.kl_div)] == [0, 0, 0, 1]
    assert parts(s.entr(zero))[1] == 0


SMOOTH = [np.exp, np.tanh, np.sin, lambda x: x * x, lambda x: x @ np.ones((4, 4)), lambda x: x / (1 + x * x), np.cumsum,
          lambda x: x.T, lambda x: x - x.mean(0), lambda x: np.sqrt(1 + x**2)]  # fmt: skip


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(range(len(SMOOTH))), min_size=1, max_size=5), st.integers(0, 10**6))
def test_compositions_and_linearity(chain, seed):
    rng = np.random.default_rng(seed)
    x, v, w = rng.standard_normal((3, 4, 4))

    def f(a):
        for n in chain:
            a = np.reshape(SMOOTH[n](a), (4, 4)) / 2
        return np.sum(a)

    check(f, x, v, 1e-7, lambda f, x, v: complex_step(f, x, v))
    a, b = (float(parts(f(lift(x, d)))[1]) for d in (v, w))
    both = float(parts(f(lift(x, 2 * v - 3 * w)))[1])
    assert abs(both - (2 * a - 3 * b)) <= 1e-9 * (abs(a) + abs(b) + 1)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.sampled_from([((3,), (2, 3)), ((), (2, 3)), ((2, 1), (1, 3)), ((1,), ()), ((4, 1, 3), (2, 1))]),
    st.sampled_from(["add", "multiply", "divide", "power", "maximum", "hypot", "logaddexp"]),
)
def test_broadcasting(shapes, name):
    rng = np.random.default_rng(1)
    a, b = (rng.uniform(0.5, 1.5, shape) for shape in shapes)
    f = getattr(np, name)
    check(lambda x: f(x, b), a, rng.standard_normal(a.shape))
    check(lambda x: f(b, x), a, rng.standard_normal(a.shape))


F32 = [np.exp, np.abs, lambda x: x * 2.0, lambda x: 1 / x, lambda x: x**2, lambda x: x @ x.T, np.mean, np.linalg.norm, np.std,
       lambda x: np.where(x > 0, x, 0.0), lambda x: np.maximum(x, 0), np.median, lambda x: np.linalg.inv(x @ x.T), np.prod,
       lambda x: x[0, 0] * 2, lambda x: scipy.special.expit(x), lambda x: np.clip(x, 0, 1), lambda x: np.zeros_like(x) + x,
       lambda x: np.concatenate([x, x]), lambda x: np.tanh(x), lambda x: np.quantile(x, 0.3), np.sign, np.cumsum, np.sinc,
       lambda x: np.logaddexp.reduce(x), lambda x: np.sqrt(x.var(0) + 1e-5)]  # fmt: skip


@pytest.mark.parametrize("n", range(len(F32)))
def test_float32_stays_as_numpy_has_it(n):
    x = X.astype(np.float32)
    y, dy = parts(F32[n](lift(x, V.astype(np.float32))))
    plain = F32[n](x)
    assert y.dtype == dy.dtype == plain.dtype
    np.testing.assert_allclose(y, plain, rtol=2e-5)
    np.testing.assert_allclose(dy, parts(F32[n](lift(X, V)))[1], rtol=3e-4, atol=3e-5)
