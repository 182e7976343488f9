"""Steps of gradient descent, on the CPU and on a GPU, and the prompts that each takes.

A run's `State` holds what was reached. On the CPU that is always so; on a GPU it catches up when it is asked to.
"""

import numpy as np

from .. import devices
from ..core.checks import integer
from ..core.errors import InvalidType, InvalidValue
from ..kernels.layers import loss as losses
from ..kernels.products import are_finite
from ..models.front import check_batch, loss_and_grad
from ..models.model import find, step_of
from ..models.transformer.prompts import CodedPrompts, Params, Prompts
from .runs import describe, diverged

__all__ = ["OnCpu", "OnGpu", "draws"]

_LOOK = 100  # steps after which a run on a GPU looks whether all is well
_EXPLODED = 1e6  # times the first loss, or 1: beyond that a run only waits for the overflow


def draws(problem, prompts, batch, seed, start, on_gpu):
    """step -> prompts of that step, on the GPU if they are to be there."""
    if on_gpu and (not isinstance(start, Params) or (isinstance(prompts, str) and prompts == "population")):
        what = f"the model of {describe(problem)['type']}" if not isinstance(start, Params) else "prompts='population'"
        raise InvalidType(f"backend is 'cuda', and there are no GPU kernels for {what}. Take backend='cpu'.")
    if isinstance(prompts, str):
        if prompts not in ("fresh", "population"):
            raise InvalidValue(f"prompts is {prompts!r}; expected 'fresh', 'population', a number, or prompts.")
        if prompts == "fresh":
            if on_gpu and hasattr(problem, "device_sampler"):
                sampler = problem.device_sampler(batch, start[0].dtype)
                return lambda t: sampler((seed, t))
            return _moving(lambda t: problem.sample(batch, seed=(seed, t)), start, on_gpu)
        if not hasattr(problem, "population"):
            raise InvalidValue(
                f"prompts is 'population': {describe(problem)['type']} has none to compute with. Expected 'fresh', a "
                "number, or prompts."
            )
        prompts = problem.population(seed=(seed, 1, 0))
        return lambda t: prompts
    if isinstance(prompts, (int, np.integer)):
        prompts = problem.sample(integer("prompts", prompts, 1), seed=(seed, 1, 0))
    check_batch(prompts)
    step_of(find(start, prompts), prompts, "cpu")
    if batch >= len(prompts):
        whole = _moving(lambda t: prompts, start, on_gpu)(0)
        return lambda t: whole
    if on_gpu:
        prompts = devices.to_host(prompts)  # whence the chosen ones are brought back

    def chosen(t):
        return prompts[np.random.default_rng([4, seed, t]).choice(len(prompts), batch, replace=False)]

    return _moving(chosen, start, on_gpu)


def _moving(draw, start, on_gpu):
    """The same draws, brought to the GPU if they are to be there, codes without a kernel as tokens of the run's dtype."""
    if not on_gpu:
        return draw

    def moved(t):
        prompts = draw(t)
        return devices.to_device(
            prompts if isinstance(prompts, (Prompts, CodedPrompts)) else prompts.dense(start[0].dtype)
        )

    return moved


class OnCpu:
    """Steps of a run on the CPU: `state` is always what was reached."""

    every = 1  # step, it is known what was reached

    def __init__(self, state, draw, loss, trained, weight_decay, masks):
        self.state, self.draw, self.loss = state, draw, loss
        self.trained, self.weight_decay, self.masks = trained, weight_decay, masks

    def step(self, t):
        state = self.state
        state.loss[t], grads = loss_and_grad(state.params, self.draw(t), self.loss)
        with np.errstate(all="ignore"):  # overflow is looked for below
            updated = _update(state.params, grads, self.trained, state.eta[t], self.weight_decay, self.masks)
        if not are_finite(*(getattr(updated, name) for name in self.trained)):
            raise diverged(state, "a parameter is not finite after the update")
        state.params, state.t = updated, t + 1
        if state.loss[t] > _EXPLODED * max(1.0, abs(state.loss[0])):
            raise _exploded(state)

    def catch_up(self):
        """Bring `state` up to what was reached."""


def _update(params, grads, trained, eta, weight_decay, masks):
    """One step of SGD on the trained blocks."""
    changed = {}
    for name in trained:
        W = getattr(params, name)
        change = W.dtype.type(weight_decay) * W
        change += getattr(grads, name)
        if name in masks:
            change *= masks[name]
        change *= W.dtype.type(eta)
        changed[name] = W - change  # W <- W - eta ( dW + lambda W )
    return params._replace(**changed)


class OnGpu:
    """Steps of a run on a GPU: `state` is what was reached when it last caught up."""

    def __init__(self, state, draw, loss, trained, weight_decay, masks):
        self.every = _LOOK
        self.state, self.draw, self.kind = state, draw, losses.NAMES[loss]
        self.model = find(state.params)
        if state.t < len(state.loss):
            prompts = draw(state.t)
            step_of(self.model, prompts, "cuda").checked(state.params, prompts)
        flags = [
            np.broadcast_to(
                masks.get(name, array.dtype.type(1)) if name in trained else array.dtype.type(0), array.shape
            )
            for name, array in state.params._asdict().items()
        ]
        self.descent = devices.kernels().Descent(state.params, flags, weight_decay, state.loss, state.t, _EXPLODED)

    def step(self, t):
        prompts = self.draw(t)
        step = step_of(self.model, prompts, "cuda")
        inputs, labels = step.operands(prompts, self.descent.dtype)
        n_keys = prompts.length + bool(prompts.query_attends)
        self.descent.step(t, self.state.eta[t], step.kernel.step, inputs, labels, n_keys, self.kind)
        if (t + 1) % self.every == 0 and not self.descent.well():
            self.catch_up()

    def catch_up(self):
        state = self.state
        state.t, wrong, params, state.loss[:] = self.descent.fetch()
        state.params = state.params._replace(**dict(zip(state.params._fields, params, strict=True)))
        if wrong == 1:
            raise diverged(state, "the loss, a gradient or a parameter is not finite")
        if wrong == 2:
            raise _exploded(state)


def _exploded(state):
    return diverged(state, f"the loss is {state.loss[state.t - 1]:.3g}, and was {state.loss[0]:.3g} at the start")
