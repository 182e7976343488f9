"""Data model and initialisation of Bu et al. 2024. Marks and notation: see the package's docstring."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ...core.checks import integer, magnitude, real
from ...core.errors import InvalidValue
from ...core.memory import check_draw, check_memory
from ...core.seeds import Bu2024, Seed, checked, generator
from ...models.transformer.prompts import Params
from ..provenance import marked_settings
from . import dictionaries, sampling, theory
from .marks import MARKS
from .observer import Observer
from .prompts import CodedPrompts
from .rates import marks_of_rates, settled_rate
from .semantics import Semantics

__all__ = ["Problem"]


@dataclass(frozen=True)
class Problem:
    """Concepts, dictionaries, noise, sizes and training settings.

    The defaults are the reference setting of our runs. `settings()` says which of them are the paper's, as a third party
    quotes it; `bu2024.paper` has all of those. Widths, norms and noise are ours, and quicker to train with.

    Attributes
    ----------
    concepts : int
        K1, task-relevant concepts, each of two opposite word features.
    dictionary : int
        K, columns of the dictionary: 2 K1 relevant ones and K - 2 K1 irrelevant nu_j.
    d_x, d_y : int
        Dimensions of words, at least K, and of label vectors, at least 2 K1; d = d_x + d_y.
    norm_x, norm_y : float
        ||u|| of every word feature, ||q|| of every label vector.
    kappa_x, kappa_y : float in (0, 1)
        <mu_k^+, mu_k^-> = kappa_x ||u||^2, <q_k^+, q_k^-> = kappa_y ||q||^2 [positive: paper; 0.5: quoted].
    sigma_xi : float
        Standard deviation of the Gaussian noise on words and labels; 0: none, and prompts are codes.
    p_z : float or None
        Chance that a token carries another concept, or an irrelevant word; 1/K if None.
    length : int
        L, demonstrations in a prompt.
    match : {"at-least-one", "balanced", "iid"}
        Signs of the demonstrations: independent, and where none is the query's one of them is made so; L/2 of each; or
        independent, when no parameters have an error below 2^-L [derived].
    semantics_seed : int
        Of the random orthonormal directions.
    m : int
        Neurons.
    sigma_0, sigma_1 : float
        Initial W_Q^x = W_K^x = sigma_0 I; standard deviation of the initial W_O^y. Keep sigma_0 >= 3 sigma_1 [derived].
    weight_decay, step_offset : float
        lambda, gamma: eta_t = 2/(lambda (gamma + t)), L2 on trained blocks [recalled].
    learning_rate : float or None
        eta_0; 2/(lambda gamma) if None, in copies with another lambda or gamma too. Always eta_t = eta_0 gamma/(gamma + t).
        lambda eta_0 < 2, so that |1 - lambda eta_t| < 1 and decay shrinks weights: gamma > 1 if None.
    batch, steps : int
        B, T.

    Raises
    ------
    TypeError, ValueError
        Settings that break the data model, with the condition that fails.
    """

    concepts: int = 2
    dictionary: int = 104
    d_x: int = 200
    d_y: int = 60
    norm_x: float = 5.0
    norm_y: float = 5.0
    kappa_x: float = 0.5
    kappa_y: float = 0.5
    sigma_xi: float = 0.05
    p_z: float | None = None
    length: int = 4
    match: str = "at-least-one"
    semantics_seed: int = 0
    m: int = 50
    sigma_0: float = 0.1
    sigma_1: float = 0.01
    weight_decay: float = 0.002
    step_offset: float = 10000.0
    learning_rate: float = None  # type: ignore[assignment]  # a float from __post_init__ on
    batch: int = 16
    steps: int = 1500

    loss: ClassVar[str] = "logistic"
    trained: ClassVar[tuple[str, ...]] = ("W_Q", "W_K", "W_O")  # W_V and r are frozen [recalled]

    def __post_init__(self) -> None:
        least = {
            "concepts": 1,
            "dictionary": 2,
            "d_x": 1,
            "d_y": 1,
            "length": 1,
            "semantics_seed": 0,
            "m": 1,
            "batch": 1,
        }
        for name, bound in (least | {"steps": 0}).items():
            self._keep(name, integer(name, getattr(self, name), bound))
        for name in ("norm_x", "norm_y"):
            self._keep(name, magnitude(name, getattr(self, name)))
        for name in ("sigma_0", "sigma_1"):
            self._keep(name, magnitude(name, getattr(self, name), zero=True))
        self._keep_real("step_offset", "greater than 0", lambda x: x > 0)
        for name in ("sigma_xi", "weight_decay"):
            self._keep_real(name, "at least 0", lambda x: x >= 0)
        for name in ("kappa_x", "kappa_y"):
            self._keep_real(name, "between 0 and 1, a cosine", lambda x: 0 < x < 1)
        if self.p_z is not None:
            self._keep_real("p_z", "from 0 to 1, a probability", lambda x: 0 <= x <= 1)
        self._keep("match", sampling.checked_match(self.match, self.length))
        K, K1 = self.dictionary, self.concepts
        if K < 2 * K1:
            raise InvalidValue(
                f"dictionary is {K} with {K1} concepts of two words each; expected K >= 2 K1 = {2 * K1}."
            )
        if self.d_x < K:
            raise InvalidValue(
                f"d_x is {self.d_x} with a dictionary of K = {K}: no {K} orthogonal directions fit. Expected d_x >= K; raise "
                "d_x or lower dictionary."
            )
        if self.d_y < 2 * K1:
            raise InvalidValue(
                f"d_y is {self.d_y} with {K1} concepts: no {2 * K1} orthogonal directions fit. Expected d_y >= 2 K1."
            )
        rate = settled_rate(self.learning_rate, self.weight_decay, self.step_offset)
        self._keep("learning_rate", rate)

    def _keep(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _keep_real(self, name: str, condition: str, holds: Callable[[float], bool]) -> None:
        self._keep(name, real(name, getattr(self, name), condition, holds))

    # ---- Sizes and dictionaries

    @property
    def d(self) -> int:
        """Width of a token, d_x + d_y."""
        return self.d_x + self.d_y

    @property
    def presence(self) -> float:
        """The probability p_z itself: 1/K where `p_z` is None [recalled, weakly]."""
        return 1 / self.dictionary if self.p_z is None else self.p_z

    @property
    def semantics(self) -> Semantics:
        """The concepts' directions: `Semantics` of a, b (d_x, K1) and c, d (d_y, K1), all orthogonal to each other."""
        return self._directions[0]

    @property
    def nu(self) -> np.ndarray:
        """The irrelevant words nu_j (d_x, K - 2 K1), of norm ||u||, orthogonal to all others."""
        return self._directions[1].copy()

    @property
    def M(self) -> np.ndarray:
        """The dictionary of words (d_x, K): mu_1^+, mu_1^-, .., mu_K1^-, nu_1, ..."""
        return self._dictionary[: self.d_x].copy()

    @property
    def Q_labels(self) -> np.ndarray:
        """The dictionary of labels (d_y, K): q_1^+, q_1^-, .., q_K1^-, 0, .., 0."""
        return self._dictionary[self.d_x :].copy()

    @cached_property
    def _directions(self) -> tuple[Semantics, np.ndarray]:
        norms = theory.norms(self.norm_x, self.norm_y, self.kappa_x, self.kappa_y)
        return dictionaries.draw_directions(
            self.d_x, self.d_y, self.concepts, self.dictionary, self.norm_x, norms, self.semantics_seed
        )

    @cached_property
    def _dictionary(self) -> np.ndarray:
        return dictionaries.stack(*self._directions)

    def unseen(self, direction: str, seed: int = 0) -> np.ndarray:
        """A direction that no word and no label has: orthogonal to the dictionary, as long as the problem's own.

        Parameters
        ----------
        direction : {"a", "b", "c", "d"}
            Which of them it is to take the place of.
        seed : int
            Other directions for another one.

        Returns
        -------
        ndarray (d_x, K1) or (d_y, K1)
            One for each concept, orthogonal to each other; not to the new ones of another letter.

        Raises
        ------
        TypeError, ValueError
            Another name; dimensions with no room for new directions; a seed that is none.
        """
        return dictionaries.draw_unseen(
            *self._directions, direction, (self.semantics_seed, integer("seed", seed, 0, most=None))
        )

    # ---- Prompts

    def sample(
        self,
        n: int,
        length: int | None = None,
        seed: Seed = 0,
        *,
        match: str | None = None,
        concept_weights: Sequence[float] | None = None,
        semantics: Semantics | None = None,
        sigma_xi: float | None = None,
    ) -> CodedPrompts:
        """Draw prompts.

        The shared concept k and the query's sign are uniform [recalled]; every demonstration carries concept k with its sign,
        which the match rule draws; every other concept is there with probability p_z, then with a random sign, every nu_j
        with probability p_z [recalled, weakly]. Labels have the same code as their words, the query has none [recalled].

        Parameters
        ----------
        n : int
            Number of prompts, B.
        length : int, optional
            L (L* in testing); the problem's if not given.
        seed : int or sequence of int
            The same seed gives the same prompts; (seed, step) names those of a training step.
        match : {"at-least-one", "balanced", "iid"}, optional
            The problem's if not given.
        concept_weights : sequence of float, optional
            Probability of each concept to be the shared one, uniform if not given; of those in `semantics`, if that is given.
        semantics : Semantics, optional
            Others than the problem's, of as many concepts as you like: prompts out of distribution.
        sigma_xi : float, optional
            The problem's if not given.

        Returns
        -------
        CodedPrompts

        Raises
        ------
        TypeError, ValueError
            Settings out of range, named; semantics of other dimensions; more prompts than fit into memory.
        """
        match = self.match if match is None else match
        n, length = integer("n", n, 1), integer("length", self.length if length is None else length, 1)
        match = sampling.checked_match(match, length)
        sigma_xi = real("sigma_xi", self.sigma_xi if sigma_xi is None else sigma_xi, "at least 0", lambda x: x >= 0)
        E, K1 = self._dictionary, self.concepts
        if semantics is not None:
            sampling.check_semantics(semantics, self.d_x, self.d_y)
            E, K1 = dictionaries.stack(semantics, self._directions[1]), semantics.concepts
        weights = None if concept_weights is None else sampling.checked_weights(concept_weights, K1)
        check_draw(n, length, sampling.bytes_of_token(E.shape[1], K1, self.presence, self.d if sigma_xi > 0 else 0))
        rng = generator(Bu2024.PROMPTS, seed)
        concept = rng.integers(K1, size=n) if weights is None else rng.choice(K1, size=n, p=weights)
        signs = sampling.draw_signs(rng, n, length, match)
        code = sampling.draw_code(rng, concept, signs, K1, E.shape[1], self.presence)
        noise = sampling.draw_noise(rng, (*signs.shape, self.d), self.d_x, sigma_xi) if sigma_xi > 0 else None
        return CodedPrompts.unchecked(E, self.d_x, code, concept, signs, noise)

    def population(self, seed: Seed = 0) -> CodedPrompts:
        """All prompts at once, each as often as it is likely: descent on the expected loss.

        There are finitely many where there is no noise and no other concept in a token: K1 concepts, 2 signs of the query,
        and the signs of the demonstrations, whose order does not matter.

        Parameters
        ----------
        seed : int or sequence of int
            Of no effect: nothing is drawn.

        Returns
        -------
        CodedPrompts
            2 K1 of them for balanced signs, else 2 K1 2^L.

        Raises
        ------
        ValueError
            Noise, or other concepts (sigma_xi > 0, p_z > 0); L > 12 unless signs are balanced.
        """
        checked(seed)
        if self.sigma_xi > 0 or self.presence > 0:
            raise InvalidValue(
                f"sigma_xi is {self.sigma_xi:g} and p_z {self.presence:g}: there is no end of different prompts. Expected "
                "both 0 for the population; or train on fresh prompts."
            )
        prompts = sampling.count_prompts(self.concepts, self.length, self.match)
        size = prompts * (self.length + 1) * (self.dictionary + 32)
        check_memory(f"length is {self.length}: the population has {prompts} prompts", size, "Lower it.")
        concept, signs = sampling.every_prompt(self.concepts, self.length, self.match)
        code = sampling.one_concept(concept, signs, self.dictionary)
        return CodedPrompts.unchecked(self._dictionary, self.d_x, code, concept, signs)

    # ---- Training

    def initialize(
        self, m: int | None = None, m_a: int | None = None, m_b: int | None = None, seed: Seed = 0
    ) -> Params:
        """Initial parameters [recalled]: W_Q = W_K = [sigma_0 I, 0], W_V = [0, I], W_O Gaussian, r = +-1/m.

        Parameters
        ----------
        m : int, optional
            Neurons; the problem's if not given.
        m_a, m_b : int, optional
            Rows of W_Q and W_K, d_x if not given; of W_V, d_y if not given. Others than these are not the paper's.
        seed : int or sequence of int

        Returns
        -------
        Params
            float64; r is `Params.a`.

        Raises
        ------
        TypeError, ValueError
            Sizes that are no integers of at least 1; a seed that is none; matrices that do not fit into memory.
        """
        m = integer("m", self.m if m is None else m, 1)
        m_a = integer("m_a", self.d_x if m_a is None else m_a, 1)
        m_b = integer("m_b", self.d_y if m_b is None else m_b, 1)
        check_memory(
            f"m is {m}, d_x {self.d_x}, d_y {self.d_y}: W_Q, W_K, W_V and W_O have {2 * m_a + m_b} rows of d = {self.d} and "
            f"{m} of {m_b}", 8 * ((2 * m_a + m_b) * self.d + m * m_b + max(m * m_b, 3 * m)), "Lower them.",
        )  # fmt: skip
        rng = generator(Bu2024.PARAMETERS, seed)
        W_Q, W_V = np.zeros((m_a, self.d)), np.zeros((m_b, self.d))
        W_Q[:, : self.d_x] = self.sigma_0 * np.eye(m_a, self.d_x)
        W_V[:, self.d_x :] = np.eye(m_b, self.d_y)
        W_O = self.sigma_1 * rng.standard_normal((m, m_b))
        return Params(W_Q, W_Q.copy(), W_V, W_O, rng.choice([1.0, -1.0], size=m) / m)

    @property
    def mask(self) -> dict[str, np.ndarray]:
        """What trains within the trained blocks: the word columns of W_Q and W_K, all of W_O; dict of name to bool (d,)."""
        check_memory(f"d_x is {self.d_x} and d_y {self.d_y}: so long is a mask", 10 * self.d, "Lower them.")
        words = np.arange(self.d) < self.d_x
        return {"W_Q": words, "W_K": words}

    def schedule(self, t: int) -> float:
        """eta_t / eta_0 = gamma / (gamma + t)."""
        return self.step_offset / (self.step_offset + real("t", t, "of at least 0", lambda x: x >= 0))

    def settings(self) -> dict[str, list[Any]]:
        """Every field with where its value comes from: name -> [value, mark], see `MARKS`."""
        rates = marks_of_rates(self.weight_decay, self.step_offset)
        return marked_settings(self, {**MARKS, "learning_rate": rates})

    def observer(self, seed: int = 0) -> Observer:
        """What `nlicl.train` measures as it goes: an `Observer` of this problem."""
        return Observer(self, seed=seed)
