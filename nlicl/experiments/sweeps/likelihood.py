"""Linear regression in which some values are known by a lower bound only, for one set of weights or for many at once.

z_i = X_i beta + sigma noise_i, with standard normal noise. Of a censored z_i only that it lies above its limit is known. With
h = 1 / sigma and delta = beta / sigma, the log-likelihood is

    sum over reached  log h - (h z_i - X_i delta)^2 / 2   +   sum over censored  log Phi(X_i delta - h limit_i)

It is concave in (delta, h) (Olsen, Econometrica 46, 1978), so that Newton's method finds its one maximum. Without censoring
that is least squares. The first column of X is ones.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Fit", "determined", "fit", "refits"]

_FLAT = 1e-9  # singular values below this share of the largest are zero
_EXACT = 1e-12  # of the sum of squares: what is left of it by rounding
_STEPS = 100  # of Newton's method; a dozen will do
_AT_ONCE = 1 << 21  # numbers in one array of a batch


@dataclass(frozen=True, eq=False)
class Fit:
    """A fit to all cells.

    Attributes
    ----------
    beta : ndarray (p,)
    sigma : float
        The noise. It is the estimate of largest likelihood times sqrt(r / (r - p)), r values being reached: without censoring
        its square is unbiased.
    covariance : ndarray (p, p)
        Of beta: from the residuals without censoring, from the observed information otherwise.
    freedom : int
        Degrees of freedom of intervals: r - p.
    """

    beta: NDArray[np.float64]
    sigma: float
    covariance: NDArray[np.float64]
    freedom: int


def determined(X: NDArray[np.float64]) -> bool:
    """Whether rows (n, p) determine the p coefficients."""
    if len(X) < X.shape[1]:
        return False
    sizes = np.linalg.svd(X / np.maximum(np.linalg.norm(X, axis=0), 1e-300), compute_uv=False)
    return bool(sizes[-1] > _FLAT * sizes[0])


def fit(X: NDArray[np.float64], z: NDArray[np.float64], censored: NDArray[np.bool_]) -> Fit | None:
    """Coefficients of largest likelihood, their covariance, and the noise.

    Parameters
    ----------
    X : ndarray (n, p)
    z : ndarray (n,)
        The value, or its limit where it is censored.
    censored : ndarray (n,) of bool

    Returns
    -------
    Fit or None
        None: the reached values do not determine it, are no more than p, or Newton's method did not converge.
    """
    n, p = X.shape
    reached = n - int(censored.sum())
    if reached <= p or not determined(X[~censored]):
        return None
    own = _Standard(X, z)
    if reached == n:
        gamma = own.Q.T @ own.z
        sigma = own.scale * float(np.linalg.norm(own.z - own.Q @ gamma)) / np.sqrt(reached - p)
        covariance = sigma**2 * np.eye(p)
    else:
        one = np.ones((1, 1))
        theta = _maxima(own.Q, own.z, censored, np.zeros(n, np.intp), one)[0]
        if np.isnan(theta).any():
            return None
        gamma, sigma, covariance = _moments(own, censored, theta, reached)
    to_beta = np.linalg.inv(own.R)
    return Fit(own.beta(gamma[None])[0], float(sigma), to_beta @ covariance @ to_beta.T, reached - p)


def refits(
    X: NDArray[np.float64],
    z: NDArray[np.float64],
    censored: NDArray[np.bool_],
    group: NDArray[np.intp],
    counts: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Coefficients for many sets of weights: in the d-th, cell i counts `counts[d, group[i]]` times.

    Parameters
    ----------
    X, z, censored
        As in `fit`.
    group : ndarray (n,) of int
    counts : ndarray (draws, groups)

    Returns
    -------
    ndarray (draws, p)
        NaN where the values that are left do not determine the coefficients.
    """
    own = _Standard(X, z)
    different, back = np.unique(counts, axis=0, return_inverse=True)  # of few seeds there are few different draws
    p = X.shape[1]
    gamma = np.empty((len(different), p))
    size = max(1, _AT_ONCE // max(len(z), p * p))
    for start in range(0, len(different), size):
        theta = _maxima(own.Q, own.z, censored, group, different[start : start + size])
        gamma[start : start + size] = theta[:, :p] / theta[:, p:]
    return own.beta(gamma)[back.ravel()]


class _Standard:
    """Orthonormal columns for those of X, and values of mean 0 and size 1: what follows has no units."""

    def __init__(self, X: NDArray[np.float64], z: NDArray[np.float64]) -> None:
        self.Q, self.R = np.linalg.qr(X)
        self.mean = float(z.mean())
        self.scale = float(np.abs(z - self.mean).max()) or 1.0
        self.z = (z - self.mean) / self.scale

    def beta(self, gamma: NDArray[np.float64]) -> NDArray[np.float64]:
        """Coefficients (draws, p) of X, from those of Q."""
        beta = self.scale * np.linalg.solve(self.R, gamma.T).T
        beta[:, 0] += self.mean
        return beta


def _maxima(
    Q: NDArray[np.float64],
    z: NDArray[np.float64],
    censored: NDArray[np.bool_],
    group: NDArray[np.intp],
    counts: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(delta, h) of largest likelihood (draws, p + 1), NaN where there is none.

    Where the law goes through all reached values and leaves all censored ones above their limits, h has no upper end: such a
    row is (gamma, 1).
    """
    p = Q.shape[1]
    likelihood = _Likelihood(Q, z, censored, group, counts)
    sizes = np.linalg.eigvalsh(likelihood.A)
    theta = np.full((len(counts), p + 1), np.nan)
    right = np.flatnonzero(sizes[:, 0] > _FLAT * np.maximum(sizes[:, -1], 1e-300))
    likelihood = likelihood.of(right)
    gamma = np.linalg.solve(likelihood.A, likelihood.b[..., None])[..., 0]
    theta[right] = np.column_stack([gamma, np.ones(len(right))])
    left = likelihood.s - np.einsum("dp,dp->d", likelihood.b, gamma)
    above = likelihood.limits[None] - gamma @ likelihood.Q.T <= 1e-9
    exact = (left <= _EXACT * np.maximum(likelihood.s, 1)) & (above | (likelihood.weights == 0)).all(axis=1)
    open_ = np.flatnonzero(~exact & (likelihood.weights != 0).any(axis=1))
    if len(open_):
        h = 1 / np.sqrt(np.maximum(left[open_] / likelihood.m[open_], 1e-8))
        start = np.column_stack([gamma[open_] * h[:, None], h])
        theta[right[open_]] = _newton(likelihood.of(open_), start)
    return theta


class _Likelihood:
    """The log-likelihood of each draw: sums over the reached values of a group once, censored values one by one."""

    def __init__(
        self,
        Q: NDArray[np.float64],
        z: NDArray[np.float64],
        censored: NDArray[np.bool_],
        group: NDArray[np.intp],
        counts: NDArray[np.float64],
    ) -> None:
        reached = ~censored
        member = (group[reached][None] == np.arange(counts.shape[1])[:, None]).astype(float)  # (groups, reached)
        q, value = Q[reached], z[reached]
        self.A = np.tensordot(counts, np.einsum("gi,ip,iq->gpq", member, q, q, optimize=True), 1)
        self.b = counts @ (member @ (q * value[:, None]))
        self.s = counts @ (member @ value**2)
        self.m = counts @ member.sum(axis=1)
        self.Q, self.limits = Q[censored], z[censored]
        self.weights = counts[:, group[censored]]

    def of(self, draws: NDArray[np.intp]) -> "_Likelihood":
        """The same of some draws."""
        some = object.__new__(_Likelihood)
        some.Q, some.limits = self.Q, self.limits
        for name in ("A", "b", "s", "m", "weights"):
            setattr(some, name, getattr(self, name)[draws])
        return some

    def value(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        """The log-likelihood at (delta, h), up to a constant (draws,)."""
        from scipy.special import log_ndtr

        delta, h = theta[:, :-1], theta[:, -1]
        squares = h**2 * self.s - 2 * h * np.einsum("dp,dp->d", self.b, delta)
        squares += np.einsum("dp,dpq,dq->d", delta, self.A, delta)
        u = delta @ self.Q.T - h[:, None] * self.limits
        return self.m * np.log(h) - squares / 2 + np.einsum("di,di->d", self.weights, log_ndtr(u))

    def slopes(self, theta: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The gradient (draws, p + 1) and minus the Hessian (draws, p + 1, p + 1)."""
        from scipy.special import erfcx

        delta, h = theta[:, :-1], theta[:, -1]
        p = delta.shape[1]
        along = np.column_stack([self.Q, -self.limits])  # of u, by delta and h
        u = theta @ along.T
        ratio = np.sqrt(2 / np.pi) / erfcx(-u / np.sqrt(2))  # phi / Phi, far out as well
        curved = self.weights * np.clip(ratio * (ratio + u), 0, 1)
        gradient = (self.weights * ratio) @ along
        gradient[:, :p] += h[:, None] * self.b - np.einsum("dpq,dq->dp", self.A, delta)
        gradient[:, p] += self.m / h - h * self.s + np.einsum("dp,dp->d", self.b, delta)
        products = np.einsum("ip,iq->ipq", along, along).reshape(len(along), -1)
        curvature = (curved @ products).reshape(-1, p + 1, p + 1)
        curvature[:, :p, :p] += self.A
        curvature[:, :p, p] -= self.b
        curvature[:, p, :p] -= self.b
        curvature[:, p, p] += self.s + self.m / h**2
        return gradient, curvature


def _newton(likelihood: _Likelihood, theta: NDArray[np.float64]) -> NDArray[np.float64]:
    """Newton's method with halved steps, for each draw by itself. NaN where it does not converge."""
    found = np.full_like(theta, np.nan)
    alive = np.arange(len(theta))
    value = likelihood.value(theta)
    for _ in range(_STEPS):
        gradient, curvature = likelihood.slopes(theta)
        try:
            step = np.linalg.solve(curvature, gradient[..., None])[..., 0]
        except np.linalg.LinAlgError:
            step = np.einsum("dpq,dq->dp", np.linalg.pinv(curvature, hermitian=True), gradient)
        gain = np.einsum("dp,dp->d", gradient, step)  # twice what the step should gain
        closest = gain < 1e-12
        found[alive[closest]] = (theta + step)[closest]
        keep = np.flatnonzero(~closest & np.isfinite(gain))
        if not len(keep):
            break
        likelihood, alive, theta = likelihood.of(keep), alive[keep], theta[keep]
        value, step, gain = value[keep], step[keep], gain[keep]
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(step[:, -1] < 0, np.minimum(1, -0.9 * theta[:, -1] / step[:, -1]), 1.0)
        for _ in range(40):
            further = theta + t[:, None] * step
            now = likelihood.value(further)
            short = ~(now >= value + 1e-4 * t * gain - 1e-12 * np.abs(value))
            if not short.any():
                break
            t[short] /= 2
        theta, value = further, now
    return found


def _moments(
    own: _Standard, censored: NDArray[np.bool_], theta: NDArray[np.float64], reached: int
) -> tuple[NDArray[np.float64], float, NDArray[np.float64]]:
    """Coefficients, noise and covariance in the coordinates of Q, in the units of z, at the maximum of the full fit."""
    p = len(theta) - 1
    gamma, h = theta[:p] / theta[p], theta[p]
    few = np.sqrt(reached / (reached - p))
    all_ = _Likelihood(own.Q, own.z, censored, np.zeros(len(own.z), np.intp), np.ones((1, 1)))
    left = float(all_.s[0] - 2 * all_.b[0] @ gamma + gamma @ all_.A[0] @ gamma)
    if h == 1 and left <= _EXACT * max(float(all_.s[0]), 1):
        return gamma, own.scale * np.sqrt(max(left, 0) / reached) * few, np.zeros((p, p))
    _, curvature = all_.slopes(theta[None])
    to_gamma = np.column_stack([np.eye(p), -gamma]) / h  # d gamma / d (delta, h)
    covariance = to_gamma @ np.linalg.inv(curvature[0]) @ to_gamma.T
    return gamma, own.scale * few / h, (own.scale * few) ** 2 * covariance
