"""SGD on wide matrices: the first steps of Bu et al.'s own problem, everywhere alike, with L2 and decaying step sizes.

The matrices are 1000 x 1000 and a batch has 16 prompts of 5 tokens, so that the update, not the prompts, is what a step is.
nlicl is `nlicl.train` ("in place") and the same by whole gradients; the others are loops as one writes them who knows that
attention sees words alone: the word blocks and W_O are the leaves, gradients come from autograd, the update is in place where
the framework can. The clock runs over the whole, drawing included; the column `steps` is without it.
"""

import time
from functools import partial

import numpy as np
import peers
import training

import nlicl
from nlicl.papers import bu2024
from nlicl.training import SGD

STEPS = 100
TOLERANCE = {"float64": 1e-10, "float32": 1e-3}


class ByGradients(SGD):
    """SGD that is not told apart by its name: `nlicl.train` makes gradients for it."""


def nlicl_train(optimizer):
    def prepare(threads):
        def train(problem, start, steps):
            params = problem.initialize(seed=0)
            run = nlicl.train(
                problem, steps=steps, params=params, dtype=start[0].dtype, measure=None, optimizer=optimizer
            )
            d_x = problem.d_x
            return run.history.loss, (run.params.W_Q[:, :d_x], run.params.W_K[:, :d_x], run.params.W_O)

        return train

    return prepare


def apart(problem, prompts):
    """Words, labels and the query's words of a batch, and its labels."""
    tokens, d_x = prompts.tokens, problem.d_x
    arrays = (tokens[:, :-1, :d_x], tokens[:, :-1, d_x:], tokens[:, -1, :d_x], prompts.labels.astype(tokens.dtype))
    return [np.ascontiguousarray(array) for array in arrays]


def loss_of(W_Q, W_K, W_O, r, X, Y, Q, z, functions):
    """The mean logistic loss in probe form; the same text for torch and jax."""
    u = (Q @ W_Q.T) @ W_K
    attention = functions.softmax((X @ u[:, :, None])[:, :, 0])
    v = (attention[:, None, :] @ Y)[:, 0]
    F = functions.relu(v @ W_O.T) @ r
    return functions.softplus(-z * F).mean()


def rates(problem, t):
    """eta_t and 1 - eta_t lambda."""
    eta = problem.learning_rate * problem.schedule(t)
    return eta, 1 - eta * problem.weight_decay


def numpy_train(threads):
    def train(problem, start, steps):
        W_Q, W_K, W_O, r = (array.copy() for array in start)
        losses = []
        for t, prompts in enumerate(problem.batches(steps)):
            X, Y, Q, z = apart(problem, prompts)
            eta, keep = rates(problem, t)
            k = Q @ W_Q.T
            u = k @ W_K
            s = np.einsum("nlj,nj->nl", X, u)
            attn = np.exp(s - s.max(axis=1, keepdims=True))
            attn /= attn.sum(axis=1, keepdims=True)
            v = np.einsum("nl,nlj->nj", attn, Y)
            h = v @ W_O.T
            F = np.maximum(h, 0) @ r
            losses.append(np.logaddexp(0, -z * F).mean())
            g = -z / (1 + np.exp(z * F)) / len(z)
            dh = g[:, None] * r * (h > 0)
            dv = dh @ W_O
            phi = np.einsum("nlj,nj->nl", Y, dv)
            ds = attn * (phi - (attn * phi).sum(axis=1, keepdims=True))
            du = np.einsum("nl,nlj->nj", ds, X)
            dk = du @ W_K.T
            for W, A, B in ((W_Q, dk, Q), (W_K, k, du), (W_O, dh, v)):
                W *= keep
                W -= eta * (A.T @ B)
        return losses, (W_Q, W_K, W_O)

    return train


def torch_train(compiled):
    def prepare(threads):
        import torch

        torch.set_num_threads(threads)
        functions = peers.torch_functions()
        formula = partial(loss_of, functions=functions)
        if compiled:
            torch._dynamo.reset()
            formula = torch.compile(formula, dynamic=False)

        def train(problem, start, steps):
            *blocks, r = (torch.tensor(array) for array in start)
            for block in blocks:
                block.requires_grad_()
            losses = []
            for t, prompts in enumerate(problem.batches(steps)):
                arrays = map(peers.torch_tensor, apart(problem, prompts))
                eta, keep = rates(problem, t)
                loss = formula(*blocks, r, *arrays)
                grads = torch.autograd.grad(loss, blocks)
                with torch.no_grad():
                    for block, grad in zip(blocks, grads, strict=True):
                        block.mul_(keep).add_(grad, alpha=-eta)
                losses.append(loss.item())
            return losses, [block.detach().numpy() for block in blocks]

        return train

    return prepare


def jax_train(threads):
    import jax

    functions = peers.jax_functions()

    @partial(jax.jit, donate_argnums=0)
    def update(blocks, r, arrays, eta, keep):
        loss, grads = jax.value_and_grad(lambda blocks: loss_of(*blocks, r, *arrays, functions))(blocks)
        return loss, [keep * block - eta * grad for block, grad in zip(blocks, grads, strict=True)]

    def train(problem, start, steps):
        *blocks, r = map(jax.numpy.array, start)
        losses = []
        for t, prompts in enumerate(problem.batches(steps)):
            eta, keep = (start[0].dtype.type(rate) for rate in rates(problem, t))
            loss, blocks = update(blocks, r, apart(problem, prompts), eta, keep)
            losses.append(float(loss))
        return losses, [np.asarray(block) for block in blocks]

    return train


# name -> (module it needs, prepare)
IMPLEMENTATIONS = {
    "nlicl": ("numba", nlicl_train(SGD())),
    "nlicl-gradients": ("numba", nlicl_train(ByGradients())),
    "numpy": ("numpy", numpy_train),
    "torch-eager": ("torch", torch_train(compiled=False)),
    "torch-compile": ("torch", torch_train(compiled=True)),
    "jax-jit": ("jax", jax_train),
}


def time_wide(dtype, names, threads, steps=STEPS, problem=None, rounds=training.ROUNDS):
    """Rows as `training.time_runs` gives them. Compared are the losses of all steps, and the blocks at the end."""
    problem = problem or bu2024.paper
    start = bu2024.words.apart(problem.initialize(seed=0), problem.d_x)

    def run(name, train, dtype=dtype):
        drawn = training.Drawn(problem, dtype, tokens=name != "nlicl")
        begin = time.perf_counter()
        result = train(drawn, [array.astype(dtype) for array in start], steps)
        return time.perf_counter() - begin, drawn.seconds, result

    def end(losses, blocks):
        return [np.asarray(losses, float), *(np.asarray(block, float) for block in blocks)]

    case = f"training-wide-{steps}"
    return training.time_runs(
        case, dtype, names, threads, IMPLEMENTATIONS, run, end, TOLERANCE[dtype], steps * problem.batch, "nlicl", rounds
    )
