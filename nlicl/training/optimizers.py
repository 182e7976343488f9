"""Optimizers: how a gradient becomes a step.

    theta   a trained block          g_t   its mean gradient over the batch, d loss / d theta
    eta_t   the learning rate        lambda   weight decay, `weight_decay` of the run
    m_t, v_t   decaying means of the gradient and of its square

All of it is entry by entry. A run counts its steps from t = 0, the papers from t = 1: `updates + 1` below is their t. An
optimizer knows nothing of masks: the descent keeps what a mask keeps, in the parameters and in the moments.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..core.arrays import packed
from ..core.checks import real
from ..core.describe import name_of, short
from ..core.errors import InvalidType, InvalidValue
from ..kernels import adam

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Blocks",
    "Optimizer",
    "OptimizerState",
    "check_optimizer",
    "divided_by_zero",
    "named",
]

Blocks = Mapping[str, NDArray[np.floating]]
"""Arrays by the names of the parameters they belong to."""


class OptimizerState(NamedTuple):
    """What an optimizer remembers between two steps. A checkpoint holds it.

    Attributes
    ----------
    updates : int
        How many updates were made.
    moments : dict of str to Blocks
        For each kind of moment, such as "m", an array for each trained block: of its shape, in the dtype of the run.
    """

    updates: int = 0
    moments: Mapping[str, Blocks] = {}


@runtime_checkable
class Optimizer(Protocol):
    """What `nlicl.train` asks of an optimizer. A frozen dataclass will do."""

    @property
    def name(self) -> str:
        """The name that checkpoints hold."""
        ...

    def settings(self) -> Mapping[str, Any]:
        """Its own settings as plain values. A run resumes only with the same ones."""
        ...

    def init(self, params: Blocks) -> OptimizerState:
        """The state before the first update of these blocks."""
        ...

    def update(
        self, params: Blocks, grads: Blocks, state: OptimizerState, eta: float, weight_decay: float
    ) -> tuple[Blocks, OptimizerState]:
        """The blocks and the state after one step.

        Parameters
        ----------
        params, grads : Blocks
            The trained blocks, and the loss's derivative with respect to each of them, of one dtype.
        state : OptimizerState
            As `init` or the update before returned it.
        eta, weight_decay : float
            eta_t and lambda.

        Returns
        -------
        params : Blocks
            New arrays, in the same dtype. What is given is not changed.
        state : OptimizerState
        """
        ...


class _Settings:
    """The fields of a dataclass as its settings."""

    def settings(self) -> dict[str, float]:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]


@dataclass(frozen=True)
class SGD(_Settings):
    """Stochastic gradient descent: theta <- theta - eta_t (g_t + lambda theta). It has no settings and remembers nothing.

    It is what the papers of this library train by. On the population it is gradient descent.
    """

    __module__ = "nlicl.training"

    name = "SGD"

    def init(self, params: Blocks) -> OptimizerState:
        """Nothing to remember."""
        return OptimizerState()

    def update(
        self, params: Blocks, grads: Blocks, state: OptimizerState, eta: float, weight_decay: float
    ) -> tuple[Blocks, OptimizerState]:
        """One step; the state stays as it is."""
        new = {}
        for name, theta in params.items():
            change = weight_decay * theta  # lambda theta
            change += grads[name]  # g_t + lambda theta
            change *= eta
            new[name] = theta - change  # theta <- theta - eta_t (g_t + lambda theta)
        return new, state


@dataclass(frozen=True)
class _Moments(_Settings):
    """Decaying means of the gradient and of its square, and the step that Adam and AdamW take by them."""

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        for name in ("beta_1", "beta_2"):
            self._keep(name, real(name, getattr(self, name), "at least 0 and below 1", lambda x: 0 <= x < 1))
        self._keep("epsilon", real("epsilon", self.epsilon, "at least 0", lambda x: x >= 0))

    def _keep(self, name: str, value: float) -> None:
        object.__setattr__(self, name, value)

    def init(self, params: Blocks) -> OptimizerState:
        """m_0 = 0 and v_0 = 0."""
        zeros = [{name: np.zeros_like(theta) for name, theta in params.items()} for _ in range(2)]
        return OptimizerState(0, dict(zip(("m", "v"), zeros, strict=True)))

    def _updated(
        self, params: Blocks, grads: Blocks, state: OptimizerState, eta: float, coupled: float, decoupled: float
    ) -> tuple[Blocks, OptimizerState]:
        """One step, with weight decay within the gradient or past the moments: `kernels.adam` has its equations."""
        t = state.updates + 1
        numbers = [eta, coupled, decoupled]
        for beta in (self.beta_1, self.beta_2):
            numbers += [beta, 1 - beta, 1 - beta**t]
        new: dict[str, NDArray[np.floating]] = {}
        moments: dict[str, dict[str, NDArray[np.floating]]] = {"m": {}, "v": {}}
        for name, theta in params.items():
            if theta.dtype not in (np.float32, np.float64):
                raise InvalidType(
                    f"params[{name!r}] has dtype {theta.dtype}; expected float32 or float64, as in a run."
                )
            after = [np.empty(theta.shape, theta.dtype) for _ in range(3)]
            before = (theta, state.moments["m"][name], state.moments["v"][name], grads[name])
            arrays = [array.reshape(-1) for array in (*after, *map(packed, before))]
            with np.errstate(
                all="ignore"
            ):  # numbers may be 0 or infinity in float32; the descent looks for what is not finite
                adam.update(*arrays, *map(theta.dtype.type, (*numbers, self.epsilon)))
            new[name], moments["m"][name], moments["v"][name] = after
        return new, OptimizerState(t, moments)


@dataclass(frozen=True)
class Adam(_Moments):
    """Adam: Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, Algorithm 1.

        g_t <- g_t + lambda theta
        m_t = beta_1 m_{t-1} + (1 - beta_1) g_t          m^_t = m_t / (1 - beta_1^t)
        v_t = beta_2 v_{t-1} + (1 - beta_2) g_t^2        v^_t = v_t / (1 - beta_2^t)
        theta <- theta - eta_t m^_t / (sqrt(v^_t) + epsilon)

    The first line is not in the algorithm. Weight decay is coupled: it is the gradient of (lambda/2) |theta|^2, added to the
    loss's, and goes through the moments as that does. Where it should not, take `AdamW`.

    Parameters
    ----------
    beta_1, beta_2 : float
        At least 0 and below 1.
    epsilon : float
        At least 0. At 0, an entry whose gradients were all 0 becomes 0/0, and the run ends as diverged.

    Raises
    ------
    TypeError, ValueError
        Settings out of range, named.
    """

    __module__ = "nlicl.training"

    name = "Adam"

    def update(
        self, params: Blocks, grads: Blocks, state: OptimizerState, eta: float, weight_decay: float
    ) -> tuple[Blocks, OptimizerState]:
        """One step of Algorithm 1."""
        return self._updated(params, grads, state, eta, coupled=weight_decay, decoupled=0.0)


@dataclass(frozen=True)
class AdamW(_Moments):
    """AdamW: Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, Algorithm 2.

        m_t = beta_1 m_{t-1} + (1 - beta_1) g_t          m^_t = m_t / (1 - beta_1^t)
        v_t = beta_2 v_{t-1} + (1 - beta_2) g_t^2        v^_t = v_t / (1 - beta_2^t)
        theta <- theta - eta_t (m^_t / (sqrt(v^_t) + epsilon) + lambda theta)

    Weight decay is decoupled: it goes past the moments, so that decay alone multiplies theta by 1 - eta_t lambda. Algorithm 2
    multiplies its own lambda by the schedule alone and not by the learning rate eta: that lambda is eta lambda here. PyTorch's
    AdamW is as here.

    Parameters
    ----------
    beta_1, beta_2 : float
        At least 0 and below 1.
    epsilon : float
        At least 0. At 0, an entry whose gradients were all 0 becomes 0/0, and the run ends as diverged.

    Raises
    ------
    TypeError, ValueError
        Settings out of range, named.
    """

    __module__ = "nlicl.training"

    name = "AdamW"

    def update(
        self, params: Blocks, grads: Blocks, state: OptimizerState, eta: float, weight_decay: float
    ) -> tuple[Blocks, OptimizerState]:
        """One step of Algorithm 2."""
        return self._updated(params, grads, state, eta, coupled=0.0, decoupled=weight_decay)


def divided_by_zero(optimizer: Optimizer, blocks: Blocks, state: OptimizerState) -> str | None:
    """What to do where an update of Adam or AdamW divided by 0 and made an entry infinite or NaN; None where it did not."""
    if not isinstance(optimizer, _Moments):
        return None
    for name, block in blocks.items():
        v = state.moments.get("v", {}).get(name)  # a subclass may remember something else
        if v is not None and v.dtype.type(optimizer.epsilon) == 0 and (~np.isfinite(block) & (v == 0)).any():
            return (
                f"{optimizer.name} divided by 0 in {name}: epsilon is {optimizer.epsilon:g}, 0 in {v.dtype}, where the "
                "gradients were 0, or their squares. Raise epsilon."
            )
    return None


_KINDS = {kind.name.lower(): kind for kind in (SGD, Adam, AdamW)}


def named(name: str, settings: Mapping[str, Any]) -> Optimizer:
    """One of the library's optimizers, by its name in any case and its settings, as a checkpoint or a command line has them.

    Raises
    ------
    ValueError, TypeError
        No such optimizer, no such setting of it, or a setting out of range.
    """
    kind = _KINDS.get(name.lower())
    if kind is None:
        raise InvalidValue(f"optimizer is {short(name)}; expected one of {', '.join(map(repr, _KINDS))}.")
    known = [field.name for field in fields(kind)]
    unknown = [key for key in settings if key not in known]
    if unknown:
        raise InvalidValue(f"{kind.name} has no setting {unknown[0]!r}; it has {', '.join(known) or 'none'}.")
    return kind(**settings)


def check_optimizer(optimizer: Any) -> Optimizer:
    """`optimizer` itself; an error with what to give unless it is an object that `Optimizer` describes."""
    if isinstance(optimizer, type):
        raise InvalidType(f"optimizer is the class {name_of(optimizer)}; expected an object: {optimizer.__name__}().")
    if not isinstance(optimizer, Optimizer):
        raise InvalidType(
            f"optimizer is {short(optimizer)}; expected an object with init and update, for example nlicl.training.Adam()."
        )
    for member in ("settings", "init", "update"):
        if not callable(getattr(optimizer, member)):
            raise InvalidType(f"optimizer.{member} is {short(getattr(optimizer, member))}; expected a method.")
    if not isinstance(optimizer.name, str):
        raise InvalidType(f"optimizer.name is {short(optimizer.name)}; expected a str.")
    own = optimizer.settings()
    if not isinstance(own, Mapping):
        raise InvalidType(f"optimizer.settings() returns {short(own)}; expected a dict of plain values, {{}} for none.")
    if "name" in own:
        raise InvalidValue(
            "optimizer.settings() has a setting 'name', which is the optimizer's own; expected another word."
        )
    return optimizer
