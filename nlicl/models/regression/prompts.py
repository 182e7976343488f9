"""Parameters and prompts of Huang et al. 2023, and the front door to their kernels. Notation: see the package's docstring."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ...core.arrays import check_finite, frozen, kind_of, packed, real_array
from ...core.errors import InvalidType, InvalidValue, NotFinite
from ...kernels.steps import regression
from ..transformer import prompts

__all__ = ["Code", "CodedPrompts", "Forward", "Params", "Prompt", "Prompts", "check_params"]

_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


class Params(NamedTuple):
    """The trained parameter; gradients have the same form.

    Attributes
    ----------
    Q : ndarray (d, d)
        The key-query matrix's only free block: score_i = x_i^T Q x_query, rows for keys, columns for queries.
    """

    Q: np.ndarray

    def __repr__(self):
        return f"Params(Q {np.shape(self.Q)}, {getattr(self.Q, 'dtype', '?')})"


class Forward(NamedTuple):
    """What the model computes on a batch.

    Attributes
    ----------
    score : ndarray (B,)
        yhat, the prediction of y_query.
    attention : ndarray (B, N)
        attn_i on every context ((B, N+1) where the query attends to itself).
    Attn : ndarray (B, K) or None
        Attn_k, the sum of attn_i over the contexts with x_i = v_k; of coded prompts only.
    """

    score: np.ndarray
    attention: np.ndarray
    Attn: np.ndarray | None


class Code(NamedTuple):
    """One prompt by its distinct inputs: columns of `V` (d, K), how often each is a context, its label, the query's column.

    The query's column may have the count 0.
    """

    V: np.ndarray
    counts: np.ndarray
    omega: np.ndarray
    query: int


@dataclass(frozen=True)
class Prompt(prompts.Prompt):
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
    def X(self):
        """The contexts' inputs x_i as columns (d, N)."""
        return self.tokens[:-1, :-1].T

    @property
    def y(self):
        """The contexts' labels y_i (N,)."""
        return self.tokens[:-1, -1]

    @property
    def x_query(self):
        """(d,)."""
        return self.tokens[-1, :-1]

    @property
    def code(self):
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


class _Batch:
    """What both kinds of batches have in common."""

    takes = Params

    def __iter__(self):
        return (self[n] for n in range(len(self)))

    def _is_one(self, index):
        return np.ndim(index) == 0 and not isinstance(index, slice)

    def _check_width(self, d, name, shape, params):
        if params.Q.shape[0] != d:
            raise InvalidValue(
                f"prompts.{name} has shape {shape}, d = {d}; params.Q has shape {params.Q.shape}. Expected Q of shape "
                f"({d}, {d})."
            )

    def forward(self, params):
        """Predictions and attention for every prompt.

        Parameters
        ----------
        params : Params
            float32 or float64; `Prompts` of the same dtype, `CodedPrompts` take it.

        Returns
        -------
        Forward
            In the dtype given.

        Raises
        ------
        TypeError, ValueError
            As `loss_and_grad`.
        """
        params = self._checked(params)
        with np.errstate(all="ignore"):  # overflow is found, and explained, below
            found = self._forward(params)
        if not np.isfinite(found.score).all():
            _explain_not_finite("a prediction", params.Q.dtype)
        return found

    def loss_and_grad(self, params, loss="squared"):
        """Mean loss and its gradient, by the handwritten backward pass.

        Parameters
        ----------
        params : Params
            As in `forward`.
        loss : {"squared"}
            (yhat - y_query)^2 / 2, the only one this model has.

        Returns
        -------
        loss : floating scalar
        grads : Params

        Raises
        ------
        TypeError
            Not this paper's Params; a dtype other than float32 and float64, or another than the prompts'.
        ValueError
            Shapes that do not fit, NaN or infinity, another loss, a loss or gradient that overflows.
        """
        check_loss(loss)
        params = self._checked(params)
        with np.errstate(all="ignore"):
            value, dQ = self._step(params)
        if not np.isfinite(value):
            _explain_not_finite("the loss", params.Q.dtype)
        if not np.isfinite(dQ).all():
            _explain_not_finite("the gradient of Q", params.Q.dtype)
        return value, Params(dQ)


@dataclass(frozen=True, eq=False)
class Prompts(_Batch):
    """A batch of prompts of one length.

    Parameters
    ----------
    tokens : array_like (B, N+1, d+1), floating
        Tokens (x_i, y_i) as rows, the query (x_query, 0) last; B, N, d >= 1. Kept without a copy. Inputs may be any vectors.
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

    def __post_init__(self):
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
        object.__setattr__(self, "query_attends", bool(self.query_attends))

    @property
    def length(self):
        """N, the number of contexts."""
        return self.tokens.shape[1] - 1

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, index):
        """`prompts[i]` is a `Prompt`; a slice or an index array gives `Prompts`."""
        if self._is_one(index):
            z = self.labels[index]
            return Prompt(self.tokens[index], z.item() if z.dtype.kind == "f" else z, self.query_attends)
        return Prompts(self.tokens[index], self.labels[index], self.query_attends)

    def __repr__(self):
        B, rows, width = self.tokens.shape
        attends = ", query_attends=True" if self.query_attends else ""
        return f"Prompts(B={B}, N={rows - 1}, d={width - 1}, {self.tokens.dtype}{attends})"

    def _checked(self, params):
        params = check_params(params)
        self._check_width(self.tokens.shape[2] - 1, "tokens", self.tokens.shape, params)
        if self.tokens.dtype != params.Q.dtype:
            raise InvalidType(
                f"prompts.tokens has dtype {self.tokens.dtype}, params.Q {params.Q.dtype}; expected one dtype. Convert one of "
                f"them, for example tokens.astype(numpy.{params.Q.dtype})."
            )
        return params

    @property
    def _keys(self):
        return self.length + self.query_attends

    def _forward(self, params):
        return Forward(*regression.forward(packed(self.tokens), self._keys, params.Q), None)

    def _step(self, params):
        return regression.step(packed(self.tokens), packed(self.labels), self._keys, params.Q)


@dataclass(frozen=True, eq=False)
class CodedPrompts(_Batch):
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

    Counts, queries and omega are all that model and loss depend on: a prompt's cost does not grow with its length.

    Raises
    ------
    TypeError, ValueError
        Wrong shapes or dtypes, a feature that is no column of V, NaN, infinity.
    """

    V: np.ndarray
    features: np.ndarray
    omega: np.ndarray
    query_attends: bool = False

    def __post_init__(self):
        V = real_array(self.V, "V", "(d, K)")
        if min(V.shape) < 1:
            raise InvalidValue(f"V has shape {V.shape}; expected (d, K) with d, K >= 1.")
        check_finite(V, "V")
        features = np.asarray(self.features)
        if features.dtype.kind not in "iu":
            raise InvalidType(
                f"features has dtype {features.dtype}; expected integers. Give "
                "numpy.asarray(features).astype(numpy.int32)."
            )
        if features.ndim != 2 or features.shape[0] < 1 or features.shape[1] < 2:
            raise InvalidValue(
                f"features has shape {features.shape}; expected (B, N+1) with B >= 1 prompts of N >= 1 contexts, the query "
                "last."
            )
        K = V.shape[1]
        if features.min() < 0 or features.max() >= K:
            raise InvalidValue(
                f"features holds {features.min()} to {features.max()}; expected columns of V, 0 to {K - 1}."
            )
        omega = real_array(self.omega, "omega", "(B, K)")
        if omega.shape != (len(features), K):
            raise InvalidValue(
                f"omega has shape {omega.shape}; expected ({len(features)}, {K}), (B, K) with B as in features of shape "
                f"{features.shape} and K as in V of shape {V.shape}."
            )
        check_finite(omega, "omega")
        for name, array in (("V", V), ("features", features.astype(np.int32, copy=False)), ("omega", omega)):
            object.__setattr__(self, name, frozen(packed(array)))
        object.__setattr__(self, "query_attends", bool(self.query_attends))

    @property
    def length(self):
        """N, the number of contexts."""
        return self.features.shape[1] - 1

    @cached_property
    def counts(self):
        """c_k = |V_k|, how many contexts carry each feature (B, K)."""
        B, K = self.omega.shape
        places = self.features[:, :-1] + K * np.arange(B)[:, None]
        return frozen(np.bincount(places.ravel(), minlength=B * K).reshape(B, K))

    @property
    def query(self):
        """The queries' features (B,)."""
        return self.features[:, -1]

    @property
    def labels(self):
        """y_query = omega_k of the query's feature (B,)."""
        return frozen(np.take_along_axis(self.omega, self.features[:, -1:], axis=1)[:, 0])

    def __len__(self):
        return len(self.features)

    def __getitem__(self, index):
        """`prompts[i]` is a `Prompt`; a slice or an index array gives `CodedPrompts`."""
        if self._is_one(index):
            return self[[index]].dense()[0]
        return CodedPrompts(self.V, self.features[index], self.omega[index], self.query_attends)

    def dense(self, dtype=np.float64):
        """The same prompts as arrays of tokens.

        Parameters
        ----------
        dtype : floating dtype
            Of the tokens, float64 if not said.

        Returns
        -------
        Prompts
        """
        d = self.V.shape[0]
        tokens = np.empty((*self.features.shape, d + 1), dtype)
        tokens[..., :d] = np.ascontiguousarray(self.V.T, dtype)[self.features]
        tokens[..., d] = np.take_along_axis(self.omega, self.features, axis=1)
        tokens[:, -1, d] = 0
        return Prompts(tokens, self.labels, self.query_attends)

    def __repr__(self):
        d, K = self.V.shape
        attends = ", query_attends=True" if self.query_attends else ""
        return f"CodedPrompts(B={len(self)}, N={self.length}, K={K}, d={d}{attends})"

    def _checked(self, params):
        params = check_params(params)
        self._check_width(self.V.shape[0], "V", self.V.shape, params)
        return params

    def _arrays(self, dtype):
        """What the coded kernels take, floating numbers in `dtype`."""
        V, omega = (packed(array.astype(dtype, copy=False)) for array in (self.V, self.omega))
        return self.counts.astype(dtype), omega, np.ascontiguousarray(self.query), int(self.query_attends), V

    def _forward(self, params):
        score, each, own = regression.coded_forward(*self._arrays(params.Q.dtype), params.Q)
        attention = np.take_along_axis(each, self.features[:, : self.length], axis=1)
        if self.query_attends:
            attention = np.concatenate([attention, own[:, None]], axis=1)
        return Forward(score, attention, self.counts.astype(each.dtype) * each)

    def _step(self, params):
        return regression.coded_step(*self._arrays(params.Q.dtype), params.Q)


def check_loss(loss):
    """ValueError for any loss but this model's."""
    if not isinstance(loss, str) or loss != "squared":
        raise InvalidValue(f"loss is {loss!r}; expected 'squared', the loss of huang2023: labels are real numbers.")


def check_params(params):
    """`params` as a Params with a packed, finite, square Q of float32 or float64; a clear error otherwise."""
    if not isinstance(params, Params):
        raise InvalidType(f"params is a {kind_of(params)}; expected nlicl.papers.huang2023.Params(Q).")
    Q = real_array(params.Q, "params.Q", "(d, d)")
    if Q.dtype not in _DTYPES:
        raise InvalidType(
            f"params.Q has dtype {Q.dtype}; expected float32 or float64. Convert with .astype(numpy.float64)."
        )
    if Q.shape[0] != Q.shape[1] or Q.size == 0:
        raise InvalidValue(f"params.Q has shape {Q.shape}; expected (d, d) with d >= 1.")
    check_finite(Q, "params.Q")
    return Params(packed(Q))


def _numbers(value, name, shape, dtype, what):
    """`value` as a new array of finite numbers in `dtype`; or a clear error."""
    array = np.asarray(value)
    kinds = "fiuc" if dtype.kind == "c" else "fiu"
    if array.dtype.kind not in kinds:
        raise InvalidType(f"{name} has dtype {array.dtype}; expected real numbers.")
    if array.shape != shape:
        raise InvalidValue(f"{name} has shape {array.shape}; expected {shape}, {what}.")
    check_finite(array, name)
    return array.astype(dtype)


def _explain_not_finite(what, dtype):
    raise NotFinite(
        f"{what} is not finite although parameters and prompts are: products of them overflow {dtype}. "
        "Scale parameters or prompts down" + (", or use float64." if dtype == np.float32 else ".")
    )
