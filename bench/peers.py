"""Implementations of one training step: mean hinge loss and the gradients of W_Q, W_K, W_V, W_O and a.

Each is a function `(params, prompts, codes, threads) -> step`, with the same prompts as tokens and as codes; what it does
once (moving data, compiling) is not timed, `step() -> (loss, dW_Q, dW_K, dW_V, dW_O, da)` as NumPy arrays is. `plain` is the
formula as one writes it, with a key and a value for every token; `probe` the algebra of nlicl's dense kernel, which builds
neither. Codes are what no framework is told of: its users have tokens.
"""

import importlib.util

import numpy as np


def nlicl_dense(params, prompts, codes, threads):
    """Threads are set by the environment, NUMBA_NUM_THREADS."""
    import nlicl

    def step():
        loss, grads = nlicl.loss_and_grad(params, prompts)
        return loss, *grads

    return step


def nlicl_coded(params, prompts, codes, threads):
    return nlicl_dense(params, codes, codes, threads)


def numpy_probe(params, prompts, codes, threads):
    """Vectorised NumPy, backward by hand. Its threads are BLAS's, set by the environment."""
    return lambda: numpy_step(params, prompts.tokens, prompts.labels)


def numpy_step(params, tokens, labels):
    """The backward pass restates each forward line above the derivative it gives."""
    W_Q, W_K, W_V, W_O, a = params
    P, Q, z = tokens[:, :-1], tokens[:, -1], labels
    q = Q @ W_Q.T
    probes = q @ W_K
    attn = (P @ probes[:, :, None])[:, :, 0]
    attn -= attn.max(axis=1, keepdims=True)
    np.exp(attn, out=attn)
    attn /= attn.sum(axis=1, keepdims=True)
    C = (attn[:, None, :] @ P)[:, 0]
    V = C @ W_V.T
    U = V @ W_O.T
    R = np.maximum(U, 0)
    margin = 1 - z * (R @ a)

    g = np.where(margin > 0, -z, 0) / len(z)
    da = g @ R  # F = R a
    dU = (g[:, None] * a) * (U > 0)  # R = relu(U)
    dW_O = dU.T @ V  # U = V W_O^T
    dV = dU @ W_O
    dW_V = dV.T @ C  # V = C W_V^T
    dC = dV @ W_V
    ds = (P @ dC[:, :, None])[:, :, 0]  # c = sum_i attn_i p_i
    ds -= (C * dC).sum(axis=1, keepdims=True)
    ds *= attn  # attn = softmax(s)
    dprobes = (ds[:, None, :] @ P)[:, 0]  # s_i = p_i . probe
    dW_K = q.T @ dprobes  # probe = W_K^T q
    dW_Q = (dprobes @ W_K.T).T @ Q  # q = W_Q p_query
    return np.maximum(margin, 0).mean(), dW_Q, dW_K, dW_V, dW_O, da


def plain_loss(W_Q, W_K, W_V, W_O, a, tokens, z, softmax, relu):
    """The formula as one writes it, in operators that torch and jax share."""
    P, p_query = tokens[:, :-1], tokens[:, -1]
    keys, values, q = P @ W_K.T, P @ W_V.T, p_query @ W_Q.T
    attn = softmax((keys @ q[:, :, None])[:, :, 0])
    v = (attn[:, None, :] @ values)[:, 0]
    return relu(1 - z * (relu(v @ W_O.T) @ a)).mean()


def probe_loss(W_Q, W_K, W_V, W_O, a, tokens, z, softmax, relu):
    """The same number without a key or a value for each token."""
    P, p_query = tokens[:, :-1], tokens[:, -1]
    probes = p_query @ W_Q.T @ W_K
    attn = softmax((P @ probes[:, :, None])[:, :, 0])
    c = (attn[:, None, :] @ P)[:, 0]
    return relu(1 - z * (relu(c @ W_V.T @ W_O.T) @ a)).mean()


def torch_step(loss_formula, compiled):
    def prepare(params, prompts, codes, threads):
        import torch

        torch.set_num_threads(threads)
        leaves = [torch.from_numpy(array.copy()).requires_grad_() for array in params]
        tokens = torch.from_numpy(prompts.tokens)
        labels = torch.tensor(prompts.labels)  # a copy: torch warns of read-only arrays

        def loss_of(*leaves):
            return loss_formula(*leaves, tokens, labels, lambda s: torch.softmax(s, 1), torch.relu)

        if compiled:
            torch._dynamo.reset()
            loss_of = torch.compile(loss_of, dynamic=False)

        def step():
            loss = loss_of(*leaves)
            return loss.detach().numpy(), *(grad.numpy() for grad in torch.autograd.grad(loss, leaves))

        return step

    return prepare


def jax_step(loss_formula):
    def prepare(params, prompts, codes, threads):
        """Threads are XLA's, set by the environment."""
        import jax

        jax.config.update("jax_enable_x64", True)  # off, float64 data would silently become float32

        def loss_of(leaves, tokens, labels):
            return loss_formula(*leaves, tokens, labels, lambda s: jax.nn.softmax(s, axis=1), jax.nn.relu)

        both = jax.jit(jax.value_and_grad(loss_of))
        data = jax.device_put((tuple(params), prompts.tokens, prompts.labels))

        def step():
            loss, grads = jax.block_until_ready(both(*data))
            return np.asarray(loss), *map(np.asarray, grads)

        return step

    return prepare


# name -> (module it needs, prepare, whether the first step on new sizes compiles)
IMPLEMENTATIONS = {
    "nlicl-dense": ("numba", nlicl_dense, False),
    "nlicl-coded": ("numba", nlicl_coded, False),
    "numpy": ("numpy", numpy_probe, False),
    "torch-eager-plain": ("torch", torch_step(plain_loss, compiled=False), False),
    "torch-eager-probe": ("torch", torch_step(probe_loss, compiled=False), False),
    "torch-compile-plain": ("torch", torch_step(plain_loss, compiled=True), True),
    "torch-compile-probe": ("torch", torch_step(probe_loss, compiled=True), True),
    "jax-jit-plain": ("jax", jax_step(plain_loss), True),
    "jax-jit-probe": ("jax", jax_step(probe_loss), True),
}


def installed(name):
    """Whether the module an implementation needs is there (without importing it)."""
    return importlib.util.find_spec(IMPLEMENTATIONS[name][0]) is not None


def prepare(name, params, prompts, codes, threads):
    """The step of an implementation on this data."""
    return IMPLEMENTATIONS[name][1](params, prompts, codes, threads)


def compiles(name):
    """Whether the first step on new sizes compiles."""
    return IMPLEMENTATIONS[name][2]
