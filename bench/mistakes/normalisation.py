"""Normalisation: of layers, batches, lengths; cosines."""

import numpy as np

from .case import Case, Wrong

rng = np.random.default_rng(16)
G = rng.standard_normal((6, 5))  # upstream gradient
eps = 1e-5


# ---- Layer norm over the features, with scale and shift


def layer_norm(x, gamma, beta):
    mu = x.mean(axis=1, keepdims=True)
    var = x.var(axis=1, keepdims=True)
    return np.sum(G * (gamma * (x - mu) / np.sqrt(var + eps) + beta))


def layer_norm_gradient(x, gamma, beta):
    s = np.sqrt(x.var(axis=1, keepdims=True) + eps)
    xhat = (x - x.mean(axis=1, keepdims=True)) / s
    dxhat = G * gamma
    mean, along = dxhat.mean(axis=1, keepdims=True), np.mean(dxhat * xhat, axis=1, keepdims=True)
    return (dxhat - mean - xhat * along) / s, np.sum(G * xhat, axis=0), G.sum(axis=0)


def layer_norm_no_variance(x, gamma, beta):
    """The term by way of the variance is missing."""
    s = np.sqrt(x.var(axis=1, keepdims=True) + eps)
    xhat = (x - x.mean(axis=1, keepdims=True)) / s
    dxhat = G * gamma
    dx = (dxhat - dxhat.mean(axis=1, keepdims=True)) / s
    return dx, np.sum(G * xhat, axis=0), G.sum(axis=0)


def layer_norm_no_mean(x, gamma, beta):
    """The term by way of the mean is missing."""
    s = np.sqrt(x.var(axis=1, keepdims=True) + eps)
    xhat = (x - x.mean(axis=1, keepdims=True)) / s
    dxhat = G * gamma
    dx = (dxhat - xhat * np.mean(dxhat * xhat, axis=1, keepdims=True)) / s
    return dx, np.sum(G * xhat, axis=0), G.sum(axis=0)


def layer_norm_no_gamma(x, gamma, beta):
    """gamma is missing in the gradient by x."""
    s = np.sqrt(x.var(axis=1, keepdims=True) + eps)
    xhat = (x - x.mean(axis=1, keepdims=True)) / s
    mean, along = G.mean(axis=1, keepdims=True), np.mean(G * xhat, axis=1, keepdims=True)
    return (G - mean - xhat * along) / s, np.sum(G * xhat, axis=0), G.sum(axis=0)


def layer_norm_sums(x, gamma, beta):
    """A sum for the mean in the variance's term."""
    s = np.sqrt(x.var(axis=1, keepdims=True) + eps)
    xhat = (x - x.mean(axis=1, keepdims=True)) / s
    dxhat = G * gamma
    dx = dxhat - dxhat.mean(axis=1, keepdims=True) - xhat * np.sum(dxhat * xhat, axis=1, keepdims=True)
    return dx / s, np.sum(G * xhat, axis=0), G.sum(axis=0)


def layer_norm_gamma_of_x(x, gamma, beta):
    """The gradient by gamma takes x - mu, which is not divided by sigma."""
    xc = x - x.mean(axis=1, keepdims=True)
    rstd = 1 / np.sqrt(x.var(axis=1, keepdims=True) + eps)
    xhat = xc * rstd
    d = G * gamma
    dx = rstd * (d - d.mean(1, keepdims=True) - xhat * (d * xhat).mean(1, keepdims=True))
    return dx, np.sum(G * xc, axis=0), np.sum(G, axis=0)


def layer_norm_two(x, gamma, beta):
    """No mean's term, and gamma's gradient has gamma in it."""
    rstd = 1 / np.sqrt(x.var(axis=1, keepdims=True) + eps)
    xhat = (x - x.mean(axis=1, keepdims=True)) * rstd
    d = G * gamma
    dx = rstd * (d - xhat * (d * xhat).mean(1, keepdims=True))
    return dx, np.sum(d * xhat, axis=0), np.sum(G, axis=0)


def layer_norm_as_batch_norm(x, gamma, beta):
    """Batch norm's backward pass: all means over the other axis."""
    s = np.sqrt(x.var(axis=0) + eps)
    xhat = (x - x.mean(axis=0)) / s
    d = G * gamma
    return (d - d.mean(axis=0) - xhat * np.mean(d * xhat, axis=0)) / s, np.sum(G * xhat, axis=0), G.sum(axis=0)


# ---- Batch norm, in a class


class BatchNorm:
    """Of a batch of G's shape; it keeps what the backward pass needs, each time anew."""

    def forward(self, x):
        self.mu, self.var = x.mean(axis=0), x.var(axis=0)
        self.xhat = (x - self.mu) / np.sqrt(self.var + eps)
        return self.xhat

    def loss(self, x):
        return 0.5 * np.sum((self.forward(x) - G) ** 2)

    def gradient(self, x):
        d = self.forward(x) - G
        return (d - d.mean(axis=0) - self.xhat * np.mean(d * self.xhat, axis=0)) / np.sqrt(self.var + eps)

    def backward_constant_statistics(self, x):
        """Mean and variance are held fixed."""
        d = self.forward(x) - G
        return d / np.sqrt(self.var + eps)

    def backward_by_steps(self, x):
        """-1/2 var^(-3/2) is -1/2 var^(-1/2)."""
        d = self.forward(x) - G
        m = len(x)
        xmu = x - self.mu
        dvar = np.sum(d * xmu * -0.5 * (self.var + eps) ** -0.5, axis=0)
        dmu = np.sum(-d / np.sqrt(self.var + eps), axis=0)
        return d / np.sqrt(self.var + eps) + dvar * 2 * xmu / m + dmu / m

    def backward_no_division(self, x):
        """The gradient by the mean is not divided by the batch's size."""
        d = self.forward(x) - G
        m = len(x)
        s = np.sqrt(self.var + eps)
        dvar = np.sum(d * (x - self.mu), axis=0) * -0.5 / s**3
        dmu = -np.sum(d, axis=0) / s
        return d / s + dvar * 2 * (x - self.mu) / m + dmu

    def backward_axis(self, x):
        """One mean is over the features."""
        d = self.forward(x) - G
        dx = d - d.mean(axis=1, keepdims=True) - self.xhat * (d * self.xhat).mean(axis=0)
        return dx / np.sqrt(self.var + eps)

    def backward_two(self, x):
        """The variance's term has a plus, and the whole is divided by the variance."""
        d = self.forward(x) - G
        dx = d - d.mean(0) + self.xhat * (d * self.xhat).mean(0)
        return dx / (self.var + eps)


batch_norm = BatchNorm()


# ---- RMS norm


def rms_norm(x, g):
    r = np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + eps)
    return np.sum(G * (g * x / r))


def rms_norm_gradient(x, g):
    r = np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + eps)
    d = G * g
    return d / r - x * np.mean(d * x, axis=-1, keepdims=True) / r**3, np.sum(G * x / r, axis=0)


def rms_norm_centred(x, g):
    """As if it were layer norm: the mean is subtracted."""
    r = np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + eps)
    d = G * g
    xhat = x / r
    dx = (d - d.mean(axis=-1, keepdims=True) - xhat * np.mean(d * xhat, axis=-1, keepdims=True)) / r
    return dx, np.sum(G * xhat, axis=0)


def rms_norm_power(x, g):
    """r^2 for r^3."""
    r = np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps)
    d = G * g
    return d / r - x * (d * x).mean(-1, keepdims=True) / r**2, (G * x / r).sum(0)


def rms_norm_gain(x, g):
    """The second term takes G for G g."""
    r = np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + eps)
    dx = G * g / r - x * np.mean(G * x, axis=-1, keepdims=True) / r**3
    dg = np.sum(G * x / r, axis=0)
    return dx, dg


def rms_norm_two(x, g):
    """A sum for the mean, and g's gradient without 1 / r."""
    r = np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + eps)
    d = G * g
    dx = d / r - x * np.sum(d * x, axis=-1, keepdims=True) / r**3
    return dx, np.sum(G * x, axis=0)


# ---- Cosine similarity, both arguments


def cosine(u, v):
    return 1 - u @ v / (np.linalg.norm(u) * np.linalg.norm(v))


def cosine_gradient(u, v):
    nu, nv = np.linalg.norm(u), np.linalg.norm(v)
    c = u @ v / (nu * nv)
    return c * u / nu**2 - v / (nu * nv), c * v / nv**2 - u / (nu * nv)


def cosine_no_projection(u, v):
    """The norms are held fixed."""
    n = np.linalg.norm(u) * np.linalg.norm(v)
    return -v / n, -u / n


def cosine_norm_once(u, v):
    """The norm for its square in the projection."""
    nu, nv = np.linalg.norm(u), np.linalg.norm(v)
    c = np.dot(u, v) / nu / nv
    du = -v / (nu * nv) + c * u / nu
    dv = -u / (nu * nv) + c * v / nv
    return du, dv


def cosine_similarity(u, v):
    """Of the similarity, not of the distance."""
    nu, nv = np.sqrt(u @ u), np.sqrt(v @ v)
    c = u @ v / (nu * nv)
    return (v / nv - c * u / nu) / nu, (u / nu - c * v / nv) / nv


def cosine_other_norm(u, v):
    """The projection is divided by the other vector's square."""
    nu2, nv2 = u @ u, v @ v
    c = u @ v / np.sqrt(nu2 * nv2)
    n = np.sqrt(nu2 * nv2)
    return c * u / nv2 - v / n, c * v / nv2 - u / n


def cosine_two(u, v):
    """The sign of u's projection, and |u| for |v| in v's."""
    nu, nv = np.linalg.norm(u), np.linalg.norm(v)
    c = u @ v / (nu * nv)
    return -v / (nu * nv) - c * u / nu**2, -u / (nu * nv) + c * v / nu**2


# ---- Weight normalisation: w = g v / |v|, least squares

inputs, outputs = rng.standard_normal((8, 4)), rng.standard_normal(8)


def weight_norm(v, g):
    r = inputs @ (g * v / np.linalg.norm(v)) - outputs
    return 0.5 * np.mean(r**2)


def weight_norm_gradient(v, g):
    size = np.linalg.norm(v)
    unit = v / size
    dw = inputs.T @ (inputs @ (g * unit) - outputs) / len(outputs)
    return g / size * (dw - (dw @ unit) * unit), dw @ unit


def weight_norm_direction(v, g):
    """The projection is missing."""
    size = np.linalg.norm(v)
    dw = inputs.T @ (inputs @ (g * v / size) - outputs) / len(outputs)
    return g / size * dw, dw @ v / size


def weight_norm_no_g(v, g):
    """g is missing in v's gradient."""
    size = np.linalg.norm(v)
    unit = v / size
    dw = inputs.T @ (inputs @ (g * unit) - outputs) / len(outputs)
    return (dw - (dw @ unit) * unit) / size, dw @ unit


def weight_norm_unit(v, g):
    """v for v / |v| in the projection's first factor, and in g's gradient."""
    size = np.linalg.norm(v)
    unit = v / size
    dw = inputs.T @ (inputs @ (g * unit) - outputs) / len(outputs)
    return g / size * (dw - (dw @ v) * unit), dw @ v


TERM = ("extra-term", "missing-term", "wrong-factor", "term", "formula")
NORMAL = (*TERM, "normal")
MEANS = (*TERM, "constant-term", "normal")


def any_cosine(rng):
    n = rng.integers(2, 9)
    return rng.standard_normal(n), rng.standard_normal(n)


x0, gain, shift = rng.standard_normal((6, 5)), rng.uniform(0.5, 1.5, 5), rng.standard_normal(5)

CASES = [
    Case("layer norm", layer_norm, layer_norm_gradient, (x0, gain, shift), [
        Wrong(layer_norm_no_variance, MEANS),
        Wrong(layer_norm_no_mean, MEANS),
        Wrong(layer_norm_no_gamma, MEANS),
        Wrong(layer_norm_sums, MEANS),
        Wrong(layer_norm_gamma_of_x, TERM),
        Wrong(layer_norm_two, MEANS, 2),
        Wrong(layer_norm_as_batch_norm, MEANS, 2, hard=True),
    ]),
    Case("batch norm", batch_norm.loss, batch_norm.gradient, x0, [
        Wrong(batch_norm.backward_constant_statistics, MEANS, 2),
        Wrong(batch_norm.backward_by_steps, MEANS),
        Wrong(batch_norm.backward_no_division, MEANS),
        Wrong(batch_norm.backward_axis, MEANS),
        Wrong(batch_norm.backward_two, MEANS, 2),
    ]),
    Case("RMS norm", rms_norm, rms_norm_gradient, (x0, gain), [
        Wrong(rms_norm_centred, MEANS),
        Wrong(rms_norm_power, MEANS),
        Wrong(rms_norm_gain, MEANS),
        Wrong(rms_norm_two, MEANS, 2),
    ]),
    Case("cosine distance", cosine, cosine_gradient, (rng.standard_normal(4), rng.standard_normal(4)), [
        Wrong(cosine_no_projection, NORMAL),
        Wrong(cosine_norm_once, NORMAL),
        Wrong(cosine_similarity, ("sign",)),
        Wrong(cosine_other_norm, NORMAL),
        Wrong(cosine_two, NORMAL, 2),
    ], any_cosine),
    Case("weight normalisation", weight_norm, weight_norm_gradient, (rng.standard_normal(4), np.array(1.3)), [
        Wrong(weight_norm_direction, NORMAL),
        Wrong(weight_norm_no_g, (*TERM, "scale")),
        Wrong(weight_norm_unit, NORMAL, 2),
    ]),
]  # fmt: skip
