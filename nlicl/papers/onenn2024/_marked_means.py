"""The gradients of the label-averaged loss, in W, in (xi1, xi2) and in traces, their factors marked for the audit.

    gamma_j = kappa q_j (q_j - 1[j=i*] + omega), j >= 1,     gamma_0 = kappa q_0 omega,     omega = q_{i*} - S
    dW = sum_{j=0..N} gamma_j hbar_j h_0^T,   hbar_j = (x_j, 0, 1[j=0])
    partial_1 = sum_{j=0..N} gamma_j t_j = kappa ( sum_{j<=N} q_j^2 (t_j - tbar) - q_{i*} (t_{i*} - tbar) )
    partial_2 = -gamma_0

with S = sum_{j<=N} q_j^2 and tbar = sum_{j=0..N} q_j t_j.
"""

import numpy as np

from ...audit.mistakes import PLAIN, Mark
from ...models.overflow import finite
from .family import width
from .reference import Averaged, Cosines, Inputs, Traces, Xi

__all__ = ["dW", "dtraces", "dxi"]


def dW(weights: Averaged, inputs: Inputs, mark: Mark = PLAIN) -> np.ndarray:
    """The gradient by W where W_21 = W_23 = 0, (E, E)."""
    W, X = weights.W_labels, inputs.X
    d, rows = X.shape
    L = width(inputs.K)
    H = np.zeros((d + L + 1, rows))
    H[:d], H[-1, -1] = X, 1
    h_0 = H[:, -1]
    q = _attention(finite("a score", H.T @ (W @ h_0)), mark)
    gamma = _gamma(q, inputs.nearest, inputs.K, mark)
    left = mark.other("h_j", H, {"W h_j": lambda: W @ H})
    right = mark.other("h_0", h_0, {"x_0, the mark left out,": np.append(h_0[:-1], 0.0)})
    found = np.outer(left @ gamma, right)
    if mark.touches("W_11"):
        contexts = np.array(found)
        contexts[:d, :d] -= gamma[-1] * np.outer(X[:, -1], X[:, -1])
        out = "the query's own token, gamma_0 x_0 x_0^T, is left out of the sum in W_11"
        found = mark.choice("W_11", found, "query-in-context", {out: contexts})
    return found


def dxi(weights: Xi, cosines: Cosines, mark: Mark = PLAIN) -> np.ndarray:
    """(partial_1, partial_2)."""
    return _partials(weights.xi[0], weights.xi[1], cosines, mark)


def dtraces(weights: Traces, cosines: Cosines, mark: Mark = PLAIN) -> np.ndarray:
    """(partial_1 / d, partial_2)."""
    d = cosines.d
    partials = _partials(weights.traces[0] / d, weights.traces[1], cosines, mark)
    share = mark.factor("1/d in the step of xi1", 1 / d, {"1/sqrt(d)": d**-0.5, "1/(d+1)": 1 / (d + 1)})
    return partials * np.array([float(share), 1.0])


def _partials(xi1: float, xi2: float, cosines: Cosines, mark: Mark) -> np.ndarray:
    t = np.append(cosines.t, 1.0)
    sign = mark.choice("xi2", -xi2, "sign", {"xi2 has the wrong sign in the query's score: xi1 + xi2": xi2})
    q = _attention(xi1 * t + np.append(np.zeros(len(t) - 1), sign), mark)
    gamma = _gamma(q, cosines.nearest, cosines.K, mark)
    own = "the query's own token is left out: the sum over gamma_j t_j in partial_1, or that of tbar, runs over contexts only"
    first = mark.choice("W_11", gamma, "query-in-context", {own: np.append(gamma[:-1], 0.0)}) @ t
    second = mark.choice("sign of partial_2", -gamma[-1], "sign", {"partial_2 has the wrong sign": gamma[-1]})
    return np.array([first, second])


def _attention(scores: np.ndarray, mark: Mark) -> np.ndarray:
    """q_j (N+1,), the query's last."""
    exps = np.exp(scores - scores.max())
    q = exps / exps.sum()
    if mark.touches("softmax"):
        alone = {"the query is left out of the softmax": lambda: np.append(exps[:-1] / exps[:-1].sum(), 0.0)}
        q = mark.choice("softmax", q, "query-in-context", alone)
    return q


def _gamma(q: np.ndarray, nearest: int, K: int | None, mark: Mark) -> np.ndarray:
    """gamma_j (N+1,), the query's last."""
    kappa = 1.0 if K is None else (K - 1) / K
    others = {} if K is None else {"1/K": 1 / K, "K/(K-1)": K / (K - 1)}
    kappa = mark.factor("kappa", kappa, others, doubled=False)
    context = q[:-1]
    at = np.eye(len(context))[nearest]
    squares = mark.term("sum_j q_j^2", context @ context, " in omega", slot="S")
    own = "q_0^2 stands in S, whose sum runs over contexts"
    squares = mark.choice("S", squares, "extra-term", {own: lambda: q @ q})
    omega = mark.term("q_{i*}", context[nearest], " in omega", slot="q_{i*} in omega") - squares
    each = mark.term("q_j", context, " in gamma_j", slot="q_j in gamma_j")
    target = mark.term("1[j=i*]", -at, " in gamma_j", slot="1[j=i*]")
    centre = mark.choice("centring", omega, "softmax-centering", {"omega is missing in gamma_j, j >= 1": 0.0})
    weight = mark.factor("q_j in front", context, doubled=False)
    return kappa * np.append(weight * (each + target + centre), q[-1] * omega)
