"""Points where products overflow, and what is right there, by extended precision whose exponents reach 10^4932.

Entries go up to the largest number of a dtype. A result is right if it is the exact one within rounding; an entry of it
that is too large for the dtype, or that would need numbers too large for it, may only be refused.

Legend   E (d, K) dictionary;   code: relevant, irrelevant, kappa, sign;   tokens (B, l+1, d) in extended precision
"""

from typing import NamedTuple

import numpy as np

from nlicl import CodedPrompts, Params, Prompts
from nlicl.papers import huang2023

WIDE = np.longdouble
EXTENDED = np.finfo(WIDE).maxexp > 4 * np.finfo(np.float64).maxexp  # not where long double is double
LARGE = {
    np.float64: (1e77, 1e100, 1e155, 1e200, 1e300, 5e307),
    np.float32: (1e10, 1e13, 3e19, 1e25, 1e37, 1e38),
}
TINY = {np.float64: (1e-300, 1e-200, 1e-100), np.float32: (1e-37, 1e-25, 1e-13)}
PLAIN = (-3.0, -2.0, -1.0, -0.5, 0.5, 1.0, 1.0, 2.0, 3.0)
DRAWS = 16  # points beside each, whose spread says what rounding may do


class Right(NamedTuple):
    """Loss and gradients, and how far off each number may be."""

    numbers: list
    slack: list


def entries(rng, shape, dtype, tiny=False):
    """Small numbers, a few of them, a row or all times one large number or several; zeros now and then."""
    scales = LARGE[dtype] + (TINY[dtype] if tiny else ())
    scale = rng.choice(scales, shape if rng.random() < 0.3 else 1)
    large = rng.random(shape) < rng.choice([0, 0, 0.3, 1])
    if rng.random() < 0.4:  # a neuron, a token
        axis = rng.integers(len(shape))
        large = np.moveaxis(np.zeros(shape, bool), axis, 0)
        large[rng.integers(shape[axis])] = True
        large = np.moveaxis(large, 0, axis)
    factor = np.where(large, scale, 1)
    zero = rng.random(shape) < rng.choice([0, 0, 0.3])
    return np.where(zero, 0, rng.choice(PLAIN, shape) * factor).astype(dtype)


def transformer(rng, dtype, tiny=False):
    """Parameters and two prompts as codes: `CodedPrompts` whose tokens are finite."""
    B = 2
    d, m_a, m_b, m, l, K = (int(size) for size in rng.integers(1, 4, 6))
    shapes = ((m_a, d), (m_a, d), (m_b, d), (m, m_b), (m,))
    params = Params(*(entries(rng, shape, dtype, tiny) for shape in shapes))
    codes = rng.integers(0, K, (2, B, l + 1))
    kappa, sign = entries(rng, (B, l + 1), dtype), rng.choice([-1, 0, 1], (B, l + 1))
    sign[:, -1] = 0
    labels = rng.choice([-1.0, 1.0], B)
    return params, CodedPrompts(
        entries(rng, (d, K), dtype, tiny), *codes, kappa, sign, labels, bool(rng.random() < 0.5)
    )


def regression(rng, dtype, tiny=False):
    """Parameters and two prompts of features."""
    d, K, N = (int(size) for size in rng.integers(1, 4, 3))
    omega, features = entries(rng, (2, K), dtype, tiny), rng.integers(0, K, (2, N + 1))
    Q, V = entries(rng, (d, d), dtype, tiny), entries(rng, (d, K), dtype, tiny)
    return huang2023.Params(Q), huang2023.CodedPrompts(V, features, omega, bool(rng.random() < 0.5))


def as_tokens(prompts):
    """The same prompts as tokens, or None if those are not finite."""
    dtype = prompts.dictionary.dtype if isinstance(prompts, CodedPrompts) else prompts.V.dtype
    with np.errstate(all="ignore"):
        tokens = tokens_of(prompts, exactly).astype(dtype)
    if not np.isfinite(tokens).all():
        return None
    kind = Prompts if isinstance(prompts, CodedPrompts) else huang2023.Prompts
    return kind(tokens, prompts.labels, prompts.query_attends)


def tokens_of(prompts, wiggle):
    """Tokens in extended precision."""
    if hasattr(prompts, "tokens"):
        return wiggle(prompts.tokens)
    if isinstance(prompts, huang2023.CodedPrompts):
        x, y = wiggle(prompts.V).T[prompts.features], np.take_along_axis(wiggle(prompts.omega), prompts.features, 1)
        y[:, -1] = 0
        return np.concatenate([x, y[..., None]], axis=2)
    E, kappa = wiggle(prompts.dictionary).T, wiggle(prompts.kappa)
    return E[prompts.relevant] + kappa[..., None] * E[prompts.irrelevant] + prompts.sign[..., None] * E[-1]


# ---- What is right


def softmax(s):
    e = np.exp(s - s.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def attention_backward(keys, attn, c, dc, wiggle):
    """du from dc, both (B, d)."""
    dattn, mean = np.einsum("nid,nd->ni", keys, dc), np.sum(c * dc, axis=1, keepdims=True)
    ds = attn * (wiggle(dattn) - wiggle(mean)) if keys.shape[1] > 1 else np.zeros_like(attn)
    return np.einsum("ni,nid->nd", wiggle(ds), keys)


def to_multiples(s, size):
    """Scores (B, n) to multiples of a number for each prompt, `size` (B,): scores that differ by rounding alone are equal."""
    size = size[:, None]
    return np.where(size > 0, np.rint(s / np.where(size > 0, size, 1)) * size, s)


def exactly(x):
    """In extended precision."""
    return np.asarray(x).astype(WIDE)


def of_transformer(params, prompts, loss, wiggle=exactly, early=exactly, coarse=0):
    """F (B,), u (B, m), mean loss, dW_Q, dW_K, dW_V, dW_O, da, in the definition's order; what comes before the softmax goes
    through `early`, and the rest through `wiggle`, number by number; scores to multiples of `coarse` their summands."""
    W_Q, W_K, W_V, W_O, a = [early(W) for W in params[:2]] + [wiggle(W) for W in params[2:]]
    tokens, z = tokens_of(prompts, early), exactly(prompts.labels)
    keys, query = (tokens if prompts.query_attends else tokens[:, :-1]), tokens[:, -1]
    q = early(query @ W_Q.T)
    size = coarse * np.einsum("nik,nk->n", abs(keys) @ abs(W_K.T), abs(query) @ abs(W_Q.T))
    attn = wiggle(softmax(to_multiples(early(np.einsum("nik,nk->ni", keys @ W_K.T, q)), size)))
    keys, query, q, W_Q, W_K = map(wiggle, (keys, query, q, W_Q, W_K))
    c = wiggle(np.einsum("ni,nid->nd", attn, keys))
    v = wiggle(c @ W_V.T)
    u = wiggle(v @ W_O.T)
    on = u > 0
    F = wiggle((u * on) @ a)
    t = z * F
    if loss == "hinge":
        each, g = np.maximum(1 - t, 0), -z * (1 - t > 0)
    elif loss == "logistic":
        small = np.exp(-abs(t))
        each, g = np.log1p(small) + np.maximum(-t, 0), -z * np.where(t > 0, small, 1) / (1 + small)
    else:
        each, g = (F - z) ** 2 / 2, F - z
    g = g / len(z)
    dh = g[:, None] * a * on
    dv = wiggle(dh @ W_O)
    dprobe = attention_backward(keys, attn, c, wiggle(dv @ W_V), wiggle)
    grads = ((dprobe @ W_K.T).T @ query, q.T @ dprobe, dv.T @ c, dh.T @ v, g @ (u * on))
    return [F, u, each.mean(), *grads]


def of_regression(params, prompts, loss, wiggle=exactly, early=exactly, coarse=0):
    """yhat (B,), mean loss, dQ, as `of_transformer`; where labels are those of features, from differences to the query's."""
    Q, tokens = early(params.Q), tokens_of(prompts, early)
    keys, query, labels = (tokens if prompts.query_attends else tokens[:, :-1]), tokens[:, -1, :-1], prompts.labels
    X, y = keys[..., :-1], keys[..., -1]
    size = coarse * np.einsum("nid,nd->n", abs(X), abs(query) @ abs(Q.T))
    attn = wiggle(softmax(to_multiples(early(np.einsum("nid,nd->ni", X, query @ Q.T)), size)))
    X, query = wiggle(X), wiggle(query)
    base = exactly(labels if hasattr(prompts, "omega") else 0 * labels)
    away = wiggle(wiggle(y) - wiggle(base)[:, None])
    yhat = wiggle(wiggle(base) + np.sum(attn * away, axis=1))
    res = wiggle(yhat - wiggle(labels))
    ds = attn * wiggle(wiggle(y) - wiggle(yhat)[:, None]) * res[:, None] / len(labels)
    return [yhat, np.mean(res**2) / 2, np.einsum("ni,nid->nd", wiggle(ds), X).T @ query]


def of_magnitudes(of, params, prompts, loss):
    """The results of `of` with every summand's absolute value, and attention 1 on every key: what rounding is relative to."""
    tokens = abs(tokens_of(prompts, exactly))
    if hasattr(prompts, "kappa"):
        E = abs(exactly(prompts.dictionary)).T
        tokens = E[prompts.relevant] + abs(exactly(prompts.kappa))[..., None] * E[prompts.irrelevant] + E[-1]
    P, query = tokens.sum(axis=1), tokens[:, -1]
    if of is of_regression:
        y = P[:, -1] + abs(exactly(prompts.labels))
        if hasattr(prompts, "omega"):
            y = y + abs(exactly(prompts.omega)).sum(axis=1)
        return [y, (y * y).mean(), ((y * y)[:, None] * P[:, :-1]).T @ query[:, :-1]]
    W_Q, W_K, W_V, W_O, a = (abs(exactly(W)) for W in params)
    q, v = query @ W_Q.T, P @ W_V.T
    u = v @ W_O.T
    F = u @ a
    g = 1 + F if loss == "squared" else np.ones_like(F)
    dh = g[:, None] * a
    dv = dh @ W_O
    dprobe = P * np.sum(P * (dv @ W_V), axis=1, keepdims=True)
    grads = ((dprobe @ W_K.T).T @ query, q.T @ dprobe, dv.T @ P, dh.T @ v, g @ u)
    return [F, u, (g * (1 + F)).mean(), *grads]


def right(of, params, prompts, loss, draws=DRAWS):
    """`Right`, or None where extended precision does not reach."""
    dtype = params[0].dtype
    eps = float(np.finfo(dtype).eps)
    rng = np.random.default_rng(0)

    def wiggle(x):
        return exactly(x) * (1 + 16 * eps * rng.standard_normal(np.shape(x)))

    with np.errstate(all="ignore"):
        numbers = of(params, prompts, loss)
        sizes = of_magnitudes(of, params, prompts, loss)
        others = [of(params, prompts, loss, wiggle, early) for early in (wiggle, exactly) * (draws // 2)]
        others += [of(params, prompts, loss, wiggle, coarse=c * eps) for c in (0.5, 4, 30)]
    if not all(np.isfinite(x).all() for one in [numbers, sizes, *others] for x in one):
        return None
    spread = [np.max([abs(one[i] - x) for one in others], axis=0) for i, x in enumerate(numbers)]
    smallest = np.finfo(dtype).tiny.astype(WIDE)
    return Right(numbers, [30 * s + 100 * eps * x + smallest for s, x in zip(spread, sizes, strict=True)])


def are_right(found, exact, slack):
    """Whether all entries found are the exact ones within what rounding may do, and none is NaN or infinite."""
    with np.errstate(all="ignore"):
        return all(
            np.isfinite(x).all() and (abs(np.asarray(x).astype(WIDE) - y) <= s).all()
            for x, y, s in zip(found, exact, slack, strict=True)
        )
