"""Random programs of views, writes in place and kinks: the value is the plain program's, the tangent its slope."""

import numpy as np
import pytest

from nlicl.audit.dual import lift, parts, recording


def written_over(a, b, i, j, axis):
    a[i] = b[j]
    return a.T


def filled(a, b, i, j, axis):
    u = np.zeros_like(a)
    u[i:] = b[i:]
    u[:, j] -= a[j]
    return u


def masked(a, b, i, j, axis):
    a[a < 0] = 0.25 * a[a < 0]
    return a


def added(a, b, i, j, axis):
    a += 0.1 * b
    return a


def scaled(a, b, i, j, axis):
    a[:, i] *= 0.5
    return a[:, ::-1]


def added_at(a, b, i, j, axis):
    np.add.at(a, [i, i, j], b[0] * 0.1)
    return a


def rolled(a, b, i, j, axis):
    u = np.roll(a, 1, axis=axis)
    u.flat[::3] = b.flat[::3]
    return u


def scalar(a, b, i, j, axis):
    s = t = a[i, j]
    s += 1
    return b * t / (1 + s * s)


def raveled(a, b, i, j, axis):
    v = a.ravel()
    v[4 * i + j] = 0.3
    return v.reshape(4, 4)


STEPS = [
    lambda a, b, i, j, axis: a + b,
    lambda a, b, i, j, axis: a * np.tanh(b),
    lambda a, b, i, j, axis: np.maximum(a, b),
    lambda a, b, i, j, axis: np.sort(a, axis=axis),
    lambda a, b, i, j, axis: np.concatenate([a[:2], b[2:]]),
    lambda a, b, i, j, axis: np.where(a > b, a, 2 * b),
    lambda a, b, i, j, axis: (a @ b) / 4,
    lambda a, b, i, j, axis: np.broadcast_to(a.mean(axis), (4, 4)) + 0 * b,
    lambda a, b, i, j, axis: a.reshape(2, 8).T.reshape(4, 4),
    lambda a, b, i, j, axis: np.diag(a.max(1)) + np.outer(b[:, 0], a[0]) / 3,
    lambda a, b, i, j, axis: np.stack([a[0], b[1], a[2], np.clip(b[3], -0.5, 0.5)], axis=axis),
    lambda a, b, i, j, axis: np.abs(a) - a.std(0, keepdims=True) * np.linalg.norm(b, axis=1, keepdims=True),
    lambda a, b, i, j, axis: np.einsum("ij,jk,lk->il", a, b, a) / 8,
    lambda a, b, i, j, axis: np.median(a, axis=axis, keepdims=True) - b,
    *(written_over, filled, masked, added, scaled, added_at, rolled, scalar, raveled),
]


def program(rng):
    """A function of a 4 x 4 matrix: steps on a pool of arrays, some of which are views of others."""
    steps = [(STEPS[rng.integers(len(STEPS))], rng.integers(0, 1000, 5)) for _ in range(rng.integers(3, 12))]
    weights = np.arange(1.0, 17).reshape(4, 4)

    def run(x):
        x = x.copy()
        pool = [x.copy(), x.T, x[::-1], x.reshape(-1)[:16].reshape(4, 4)]
        for step, (a, b, i, j, axis) in steps:
            pool.append(step(pool[a % len(pool)], pool[b % len(pool)], i % 4, j % 4, axis % 2))
        return sum((array * weights).sum() for array in pool)

    return run


@pytest.mark.parametrize("runs", [150, pytest.param(4000, marks=pytest.mark.slow)])
def test_random_programs(runs):
    rng, checked = np.random.default_rng(runs), 0
    for _ in range(runs):
        run, (x, v) = program(rng), rng.standard_normal((2, 4, 4))
        try:
            plain = run(x)
        except ValueError:  # it writes into a broadcast view
            continue
        with recording() as record:
            value, tangent = parts(run(lift(x, v)))
        assert value == pytest.approx(plain, rel=1e-9, abs=1e-9)
        h = min(1e-3, record.crossing / 8)
        if record.ties or h < 1e-6 or abs(plain) > 1e6:
            continue

        def slope(h, run=run, x=x, v=v):
            return (8 * (run(x + h * v) - run(x - h * v)) - (run(x + 2 * h * v) - run(x - 2 * h * v))) / (12 * h)

        first, second = slope(h / 2), slope(h / 4)
        if abs(first - second) < 1e-4 * (1 + abs(first)):
            assert tangent == pytest.approx(second, rel=1e-3, abs=1e-3)
            checked += 1
    assert checked > 0.9 * runs
