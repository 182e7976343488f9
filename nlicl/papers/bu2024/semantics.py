"""Concepts as directions: word features a_k +- b_k, label vectors c_k +- d_k, and what to make of them out of distribution."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ...core.arrays import check_finite, frozen, real_array
from ...core.checks import integer, numbers
from ...core.errors import InvalidValue
from ...core.memory import check_memory
from ...models.overflow import finite

__all__ = ["Semantics"]


@dataclass(frozen=True, eq=False)
class Semantics:
    """The concepts and semantics of a dictionary: mu_k^+- = a_k +- b_k, q_k^+- = c_k +- d_k. Kept as read-only copies.

    Not `Params.a`: here a_k is what the two words of a concept share, b_k what tells them apart; c_k and d_k likewise for
    labels [form recalled].

    Attributes
    ----------
    a, b : ndarray (d_x, K1)
        A column a concept.
    c, d : ndarray (d_y, K1)

    Raises
    ------
    TypeError, ValueError
        Arrays that are not floating, that do not fit together, or hold NaN or infinity.
    """

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    d: np.ndarray

    def __post_init__(self) -> None:
        for name in "abcd":
            array = real_array(getattr(self, name), name, "(d_x, K1)" if name in "ab" else "(d_y, K1)")
            check_finite(array, name)
            object.__setattr__(self, name, frozen(np.array(array)))
        for name, like in (("b", "a"), ("d", "c")):
            if getattr(self, name).shape != getattr(self, like).shape:
                raise InvalidValue(
                    f"{name} has shape {getattr(self, name).shape}; expected that of {like}, {getattr(self, like).shape}."
                )
        if self.a.shape[1] != self.c.shape[1] or self.a.size == 0 or self.c.size == 0:
            raise InvalidValue(
                f"a has shape {self.a.shape} and c {self.c.shape}; expected a column for each concept, as many in both."
            )

    def __reduce__(self) -> tuple[Any, ...]:
        """What `pickle` and `copy` make it from: checked arrays, as anybody's."""
        return type(self), (self.a, self.b, self.c, self.d)

    @property
    def concepts(self) -> int:
        """K1, their number."""
        return self.a.shape[1]

    def combined(
        self,
        *,
        a: ArrayLike | None = None,
        b: ArrayLike | None = None,
        c: ArrayLike | None = None,
        d: ArrayLike | None = None,
    ) -> "Semantics":
        """New concepts, each direction a linear combination of the old ones.

        Parameters
        ----------
        a, b, c, d : array_like (K1, K1'), optional
            Column k: the coefficients of the new a_k in the old a_1 .. a_K1, and so on. As it is, if not given.

        Returns
        -------
        Semantics

        Raises
        ------
        TypeError, ValueError
            Coefficients that are no numbers, not finite, of another shape; new directions of different number.
        """
        made = {}
        for name, given in {"a": a, "b": b, "c": c, "d": d}.items():
            coefficients = np.eye(self.concepts) if given is None else numbers(name, given)
            if coefficients.ndim != 2 or len(coefficients) != self.concepts:
                raise InvalidValue(
                    f"{name} has shape {coefficients.shape}; expected ({self.concepts}, K1'): a row for each old concept, a "
                    "column for each new one."
                )
            d, columns = len(self.a if name in "ab" else self.c), coefficients.shape[1]
            check_memory(f"{name} has {columns} columns: directions of length {d}", 8 * d * columns, "Give fewer.")
            with np.errstate(over="ignore", invalid="ignore"):  # then the directions are not finite
                made[name] = getattr(self, name) @ coefficients
        return Semantics(**made)

    def switched(self, by: int = 1) -> "Semantics":
        """The semantics of one concept with the meaning of the next: (a_{k+1}; b_k) with labels c_{k+1}, d_k.

        What the paper calls switched semantic features [paper]; this reading of it is ours [derived].

        Parameters
        ----------
        by : int
            How many concepts further the next is; at least 0.

        Returns
        -------
        Semantics
        """
        turn = np.roll(np.eye(self.concepts), integer("by", by, 0), axis=0)
        return self.combined(a=turn, c=turn)

    def words(self) -> np.ndarray:
        """mu_1^+, mu_1^-, .., mu_K1^-, as columns (d_x, 2 K1)."""
        return _signed(self.a, self.b)

    def labels(self) -> np.ndarray:
        """q_1^+, q_1^-, .., q_K1^-, as columns (d_y, 2 K1)."""
        return _signed(self.c, self.d)

    def __repr__(self) -> str:
        return f"Semantics(K1={self.concepts}, d_x={len(self.a)}, d_y={len(self.c)})"


def _signed(concept: np.ndarray, semantic: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        columns = finite("a word or a label", np.stack([concept + semantic, concept - semantic], axis=2))
    return columns.reshape(len(concept), -1)  # from (dimension, K1, 2)
