"""Linear attention in the place of softmax: another model on the parameters and prompts of Li et al.

    F = a^T relu(W_O W_V c),      c = sum_i s_i p_i / n,      s_i = (W_K p_i)^T W_Q p_query,      n keys

In reverse, with g = dF of the mean, dh = g a 1[h > 0], dc = W_V^T W_O^T dh:

    ds_i = p_i . dc / n,    du = sum_i ds_i p_i,    dW_K = (W_Q p_q) du^T,    dW_Q = (W_K du) p_q^T
"""

from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from nlicl import CodedPrompts, Params, Prompts, loss_and_grad, papers
from nlicl.audit.subject import Formula, Subject, fill
from nlicl.experiments import style
from nlicl.experiments.claims import every
from nlicl.experiments.experiment import Training
from nlicl.experiments.figure import Figure, Recipe
from nlicl.experiments.series import spread
from nlicl.models.model import register
from nlicl.models.transformer import audited
from nlicl.models.transformer.checks import check_params, check_tokens_fit
from nlicl.papers.li2024 import Problem


class Forward(NamedTuple):
    score: np.ndarray
    attention: np.ndarray


# ---- The definition: one prompt, any dtype


def definition(params, prompt, loss):
    W_Q, W_K, W_V, W_O, a = params
    p = prompt.keys
    s = (W_K @ p).T @ (W_Q @ prompt.query)
    h = W_O @ (W_V @ (p @ s / p.shape[1]))
    F = a @ np.where(h.real > 0, h, 0)
    return (F - prompt.z) ** 2 / 2, h


class Step:
    """A batch, forward and backward by hand."""

    def _forward(self, params, batch):
        W_Q, W_K, W_V, W_O, a = params
        P, p_q = batch.tokens[:, : batch.length + batch.query_attends], batch.tokens[:, -1]
        k = p_q @ W_Q.T  # k = W_Q p_query
        s = np.einsum("bid,bd->bi", P, k @ W_K) / P.shape[1]  # s_i = p_i . W_K^T k, over n
        c = np.einsum("bi,bid->bd", s, P)
        v = c @ W_V.T
        h = v @ W_O.T
        return P, p_q, k, s, c, v, h, np.maximum(h, 0) @ a  # F = a^T relu(h)

    def checked(self, params, batch):
        params = check_params(params)
        batch = batch if isinstance(batch, Prompts) else batch.dense(params.W_Q.dtype)
        check_tokens_fit(params, batch.tokens)
        return params, batch

    def forward(self, params, batch):
        *_, s, _, _, _, F = self._forward(*self.checked(params, batch))
        return Forward(F, s)

    def loss_and_grad(self, params, batch, loss):
        params, batch = self.checked(params, batch)
        P, p_q, k, _, c, v, h, F = self._forward(params, batch)
        _, W_K, W_V, W_O, a = params
        g = (F - batch.labels) / len(F)  # loss = (F - z)^2 / 2
        dh = g[:, None] * a * (h > 0)  # F = a^T relu(h)
        dv = dh @ W_O  # h = W_O v
        dc = dv @ W_V  # v = W_V c
        ds = np.einsum("bid,bd->bi", P, dc) / P.shape[1]  # c = sum_i s_i p_i
        du = np.einsum("bi,bid->bd", ds, P)  # s_i = p_i . u / n
        dk = du @ W_K.T  # u = W_K^T k
        grads = Params(dk.T @ p_q, k.T @ du, dv.T @ c, dh.T @ v, np.maximum(h, 0).T @ g)
        return ((F - batch.labels) ** 2).mean() / 2, grads


class LinearAttention:
    name = "linear-attention"
    Params = Params
    losses = ("squared",)
    steps = MappingProxyType({(Prompts, "cpu"): Step(), (CodedPrompts, "cpu"): Step()})
    definition = staticmethod(definition)


MODEL = register(LinearAttention())


# ---- Its formulas, judged by the audit


def dW_K(params, prompt):
    """g (W_Q p_query) (sum_i (p_i . dc) p_i / n)^T, dc = W_V^T W_O^T (a 1[h > 0])."""
    _, W_K, W_V, W_O, a = params
    p, k, n = prompt.keys, params.W_Q @ prompt.query, prompt.keys.shape[1]
    h = W_O @ W_V @ (p @ ((W_K @ p).T @ k) / n)
    dc = W_V.T @ W_O.T @ (a * (h > 0))
    return (a @ np.maximum(h, 0) - prompt.z) * np.outer(k, p @ (p.T @ dc) / n)


def mean_loss(params, prompts):
    return sum(definition(params, prompt, "squared")[0] for prompt in prompts) / len(prompts)


subject = Subject(
    name="linear-attention",
    title="Linear attention on Li et al.'s prompts",
    formulas={"W_K": Formula(dW_K, "W_K", "W_K", "g (W_Q p_q) du^T", "derived")},
    points=lambda draws, seed, attends: fill(
        [], audited.random_points(np.random.default_rng([3, seed]), attends), draws
    ),
    definition=lambda params, prompt: definition(params, prompt, "squared"),
    kernel=mean_loss,
    source=mean_loss,
    gradient=lambda params, prompts: loss_and_grad(params, prompts, model=MODEL)[1],
)


def runs(options):
    training = Training(
        Problem(), steps=60, batch=32, learning_rate=3.0, loss="squared", measure=None, model=MODEL.name
    )
    return {"run": training}


def measure(options, seed, runs):
    return runs["run"].history.loss


def assemble(options, seeds, found):
    loss = np.array(found)
    claims = [every("the loss falls", loss[:, -1] / loss[:, 0], high=0.5)]
    return Figure("Training", {}, seeds, [spread("loss", np.arange(loss.shape[1]), loss)], claims)


def draw(figure):
    canvas, axes = style.new()
    style.curve(axes, figure["loss"], 0)
    return canvas


FIGURES = {"loss": Recipe("loss", "The loss", runs, measure, assemble, draw=draw)}
PAPER = papers.register(papers.Paper("linear-attention", subject.title, subject, Problem, Params, figures=__name__))
