"""Adam's update of a block of parameters, in one pass through memory.

Legend   theta, g (n,): parameters, and the gradient of the mean loss;   m, v (n,): the moments, decaying means of g and of g^2
         coupled, decoupled: weight decay lambda, within the gradient (Adam) or past the moments (AdamW); the other is 0
         rest_1 = 1 - beta_1, bias_1 = 1 - beta_1^t, and so for beta_2;   _0: before the step

Kingma and Ba, ICLR 2015, Algorithm 1; Loshchilov and Hutter, ICLR 2019, Algorithm 2. NaN passes into theta.
"""

import numpy as np

from .compile import kernel

__all__ = ["update"]

_CHUNK = 512  # entries at a time: a loop over few arrays is compiled to vector instructions, and chunks stay in cache between


@kernel
def update(
    theta, m, v, theta_0, m_0, v_0, g, eta, coupled, decoupled, beta_1, rest_1, bias_1, beta_2, rest_2, bias_2, epsilon
):
    """theta, m, v (n,) from those before the step and from g (n,). All arrays and numbers are of one dtype."""
    n = theta.shape[0]
    for lo in range(0, n, _CHUNK):
        hi = min(n, lo + _CHUNK)
        gradient(m[lo:hi], g[lo:hi], theta_0[lo:hi], coupled)
        moments(m[lo:hi], v[lo:hi], m_0[lo:hi], v_0[lo:hi], beta_1, rest_1, beta_2, rest_2)
        step(theta[lo:hi], m[lo:hi], v[lo:hi], theta_0[lo:hi], eta, decoupled, bias_1, bias_2, epsilon)


@kernel
def gradient(m, g, theta, coupled):
    """The gradient with its weight decay, into m (n,)."""
    for i in range(m.shape[0]):
        m[i] = g[i] + coupled * theta[i]  # g_t <- g_t + lambda theta


@kernel
def moments(m, v, m_0, v_0, beta_1, rest_1, beta_2, rest_2):
    """m, v (n,) from those before, with the gradient in m."""
    for i in range(m.shape[0]):
        g = m[i]
        m[i] = beta_1 * m_0[i] + rest_1 * g  # m_t = beta_1 m_{t-1} + (1 - beta_1) g_t
        v[i] = beta_2 * v_0[i] + rest_2 * (g * g)  # v_t = beta_2 v_{t-1} + (1 - beta_2) g_t^2


@kernel
def step(theta, m, v, theta_0, eta, decoupled, bias_1, bias_2, epsilon):
    """theta (n,) from the moments."""
    for i in range(m.shape[0]):
        m_hat = m[i] / bias_1  # m^_t = m_t / (1 - beta_1^t)
        v_hat = v[i] / bias_2  # v^_t = v_t / (1 - beta_2^t)
        direction = m_hat / (np.sqrt(v_hat) + epsilon)
        theta[i] = theta_0[i] - eta * (direction + decoupled * theta_0[i])
