"""One step of multi-head linear attention, Zhang et al. 2025: mean squared loss and the gradients of all parameters.

Prompts are the paper's: 31 contexts of dimension 4, 5000 of them. Heads are Gaussian and dense, u and v_x too. Formulas come
in three forms: `plain` as one writes them, a product with W for every token; `probe` with W x_query for each prompt; `gram`
with X X^T for each prompt and the heads summed up first, the algebra of nlicl's kernel where attention is linear.
"""

from dataclasses import dataclass

import numpy as np
import peers

from nlicl.kernels.steps import linear_attention
from nlicl.papers.zhang2025 import Params, Problem, Prompts, SeparateParams, reference
from nlicl.papers.zhang2025.reference import SeparateSoftmax, Softmax


def numpy_step(params, tokens, labels, softmax=False):
    """The backward pass restates each forward line above the derivative it gives."""
    V, *others = params
    W = others[0] if len(others) == 1 else np.einsum("hri,hrj->hij", *others)
    v, query = V[:, -1], tokens[:, -1]
    probes = np.einsum("hij,bj->bhi", W, query)
    a = probes @ tokens.transpose(0, 2, 1)
    if softmax:
        a = np.exp(a - a.max(axis=2, keepdims=True))
        a /= a.sum(axis=2, keepdims=True)
    values = v @ tokens.transpose(0, 2, 1)
    residual = (a * values).sum(axis=(1, 2)) - labels

    g = 2 * residual / len(labels)
    dV = np.zeros_like(V)
    dV[:, -1] = np.einsum("b,bhi->hi", g, a @ tokens)  # yhat = sum_ht a_ht v_h . xt_t
    ds = a * (values - (a * values).sum(axis=2, keepdims=True)) if softmax else values  # a = softmax(s), or s
    dW = np.einsum("b,bhi,bj->hij", g, ds @ tokens, query, optimize=True)  # s_ht = xt_t . W_h xt_query
    loss = (residual * residual).mean()
    if len(others) == 1:
        return loss, dV, dW
    K, Q = others  # W_h = K_h^T Q_h
    return loss, dV, np.einsum("hri,hji->hrj", Q, dW), np.einsum("hri,hij->hrj", K, dW)


def merged(params):
    """V's last rows and W of either kind of parameters."""
    V, *others = params
    return V[:, -1], others[0] if len(others) == 1 else others[0].swapaxes(1, 2) @ others[1]


def forms(softmax):
    """The plain and the probe form, of linear or of softmax attention, and the one by Gram matrices."""

    def end(a, values, labels, functions):
        a = functions.softmax(a) if softmax else a
        return (((a * values).sum((1, 2)) - labels) ** 2).mean()

    def plain_loss(*given):
        """Each token's product with each head's W, then with the query; each token's value by each head's V."""
        *params, tokens, labels, functions = given
        v, W = merged(params)
        keys = tokens[:, None] @ W
        return end((keys @ tokens[:, None, -1, :, None])[..., 0], (tokens @ v.T).swapaxes(1, 2), labels, functions)

    def probe_loss(*given):
        """The same number with W x_query for each prompt."""
        *params, tokens, labels, functions = given
        v, W = merged(params)
        heads, width = v.shape
        probes = (tokens[:, -1] @ W.reshape(heads * width, width).T).reshape(-1, heads, width)
        turned = tokens.swapaxes(1, 2)
        return end(probes @ turned, v @ turned, labels, functions)

    def gram_loss(*given):
        """The same number with G = X X^T for each prompt, and m = sum_h v_h W_h."""
        *params, tokens, labels, _ = given
        v, W = merged(params)
        heads, width = v.shape
        m = (v.T @ W.reshape(heads, width * width)).reshape(width * width, width)
        G = (tokens.swapaxes(1, 2) @ tokens).reshape(-1, width * width)
        return (((G @ m * tokens[:, -1]).sum(1) - labels) ** 2).mean()

    return plain_loss, probe_loss, gram_loss


def implementations(softmax):
    plain_loss, probe_loss, gram_loss = forms(softmax)
    more = {} if softmax else {
        "torch-eager-gram": peers.Implementation("torch", peers.torch_step(gram_loss, compiled=False)),
        "torch-compile-gram": peers.Implementation("torch", peers.torch_step(gram_loss, compiled=True), compiles=True),
        "jax-jit-gram": peers.Implementation("jax", peers.jax_step(gram_loss), compiles=True),
    }  # fmt: skip
    return peers.table(lambda *given: numpy_step(*given, softmax=softmax), plain_loss, probe_loss, **more)


IMPLEMENTATIONS = {softmax: implementations(softmax) for softmax in (False, True)}


@dataclass(frozen=True)
class Case:
    """Sizes: `B` prompts of `N` contexts and a query, inputs of dimension `D`, `H` heads, of rank `R` or merged."""

    name: str
    B: int
    N: int
    D: int
    H: int
    R: int | None = None
    softmax: bool = False

    @property
    def implementations(self):
        return IMPLEMENTATIONS[self.softmax]

    @property
    def sizes(self):
        """What a table's head says of it."""
        ranks = {} if self.R is None else {"R": self.R}
        return {"B": self.B, "N": self.N, "D": self.D, "H": self.H} | ranks

    def numpy_step(self, params, *arrays):
        return numpy_step(params, *arrays, softmax=self.softmax)

    def loss(self, params, prompt):
        of_softmax = SeparateSoftmax if self.R else Softmax
        return reference.loss(of_softmax(*params) if self.softmax else params, prompt)

    def prompt_bytes(self, dtype, given="tokens"):
        """Size of the prompts themselves."""
        return self.B * ((self.N + 1) * (self.D + 1) + 1) * np.dtype(dtype).itemsize

    def costs(self, dtype, given):
        """What a step has to do, as far as is known, whoever does it."""
        itemsize = np.dtype(dtype).itemsize
        return linear_attention.costs(self.B, self.N + 1, self.D + 1, self.H, self.softmax, itemsize)

    def make(self, dtype, seed=0):
        """Parameters and prompts, `peers.Data`; float32 data are the float64 data rounded."""
        rng = np.random.default_rng(np.random.SeedSequence([seed, self.B, self.N, self.D, self.H]))
        E = self.D + 1
        shapes = [(self.H, E, E)] + ([(self.H, E, E)] if self.R is None else 2 * [(self.H, self.R, E)])
        size = E**-0.5 if self.softmax else (self.N * E) ** -0.5
        arrays = [(size * rng.standard_normal(shape)).astype(dtype) for shape in shapes]
        params = Params(*arrays) if self.R is None else SeparateParams(*arrays)
        drawn = Problem(d=self.D, length=self.N, corrected=False).sample(self.B, seed=seed)
        prompts = Prompts(drawn.tokens.astype(dtype), drawn.labels, self.softmax, 1.0)
        return peers.Data(params, (prompts.tokens, prompts.labels), prompts, None)


CASES = (
    Case("attention-merged", B=5000, N=31, D=4, H=8),
    Case("attention-separate", B=5000, N=31, D=4, H=5, R=1),
    Case("attention-softmax", B=5000, N=31, D=4, H=8, softmax=True),
)
TINY = Case("tiny-attention", B=256, N=6, D=3, H=2)
