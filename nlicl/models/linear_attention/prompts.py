"""Parameters and prompts of multi-head linear attention. Notation: see the docstring of `nlicl.papers.zhang2025`."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ...core.arrays import as_array, check_finite, checked_index, frozen, given, real_array
from ...core.checks import boolean, magnitude
from ...core.errors import InvalidType, InvalidValue
from .. import prompt
from ..model import Batch
from ..notebook import params_html

__all__ = ["Params", "Prompt", "Prompts", "SeparateParams"]


class Params(NamedTuple):
    """Merged keys and queries; gradients have the same form.

    Only the last row of each V_h and the first D columns of each W_h act: the rest has the gradient 0.

    Attributes
    ----------
    V : ndarray (H, E, E)
        W^V_h, the values; E = D + 1.
    W : ndarray (H, E, E)
        W^KQ_h, rows for keys, columns for the query: the score of the token t is xt_t^T W_h xt_query.
    """

    V: np.ndarray
    W: np.ndarray

    def __repr__(self) -> str:
        return f"Params(V {np.shape(self.V)}, W {np.shape(self.W)}, {getattr(self.V, 'dtype', '?')})"

    def _repr_html_(self) -> str | None:
        return params_html(self)


class SeparateParams(NamedTuple):
    """Separate keys and queries, W^KQ_h = K_h^T Q_h; gradients have the same form.

    Only the last row of each V_h and the first D columns of each Q_h act: the rest has the gradient 0.

    Attributes
    ----------
    V : ndarray (H, E, E)
        W^V_h, the values; E = D + 1.
    K, Q : ndarray (H, R, E)
        W^K_h and W^Q_h, of rank R.
    """

    V: np.ndarray
    K: np.ndarray
    Q: np.ndarray

    def __repr__(self) -> str:
        shapes = f"V {np.shape(self.V)}, K {np.shape(self.K)}, Q {np.shape(self.Q)}"
        return f"SeparateParams({shapes}, {getattr(self.V, 'dtype', '?')})"

    def _repr_html_(self) -> str | None:
        return params_html(self)


@dataclass(frozen=True)
class Prompt(prompt.Prompt):
    """One prompt with its label, in column notation: P is X (E, N+1), with columns (x_n; y_n), last (x_query; 0).

    Attributes
    ----------
    tokens : ndarray (N+1, E)
        Tokens (x_n, y_n) as rows, the query (x_query, 0) last.
    z : float
        The query's label: y_query, a real number; -1 or +1 for the logistic loss.
    query_attends : bool
        Yes: the query is one of its keys.
    softmax : bool
        Whether scores go through a softmax over all N+1 tokens.
    scale : float
        s, by which the sum over heads is multiplied: 1/N in the paper, 1 in its code.
    """

    query_attends: bool = True
    softmax: bool = False
    scale: float = field(default=1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "softmax", boolean("softmax", self.softmax))
        object.__setattr__(self, "scale", magnitude("scale", self.scale))

    @property
    def X(self) -> np.ndarray:
        """The contexts' inputs x_n as columns (D, N)."""
        return self.tokens[:-1, :-1].T

    @property
    def y(self) -> np.ndarray:
        """The contexts' labels y_n (N,)."""
        return self.tokens[:-1, -1]

    @property
    def x_query(self) -> np.ndarray:
        """(D,)."""
        return self.tokens[-1, :-1]


@dataclass(frozen=True, eq=False)
class Prompts(Batch):
    """A batch of prompts of one length, and how attention takes them.

    Parameters
    ----------
    tokens : array_like (B, N+1, E), floating
        Tokens (x_n, y_n) as rows, the query (x_query, 0) last; B, N, D >= 1, E = D + 1. The query is among the keys. Kept
        without a copy: what is written to the array later changes the prompts.
    labels : array_like (B,)
        The queries' labels, real numbers; -1 or +1 for the logistic loss. Stored in the tokens' dtype.
    softmax : bool
        Whether scores go through a softmax over all N+1 tokens; default no, linear attention.
    scale : float or None
        s, by which the sum over heads is multiplied. None: 1/N, the paper's [source, description]; its code has 1 [source].

    Raises
    ------
    TypeError
        Tokens or labels that are not numbers, tokens that are integers.
    ValueError
        Wrong shapes, a query with a label in its token, NaN, infinity, a scale of 0.
    """

    tokens: np.ndarray
    labels: np.ndarray
    softmax: bool = False
    scale: float | None = None

    query_attends = True

    def __post_init__(self) -> None:
        tokens = real_array(self.tokens, "tokens", "(B, N+1, E)", complex_too=True)
        B, rows, width = tokens.shape
        if B == 0 or rows < 2 or width < 2:
            raise InvalidValue(
                f"tokens has shape {tokens.shape}; expected (B, N+1, E) with B >= 1 prompts of N >= 1 contexts, the query "
                "last, and E >= 2: the last entry of a token is its label."
            )
        check_finite(tokens, "tokens")
        labels = _labels(self.labels, B, tokens.dtype)
        if tokens[:, -1, -1].any():
            n = int(np.argmax(tokens[:, -1, -1] != 0))
            raise InvalidValue(
                f"tokens[{n}, -1, -1] is {tokens[n, -1, -1]}; expected 0: the query (x_query, 0) carries no label. Pass it in "
                "labels."
            )
        object.__setattr__(self, "tokens", tokens)
        object.__setattr__(self, "labels", frozen(labels))
        object.__setattr__(self, "softmax", boolean("softmax", self.softmax))
        if self.scale is not None:
            object.__setattr__(self, "scale", magnitude("scale", self.scale))

    def __reduce__(self) -> tuple[Any, ...]:
        """What `pickle` and `copy` make it from: checked arrays, as anybody's."""
        return type(self), (self.tokens, self.labels, self.softmax, self.scale)

    @property
    def s(self) -> float:
        """The scale as a number."""
        return 1 / self.length if self.scale is None else self.scale

    @property
    def length(self) -> int:
        """N, the number of contexts."""
        return self.tokens.shape[1] - 1

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: Any) -> Any:
        """`prompts[i]` is a `Prompt`; a slice or an index array gives `Prompts`."""
        index = checked_index(index, len(self))
        if isinstance(index, int):
            z = self.labels[index]
            z = z.item() if z.dtype.kind == "f" and z.dtype.itemsize <= 8 else z
            return Prompt(self.tokens[index], z, True, self.softmax, self.s)
        return Prompts(self.tokens[index], self.labels[index], self.softmax, self.scale)

    def cast(self, dtype: np.dtype) -> "Prompts":
        """The same prompts for parameters of this dtype."""
        if self.tokens.dtype == dtype:
            return self
        return Prompts(self.tokens.astype(dtype), self.labels.astype(dtype), self.softmax, self.scale)

    def __repr__(self) -> str:
        B, rows, width = self.tokens.shape
        how = ", softmax=True" * self.softmax + ("" if self.scale is None else f", scale={self.scale:g}")
        return f"Prompts(B={B}, N={rows - 1}, D={width - 1}, {self.tokens.dtype}{how})"


def _labels(value: Any, B: int, dtype: np.dtype) -> np.ndarray:
    """`value` as a new array of finite numbers in `dtype`; or a clear error."""
    array = as_array(value, "labels")
    if array.dtype.kind not in ("fiuc" if dtype.kind == "c" else "fiu"):
        raise InvalidType(f"labels {given(value, array)}; expected real numbers.")
    if array.shape != (B,):
        raise InvalidValue(f"labels has shape {array.shape}; expected ({B},), one label for each prompt of tokens.")
    check_finite(array, "labels")
    with np.errstate(over="ignore"):  # it is found, and raised
        labels = array.astype(dtype)
    if not np.isfinite(labels).all():
        n = int(np.argmin(np.isfinite(labels)))
        raise InvalidValue(f"labels[{n}] is {array[n]}; expected numbers that {dtype}, the dtype of tokens, can hold.")
    return labels
