"""Dual arrays behave as NumPy's: views, in-place changes, scalars that do not change, methods."""

import copy
import pickle

import numpy as np
import pytest

from nlicl.audit.dual import Dual, NotCarried, lift, parts

X, V = np.arange(12.0).reshape(3, 4) - 5, np.cos(np.arange(12.0)).reshape(3, 4)


def reshaped(a):
    a.reshape(-1)[3] = 7.0
    a.T[1] += a.T[0]
    a[::2, 1:3] *= 2
    a[1][a[1] > 0] = 0.0
    a[[0, 0], [1, 1]] -= 1.0
    return a


def flat(a):
    a.flat[3] = a.flat[0] * 2
    a.flat[::5] += 1.0
    a.ravel()[-1] = 3.0
    return a


def functions(a):
    np.add.at(a, ([0, 0, 1], [1, 1, 2]), a[0, :3].copy())
    np.subtract.at(a, 2, 1.0)
    np.multiply.at(a, (0, [1, 1]), 3.0)
    np.copyto(a[1], a[0] * 2, where=a[0] < -4)
    np.put(a, [1, 2], a[2, :2])
    np.putmask(a, a > 3, a * 0.5)
    np.place(a, a < -7, [1.0, 2.0])
    np.fill_diagonal(a, a[0, 1])
    np.put_along_axis(a, np.array([[0], [1], [2]]), a[:, 3:] * 2, 1)
    np.exp(a[0] / 9, out=a[1])
    np.add(a[0], a[1], out=a[2], where=np.array([True, False, True, False]))
    np.clip(a, -3, 3, out=a)
    np.einsum("ii->i", a[:, :3])[...] = a[0, :3] * 2
    return a


def operators(a):
    b = a
    a += 1
    a -= np.ones(4)
    a *= a[0].copy()
    a /= 3.0
    a **= 2
    a %= 1.7
    a[:, :3] @= np.eye(3) + 1
    assert b is a
    return a


def methods(a):
    a.sort(axis=0)
    a[0].fill(2.0)
    a[1].partition(2)
    c = a.copy()
    c[...] = 0
    d = a.flatten()
    d[0] = 9
    return np.concatenate([
        a.ravel(), a.sum(0), a.mean(keepdims=True).ravel(), a.T.reshape((2, 6)).max(1), a.transpose(1, 0)[0], a.repeat(2),
        a.take([1, 2]), a.cumsum(), a.std(1), a.compress([True, False, True], 0).ravel(), a.diagonal(), a.swapaxes(0, 1)[1],
        a.squeeze()[0], a.var(ddof=1, keepdims=True)[0], a.dot(a[0]), a.conj()[0], a.real[1], a.prod(1), a.min(0), d,
    ])  # fmt: skip


def layouts(a):
    """A copy of a Fortran array is a Fortran array to NumPy's sort and max: its ravel is a copy, not a view."""
    for f in (lambda x: np.sort(x, axis=0), lambda x: np.partition(x, 1, axis=0), lambda x: x[None].max(0), np.abs, np.copy,
              lambda x: np.where(x > 0, x, 2 * x), lambda x: np.clip(x, -2, 2), np.sign, np.floor):  # fmt: skip
        for x in (a, a.T, a[::-1]):
            y = f(x)
            y.ravel()[1] = 0.5
            y.reshape(-1)[2] += 1.0
            a = a + np.mean(np.tanh(y * np.arange(y.size).reshape(y.shape))) / 9
    return a


def rows(a):
    for row in a:
        row -= row[0]
    (first, *_), last = a, a[-1]
    last[:] = first
    return a


@pytest.mark.parametrize("change", [reshaped, flat, functions, operators, methods, layouts, rows])
def test_changes_in_place(change):
    """The values are those of plain arrays; the tangents those of the same program at a point a little further."""
    x, t = X * 0.9 + 0.05, 1e-6
    value, tangent = parts(change(lift(x, V)))
    np.testing.assert_allclose(value, change(x.copy()), rtol=1e-14)
    slope = (change(x + t * V) - change(x - t * V)) / (2 * t)
    np.testing.assert_allclose(tangent, slope, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("layout", ["F", "strided", "reversed"])
def test_views_of_other_layouts(layout):
    """Value and tangent have one layout, whatever that of what was lifted, so both are views or both are copies."""
    x = {"F": np.asfortranarray(X), "strided": np.repeat(X, 2, 1)[:, ::2], "reversed": X[::-1]}[layout]
    d = lift(x, np.ascontiguousarray(V))
    view = d.reshape(-1)
    view[0] = 100.0
    value, tangent = parts(d)
    assert (value[0, 0] == 100) == (tangent[0, 0] == 0)
    e = np.exp(d.T)
    e.reshape(-1)[:] = 0.0
    assert (parts(e)[0] == 0).all() == (parts(e)[1] == 0).all()


def test_flat_is_an_array_too():
    d = lift(X, V)
    assert (
        (parts(np.array(d.flat))[1] == V.ravel()).all() and (parts(d.flat)[0] == X.ravel()).all() and len(d.flat) == 12
    )
    d.flat = 0.0
    assert not parts(d)[1].any()


def test_lift_copies():
    x, v = X.copy(), V.copy()
    d = lift(x, v)
    d += 1
    assert (x == X).all() and (v == V).all()


def test_results_do_not_share_their_tangent():
    d = lift(X, V)
    for f in (
        lambda a: a + 1,
        lambda a: +a,
        lambda a: 1 + a,
        lambda a: a - 0,
        np.conjugate,
        lambda a: np.clip(a, None, None),
        np.copy,
    ):
        y = f(d)
        y[...] = 0.0
    assert (parts(d)[1] == V).all()


def test_scalars_do_not_change():
    d = lift(X, V)
    s = d[0, 0]
    kept = s
    s += 1
    assert float(parts(kept)[0]) == X[0, 0] and float(parts(s)[0]) == X[0, 0] + 1
    total = d.sum()
    first = total
    total *= 2
    assert parts(first)[0] == X.sum()
    with pytest.raises(TypeError):
        s[()] = 1


def test_new_arrays_carry():
    d = lift(X, V)
    for u in (np.zeros_like(d), np.ones_like(d), np.empty_like(d), np.full_like(d, 2.0), np.zeros((3, 4), like=d)):
        assert isinstance(u, Dual) and not parts(u)[1].any()
        u[1] = d[2]
        assert (parts(u)[1][1] == V[2]).all()
    assert type(np.zeros_like(d, dtype=int)) is np.ndarray
    assert np.zeros_like(d, shape=(2,)).shape == (2,)
    assert (parts(np.full_like(d, d[0, 1]))[1] == V[0, 1]).all()


def test_asks():
    d = lift(X, V)
    assert (d.shape, d.ndim, d.size, len(d), d.nbytes, d.itemsize, d.dtype) == ((3, 4), 2, 12, 3, 96, 8, np.float64)
    assert (np.shape(d), np.ndim(d), np.size(d), np.size(d, 1)) == ((3, 4), 2, 12, 4)
    assert not np.iscomplexobj(d) and np.isrealobj(d) and np.result_type(d, np.float32) == np.float64
    assert np.can_cast(d, np.float64) and np.all(d < 100) and not np.any(d > 100) and np.count_nonzero(d) == 12
    assert np.allclose(d, X) and np.isclose(d, X + 1e-12).all() and not np.array_equal(d, X) and np.array_equal(d, d)
    assert (
        not np.asarray(d.imag).any()
        and d.real is d
        and np.isfinite(d).all()
        and np.issubdtype(d[0, 0].dtype, np.floating)
    )
    assert d[0, 0].dtype == np.float64 and np.zeros(2, d[0, 0].dtype).dtype == np.float64
    assert f"{d[0, 0]:.2f}" == "-5.00" and "Dual" in repr(d) and str(d) == str(X)


def test_parts_of_lists_and_object_arrays():
    d = lift(X, V)
    value, tangent = parts([d[0, 0], 2.0, 3 * d[1, 1]])
    assert value.tolist() == [-5, 2, 0] and tangent.tolist() == [V[0, 0], 0, 3 * V[1, 1]]
    value, tangent = parts(np.array([[d[0, 0], 1], [d[1, 0], d[2, 2]]]))
    assert value.shape == tangent.shape == (2, 2) and tangent[1, 1] == V[2, 2]
    assert parts([d[0], np.ones(4)])[1].shape == (2, 4)
    assert parts(3.5)[1] is None and parts(X)[1] is None and parts([1, 2])[1] is None
    f = lift(X.astype(np.float32), V.astype(np.float32))
    assert parts([f[0, 0], 1.0])[0].dtype == np.float32
    for wrong in (np.array(["a", d[0, 0]], object), [d[0], d], [1j, d[0, 0]]):
        with pytest.raises(NotCarried):
            parts(wrong)


def test_object_arrays_meet_duals():
    d = lift(X, V)
    o = np.array([d[0, n] * 2 for n in range(4)])
    for y in (o * d, d * o, o + d, d @ o, np.exp(o) * d, np.where(d > 0, o, d), np.concatenate([d[0], o])):
        assert isinstance(y, Dual)
    assert (parts(d[1] * o)[1] == V[1] * (2 * X[0]) + X[1] * (2 * V[0])).all()
    for f in (np.mean, np.std, np.var, np.sum, np.median, np.max):
        assert np.allclose(parts(f(list(d[0] * d[1])))[1], parts(f(d[0] * d[1]))[1])
    assert np.allclose(parts(np.hypot(o, o))[1], parts(np.hypot(2 * d[0], 2 * d[0]))[1])


def test_object_arrays_hold_duals():
    d = lift(X, V)
    o = np.empty((3, 4), object)
    np.copyto(o, d)
    assert (parts(o)[1] == V).all()
    assert (parts(np.full((2,), d[0, 1]))[1] == V[0, 1]).all()
    with pytest.raises(NotCarried):
        d[np.array([d[0, 0]])]
    at_most = lift(np.ones(4096), np.ones(4096))
    assert np.asarray(at_most).shape == (4096,)


def test_functions_leave_their_arguments_alone():
    square = lift(X[:, :3], V[:, :3])
    for f in (
        np.maximum.accumulate,
        np.minimum.accumulate,
        lambda a: np.linalg.matrix_power(a, 1),
        np.sort,
        np.median,
        np.max,
    ):
        y = f(square)
        if y.ndim:
            y[...] = 0.0
        assert (parts(square)[0] == X[:, :3]).all() and (parts(square)[1] == V[:, :3]).all()


def test_plain_operands_of_every_kind():
    d = lift(X, V)
    for other in (
        2,
        2.0,
        True,
        np.float64(2),
        np.int64(2),
        np.bool_(True),
        X,
        X.astype(int),
        X > 0,
        X.tolist(),
        X[0].tolist(),
    ):
        for y in (d * other, other * d, d + other, other - d):
            assert isinstance(y, Dual) and y.shape == (3, 4)
        assert (d > other).shape == (3, 4) and (other > d).dtype == bool
    assert isinstance(X[:, :3] @ d, Dual) and isinstance(d @ X.T.tolist(), Dual)


def test_copies():
    d = lift(X, V)
    for c in (copy.copy(d), copy.deepcopy(d), pickle.loads(pickle.dumps(d)), d.copy(), np.copy(d)):
        assert (parts(c)[1] == V).all()
        c[...] = 0.0
    assert (parts(d)[1] == V).all()


def test_astype():
    d = lift(X, V).astype(np.float32)
    assert parts(d)[0].dtype == parts(d)[1].dtype == d.dtype == np.float32
    assert d.astype(float).dtype == np.float64
    for kind in (int, bool, complex, object):
        with pytest.raises(NotCarried):
            d.astype(kind)


@pytest.mark.parametrize("wrong", [(X.astype(int), V), (X, V[0]), (X, V + 1j), (X.astype(object), V)])
def test_lift_refuses(wrong):
    with pytest.raises(NotCarried):
        lift(*wrong)
