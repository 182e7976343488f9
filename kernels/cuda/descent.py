"""Gradient descent on a GPU: all parameters in one flat array, updated together; numbers come to the host when fetched."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compile import blocks, cuda, kernel, launch
from .memory import empty, gradients_of

__all__ = ["Descent"]


@kernel
def descend(new, W, dW, mask, eta, decay, wrong):
    """new = W - eta mask (dW + decay W); wrong[0] = 1 if that, or the gradient, is not finite."""
    i = cuda.grid(1)
    if i < W.shape[0]:
        new[i] = W[i] - eta * (mask[i] * (dW[i] + decay * W[i]))
        if not (math.isfinite(new[i]) and math.isfinite(dW[i])):
            wrong[0] = 1  # whoever writes it, writes the same


@kernel
def judge(state, history, t, loss, most, wrong):
    """history[t] = loss. state (2,): how many updates were made; and 0 while all is well, 1 once something is not finite, 2
    once the loss is more than `most` times what it was, or 1."""
    if state[1] == 0:
        history[t] = loss[0]
        first = history[0] if history[0] > 1 else 1.0
        if wrong[0] != 0 or not math.isfinite(loss[0]):
            state[1] = 1
        else:
            state[0] = t + 1
            if loss[0] > most * first:
                state[1] = 2
    wrong[0] = 0


@kernel
def commit(W, new, state, t):
    """W = new, unless step t was not made."""
    i = cuda.grid(1)
    if i < W.shape[0] and state[0] == t + 1:
        W[i] = new[i]


class Descent:
    """Gradient descent on the GPU. Parameters, losses and whether all is well stay there until they are fetched."""

    def __init__(
        self,
        params: Sequence[NDArray],
        masks: Sequence[NDArray],
        decay: float,
        history: NDArray,
        t: int,
        most: float,
    ) -> None:
        """Parameters (arrays of one dtype), masks of their shapes, losses (T,) of which those before t are known."""
        self.dtype, self.decay, self.most = params[0].dtype, params[0].dtype.type(decay), most
        self.shapes = [array.shape for array in params]
        self.W, self.mask = (
            cuda.to_device(np.concatenate([np.ravel(array) for array in arrays])) for arrays in (params, masks)
        )
        self.new = empty(self.W.size, self.dtype)
        self.history = cuda.to_device(np.append(history, np.nan))  # T may be 0
        self.views = self.params(self.W)
        self.gradients, self.parts = gradients_of(params)
        self.loss = self.gradients[self.W.size :]
        self.state, self.wrong = cuda.to_device(np.array([t, 0])), cuda.to_device(np.zeros(1, np.int32))

    def params(self, whole: Any) -> list[Any]:
        """Its parts, as parameters of their shapes."""
        ends = np.cumsum([math.prod(shape) for shape in self.shapes]).tolist()
        return [whole[end - math.prod(s) : end].reshape(*s) for s, end in zip(self.shapes, ends, strict=True)]

    def step(
        self, t: int, eta: float, step: Callable[..., None], inputs: Sequence[Any], labels: Any, n_keys: int, kind: int
    ) -> None:
        """W <- W - eta mask (dW + decay W), by the gradients of `dense.step` or `coded.step`; nothing comes to the host."""
        step(self.parts, *inputs, labels, n_keys, *self.views, kind)
        grid = blocks(self.W.size)
        eta = self.dtype.type(eta)
        launch(descend, grid, self.new, self.W, self.gradients, self.mask, eta, self.decay, self.wrong)
        launch(judge, 1, self.state, self.history, t, self.loss, self.most, self.wrong, threads=1)
        launch(commit, grid, self.W, self.new, self.state, t)

    def well(self) -> bool:
        """Whether nothing has stopped it so far: 16 bytes come to the host."""
        return bool(self.state.copy_to_host()[1] == 0)

    def fetch(self) -> tuple[int, int, list[NDArray], NDArray]:
        """How many updates were made, 0 or what is wrong (1: not finite, 2: exploded), parameters and losses, on the host."""
        t, wrong = self.state.copy_to_host().tolist()
        return t, wrong, self.params(self.W.copy_to_host()), self.history.copy_to_host()[:-1]
