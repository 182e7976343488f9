"""The steps of the one-layer transformer under one signature: that of `dense`, on tokens."""

from types import SimpleNamespace

import numpy as np

from nlicl import Params
from nlicl.kernels import compile
from nlicl.kernels.layers.loss import NAMES as KIND
from nlicl.kernels.steps import dense, multihot, unmerged


def halves(tokens, n_keys):
    """Tokens as codes: each is the sum of two columns, its halves, that are in no other; exact in binary numbers."""
    if n_keys == tokens.shape[1]:  # the query is a key, too
        tokens = np.concatenate([tokens, tokens[:, -1:]], axis=1)
    E = tokens.reshape(-1, tokens.shape[2]).T / 2
    n = E.shape[1]
    E = np.ascontiguousarray(np.hstack([E, E]))
    return E, E, 2 * np.arange(n + 1), np.arange(2 * n, dtype=np.int32).reshape(2, n).T.ravel()


def on_codes(step, forward):
    """`multihot` where tokens are given."""
    return SimpleNamespace(
        step=lambda tokens, labels, n_keys, *rest: step(*halves(tokens, n_keys), labels, n_keys, *rest),
        forward=lambda tokens, n_keys, *params: forward(*halves(tokens, n_keys), n_keys, *params),
    )


STEPS = {"dense": dense, "unmerged": unmerged, "multihot": on_codes(multihot.step, multihot.forward)}
SOURCES = {
    name: SimpleNamespace(step=compile.source(module.step))
    for name, module in (("dense", dense), ("unmerged", unmerged))
}
SOURCES["multihot"] = on_codes(compile.source(multihot.step), None)


def a_step(loss, params, prompts, form="dense", among=STEPS):
    """Mean loss and its gradients as `Params`."""
    n_keys = prompts.tokens.shape[1] if prompts.query_attends else prompts.length
    labels = prompts.labels.copy()  # writable, as `nlicl.loss_and_grad` has them: one compilation serves both
    value, *grads = among[form].step(prompts.tokens, labels, n_keys, *params, KIND[loss])
    return value, Params(*grads)


def a_forward(params, prompts, form="dense"):
    """Scores, attention, contexts, pre-activations."""
    n_keys = prompts.tokens.shape[1] if prompts.query_attends else prompts.length
    return STEPS[form].forward(prompts.tokens, n_keys, *params)
