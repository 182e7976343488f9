"""Prompts of Bu et al. 2024: every token with its sparse code, the shared concept, the signs; with noise or without."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from ...core.arrays import as_array, check_finite, checked_index, frozen, real_array
from ...core.checks import boolean, floating, integer
from ...core.errors import InvalidValue
from ...core.memory import check_tokens
from ...kernels.steps import multihot
from ...models.model import Batch
from ...models.prompt import Prompt as AnyPrompt
from ...models.transformer.prompts import Prompts as AnyPrompts

__all__ = ["CodedPrompts", "Prompt", "Prompts"]


@dataclass(frozen=True)
class Prompt(AnyPrompt):
    """One prompt, in the paper's letters; `.P`, `.contexts`, `.query` and `.z` as every prompt has them.

    Attributes
    ----------
    d_x : int
    signs : ndarray of int (L+1,)
        e_1 .. e_L, and last e_q = y_S.
    one_concept : bool
        Whether words and labels carry the shared concept alone, without noise.
    feature : ndarray (d, 2)
        (mu_k^+; q_k^+) and (mu_k^-; q_k^-) of the shared concept.

    Without them, a prompt has the letters of every prompt only.
    """

    d_x: int = 0
    signs: np.ndarray = field(default_factory=lambda: np.zeros(0, int), repr=False)
    one_concept: bool = False
    feature: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)), repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        width = self.tokens.shape[1]
        object.__setattr__(self, "d_x", integer("d_x", self.d_x, 0, width))
        signs, feature = as_array(self.signs, "signs"), as_array(self.feature, "feature")
        if signs.ndim != 1 or signs.dtype.kind not in "iuf" or len(signs) not in (0, len(self.tokens)):
            raise InvalidValue(
                f"signs has shape {signs.shape} and dtype {signs.dtype}; expected ({len(self.tokens)},) integers."
            )
        if feature.shape not in ((0, 2), (width, 2)) or feature.dtype.kind not in "fc":
            raise InvalidValue(
                f"feature has shape {feature.shape} and dtype {feature.dtype}; expected ({width}, 2) floats."
            )
        object.__setattr__(self, "signs", signs)
        object.__setattr__(self, "feature", feature)
        object.__setattr__(self, "one_concept", boolean("one_concept", self.one_concept))

    @property
    def x(self) -> np.ndarray:
        """Words x_1 .. x_L as columns (d_x, L)."""
        return self.contexts[: self.d_x]

    @property
    def y(self) -> np.ndarray:
        """Labels y_1 .. y_L as columns (d_y, L)."""
        return self.contexts[self.d_x :]

    @property
    def x_q(self) -> np.ndarray:
        """The query's word x_{L+1} (d_x,)."""
        return self.query[: self.d_x]

    @property
    def a(self) -> np.ndarray:
        """a_k (d_x,), what both words of the shared concept have in common."""
        return self.feature[: self.d_x].sum(axis=1) / 2

    @property
    def b(self) -> np.ndarray:
        """b_k (d_x,), the semantic direction of the words."""
        return (self.feature[: self.d_x, 0] - self.feature[: self.d_x, 1]) / 2

    @property
    def c(self) -> np.ndarray:
        """c_k (d_y,)."""
        return self.feature[self.d_x :].sum(axis=1) / 2

    @property
    def d(self) -> np.ndarray:
        """d_k (d_y,), the semantic direction of the labels."""
        return (self.feature[self.d_x :, 0] - self.feature[self.d_x :, 1]) / 2


@dataclass(frozen=True, eq=False, repr=False)
class Prompts(AnyPrompts):
    """Prompts as tokens (x_l; y_l), `nlicl.Prompts` whose loss is the logistic one where none is named."""

    loss: ClassVar[str] = "logistic"


@dataclass(frozen=True, eq=False)
class CodedPrompts(Batch):
    """A batch of prompts whose words and labels are sparse codes: x = M z, y = Q z, and noise on top where there is any.

    A token is the sum of the dictionary's columns that its code z names; the query's has no label. Without noise the kernels
    work on codes alone (`nlicl.kernels.steps.multihot`). Noise has as many coordinates as the token and no shorter code:
    with it the tokens are kept, and the kernels for tokens are exact on them.

    Attributes
    ----------
    dictionary : ndarray (d, K)
        [M; Q]: column j is word feature j over its label vector, zero for the irrelevant nu_j.
    d_x : int
        The first d_x rows are words.
    code : ndarray of bool (B, L+1, K)
        z of every token, the query last.
    concept : ndarray of int (B,)
        The shared concept k, from 0.
    signs : ndarray of int (B, L+1)
        e_l, the sign each token carries the shared concept with; the query's is the last.
    labels : ndarray (B,)
        y_S = the sign of the query, -1 or +1.
    tokens : ndarray (B, L+1, d) or None
        The tokens, noise included, kept without a copy; None: no noise. All others are kept as read-only copies.

    Raises
    ------
    TypeError, ValueError
        Arrays of other kinds or shapes, concepts without columns, signs other than -1 and +1, NaN, infinity.
    """

    dictionary: np.ndarray
    d_x: int
    code: np.ndarray
    concept: np.ndarray
    signs: np.ndarray
    tokens: np.ndarray | None = None

    loss: ClassVar[str] = "logistic"
    query_attends = False

    def __post_init__(self) -> None:
        dictionary = real_array(self.dictionary, "dictionary", "(d, K)")
        check_finite(dictionary, "dictionary")
        d, K = dictionary.shape
        d_x = integer("d_x", self.d_x, 1)
        if d_x >= d:
            raise InvalidValue(f"d_x is {d_x}; expected an integer from 1 to d - 1 = {d - 1}: words, then labels.")
        code, concept, signs = (np.array(as_array(getattr(self, name), name)) for name in ("code", "concept", "signs"))
        if code.dtype != bool or code.ndim != 3 or code.shape[2] != K or min(code.shape) < 1 or code.shape[1] < 2:
            raise InvalidValue(
                f"code has shape {code.shape} and dtype {code.dtype}; expected (B, L+1, {K}) of bool: B >= 1 prompts of "
                "L >= 1 demonstrations and the query, a flag for each column of the dictionary."
            )
        if concept.shape != code.shape[:1] or concept.dtype.kind not in "iu":
            raise InvalidValue(
                f"concept has shape {concept.shape} and dtype {concept.dtype}; expected ({len(code)},) integers."
            )
        if concept.min() < 0 or 2 * int(concept.max()) + 1 >= K:
            raise InvalidValue(
                f"concept holds {concept.min()} to {concept.max()}; expected 0 to {K // 2 - 1}: columns 2k and 2k+1 of the "
                f"dictionary, of {K}, are the words of concept k."
            )
        if signs.shape != code.shape[:2] or signs.dtype.kind not in "iuf" or not np.all(abs(signs) == 1):
            raise InvalidValue(
                f"signs has shape {signs.shape} and dtype {signs.dtype}; expected {code.shape[:2]}, each -1 or +1."
            )
        tokens = self.tokens
        if tokens is not None:
            tokens = real_array(tokens, "tokens", "(B, L+1, d)")
            if tokens.shape != (*code.shape[:2], d):
                raise InvalidValue(f"tokens has shape {tokens.shape}; expected {(*code.shape[:2], d)}.")
            check_finite(tokens, "tokens")
        code = code.view(np.uint8) != 0  # every flag one bit: they are counted, and looked up
        self._set(np.array(dictionary), d_x, code, concept, signs.astype(np.int8, copy=False), tokens)

    def _set(
        self,
        dictionary: np.ndarray,
        d_x: int,
        code: np.ndarray,
        concept: np.ndarray,
        signs: np.ndarray,
        tokens: np.ndarray | None,
    ) -> None:
        for name, value in (("dictionary", dictionary), ("code", code), ("concept", concept), ("signs", signs)):
            object.__setattr__(self, name, frozen(value))
        object.__setattr__(self, "d_x", d_x)
        object.__setattr__(self, "tokens", None if tokens is None else frozen(tokens))

    @classmethod
    def unchecked(
        cls,
        dictionary: np.ndarray,
        d_x: int,
        code: np.ndarray,
        concept: np.ndarray,
        signs: np.ndarray,
        noise: np.ndarray | None = None,
    ) -> "CodedPrompts":
        """For samplers: from arrays that are right by construction; the tokens are added to `noise`, if there is any."""
        made = object.__new__(cls)
        made._set(dictionary, d_x, code, concept, signs, None)
        if noise is not None:
            made._add_tokens(noise)
            object.__setattr__(made, "tokens", frozen(noise))
        return made

    @property
    def labels(self) -> np.ndarray:
        """y_S (B,), float64."""
        return self.signs[:, -1].astype(float)

    @property
    def length(self) -> int:
        """L, the number of demonstrations."""
        return self.code.shape[1] - 1

    def codes(self, dtype: DTypeLike) -> tuple[np.ndarray, ...]:
        """What `kernels.steps.multihot` takes of prompts without noise: both dictionaries in `dtype`, indptr, indices."""
        E = np.ascontiguousarray(self.dictionary, dtype)
        return E, self._without_labels(E), *self._columns

    def _without_labels(self, E: np.ndarray) -> np.ndarray:
        E = E.copy()
        E[self.d_x :] = 0  # the query's dictionary
        return E

    @cached_property
    def _columns(self) -> tuple[np.ndarray, np.ndarray]:
        """indptr (B (L+1) + 1,), indices (n,): see `nlicl.kernels.steps.multihot`."""
        flags = self.code.reshape(-1, self.code.shape[2])
        indptr = np.zeros(len(flags) + 1, np.int64)
        np.cumsum(flags.sum(axis=1), out=indptr[1:])
        return indptr, np.nonzero(flags)[1].astype(np.int32)

    def _add_tokens(self, tokens: np.ndarray) -> None:
        E = np.ascontiguousarray(self.dictionary, tokens.dtype)
        rows = (np.ascontiguousarray(each.T) for each in (E, self._without_labels(E)))
        multihot.add_tokens(tokens, *self._columns, *rows)

    def dense(self, dtype: DTypeLike = np.float64) -> Prompts:
        """The same prompts as arrays of tokens, noise included.

        Parameters
        ----------
        dtype : {numpy.float64, numpy.float32}
            Of the tokens, float64 if not said.

        Returns
        -------
        Prompts
            `nlicl.Prompts` with the same loss where none is named, the logistic one.
        """
        return Prompts(self._tokens(floating("dtype", dtype).newbyteorder("=")), self.labels)

    @property
    def arrays(self) -> Mapping[str, Any]:
        return {"dictionary": self.dictionary, "tokens": self.tokens}

    def __reduce__(self) -> tuple[Any, ...]:
        """What `pickle` and `copy` make it from: checked arrays, as anybody's."""
        return type(self), (self.dictionary, self.d_x, self.code, self.concept, self.signs, self.tokens)

    def moved(self, move: Callable[[Any], Any]) -> AnyPrompts:
        """The same prompts as tokens, moved elsewhere: a GPU has no kernel for these codes."""
        return self.dense().moved(move)

    def _tokens(self, dtype: DTypeLike) -> np.ndarray:
        if self.tokens is not None:
            return self.tokens.astype(dtype, copy=False)
        B, rows = self.signs.shape
        check_tokens(B, rows, len(self.dictionary), np.dtype(dtype).itemsize)
        tokens = np.zeros((*self.signs.shape, len(self.dictionary)), dtype)
        self._add_tokens(tokens)
        return tokens

    def __len__(self) -> int:
        return len(self.code)

    def __getitem__(self, index: Any) -> Any:
        """`prompts[i]` is a `Prompt`; a slice or an index array gives `CodedPrompts`."""
        index = checked_index(index, len(self))
        if isinstance(index, int):
            code, k = self.code[index], int(self.concept[index])
            return Prompt(
                self[index : index + 1].dense().tokens[0],
                float(self.signs[index, -1]),
                d_x=self.d_x,
                signs=self.signs[index],
                one_concept=self.tokens is None and bool(np.all(code.sum(axis=1) == 1)),
                feature=self.dictionary[:, [2 * k, 2 * k + 1]],
            )
        made = object.__new__(type(self))
        tokens = None if self.tokens is None else self.tokens[index]
        made._set(self.dictionary, self.d_x, self.code[index], self.concept[index], self.signs[index], tokens)
        return made

    def __repr__(self) -> str:
        d, K = self.dictionary.shape
        noise = "no noise" if self.tokens is None else "with noise"
        return f"CodedPrompts(B={len(self)}, L={self.length}, d={d}, K={K}, {noise})"
