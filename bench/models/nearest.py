"""One step of the one-nearest-neighbour transformer, Li et al. 2024, Athreya and Wang: squared loss and the gradient of W.

Prompts are the paper's, uniform on the sphere, as tokens (x_j, u_j, 0) with the query (x_0, 0, 1) last; W is Gaussian, scaled
so that scores are of order 1. The query attends to itself. Tokens, label codes and targets are made once, for all.
"""

from dataclasses import dataclass

import numpy as np
import peers

from nlicl.kernels.steps import nearest
from nlicl.papers.onenn2024 import Params, Problem, reference


def numpy_step(params, H, h_0, V, u):
    """The backward pass restates each forward line above the derivative it gives."""
    (W,) = params
    probes = h_0 @ W.T
    q = (H @ probes[:, :, None])[:, :, 0]
    q -= q.max(axis=1, keepdims=True)
    np.exp(q, out=q)
    q /= q.sum(axis=1, keepdims=True)
    l = (q[:, None, :] @ V)[:, 0]
    r = l - u

    slopes = (V @ r[:, :, None])[:, :, 0]  # l = sum_j q_j v_j, q = softmax(s)
    slopes -= (l * r).sum(axis=1, keepdims=True)
    slopes *= q
    slopes /= len(H)
    dprobes = (slopes[:, None, :] @ H)[:, 0]  # s_j = h_j . probe
    dW = dprobes.T @ h_0  # probe = W h_0
    return (r * r).sum() / (2 * len(H)), dW


def plain_loss(W, H, h_0, V, u, functions):
    """The formula as one writes it, h_j^T W for each token."""
    q = functions.softmax((H @ W @ h_0[:, :, None])[:, :, 0])
    return (((q[:, None, :] @ V)[:, 0] - u) ** 2).sum(1).mean() / 2


def probe_loss(W, H, h_0, V, u, functions):
    """The same number with W h_0 for each prompt."""
    q = functions.softmax((H @ (h_0 @ W.T)[:, :, None])[:, :, 0])
    return (((q[:, None, :] @ V)[:, 0] - u) ** 2).sum(1).mean() / 2


def nlicl_fresh(data, threads):
    """Prompts are checked, and tokens and nearest contexts made of them in every step, as in training on fresh prompts."""
    inputs, classes, K = data.prompts.inputs, data.prompts.classes, data.prompts.K
    return lambda: peers.nlicl_step(data.params, type(data.prompts)(inputs, classes, K))


IMPLEMENTATIONS = peers.table(
    numpy_step,
    plain_loss,
    probe_loss,
    **{"nlicl-dense-fresh": peers.Implementation("numba", nlicl_fresh, given="inputs")},
)


@dataclass(frozen=True)
class Case:
    """Sizes: `B` prompts of `N` contexts and a query, inputs of `d` dimensions, `K` classes."""

    name: str
    B: int
    N: int
    d: int
    K: int

    implementations = IMPLEMENTATIONS
    numpy_step = staticmethod(numpy_step)
    loss = staticmethod(reference.loss)

    @property
    def sizes(self):
        """What a table's head says of it."""
        return {"B": self.B, "N": self.N, "d": self.d, "K": self.K}

    def prompt_bytes(self, dtype, given="tokens"):
        """Size of the prompts themselves: tokens and the nearest contexts; or inputs and classes."""
        itemsize = np.dtype(dtype).itemsize
        tokens = (self.N + 1) * (self.d + self.K + 1) * itemsize + 8
        return self.B * {"tokens": tokens, "inputs": (self.N + 1) * self.d * itemsize + 8 * self.N}[given]

    def costs(self, dtype, given):
        """What a step has to do, as far as is known, whoever does it."""
        itemsize = np.dtype(dtype).itemsize
        costs = nearest.costs(self.B, self.N, self.d, self.K, itemsize)
        if given == "tokens":
            return costs
        more = self.prompt_bytes(dtype, "inputs") - self.prompt_bytes(dtype, "tokens")
        distances = self.B * self.N * self.d
        return costs._replace(bytes=costs.bytes + more, multiply_adds=costs.multiply_adds + distances)

    def make(self, dtype, seed=0):
        """Parameters and prompts, `peers.Data`; float32 data are the float64 data rounded."""
        rng = np.random.default_rng(np.random.SeedSequence([seed, self.B, self.N, self.d, self.K]))
        E = self.d + self.K + 1
        W = rng.standard_normal((E, E)).astype(dtype, copy=False)
        problem = Problem(d=self.d, length=self.N, K=self.K)
        prompts = problem.sample(self.B, seed=seed).cast(np.dtype(dtype))
        H = np.array(prompts.tokens)
        u = np.take_along_axis(H[..., self.d : -1], prompts.nearest[:, None, None], axis=1)[:, 0]
        parts = (H, H[:, -1], H[..., self.d : -1], u)
        return peers.Data(Params(W), tuple(map(np.ascontiguousarray, parts)), prompts, None)


CASES = (
    Case("nearest-16", B=128, N=16, d=8, K=3),
    Case("nearest-256", B=512, N=256, d=32, K=10),
)
TINY = Case("tiny-nearest", B=256, N=6, d=4, K=3)
