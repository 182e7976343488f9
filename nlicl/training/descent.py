"""Descent on the CPU and on a GPU: the prompts of a step, the model's step from its table, and the update.

A run's `State` holds what was reached. On the CPU that is always so; on a GPU it catches up when it is asked to.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import devices
from ..core.describe import kind_of
from ..core.errors import InvalidType, InvalidValue, NotFinite
from ..core.seeds import Part, TrainingUncounted, uncounted
from ..kernels.products import are_finite
from ..models.front import check_batch
from ..models.model import Batch, Descent, DeviceStep, Model, Step, step_of
from .optimizers import SGD, Blocks, OptimizerState, divided_by_zero
from .plan import Plan
from .problem import FreshDescent, Problem, extra, own_fresh_descent
from .returned import check_gradients, check_update
from .runs import Diverged, State, diverged

__all__ = ["OnCpu", "OnGpu"]

_LOOK = 100  # steps after which a run on a GPU, or one that its model takes itself, looks whether all is well
_SECONDS = 0.05  # that the steps of one call may take: Ctrl-C waits for its end
_EXPLODED = 1e6  # times the first loss, or 1: beyond that a run only waits for the overflow


def _draws(plan: Plan) -> Callable[[int], Batch]:
    """The prompts of each step, t -> batch. They depend on the plan and on t alone."""
    problem, prompts, batch, seed = plan.problem, plan.prompts, plan.batch, plan.seed
    on_gpu = plan.device == "cuda"
    if isinstance(prompts, str) and prompts == "population":
        population = extra(problem, "population")(seed=(seed, Part.TRAINING_SET, 0))
        return lambda t: population
    if isinstance(prompts, str) and batch is not None:  # "fresh", which has a batch
        if on_gpu and (make := extra(problem, "device_sampler")) is not None:
            sampler = make(batch, plan.dtype)
            return lambda t: sampler((seed, t))
        return lambda t: _sample(problem, "batch", batch, (seed, t))
    given: Any = prompts
    if isinstance(prompts, int):
        given = _sample(problem, "prompts", prompts, (seed, Part.TRAINING_SET, 0))
    if batch is None or batch >= len(given):
        return lambda t: given
    if devices.choose("auto", arrays=given.arrays).stays:
        given = devices.to_host(given)  # chosen from there; the chosen ones are brought back
    return lambda t: given[uncounted(TrainingUncounted.CHOICE, seed, t).choice(len(given), batch, replace=False)]


def _sample(problem: Problem, name: str, number: int, seed: tuple[int, ...]) -> Batch:
    """Prompts of the problem; errors about their number n speak of the argument `name`."""
    try:
        return problem.sample(number, seed=seed)
    except InvalidValue as error:
        if not str(error).startswith("n is "):
            raise
        raise InvalidValue(f"{name}{str(error)[1:]}".replace("Lower n ", f"Lower {name} ")) from None


class OnCpu:
    """Steps of a run on the CPU: `state` is what was reached, always, or where the model descends itself when it caught up."""

    def __init__(self, plan: Plan, state: State) -> None:
        self.every = 1  # after so many steps it is known what was reached
        self.at_once = 1  # so many steps it makes in one call, at most
        self.sound = state.t  # steps after which nothing was wrong
        self.plan, self.state, self._draw = plan, state, _draws(plan)
        self._masks = {name: mask for name, mask in plan.masks.items() if name in plan.trained}
        self._checked = False  # what the first step takes and returns: others come from where it came from
        self._fresh: FreshDescent | None = None  # the problem's own descent
        self._last = (state.params, state.t)  # where its last call began
        self._own: Descent | None = None  # the model's own descent
        self._owner: Step | None = None  # whose it is
        self._reached, self._whole = state.t, True  # steps of the own descent; whether the last was finished

    def steps(self, t: int, end: int) -> None:
        """Steps t, t + 1, .. before `end`, `at_once` at most: losses into the history, what was reached into the state."""
        self.sound = t
        if self._fresh is None:
            self._step(t)
            self.sound = t + 1
        else:
            self._fresh_steps(self._fresh, t, min(end, t + self.at_once))

    def rewind(self, t: int) -> None:
        """The state after step t - 1, which is of the last call: what was made beyond it is not to count."""
        if t < self.state.t:
            self.state.params, self.state.t = self._last
            self._fresh_steps(self._fresh, self.state.t, t)

    def _fresh_steps(self, fresh: FreshDescent | None, t: int, end: int) -> None:
        """Steps of the problem's own descent."""
        assert fresh is not None
        plan, state = self.plan, self.state
        self._last = (state.params, t)
        began = time.perf_counter()
        largest = np.inf if t == 0 else _EXPLODED * max(1.0, abs(state.loss[0]))
        params, made, why = fresh.steps(
            state.params, t, state.loss[t:end], state.eta[t:end], plan.weight_decay, float(largest)
        )
        state.loss[t + made : end] = np.nan
        state.params, state.t = params, t + made
        self.sound = state.t - _has_exploded(state, state.t - 1)
        if why is not None:
            raise diverged(state, why)
        if self.sound < state.t:
            raise _exploded(state)
        self.at_once = max(1, min(_LOOK, int(_SECONDS * made / max(time.perf_counter() - began, 1e-9))))

    def _step(self, t: int) -> None:
        """Step t."""
        plan, state = self.plan, self.state
        prompts = self._draw(t)
        if not self._checked:
            check_batch(prompts)
        prompts = prompts.cast(plan.dtype)
        if not self._checked:
            devices.choose("cpu", arrays=prompts.arrays)
        step = step_of(plan.model, prompts, "cpu")
        if not self._checked:
            self._fresh = self._fresh_descent(step)
            if self._fresh is not None:
                self._checked = True
                self._fresh_steps(self._fresh, t, t + 1)
                return
            self._own, self._owner = self._descent_of(step, prompts), step
        if self._own is not None and step is not self._owner:  # prompts of another kind
            self.catch_up()
            self._own, self.every = None, 1
        if self._own is not None:
            self._step_of_its_own(self._own, t, prompts)
            return
        state.loss[t], grads = step.loss_and_grad(state.params, prompts, plan.loss)
        if not np.isfinite(state.loss[t]):  # of a model of the user's own: ours say which number overflows
            raise diverged(state, f"the loss is {state.loss[t]:g}")
        if not self._checked:
            check_gradients(grads, state.params)
        before = {name: getattr(state.params, name) for name in plan.trained}
        with np.errstate(all="ignore"):  # overflow is looked for below
            gradients = {name: getattr(grads, name).astype(plan.dtype, copy=False) for name in plan.trained}
            updated = plan.optimizer.update(before, gradients, state.optimizer, float(state.eta[t]), plan.weight_decay)
        if not self._checked:
            check_update(plan.optimizer, updated, before, state.optimizer)
            self._checked = True
        blocks, memory = updated
        blocks, memory = _keep(self._masks, blocks, before), _keep_moments(self._masks, memory, state.optimizer)
        if not are_finite(*blocks.values()):
            raise diverged(
                state, "a parameter is not finite after the update", divided_by_zero(plan.optimizer, blocks, memory)
            )
        for kind, moments in memory.moments.items():
            if not are_finite(*moments.values()):
                raise diverged(
                    state,
                    NotFinite(
                        f"the optimizer's {kind} is not finite although the gradient is: it overflows {plan.dtype}. Scale "
                        "parameters or prompts down" + (", or use float64." if plan.dtype == np.float32 else ".")
                    ),
                )
        state.params, state.optimizer, state.t = state.params._replace(**blocks), memory, t + 1
        if _has_exploded(state, t):
            raise _exploded(state)

    def _fresh_descent(self, step: Step) -> FreshDescent | None:
        """The problem's own descent in place of such steps, where it has one, and the run is by SGD on fresh prompts."""
        plan = self.plan
        make = own_fresh_descent(plan.problem)
        fresh = isinstance(plan.prompts, str) and plan.prompts == "fresh"
        if make is None or not fresh or plan.batch is None or type(plan.optimizer) is not SGD:
            return None
        return make(
            self.state.params,
            batch=plan.batch,
            seed=plan.seed,
            loss=plan.loss,
            trained=plan.trained,
            masks=self._masks,
            step=step,
        )

    def _descent_of(self, step: Step, prompts: Batch) -> Descent | None:
        """The model's own descent from here, where it has one and the run is by SGD."""
        plan = self.plan
        make = getattr(step, "descent", None)
        if make is None or type(plan.optimizer) is not SGD:
            return None
        own = make(self.state.params, prompts, plan.trained, self._masks)
        self.every = 1 if own is None else _LOOK
        return own

    def _step_of_its_own(self, own: Descent, t: int, prompts: Batch) -> None:
        """Step t by the model's own descent: its loss into the history; parameters stay there until the state catches up."""
        plan, state = self.plan, self.state
        self._whole = False  # a second Ctrl-C may break the step off, between two matrices or within one
        try:
            state.loss[t] = own.step(prompts, plan.loss, float(state.eta[t]), plan.weight_decay)
        except NotFinite:  # before anything was changed
            self._whole = True
            self.catch_up()
            raise
        self._checked, self._reached, self._whole = True, t + 1, True
        if (t + 1) % self.every == 0 or _has_exploded(state, t):
            self.catch_up()
        if _has_exploded(state, t):
            raise _exploded(state)

    def catch_up(self) -> None:
        """Bring `state` up to what was reached, unless a step was broken off. `Diverged` if it did not get this far."""
        if self._own is None or not self._whole or self.state.t == self._reached:
            return
        params = self._own.params()
        if not are_finite(*(getattr(params, name) for name in self.plan.trained)):
            raise diverged(self.state, "a parameter is not finite after the update")
        self.state.params, self.state.t = params, self._reached


def _keep(masks: Mapping[str, NDArray[np.bool_]], after: Blocks, before: Blocks) -> Blocks:
    """The blocks after an update, with every masked entry as it was before."""
    if not masks:
        return after
    return {
        name: np.where(masks[name], block, before[name]) if name in masks else block for name, block in after.items()
    }


def _keep_moments(
    masks: Mapping[str, NDArray[np.bool_]], after: OptimizerState, before: OptimizerState
) -> OptimizerState:
    """What the optimizer remembers after an update, with the moments of every masked entry as they were before."""
    kept = {kind: _keep(masks, moments, before.moments[kind]) for kind, moments in after.moments.items()}
    return after._replace(moments=kept)


def _gpu_step(model: Model, batch: Batch) -> DeviceStep:
    """The model's step for such a batch on a GPU; TypeError where it has no kernels that a descent can launch itself."""
    step = step_of(model, batch, "cuda")
    if not isinstance(step, DeviceStep):
        raise InvalidType(
            f"the model {model.name} has a {kind_of(step)} for a GPU, whose kernels a run cannot launch; expected all that "
            "nlicl.models.model.DeviceStep says. Take backend='cpu'."
        )
    return step


class OnGpu:
    """Steps of SGD on a GPU: `state` is what was reached when it last caught up."""

    def __init__(self, plan: Plan, state: State) -> None:
        self.every, self.at_once, self.sound = _LOOK, 1, state.t
        self.plan, self.state, self._draw = plan, state, _draws(plan)
        self._last: Batch | None = None
        self._inputs: Any = None
        if state.t < len(state.loss):
            prompts = self._draw(state.t)
            check_batch(prompts)
            _gpu_step(plan.model, prompts).checked(state.params, prompts)
        flags = [
            np.broadcast_to(plan.masks.get(name, True) if name in plan.trained else False, array.shape).astype(
                array.dtype
            )
            for name, array in state.params._asdict().items()
        ]
        self._descent = devices.kernels().Descent(
            state.params, flags, plan.weight_decay, state.loss, state.t, _EXPLODED
        )

    def rewind(self, t: int) -> None:
        """Nothing: it makes one step a call."""

    def steps(self, t: int, end: int) -> None:
        """Step t, on the GPU: nothing comes to the host, but every so often whether all is well."""
        self.sound = t
        prompts = self._draw(t)
        if type(prompts) is not type(self._last):
            self._step = _gpu_step(self.plan.model, prompts)
        if prompts is not self._last:  # a training set that every step takes whole is brought there once
            self._last, self._inputs = prompts, None
            self._inputs = self._step.operands(prompts, self._descent.dtype)
        inputs, labels = self._inputs
        n_keys = prompts.length + bool(prompts.query_attends)
        kind = self._step.number_of(self.plan.loss)
        self._descent.step(t, self.state.eta[t], self._step.kernel.step, inputs, labels, n_keys, kind)
        if (t + 1) % self.every == 0 and not self._descent.well():
            self.catch_up()
        self.sound = t + 1

    def catch_up(self) -> None:
        """Bring `state` up to what was reached. `Diverged` if it did not get this far."""
        state = self.state
        state.t, wrong, params, state.loss[:] = self._descent.fetch()
        state.params = state.params._replace(**dict(zip(state.params._fields, params, strict=True)))
        if wrong == 1:
            raise diverged(state, "the loss, a gradient or a parameter is not finite")
        if wrong == 2:
            raise _exploded(state)


def _has_exploded(state: State, t: int) -> bool:
    """Whether the loss of step t is so large that the run only waits for the overflow."""
    return bool(state.loss[t] > _EXPLODED * max(1.0, abs(state.loss[0])))


def _exploded(state: State) -> Diverged:
    return diverged(state, f"the loss is {state.loss[state.t - 1]:.3g}, and was {state.loss[0]:.3g} at the start")
