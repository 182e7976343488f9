"""numpy.linalg: the derivatives of inverses, factors, spectra and norms.

A function that reads one triangle of a matrix is a function of that triangle: entries of the other have the derivative 0.
"""

from typing import Any

import numpy as np

from .array import dual, split
from .record import note_comparison, note_condition
from .rules import NotCarried, named, rule

__all__: list[str] = []

EQUAL = 1e-10  # relative gap below which two eigenvalues or singular values are taken for equal


def _t(a: Any) -> Any:
    return np.swapaxes(a, -1, -2)


def _diagonal(a: Any) -> Any:
    return np.diagonal(a, 0, -2, -1)


def _symmetric(d: Any, lower: bool) -> Any:
    """The symmetric matrix that a function sees which reads one triangle of d."""
    return np.tril(d) + _t(np.tril(d, -1)) if lower else np.triu(d) + _t(np.triu(d, 1))


# ----- inverses
@rule(np.linalg.inv)
def inv(a: Any) -> Any:
    a, da = split(a)
    note_condition(a)
    y = np.linalg.inv(a)
    return dual(y, -y @ da @ y)


@rule(np.linalg.solve)
def solve(a: Any, b: Any) -> Any:
    """a y = b: a dy = db - da y."""
    (a, da), (b, db) = split(a), split(b)
    note_condition(a)
    y = np.linalg.solve(a, b)
    column = np.ndim(b) == 1
    rest = np.zeros_like(y) if db is None else db
    if da is not None:
        rest = rest - ((da @ y[..., None])[..., 0] if column else da @ y)
    if column:
        return dual(y, np.linalg.solve(a, np.broadcast_to(rest, y.shape)[..., None])[..., 0])
    return dual(y, np.linalg.solve(a, rest))


@rule(np.linalg.pinv)
def pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    """Of full rank: dy = -y da y + y y' da' (1 - a y) + (1 - y a) da' y' y."""
    a, da = split(a)
    note_condition(a)
    if hermitian or np.any(np.linalg.matrix_rank(a) < min(a.shape[-2:])):
        raise NotCarried("numpy.linalg.pinv has no rule for hermitian=True, or for a matrix of less than full rank")
    y = np.linalg.pinv(a, rcond) if rtol is None else np.linalg.pinv(a, rtol=rtol)
    left, right = np.eye(a.shape[-2]) - a @ y, np.eye(a.shape[-1]) - y @ a
    return dual(y, -y @ da @ y + y @ _t(y) @ _t(da) @ left + right @ _t(da) @ _t(y) @ y)


@rule(np.linalg.lstsq)
def lstsq(a: Any, b: Any, rcond: Any = None) -> Any:
    """x = pinv(a) b, for a of full rank."""
    (value, _), (target, _) = split(a), split(b)
    _, squares, rank, _ = np.linalg.lstsq(value, target, rcond)
    if rank < min(value.shape):
        raise NotCarried("numpy.linalg.lstsq has no rule for a matrix of less than full rank")
    x = np.linalg.pinv(a) @ b
    residual = b - a @ x
    singular = np.linalg.svd(a, compute_uv=False)
    return x, np.sum(residual**2, 0, keepdims=residual.ndim == 1) if squares.size else squares, rank, singular


# ----- determinants
@rule(np.linalg.det)
def det(a: Any) -> Any:
    """dy = tr(adj(a) da); adj(a) = det(u v) v' diag(prod of the other s) u', of singular a too."""
    a, da = split(a)
    u, s, v = np.linalg.svd(a)
    n = s.shape[-1]
    others = np.prod(np.where(np.eye(n, dtype=bool), 1, s[..., None, :]), -1)
    adjugate = np.linalg.det(u @ v)[..., None, None] * (_t(v) * others[..., None, :]) @ _t(u)
    return dual(np.linalg.det(a), np.sum(adjugate * _t(da), (-2, -1)))


@rule(np.linalg.slogdet)
def slogdet(a: Any) -> Any:
    a, da = split(a)
    note_condition(a)
    y = np.linalg.slogdet(a)
    slope = np.sum(np.linalg.inv(a) * _t(da), (-2, -1))
    return type(y)(dual(y.sign, np.zeros_like(y.sign)), dual(y.logabsdet, slope))


# ----- factors
@rule(np.linalg.cholesky)
def cholesky(a: Any, /, *, upper: bool = False) -> Any:
    """dL = L P(L^-1 dS L'^-1), where P takes the lower triangle and half of the diagonal."""
    a, da = split(a)
    note_condition(a)
    y = np.linalg.cholesky(a, **({"upper": True} if upper else {}))
    low = _t(y) if upper else y
    inner = np.linalg.solve(low, _t(np.linalg.solve(low, _symmetric(da, not upper))))
    dlow = low @ (np.tril(inner) - 0.5 * inner * np.eye(a.shape[-1]))
    return dual(y, _t(dlow) if upper else dlow)


@rule(np.linalg.qr)
def qr(a: Any, mode: str = "reduced") -> Any:
    a, da = split(a)
    if mode not in ("reduced", "r") or a.shape[-2] < a.shape[-1]:
        raise NotCarried("numpy.linalg.qr has no rule for this mode, or for more columns than rows")
    y = np.linalg.qr(a)
    q, r = y
    scaled = _t(np.linalg.solve(_t(r), _t(da)))  # da r^-1
    inside = _t(q) @ scaled
    turn = np.tril(inside, -1) - _t(np.tril(inside, -1))
    dq, dr = q @ turn + scaled - q @ inside, (inside - turn) @ r
    return dual(np.linalg.qr(a, "r"), dr) if mode == "r" else type(y)(dual(q, dq), dual(r, dr))


# ----- spectra
def _distinct(w: Any, function: str) -> None:
    ordered = np.sort(w, -1)
    if np.any(np.diff(ordered, axis=-1) <= EQUAL * np.max(np.abs(w), -1, keepdims=True, initial=0)):
        raise NotCarried(f"numpy.linalg.{function} has no rule for equal values")


def _gaps(w: Any) -> Any:
    """1/(w_j - w_i), and 0 on the diagonal."""
    gap = w[..., None, :] - w[..., :, None] + np.eye(w.shape[-1])
    return np.where(np.eye(w.shape[-1], dtype=bool), 0, 1 / gap)


@rule(np.linalg.eigh)
def eigh(a: Any, UPLO: Any = "L") -> Any:
    """dw = diag(v' dS v); dv = v (v' dS v / (w_j - w_i))."""
    a, da = split(a)
    y = np.linalg.eigh(a, UPLO)
    w, v = y
    _distinct(w, "eigh")
    inner = _t(v) @ _symmetric(da, UPLO.upper() == "L") @ v
    return type(y)(dual(w, _diagonal(inner)), dual(v, v @ (inner * _gaps(w))))


@rule(np.linalg.eigvalsh)
def eigvalsh(a: Any, UPLO: Any = "L") -> Any:
    return eigh(a, UPLO)[0]


@rule(np.linalg.svd)
def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    """ds = diag(u' da v); du, dv from the parts of u' da v that turn the vectors, and those outside their span."""
    a, da = split(a)
    note_condition(a)
    if hermitian or (compute_uv and full_matrices and a.shape[-1] != a.shape[-2]):
        raise NotCarried(
            "numpy.linalg.svd has no rule for hermitian=True, or for full_matrices of a matrix that is not square"
        )
    y = np.linalg.svd(a, full_matrices=False)
    u, s, vh = y
    _distinct(s, "svd")
    if np.any(s[..., -1:] <= EQUAL * s[..., :1]):
        raise NotCarried("numpy.linalg.svd has no rule for a singular value of 0")
    v, inner = _t(vh), _t(u) @ da @ _t(vh)
    ds = _diagonal(inner)
    if not compute_uv:
        return dual(s, ds)
    gaps, row, column = _gaps(s**2), s[..., None, :], s[..., :, None]
    du = u @ (gaps * (inner * row + column * _t(inner))) + (da @ v - u @ inner) / row
    dv = v @ (gaps * (column * inner + _t(inner) * row)) + (_t(da) @ u - v @ _t(inner)) / row
    return type(y)(dual(u, du), dual(s, ds), dual(vh, _t(dv)))


@rule(*named("linalg.svdvals"))
def svdvals(x: Any, /) -> Any:
    return svd(x, compute_uv=False)


# ----- norms
def _vector_norm(x: Any, order: Any, axis: Any, keepdims: bool) -> Any:
    """(sum |x|^p)^(1/p); at 0, the norm of the tangent."""
    if order == np.inf:
        return np.max(np.abs(x), axis, keepdims=keepdims)
    if order == -np.inf:
        return np.min(np.abs(x), axis, keepdims=keepdims)
    if order == 0:
        y = np.sum(x != 0, axis, dtype=x.dtype, keepdims=keepdims)
        return dual(y, np.zeros_like(y))
    if order == 1:
        return np.sum(np.abs(x), axis, keepdims=keepdims)
    two = order is None or order == 2
    if not two:
        x = np.abs(x)
    value, tangent = x._value, x._tangent
    p = 2 if two else order

    def norm(a: Any) -> Any:
        square = np.sum(a * a if two else np.abs(a) ** p, axis, keepdims=True)
        return np.sqrt(square) if two else square ** (1 / p)

    with np.errstate(all="ignore"):
        y = norm(value)
        weight = value / y if two else (value / y) ** (p - 1)
        dy = np.where(y == 0, norm(tangent), np.sum(weight * tangent, axis, keepdims=True))
    note_comparison(y, dy, 0, None)
    out = dual(y, dy)
    return out if keepdims else np.squeeze(out, axis)[()]


def _matrix_norm(x: Any, order: Any, axes: tuple[int, int], keepdims: bool) -> Any:
    x = np.moveaxis(x, axes, (-2, -1))
    pick: Any = {1: np.max, -1: np.min, 2: np.max, -2: np.min, np.inf: np.max, -np.inf: np.min, "nuc": np.sum}.get(
        order
    )
    if order in (None, "fro"):
        y = _vector_norm(x, 2, (-2, -1), False)
    elif pick is None:
        raise NotCarried(f"numpy.linalg.norm has no rule for ord={order!r}")
    elif order in (2, -2, "nuc"):
        y = pick(svd(x, compute_uv=False), -1)
    else:
        y = pick(np.sum(np.abs(x), -2 if abs(order) == 1 else -1), -1)
    return np.expand_dims(y, tuple(n % x.ndim for n in axes)) if keepdims else y


@rule(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    if axis is None and (ord is None or x.ndim == 1 or (x.ndim == 2 and ord in ("f", "fro"))):
        y = _vector_norm(np.ravel(x), None if ord in ("f", "fro") else ord, 0, False)
        return np.reshape(y, (1,) * x.ndim) if keepdims else y
    axes = tuple(range(x.ndim)) if axis is None else (axis,) if np.ndim(axis) == 0 else tuple(axis)
    if len(axes) == 1:
        return _vector_norm(x, ord, axes[0], keepdims)
    if len(axes) != 2:
        raise ValueError("Improper number of dimensions to norm.")
    return _matrix_norm(x, "fro" if ord == "f" else ord, axes, keepdims)


@rule(*named("linalg.vector_norm"))
def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    if axis is None:
        y = _vector_norm(np.ravel(x), ord, 0, False)
        return np.reshape(y, (1,) * x.ndim) if keepdims else y
    return _vector_norm(x, ord, axis, keepdims)


@rule(*named("linalg.matrix_norm"))
def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    return _matrix_norm(x, ord, (-2, -1), keepdims)
