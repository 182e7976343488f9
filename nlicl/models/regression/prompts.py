"""Parameters and prompts of Huang et al. 2023. Notation: see the docstring of `nlicl.papers.huang2023`."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from ...core.arrays import as_array, check_finite, checked_index, frozen, given, real_array
from ...core.checks import boolean, inexact
from ...core.errors import InvalidType, InvalidValue
from ...core.memory import check_tokens
from .. import prompt
from ..model import Batch
from ..notebook import params_html

__all__ = ["Code", "CodedPrompts", "Params", "Prompt", "Prompts"]


class Params(NamedTuple):
    """The trained parameter; gradients have the same form.

    Attributes
    ----------
    Q : ndarray (d, d)
        The key-query matrix's only free block: score_i = x_i^T Q x_query, rows for keys, columns for queries.
    """

    Q: np.ndarray

    def __repr__(self) -> str:
        return f"Params(Q {np.shape(self.Q)}, {getattr(self.Q, 'dtype', '?')})"

    def _repr_html_(self) -> str | None:
        return params_html(self)


class Code(NamedTuple):
    """One prompt by its distinct inputs: columns of `V` (d, K), how often each is a context, its label, the query's column.

    The query's column may have the count 0.
    """

    V: np.ndarray
    counts: np.ndarray
    omega: np.ndarray
    query: int


@dataclass(frozen=True)
class Prompt(prompt.Prompt):
    """One prompt with its label, in column notation: P is E(P) (d+1, N+1), with columns (x_i, y_i), last (x_query, 0).

    Attributes
    ----------
    tokens : ndarray (N+1, d+1)
        Tokens (x_i, y_i) as rows, the query (x_query, 0) last.
    z : float
        y_query = <w, x_query>, a real number.
    query_attends : bool
        Whether the query is one of the tokens it attends to (not masked); default no.
    """

    @property
    def X(self) -> np.ndarray:
        """The contexts' inputs x_i as columns (d, N)."""
        return self.tokens[:-1, :-1].T

    @property
    def y(self) -> np.ndarray:
        """The contexts' labels y_i (N,)."""
        return self.tokens[:-1, -1]

    @property
    def x_query(self) -> np.ndarray:
        """(d,)."""
        return self.tokens[-1, :-1]

    @property
    def code(self) -> Code:
        """The prompt as a `Code`, its features numbered anew: the inputs that occur, in lexicographic order.

        ValueError if equal inputs have different labels, which no function gives.
        """
        inputs = np.concatenate([self.X.T, self.x_query[None]])
        distinct, first, which = np.unique(inputs, axis=0, return_index=True, return_inverse=True)
        which = which.reshape(-1)
        labels = np.append(self.y, self.z)
        if np.any(labels != labels[first][which]):
            n = int(np.argmax(labels != labels[first][which]))
            raise InvalidValue(
                f"tokens {first[which[n]]} and {n} have the same input and the labels {labels[first[which[n]]]} and "
                f"{labels[n]}; expected labels of one function."
            )
        return Code(distinct.T, np.bincount(which[:-1], minlength=len(distinct)), labels[first], int(which[-1]))


@dataclass(frozen=True, eq=False)
class Prompts(Batch):
    """A batch of prompts of one length.

    Parameters
    ----------
    tokens : array_like (B, N+1, d+1), floating
        Tokens (x_i, y_i) as rows, the query (x_query, 0) last; B, N, d >= 1. Inputs may be any vectors. Kept without a
        copy: what is written to the array later changes the prompts.
    labels : array_like (B,)
        y_query of each prompt, a real number; stored in the tokens' dtype.
    query_attends : bool
        Whether the query is one of the tokens it attends to; the paper masks it [recalled], so no is the default.

    Raises
    ------
    TypeError
        Tokens or labels that are not numbers, tokens that are integers.
    ValueError
        Wrong shapes, a query whose label is not 0, NaN, infinity.
    """

    tokens: np.ndarray
    labels: np.ndarray
    query_attends: bool = False

    def __post_init__(self) -> None:
        tokens = real_array(self.tokens, "tokens", "(B, N+1, d+1)", complex_too=True)
        B, rows, width = tokens.shape
        if B == 0 or rows < 2 or width < 2:
            raise InvalidValue(
                f"tokens has shape {tokens.shape}; expected (B, N+1, d+1) with B >= 1 prompts of N >= 1 contexts, the query "
                "last, and d >= 1: the last entry of a token is its label."
            )
        check_finite(tokens, "tokens")
        labels = _numbers(self.labels, "labels", (B,), tokens.dtype, "one label for each prompt of tokens")
        if tokens[:, -1, -1].any():
            n = int(np.argmax(tokens[:, -1, -1] != 0))
            raise InvalidValue(
                f"tokens[{n}, -1, -1] is {tokens[n, -1, -1]}; expected 0: the query (x_query, 0) carries no label. Pass it in "
                "labels."
            )
        object.__setattr__(self, "tokens", tokens)
        object.__setattr__(self, "labels", frozen(labels))
        object.__setattr__(self, "query_attends", boolean("query_attends", self.query_attends))

    def __reduce__(self) -> tuple[Any, ...]:
        """What `pickle` and `copy` make it from: checked arrays, as anybody's."""
        return type(self), (self.tokens, self.labels, self.query_attends)

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
            return Prompt(self.tokens[index], z.item() if z.dtype.kind == "f" else z, self.query_attends)
        return Prompts(self.tokens[index], self.labels[index], self.query_attends)

    def __repr__(self) -> str:
        B, rows, width = self.tokens.shape
        attends = ", query_attends=True" if self.query_attends else ""
        return f"Prompts(B={B}, N={rows - 1}, d={width - 1}, {self.tokens.dtype}{attends})"


@dataclass(frozen=True, eq=False)
class CodedPrompts(Batch):
    """A batch of prompts whose inputs are columns of V: x_i = v_{features[i]}, y_i = omega_{features[i]}.

    Parameters
    ----------
    V : array_like (d, K), floating
        The features v_1 .. v_K as columns. They need not be orthonormal here; a `Problem`'s are.
    features : array_like of int (B, N+1)
        Feature of every token, from 0; the query's last.
    omega : array_like (B, K), floating
        omega_k = <w, v_k> of each prompt's task w.
    query_attends : bool
        As in `Prompts`.

    Counts, queries and omega are all that model and loss depend on: a prompt's cost does not grow with its length. The arrays
    are kept as read-only copies. Do not change the given ones in another thread meanwhile.

    Raises
    ------
    TypeError, ValueError
        Wrong shapes or dtypes, a feature that is no column of V, NaN, infinity.
    """

    V: np.ndarray
    features: np.ndarray
    omega: np.ndarray
    query_attends: bool = False

    def __post_init__(self) -> None:
        V = real_array(self.V, "V", "(d, K)")
        if min(V.shape) < 1:
            raise InvalidValue(f"V has shape {V.shape}; expected (d, K) with d, K >= 1.")
        check_finite(V, "V")
        features = as_array(self.features, "features")
        if features.dtype.kind not in "iu":
            raise InvalidType(
                f"features {given(self.features, features)}; expected integers. Give "
                "numpy.asarray(features).astype(numpy.int32)."
            )
        if features.ndim != 2 or features.shape[0] < 1 or features.shape[1] < 2:
            raise InvalidValue(
                f"features has shape {features.shape}; expected (B, N+1) with B >= 1 prompts of N >= 1 contexts, the query "
                "last."
            )
        features = np.array(features)  # what is checked is what is kept
        K = V.shape[1]
        if features.min() < 0 or features.max() >= K:
            raise InvalidValue(
                f"features holds {features.min()} to {features.max()}; expected columns of V, 0 to {K - 1}."
            )
        features = features.astype(np.int32, copy=False)
        omega = real_array(self.omega, "omega", "(B, K)")
        if omega.shape != (len(features), K):
            raise InvalidValue(
                f"omega has shape {omega.shape}; expected ({len(features)}, {K}), (B, K) with B as in features of shape "
                f"{features.shape} and K as in V of shape {V.shape}."
            )
        check_finite(omega, "omega")
        for name, array in (("V", V), ("features", features), ("omega", omega)):
            object.__setattr__(self, name, frozen(np.array(array, order="C")))
        object.__setattr__(self, "query_attends", boolean("query_attends", self.query_attends))

    @property
    def length(self) -> int:
        """N, the number of contexts."""
        return self.features.shape[1] - 1

    @cached_property
    def counts(self) -> np.ndarray:
        """c_k = |V_k|, how many contexts carry each feature (B, K)."""
        B, K = self.omega.shape
        places = self.features[:, :-1] + K * np.arange(B)[:, None]
        return frozen(np.bincount(places.ravel(), minlength=B * K).reshape(B, K))

    @property
    def query(self) -> np.ndarray:
        """The queries' features (B,)."""
        return self.features[:, -1]

    @property
    def labels(self) -> np.ndarray:
        """y_query = omega_k of the query's feature (B,)."""
        return frozen(np.take_along_axis(self.omega, self.features[:, -1:], axis=1)[:, 0])

    def __len__(self) -> int:
        return len(self.features)

    def __reduce__(self) -> tuple[Any, ...]:
        """What `pickle` and `copy` make it from: checked arrays, as anybody's."""
        return type(self), (self.V, self.features, self.omega, self.query_attends)

    def __getitem__(self, index: Any) -> Any:
        """`prompts[i]` is a `Prompt`; a slice or an index array gives `CodedPrompts`."""
        index = checked_index(index, len(self))
        if isinstance(index, int):
            return self[index : index + 1].dense()[0]
        return CodedPrompts(self.V, self.features[index], self.omega[index], self.query_attends)

    def dense(self, dtype: DTypeLike = np.float64) -> Prompts:
        """The same prompts as arrays of tokens.

        Parameters
        ----------
        dtype : floating dtype
            Of the tokens, float64 if not said.

        Returns
        -------
        Prompts
        """
        dtype = inexact("dtype", dtype)
        d, (B, rows) = self.V.shape[0], self.features.shape
        check_tokens(B, rows, d + 1, 2 * dtype.itemsize)
        tokens = np.empty((*self.features.shape, d + 1), dtype)
        tokens[..., :d] = np.ascontiguousarray(self.V.T, dtype)[self.features]
        tokens[..., d] = np.take_along_axis(self.omega, self.features, axis=1)
        tokens[:, -1, d] = 0
        return Prompts(tokens, self.labels, self.query_attends)

    def __repr__(self) -> str:
        d, K = self.V.shape
        attends = ", query_attends=True" if self.query_attends else ""
        return f"CodedPrompts(B={len(self)}, N={self.length}, K={K}, d={d}{attends})"


def _numbers(value: Any, name: str, shape: tuple[int, ...], dtype: np.dtype, what: str) -> np.ndarray:
    """`value` as a new array of finite numbers in `dtype`; or a clear error."""
    array = as_array(value, name)
    kinds = "fiuc" if dtype.kind == "c" else "fiu"
    if array.dtype.kind not in kinds:
        raise InvalidType(f"{name} {given(value, array)}; expected real numbers.")
    if array.shape != shape:
        raise InvalidValue(f"{name} has shape {array.shape}; expected {shape}, {what}.")
    check_finite(array, name)
    return array.astype(dtype)
