"""Likelihoods, entropies and divergences."""

import numpy as np
from scipy.special import digamma, gammaln, logsumexp

from .case import Case, Wrong

rng = np.random.default_rng(13)
X = 0.5 * rng.standard_normal((8, 3))
counts = rng.poisson(2.0, 8).astype(float)
obs = rng.standard_normal(7)
N = len(counts)


# ---- Poisson regression with an offset

exposure = rng.uniform(0.5, 2, 8)


def poisson(beta):
    eta = X @ beta + np.log(exposure)
    return np.mean(np.exp(eta) - counts * eta)


def poisson_gradient(beta):
    return X.T @ (exposure * np.exp(X @ beta) - counts) / N


def poisson_no_offset(beta):
    """The exposure is left out."""
    mu = np.exp(X @ beta)
    return X.T @ (mu - counts) / N


def poisson_linear(beta):
    """The link is forgotten: eta for exp(eta)."""
    eta = X @ beta + np.log(exposure)
    return X.T @ (eta - counts) / N


def poisson_likelihood(beta):
    """Of the log-likelihood, not of minus it."""
    mu = exposure * np.exp(X @ beta)
    return np.mean((counts - mu)[:, None] * X, axis=0)


def poisson_score(beta):
    """The score of the mean's parametrisation, y / mu, times no derivative of the link."""
    mu = exposure * np.exp(X @ beta)
    return X.T @ (1 - counts / mu) / N


def poisson_two(beta):
    """No exposure, and a sum for the mean."""
    total = np.zeros_like(beta)
    for x_i, k in zip(X, counts, strict=True):
        total += (np.exp(x_i @ beta) - k) * x_i
    return total


# ---- Negative binomial regression: mean exp(X beta), dispersion r = exp(rho)


def negative_binomial(beta, rho):
    mu, r = np.exp(X @ beta), np.exp(rho)
    ll = gammaln(counts + r) - gammaln(r) + r * np.log(r / (r + mu)) + counts * np.log(mu / (r + mu))
    return -np.sum(ll)


def negative_binomial_gradient(beta, rho):
    mu, r = np.exp(X @ beta), np.exp(rho)
    dr = digamma(counts + r) - digamma(r) + np.log(r / (r + mu)) + 1 - (r + counts) / (r + mu)
    return -X.T @ (r * (counts - mu) / (r + mu)), -np.sum(dr) * r


def negative_binomial_poisson(beta, rho):
    """The gradient by beta is Poisson's: the weight r / (r + mu) is missing."""
    mu, r = np.exp(X @ beta), np.exp(rho)
    dbeta = X.T @ (mu - counts)
    dr = digamma(counts + r) - digamma(r) + np.log(r / (r + mu)) + 1 - (r + counts) / (r + mu)
    return dbeta, -r * dr.sum()


def negative_binomial_chain(beta, rho):
    """d / d r for d / d rho: the factor r of the logarithm is missing."""
    mu, r = np.exp(X @ beta), np.exp(rho)
    dr = digamma(counts + r) - digamma(r) + np.log(r / (r + mu)) + 1 - (r + counts) / (r + mu)
    return -X.T @ (r * (counts - mu) / (r + mu)), -np.sum(dr)


def negative_binomial_no_one(beta, rho):
    """The 1 from r d log r / d r is missing."""
    mu, r = np.exp(X @ beta), np.exp(rho)
    dr = digamma(counts + r) - digamma(r) + np.log(r / (r + mu)) - (r + counts) / (r + mu)
    return -X.T @ (r * (counts - mu) / (r + mu)), -np.sum(dr) * r


def negative_binomial_two(beta, rho):
    """mu for r in the weight, and digamma(r) with a plus."""
    mu, r = np.exp(X @ beta), np.exp(rho)
    dbeta = X.T @ (mu * (mu - counts) / (r + mu))
    dr = digamma(counts + r) + digamma(r) + np.log(r / (r + mu)) + 1 - (r + counts) / (r + mu)
    return dbeta, -r * np.sum(dr)


# ---- A Gaussian's mean and standard deviation


def gaussian(mu, sigma):
    return np.sum(0.5 * ((obs - mu) / sigma) ** 2 + np.log(sigma))


def gaussian_gradient(mu, sigma):
    r = obs - mu
    return -r.sum() / sigma**2, len(r) / sigma - np.sum(r**2) / sigma**3


def gaussian_one_sigma(mu, sigma):
    """1 / sigma for 1 / sigma^2 in the mean's gradient."""
    z = (obs - mu) / sigma
    return -z.sum(), np.sum(1 / sigma - z**2 / sigma)


def gaussian_square_kept(mu, sigma):
    """sigma^2 for sigma^3."""
    r = obs - mu
    dmu = -np.sum(r) / sigma**2
    dsigma = len(obs) / sigma - np.sum(r**2) / sigma**2
    return dmu, dsigma


def gaussian_one_sample(mu, sigma):
    """1 / sigma once, not once for each sample."""
    r = obs - mu
    return -r.sum() / sigma**2, 1 / sigma - (r @ r) / sigma**3


def gaussian_variance(mu, sigma):
    """The derivative by the variance: 1 / (2 sigma^2) - r^2 / (2 sigma^4)."""
    r = obs - mu
    v = sigma**2
    return -r.sum() / v, np.sum(0.5 / v - 0.5 * r**2 / v**2)


def gaussian_two(mu, sigma):
    """The sign of the mean's gradient, and no log-determinant."""
    r = obs - mu
    return np.sum(r) / sigma**2, -np.sum(r**2) / sigma**3


# ---- The same by mean and log standard deviation, an observation each


def gaussian_log(mu, rho):
    return np.mean(0.5 * (obs - mu) ** 2 * np.exp(-2 * rho) + rho)


def gaussian_log_gradient(mu, rho):
    r, precision = obs - mu, np.exp(-2 * rho)
    return -r * precision / len(obs), (1 - r**2 * precision) / len(obs)


def gaussian_log_half(mu, rho):
    """The half is kept: the exponent's 2 was forgotten."""
    precision = np.exp(-2 * rho)
    r = obs - mu
    return -r * precision / len(obs), (1 - 0.5 * r**2 * precision) / len(obs)


def gaussian_log_sigma(mu, rho):
    """exp(-rho) for exp(-2 rho)."""
    precision = np.exp(-rho)
    r = obs - mu
    return -r * precision / len(obs), (1 - r**2 * precision) / len(obs)


def gaussian_log_swapped(mu, rho):
    """The two gradients are returned in the wrong order."""
    r, precision = obs - mu, np.exp(-2 * rho)
    dmu = -r * precision / len(obs)
    drho = (1 - r**2 * precision) / len(obs)
    return drho, dmu


def gaussian_log_two(mu, rho):
    """No mean, and exp(2 rho) for exp(-2 rho)."""
    r = obs - mu
    weight = np.exp(2 * rho)
    return -r * weight, 1 - r**2 * weight


# ---- Mixture of Gaussians of unit variance: means m, logits a

data = np.concatenate([rng.standard_normal(5) - 1, rng.standard_normal(4) + 2])


def mixture(m, a):
    logp = a - logsumexp(a) - 0.5 * (data[:, None] - m) ** 2
    return -np.sum(logsumexp(logp, axis=1))


def mixture_gradient(m, a):
    logp = a - 0.5 * (data[:, None] - m) ** 2
    resp = np.exp(logp - logsumexp(logp, axis=1, keepdims=True))
    return -np.sum(resp * (data[:, None] - m), axis=0), len(data) * np.exp(a - logsumexp(a)) - resp.sum(axis=0)


def responsibilities(m, a):
    joint = np.exp(a - 0.5 * (data[:, None] - m) ** 2)
    return joint / joint.sum(axis=1, keepdims=True)


def responsibilities_by_component(m, a):
    joint = np.exp(a - 0.5 * (data[:, None] - m) ** 2)
    return joint / joint.sum(axis=0)


def mixture_no_responsibilities(m, a):
    """The prior weights for the posterior ones in the means."""
    w = np.exp(a) / np.exp(a).sum()
    R = responsibilities(m, a)
    dm = -np.sum(w * (data[:, None] - m), axis=0)
    return dm, len(data) * w - R.sum(axis=0)


def mixture_prior_once(m, a):
    """The normaliser of the weights counts once, not once for each observation."""
    R = responsibilities(m, a)
    w = np.exp(a - logsumexp(a))
    return -(R * (data[:, None] - m)).sum(axis=0), w - R.sum(axis=0)


def mixture_no_normaliser(m, a):
    """The logits' own normaliser is left out."""
    R = responsibilities(m, a)
    return np.sum(R * (m - data[:, None]), 0), -R.sum(0)


def mixture_axis(m, a):
    """Responsibilities are normalised over the observations (in the helper)."""
    R = responsibilities_by_component(m, a)
    w = np.exp(a - logsumexp(a))
    return np.sum(R * (m - data[:, None]), axis=0), len(data) * w - R.sum(axis=0)


def mixture_two(m, a):
    """data for data - m, and the sign of the logits' gradient."""
    R = responsibilities(m, a)
    w = np.exp(a - logsumexp(a))
    return -R.T @ data, R.sum(axis=0) - len(data) * w


def mixture_hard(m, a):
    """Each observation belongs to the likeliest component, as in k-means."""
    R = np.eye(len(m))[np.argmax(a - 0.5 * (data[:, None] - m) ** 2, axis=1)]
    return -np.sum(R * (data[:, None] - m), axis=0), len(data) * np.exp(a - logsumexp(a)) - R.sum(axis=0)


# ---- KL divergences between softmax(z) and a fixed q

q = np.array([0.1, 0.4, 0.2, 0.25, 0.05])


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def kl_forward(z):
    return np.sum(q * (np.log(q) - z + logsumexp(z)))


def kl_forward_gradient(z):
    return softmax(z) - q


def kl_forward_ratio(z):
    """The derivative by p, -q / p, without the softmax's."""
    p = softmax(z)
    return -q / p


def kl_forward_diagonal(z):
    """The softmax's Jacobian as its diagonal."""
    p = softmax(z)
    return (-q / p) * p * (1 - p)


def kl_forward_unnormalised(z):
    """exp(z) for the softmax."""
    p = np.exp(z)
    return p - q


def kl_forward_two(z):
    """q - p, and a mean over classes."""
    return (q - softmax(z)) / len(z)


def kl_reverse(z):
    logp = z - logsumexp(z)
    return np.sum(np.exp(logp) * (logp - np.log(q)))


def kl_reverse_gradient(z):
    p = softmax(z)
    log_ratio = np.log(p) - np.log(q)
    return p * (log_ratio - p @ log_ratio)


def kl_reverse_uncentred(z):
    """The mean is not subtracted."""
    p = softmax(z)
    log_ratio = np.log(p / q)
    return p * log_ratio


def kl_reverse_unweighted(z):
    """The plain mean is subtracted, not the weighted one."""
    p = softmax(z)
    log_ratio = np.log(p / q)
    return p * (log_ratio - log_ratio.mean())


def kl_reverse_as_forward(z):
    """The gradient of the divergence the other way round."""
    p = softmax(z)
    return p - q


def kl_reverse_plus_one(z):
    """The 1 of the derivative of p log p is kept, and its mean is not."""
    p = softmax(z)
    log_ratio = np.log(p / q)
    return p * (log_ratio + 1 - p @ log_ratio)


def kl_reverse_two(z):
    """log(q / p), and only its value added, not subtracted."""
    p = softmax(z)
    r = np.log(q) - np.log(p)
    return p * (r + np.sum(p * r))


TERM = ("extra-term", "missing-term", "wrong-factor", "term", "formula")
CENTRED = (*TERM, "softmax-centering", "constant-term")
z0 = np.array([0.3, -0.8, 1.1, 0.2, -0.4])

CASES = [
    Case("Poisson regression", poisson, poisson_gradient, np.array([0.4, -0.7, 0.2]), [
        Wrong(poisson_no_offset, TERM),
        Wrong(poisson_linear, TERM),
        Wrong(poisson_likelihood, ("sign",)),
        Wrong(poisson_score, TERM),
        Wrong(poisson_two, (*TERM, "scale"), 2),
    ]),
    Case("negative binomial regression", negative_binomial, negative_binomial_gradient,
         (np.array([0.4, -0.7, 0.2]), np.array(0.5)), [
        Wrong(negative_binomial_poisson, TERM),
        Wrong(negative_binomial_chain, TERM),
        Wrong(negative_binomial_no_one, TERM),
        Wrong(negative_binomial_two, TERM, 2),
    ]),
    Case("Gaussian, sigma", gaussian, gaussian_gradient, (np.array(0.2), np.array(1.4)), [
        Wrong(gaussian_one_sigma, TERM),
        Wrong(gaussian_square_kept, TERM),
        Wrong(gaussian_one_sample, TERM),
        Wrong(gaussian_variance, TERM),
        Wrong(gaussian_two, ("sign", *TERM), 2),
    ]),
    Case("Gaussian, log sigma", gaussian_log, gaussian_log_gradient,
         (rng.standard_normal(7), 0.3 * rng.standard_normal(7)), [
        Wrong(gaussian_log_half, (*TERM, "scale", "constant-term")),
        Wrong(gaussian_log_sigma, TERM),
        Wrong(gaussian_log_swapped, ("wrong-parameter", "permutation")),
        Wrong(gaussian_log_two, (*TERM, "scale"), 2),
    ]),
    Case("mixture of Gaussians", mixture, mixture_gradient, (np.array([-1.2, 0.3, 1.9]), np.array([0.1, -0.3, 0.5])), [
        Wrong(mixture_no_responsibilities, TERM),
        Wrong(mixture_prior_once, TERM),
        Wrong(mixture_no_normaliser, TERM),
        Wrong(mixture_axis, TERM),
        Wrong(mixture_two, (*TERM, "sign"), 2),
        Wrong(mixture_hard, TERM, hard=True),
    ]),
    Case("KL(q, softmax)", kl_forward, kl_forward_gradient, z0, [
        Wrong(kl_forward_ratio, TERM),
        Wrong(kl_forward_diagonal, CENTRED),
        Wrong(kl_forward_unnormalised, TERM),
        Wrong(kl_forward_two, ("scale", "sign"), 2),
    ]),
    Case("KL(softmax, q)", kl_reverse, kl_reverse_gradient, z0, [
        Wrong(kl_reverse_uncentred, CENTRED),
        Wrong(kl_reverse_unweighted, CENTRED),
        Wrong(kl_reverse_as_forward, TERM),
        Wrong(kl_reverse_plus_one, CENTRED),
        Wrong(kl_reverse_two, (*CENTRED, "sign"), 2),
    ]),
]  # fmt: skip
