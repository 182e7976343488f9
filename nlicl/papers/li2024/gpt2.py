"""GPT-2 on the prompts of Li et al. 2024: the problem of their Figures 3, 6 and 7.

The paper says "GPT-2 with 3 layers and 2 heads" [paper] and follows the framework of Garg et al. 2022 [quoted]. How wide the
model is, what a token is, where predictions are read and how it is trained is not known: those settings are ours.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...core.checks import boolean, choice, instance, integer, magnitude
from ...core.errors import InvalidValue
from ...core.memory import check_memory, check_tokens
from ...core.seeds import Li2024, Seed, generator
from ...models.gpt2.prompts import Params, Prompts, interleaved
from ...models.transformer.prompts import CodedPrompts
from ..problem import keep
from ..provenance import marked_settings
from .data import MARKS as DATA_MARKS
from .data import DataModel
from .gpt2_observer import GPT2Observer
from .tasks import Task

__all__ = ["GPT2"]

# Where each default comes from, as the docstring below says it.
_OURS = ("optimizer", "width", "positions", "layout", "read", "loss", "shortest", "learning_rate", "batch", "steps")
MARKS = {
    **DATA_MARKS,
    **dict.fromkeys(("layers", "heads"), "paper"),
    **dict.fromkeys(("hidden", "learned_positions", "causal"), "derived"),
    **dict.fromkeys(_OURS, "ours"),
}
_LAYOUTS, _READS, _LOSSES = ("stacked", "interleaved"), ("query", "prefixes"), ("hinge", "logistic")
_SCALE = 0.02  # of matrices and positions at the start, in the released GPT-2


@dataclass(frozen=True)
class GPT2(DataModel):
    """Data distribution, sizes and training settings of GPT-2; a run trains by Adam where no optimizer is named.

    Attributes
    ----------
    M1, M2, d_X, d_Y, beta, K, alpha, length, training_tasks, coefficients
        The data model, as in `Problem`; alpha = 0.8 and length = 20 in training [quoted].
    layers, heads : int
        3 and 2 [paper].
    width : int
        C, of the residual stream; a multiple of `heads`. 64 is that of the configuration "tiny", 3 layers and 2 heads, in the
        public code of Garg et al. 2022. For this paper it is a guess.
    hidden : int or None
        M, neurons of each MLP; None: 4 C, as in GPT-2 [derived].
    positions : int or None
        Position embeddings; None: as many as the longest training prompt has tokens. Longer prompts are refused.
    learned_positions : bool
        Whether there are position embeddings, as in GPT-2 [derived]. If not, they are 0 and do not train.
    causal : bool
        Whether a token attends to none behind it, as in GPT-2 [derived].
    layout : {"stacked", "interleaved"}
        Tokens (x; y), l + 1 of them; or x and y as tokens of their own in turn, 2 l + 1 of them, as in Garg et al.
    read : {"query", "prefixes"}
        Where predictions are read: at the query; or at every x of an interleaved prompt, as in Garg et al., whose label is
        that of its context.
    loss : {"hinge", "logistic"}
    shortest : int or None
        Contexts of the shortest training prompt: each step draws a number of contexts, uniform from `shortest` to `length`.
        None: all training prompts have `length`.
    learning_rate, batch, steps : float, int, int
        eta, B, T.

    Raises
    ------
    TypeError, ValueError
        Settings that break the data model or do not go together, with the condition that fails.
    """

    M1: int = 6
    M2: int = 24
    d_X: int = 30
    d_Y: int = 30
    beta: float = 2.0
    K: float = 0.5
    alpha: float = 0.8
    length: int = 20
    layers: int = 3
    heads: int = 2
    width: int = 64
    hidden: int | None = None
    positions: int | None = None
    learned_positions: bool = True
    causal: bool = True
    layout: str = "stacked"
    read: str = "query"
    loss: str = "hinge"
    shortest: int | None = None
    learning_rate: float = 1e-3
    batch: int = 256
    steps: int = 2000
    training_tasks: tuple[Task, ...] = None  # type: ignore[assignment]  # a tuple from __post_init__ on
    coefficients: tuple[tuple[float, ...], ...] | None = None

    optimizer: ClassVar[str] = "adam"

    def __post_init__(self) -> None:
        self._check_data()
        for name, least in {"layers": 1, "heads": 1, "width": 1, "batch": 1, "steps": 0}.items():
            keep(self, name, integer(name, getattr(self, name), least))
        for name, least in {"hidden": 1, "positions": 1, "shortest": 0}.items():
            if getattr(self, name) is not None:
                keep(self, name, integer(name, getattr(self, name), least))
        for name in ("learned_positions", "causal"):
            keep(self, name, boolean(name, getattr(self, name)))
        for name, options in {"layout": _LAYOUTS, "read": _READS, "loss": _LOSSES}.items():
            keep(self, name, choice(name, getattr(self, name), options))
        keep(self, "learning_rate", magnitude("learning_rate", self.learning_rate))
        self._check_fit()

    def _check_fit(self) -> None:
        """ValueError for settings that do not go together."""
        if self.width % self.heads:
            fitting = self.heads * -(-self.width // self.heads)
            raise InvalidValue(
                f"heads is {self.heads}, which does not divide the width {self.width}; expected width a multiple of heads. "
                f"Take width {fitting}, or other heads."
            )
        if self.shortest is not None and self.shortest > self.length:
            raise InvalidValue(
                f"shortest is {self.shortest}, with length {self.length}; expected at most that. Lower it, or raise length."
            )
        if self.read == "prefixes" and (self.layout == "stacked" or not self.causal):
            given, fix = (
                ("layout 'stacked': a token there holds its own label", "layout 'interleaved'")
                if self.layout == "stacked"
                else ("causal False: a token then attends to its own label behind it", "causal True")
            )
            raise InvalidValue(f"read is 'prefixes' with {given}; expected {fix}. Take that, or read 'query'.")
        self._check_length(self.length)
        numbers = self.layers * (4 * self.width**2 + (2 * self.width + 1) * self.neurons) + self.rows * self.width
        check_memory(
            f"layers is {self.layers}, width {self.width}, hidden {self.neurons} and positions {self.rows}: the model has "
            f"more than {numbers} parameters",
            8 * numbers, "Lower them.",
        )  # fmt: skip

    def _check_length(self, length: int) -> None:
        tokens = self.n_tokens(length)
        if tokens > self.rows:
            raise InvalidValue(
                f"length is {length}, and positions {self.rows}: a prompt of {length} contexts has {tokens} tokens; expected "
                f"at least so many positions. Set positions to {tokens}, or lower length."
            )

    @property
    def trained(self) -> tuple[str, ...]:
        """The names of the parameters that train: all, but for position embeddings that are not learned."""
        return tuple(name for name in Params._fields if self.learned_positions or name != "wpe")

    @property
    def neurons(self) -> int:
        """M, the neurons of each MLP."""
        return 4 * self.width if self.hidden is None else self.hidden

    @property
    def rows(self) -> int:
        """The number of position embeddings."""
        return self.n_tokens(self.length) if self.positions is None else self.positions

    def n_tokens(self, length: int) -> int:
        """The number of tokens of a prompt with so many contexts."""
        length = integer("length", length, 0)
        return length + 1 if self.layout == "stacked" else 2 * length + 1

    def sample(
        self,
        n: int,
        length: int | None = None,
        alpha: float | None = None,
        seed: Seed = 0,
        tasks: str | Iterable[Task] | None = None,
        sampling: str = "iid",
    ) -> Prompts:
        """Draw prompts. They are those of `Problem.sample`, for the same seed, as tokens of this problem's layout.

        Parameters
        ----------
        n : int
            Number of prompts, B.
        length : int, optional
            l, at least 0: a prompt without contexts is its query. If not given, the problem's; or, where the problem has a
            `shortest`, a number from there to the problem's length that depends on the seed.
        alpha : float, optional
            The problem's if not given.
        seed : int or sequence of int
        tasks : {"train", "unseen", "all"} or list of (int, int), optional
            "train" if not given, or "all" where there are no training tasks (out of domain).
        sampling : {"iid", "at-least"}

        Returns
        -------
        Prompts
            float64.

        Raises
        ------
        ValueError, TypeError
            Settings out of range, named; prompts with more tokens than there are positions.
        """
        if length is None:
            length = self._drawn_length(seed)
        length = integer("length", length, 0)
        return self.prompts_of(self.codes(n, max(length, 1), alpha, seed, tasks, sampling), length)

    def _drawn_length(self, seed: Seed) -> int:
        if self.shortest is None:
            return self.length
        return int(generator(Li2024.LENGTHS, seed).integers(self.shortest, self.length, endpoint=True))

    def codes(
        self,
        n: int,
        length: int | None = None,
        alpha: float | None = None,
        seed: Seed = 0,
        tasks: str | Iterable[Task] | None = None,
        sampling: str = "iid",
    ) -> CodedPrompts:
        """Draw prompts as codes, which say what pattern each token carries. `prompts_of` makes tokens of them.

        Parameters
        ----------
        n, length, alpha, seed, tasks, sampling
            As in `sample`; at least 1 context, the problem's `length` if not given.

        Returns
        -------
        CodedPrompts
            The query is among the keys, as it is for GPT-2.
        """
        return self._codes(n, length, alpha, seed, tasks, sampling, query_attends=True)

    def prompts_of(self, codes: CodedPrompts, n_contexts: int | None = None) -> Prompts:
        """Prompts of this problem's layout from codes.

        Parameters
        ----------
        codes : CodedPrompts
            As `codes` draws them.
        n_contexts : int, optional
            How many contexts stay, the first ones; all, if not given. 0: the query alone.

        Returns
        -------
        Prompts
            float64.

        Raises
        ------
        ValueError, TypeError
            Codes of another width; more contexts than there are; more tokens than there are positions.
        """
        codes = instance("codes", codes, CodedPrompts, "as codes() draws them")
        if len(codes.dictionary) != self.d:
            raise InvalidValue(
                f"codes.dictionary has shape {codes.dictionary.shape}; expected ({self.d}, ...), d_X + d_Y rows. Draw codes "
                "by codes()."
            )
        l = codes.length if n_contexts is None else integer("n_contexts", n_contexts, 0, codes.length)
        self._check_length(l)
        tokens, signs = codes.dense().tokens, codes.sign
        if l < codes.length:
            kept = [*range(l), codes.length]
            tokens, signs = np.ascontiguousarray(tokens[:, kept]), signs[:, kept]
        reads, labels = None, codes.labels
        if self.read == "prefixes":
            reads = range(0, 2 * l + 1, 2)
            labels = np.concatenate([signs[:, :-1], codes.labels[:, None]], axis=1)
        if self.layout == "interleaved":
            check_tokens(len(codes), 2 * l + 2, self.d, 2 * tokens.itemsize)
            tokens = interleaved(tokens, self.d_X)
        return Prompts(tokens, labels, reads, self.causal)  # type: ignore[arg-type]  # None: the last token

    def initialize(self, seed: Seed = 0) -> Params:
        """Initial parameters: those of the released GPT-2 between a read-in and a read-out as PyTorch's linear layer starts.

        Matrices and positions are N(0, 0.02^2), biases 0, weights of LayerNorms 1. Matrices that write into the residual
        stream, W_o and W_pr, are N(0, 0.02^2 / (2 layers)). Read-in, read-out and their biases are uniform within
        +-1/sqrt(fan in).

        Parameters
        ----------
        seed : int or sequence of int

        Returns
        -------
        Params
            float64.
        """
        L, H, C, M, d = self.layers, self.heads, self.width, self.neurons, self.d
        rng = generator(Li2024.GPT2_PARAMETERS, seed)

        def normal(*shape: int, scale: float = _SCALE) -> np.ndarray:
            return scale * rng.standard_normal(shape)

        def uniform(*shape: int, fan_in: int) -> np.ndarray:
            return rng.uniform(-1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in), shape)

        def zeros(*shape: int) -> np.ndarray:
            return np.zeros(shape)

        into_stream = _SCALE / math.sqrt(2 * L)
        return Params(
            W_in=uniform(C, d, fan_in=d),
            b_in=uniform(C, fan_in=d),
            wpe=normal(self.rows, C, scale=_SCALE if self.learned_positions else 0.0),
            gamma_1=np.ones((L, C)),
            beta_1=zeros(L, C),
            W_qkv=normal(L, 3, H, C // H, C),
            b_qkv=zeros(L, 3, H, C // H),
            W_o=normal(L, C, C, scale=into_stream),
            b_o=zeros(L, C),
            gamma_2=np.ones((L, C)),
            beta_2=zeros(L, C),
            W_fc=normal(L, M, C),
            b_fc=zeros(L, M),
            W_pr=normal(L, C, M, scale=into_stream),
            b_pr=zeros(L, C),
            gamma_f=np.ones(C),
            beta_f=zeros(C),
            w_out=uniform(C, fan_in=C),
            b_out=uniform(1, fan_in=C),
        )

    def settings(self) -> dict[str, list[Any]]:
        """Every field with where its value comes from: name -> [value, mark], "set here" where it is not the default."""
        found = marked_settings(self, MARKS)
        tasks, _ = found.pop("training_tasks")
        return found | {"training_tasks": [tasks, self._task_mark()]}

    def observer(self, seed: int = 0) -> GPT2Observer:
        """What `nlicl.train` measures as it goes: a `GPT2Observer` of this problem."""
        return GPT2Observer(self, seed=seed)
