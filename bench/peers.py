"""What implementations of one training step have in common, whatever the model: loss and gradients, as NumPy arrays.

An implementation is prepared once, `prepare(data, threads) -> step` (moving data, compiling: not timed); `step() -> (loss,
*gradients)` is timed. `transformer`, `linear` and `gpt2` have the models' formulas in two forms: `plain` as one writes a
formula, with a product for every token; `probe` with the algebra of nlicl's kernels, without. Codes are what no framework is
told of: its users have tokens.
"""

import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Data(NamedTuple):
    """One batch: the same prompts as `arrays`, what formulas take, as tokens and as codes."""

    params: Any
    arrays: tuple
    prompts: Any
    codes: Any


class Functions(NamedTuple):
    """What torch and jax have no common operator for; the softmax is over the last axis."""

    softmax: Callable
    relu: Callable
    softplus: Callable  # log(1 + exp(x))
    linear: Callable | None = None  # (x, W, b) -> W x + b
    layernorm: Callable | None = None  # (x, gamma, beta)
    gelu: Callable | None = None  # GPT-2's, with tanh
    attention: Callable | None = None  # (q, k, v, causal), each (B, H, T, D): of scaled dot products


class Implementation(NamedTuple):
    """`module`: what it needs; `given`: what it is handed, in a case's words; `compiles`: in its first step on new sizes."""

    module: str
    prepare: Callable
    given: str = "tokens"
    compiles: bool = False

    def installed(self):
        """Whether its module is there (without importing it)."""
        return importlib.util.find_spec(self.module) is not None


def table(numpy_step, plain_loss, probe_loss, **ours):
    """name -> Implementation: ours, given nlicl's tokens or codes, and the others, made of a model's formulas."""
    return {
        "nlicl-dense": Implementation("numba", nlicl_dense),
        **ours,
        "numpy": Implementation("numpy", numpy_peer(numpy_step)),
        "torch-eager-plain": Implementation("torch", torch_step(plain_loss, compiled=False)),
        "torch-eager-probe": Implementation("torch", torch_step(probe_loss, compiled=False)),
        "torch-compile-plain": Implementation("torch", torch_step(plain_loss, compiled=True), compiles=True),
        "torch-compile-probe": Implementation("torch", torch_step(probe_loss, compiled=True), compiles=True),
        "jax-jit-plain": Implementation("jax", jax_step(plain_loss), compiles=True),
        "jax-jit-probe": Implementation("jax", jax_step(probe_loss), compiles=True),
    }


def nlicl_step(params, prompts, loss=None):
    """The public function, its checks included. Threads are set by the environment, NUMBA_NUM_THREADS."""
    import nlicl

    loss, grads = nlicl.loss_and_grad(params, prompts, loss)
    return loss, *grads


def nlicl_dense(data, threads):
    return lambda: nlicl_step(data.params, data.prompts)


def nlicl_coded(data, threads):
    return lambda: nlicl_step(data.params, data.codes)


def numpy_peer(numpy_step):
    """Vectorised NumPy, backward by hand. Its threads are BLAS's, set by the environment."""
    return lambda data, threads: lambda: numpy_step(data.params, *data.arrays)


NUMPY = Functions(softmax=None, relu=lambda x: np.maximum(x, 0), softplus=lambda x: np.logaddexp(0, x))


def torch_functions():
    import torch
    from torch.nn import functional

    return Functions(
        softmax=lambda s: torch.softmax(s, -1),
        relu=torch.relu,
        softplus=functional.softplus,
        linear=functional.linear,
        layernorm=lambda x, gamma, beta: functional.layer_norm(x, gamma.shape, gamma, beta),
        gelu=lambda u: functional.gelu(u, approximate="tanh"),
        attention=lambda q, k, v, causal: functional.scaled_dot_product_attention(q, k, v, is_causal=causal),
    )


def torch_tensor(array):
    """The array's memory, or a copy of it where it is read-only: torch warns of those."""
    import torch

    return torch.from_numpy(array) if array.flags.writeable else torch.tensor(array)


def torch_gradients(loss_formula, data, compiled, device="cpu"):
    """A step whose results, tensors, stay on the device where it computes them."""
    import torch

    leaves = [torch.tensor(array, device=device).requires_grad_() for array in data.params]
    arrays = [torch_tensor(array).to(device) for array in data.arrays]
    functions = torch_functions()

    def loss_of(*leaves):
        return loss_formula(*leaves, *arrays, functions)

    if compiled:
        torch._dynamo.reset()
        loss_of = torch.compile(loss_of, dynamic=False)

    def step():
        loss = loss_of(*leaves)
        return loss.detach(), *torch.autograd.grad(loss, leaves)

    return step


def torch_step(loss_formula, compiled):
    def prepare(data, threads):
        import torch

        torch.set_num_threads(threads)
        step = torch_gradients(loss_formula, data, compiled)
        return lambda: tuple(tensor.numpy() for tensor in step())

    return prepare


def jax_functions():
    """Of jax, once it has been told that there is float64: else float64 data would silently become float32."""
    import jax

    jax.config.update("jax_enable_x64", True)
    np = jax.numpy

    def layernorm(x, gamma, beta):
        centred = x - x.mean(-1, keepdims=True)
        return gamma * centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5) + beta

    def attention(q, k, v, causal):
        s = q @ k.swapaxes(2, 3) / q.shape[-1] ** 0.5
        return jax.nn.softmax(np.where(np.tri(*s.shape[2:], dtype=bool), s, -np.inf) if causal else s, axis=-1) @ v

    return Functions(
        softmax=lambda s: jax.nn.softmax(s, axis=-1),
        relu=jax.nn.relu,
        softplus=jax.nn.softplus,
        linear=lambda x, W, b: x @ W.T + b,
        layernorm=layernorm,
        gelu=lambda u: jax.nn.gelu(u, approximate=True),
        attention=attention,
    )


def jax_step(loss_formula):
    def prepare(data, threads):
        """Threads are XLA's, set by the environment."""
        import jax

        functions = jax_functions()
        both = jax.jit(jax.value_and_grad(lambda leaves, arrays: loss_formula(*leaves, *arrays, functions)))
        given = jax.device_put((tuple(data.params), data.arrays))

        def step():
            loss, grads = jax.block_until_ready(both(*given))
            return np.asarray(loss), *map(np.asarray, grads)

        return step

    return prepare
