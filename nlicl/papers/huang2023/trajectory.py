"""What is followed of one query while Q is trained: a `Point`, and many of them as a `Trajectory`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ...core.arrays import fitting, frozen, real_array
from ...core.checks import boolean, choice, function, instance, integer, numbers, real
from ...core.errors import InvalidValue
from ...core.memory import check_memory

__all__ = ["KINDS", "POINT", "Point", "Trajectory"]

KINDS = ("balanced", "dominant", "under-represented")
POINT = 600  # bytes of a point, while a trajectory is made


class Point(NamedTuple):
    """The state of query v_k and its increments; numbers, or arrays along a trajectory.

    Attributes
    ----------
    A, B_1, B_o : float
        A_k, B_{k,1} and B_{k,n} of each other feature n (their mean where they differ). B_1 is nan where no feature but the
        query's own may be dominant.
    Attn_k, Attn_1 : float
        Mean feature scores over prompts of the query's own feature and of v_1 (nan as B_1).
    missed : float
        Mean of (1 - Attn_k)^2: convergence ends when it is eps.
    L_k : float
        Mean of 1/2 ||Attn - e_k||^2.
    alpha, beta_1, beta_o : float
        alpha_k, beta_{k,1}, beta_{k,n}: d/dtau of A, B_1, B_o.
    """

    A: Any
    B_1: Any
    B_o: Any
    Attn_k: Any
    Attn_1: Any
    missed: Any
    L_k: Any
    alpha: Any
    beta_1: Any
    beta_o: Any


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One query along gradient descent or gradient flow.

    Attributes
    ----------
    kind : {"balanced", "dominant", "under-represented"}
    K : int
    tau : ndarray (T,)
        Flow time, eta times the step for gradient descent.
    points : Point of ndarray (T,)
    eta : float or None
        None for gradient flow.
    interpolant : callable or None
        tau -> Point between the points of a gradient flow; called through `at`. None for gradient descent.
    reached : bool or None
        Whether it came to the eps it was to stop at; None where none was given.
    """

    kind: str
    K: int
    tau: np.ndarray
    points: Point
    eta: float | None = None
    interpolant: Callable[[float], Point] | None = None
    reached: bool | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", choice("kind", self.kind, KINDS))
        object.__setattr__(self, "K", integer("K", self.K, 2, most=None))
        (tau,) = fitting({"tau": self.tau}, {"tau": "(T,)"})
        points = []
        for name, values in (
            instance("points", self.points, Point)._asdict().items()
        ):  # nan where a weight does not exist
            points.append(real_array(values, f"points.{name}", "(T,)"))
            if points[-1].shape != tau.shape:
                raise InvalidValue(f"points.{name} has shape {points[-1].shape}; expected {tau.shape}, that of tau.")
        object.__setattr__(self, "tau", frozen(np.array(tau)))
        object.__setattr__(self, "points", Point(*(frozen(np.array(values)) for values in points)))
        if self.eta is not None:
            object.__setattr__(self, "eta", real("eta", self.eta, "greater than 0", lambda x: x > 0))
        if self.interpolant is not None:
            function("interpolant", self.interpolant, "tau")
        if self.reached is not None:
            object.__setattr__(self, "reached", boolean("reached", self.reached))

    def at(self, tau: ArrayLike) -> Point:
        """The state anywhere on a gradient flow.

        Parameters
        ----------
        tau : float or array_like
            Flow time, from 0 to the end, `tau[-1]`.

        Returns
        -------
        Point
            Of numbers, or of arrays of tau's shape.

        Raises
        ------
        ValueError, TypeError
            A time outside the trajectory; gradient descent, which has no points between its steps.
        """
        if self.interpolant is None:
            raise InvalidValue(
                "this is gradient descent, which has no points between steps; expected a gradient flow. Take A[step], "
                "L_k[step] and so on."
            )
        tau = numbers("tau", tau)
        if not np.size(tau):
            raise InvalidValue(f"tau has shape {np.shape(tau)}; expected at least one time.")
        if np.ndim(tau):
            check_memory(f"tau has {tau.size} times, of {POINT} bytes each", POINT * tau.size, "Give fewer.")
            return Point(*np.array([self.at(one) for one in tau.ravel()]).T.reshape(-1, *tau.shape))
        end = self.tau[-1]
        wanted = f"from 0 to {end:.17g}, where the trajectory ends"
        return self.interpolant(real("tau", tau, wanted, lambda tau: 0 <= tau <= end))

    def __getattr__(self, name: str) -> Any:
        if name in Point._fields and "points" in vars(self):  # not while `copy` and `pickle` make one
            return getattr(self.points, name)
        raise AttributeError(f"a Trajectory has no {name!r}; it has tau, {', '.join(Point._fields)}")

    def __repr__(self) -> str:
        how = "gradient flow" if self.eta is None else f"gradient descent, eta = {self.eta:g}"
        short = ", eps not reached" if self.reached is False else ""
        return f"Trajectory({self.kind} query, K = {self.K}, {how}, {len(self.tau)} points to tau = {self.tau[-1]:.6g}{short})"
