"""The binary linear-attention classifier of Frei and Vardi 2024, as a special case of one merged head [derived].

V = e_E e_E^T is fixed, u = 0, and the upper left block W of W^KQ trains, from 0; labels are -1 or +1, the loss is logistic:

    z = p^T W x_query,    p = (1/N) sum_n y_n x_n,    loss = log(1 + exp(-y_query z))

Defaults are those of the authors' code [source]. The case of Shen et al. 2024 of two classes is the same model and kernel, on
other data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...core.checks import instance, integer, numbers, real
from ...core.errors import InvalidValue
from ...core.memory import check_draw, check_memory
from ...core.seeds import Part, Seed, generator
from ...models.linear_attention.prompts import Params, Prompts
from ...models.linear_attention.steps import check_params
from ..problem import keep
from ..provenance import marked_settings
from .seeds import Purpose, Test

__all__ = ["Accuracies", "Classifier", "accuracies"]

MARKS: dict[str, str | Mapping[Any, str]] = dict.fromkeys(
    ("d", "length", "tasks", "radius", "flip", "test_length", "test_tasks", "test_radius", "test_flip", "learning_rate",
     "batch", "steps", "optimizer"),
    "source",
)  # fmt: skip
_ARRAYS = 10  # of W's size, at once, in training


@dataclass(frozen=True)
class Classifier:
    """Mixtures of two Gaussians, classified in context, and training settings.

    A task's mean mu is uniform on a sphere, labels y are -1 or +1 with equal chance, and x = y mu + N(0, I); a label is then
    flipped with some probability.

    Attributes
    ----------
    d : int
        The dimension of x.
    length : int
        N, contexts of a training prompt.
    tasks : int or None
        B, training prompts, each of a task of its own, drawn once; None: d.
    radius : float or None
        R of the training tasks' means; None: 5 sqrt(d).
    flip : float from 0 to below 1
        The chance that a training label is flipped: 0.
    test_length, test_tasks : int
        Contexts of a test prompt, 19 for the code's sequences of 20 tokens, and how many prompts there are.
    test_radius : float or None
        R of the test tasks' means; None: d^0.3.
    test_flip : float from 0 to below 1
        The chance that a test label is flipped, the query's too: the best test accuracy is 1 less that.
    learning_rate : float
    batch : int or None
        None: every step takes all prompts.
    steps : int
        300, of which the first does nearly all: after it the training loss is as good as 0 where d is 50 or more [derived].

    Raises
    ------
    TypeError, ValueError
        Settings out of range, named.
    """

    d: int = 100
    length: int = 40
    tasks: int | None = None
    radius: float | None = None
    flip: float = 0.0
    test_length: int = 19
    test_tasks: int = 2500
    test_radius: float | None = None
    test_flip: float = 0.2
    learning_rate: float = 0.01
    batch: int | None = None
    steps: int = 300

    loss: ClassVar[str] = "logistic"
    trained: ClassVar[tuple[str, ...]] = ("W",)
    optimizer: ClassVar[str] = "sgd"

    def __post_init__(self) -> None:
        for name, least in {"d": 1, "length": 1, "test_length": 1, "test_tasks": 1, "steps": 0}.items():
            keep(self, name, integer(name, getattr(self, name), least))
        for name in ("tasks", "batch"):
            if getattr(self, name) is not None:
                keep(self, name, integer(name, getattr(self, name), 1))
        for name in ("radius", "test_radius"):
            if getattr(self, name) is not None:
                keep(self, name, real(name, getattr(self, name), "from 0 to 1e100", lambda x: 0 <= x <= 1e100))
        for name in ("flip", "test_flip"):
            keep(self, name, real(name, getattr(self, name), "at least 0 and below 1", lambda x: 0 <= x < 1))
        keep(self, "learning_rate", real("learning_rate", self.learning_rate, "greater than 0", lambda x: x > 0))

    @property
    def prompts(self) -> int:
        """How many prompts are drawn once, to train on: B."""
        return self.d if self.tasks is None else self.tasks

    @property
    def mask(self) -> dict[str, np.ndarray]:
        """What trains within W: its upper left block."""
        block = np.zeros((1, self.d + 1, self.d + 1), bool)
        block[:, :-1, :-1] = True
        return {"W": block}

    def sample(
        self, n: int, length: int | None = None, seed: Seed = 0, radius: float | None = None, flip: float | None = None
    ) -> Prompts:
        """Draw prompts, one of each task.

        Parameters
        ----------
        n : int
        length : int, optional
            N; that of training if not given, as the two below.
        seed : int or sequence of int
            The same seed gives the same prompts.
        radius, flip : float, optional

        Returns
        -------
        Prompts
            float64, with s = 1/N.
        """
        n, length = integer("n", n, 1), integer("length", self.length if length is None else length, 1)
        usual = 5 * self.d**0.5 if self.radius is None else self.radius
        radius = usual if radius is None else real("radius", radius, "from 0 to 1e100", lambda x: 0 <= x <= 1e100)
        flip = self.flip if flip is None else real("flip", flip, "at least 0 and below 1", lambda x: 0 <= x < 1)
        check_draw(n, length, 24 * (self.d + 1))
        rng = generator(Purpose.CLASSES, seed)
        mean = rng.standard_normal((n, self.d))
        mean *= radius / np.linalg.norm(mean, axis=1, keepdims=True)
        y = rng.choice([-1.0, 1.0], (n, length + 1))
        tokens = np.empty((n, length + 1, self.d + 1))
        tokens[..., :-1] = rng.standard_normal((n, length + 1, self.d))
        tokens[..., :-1] += y[..., None] * mean[:, None]
        tokens[..., -1] = np.where(rng.random((n, length + 1)) < flip, -y, y)
        labels = tokens[:, -1, -1].copy()
        tokens[:, -1, -1] = 0
        return Prompts(tokens, labels)

    def initialize(self, seed: Seed = 0) -> Params:
        """V = e_E e_E^T and W = 0, whatever the seed [source]."""
        generator(Purpose.PARAMETERS, seed)  # an error of its own where it is none
        E = self.d + 1
        check_memory(
            f"d is {self.d}: training holds some {_ARRAYS} arrays ({E}, {E})", 8 * _ARRAYS * E * E, "Lower it."
        )
        V = np.zeros((1, E, E))
        V[0, -1, -1] = 1
        return Params(V, np.zeros((1, E, E)))

    def settings(self) -> dict[str, list[Any]]:
        """Every field with where its value comes from: name -> [value, mark], "set here" if it is not the default."""
        return marked_settings(self, MARKS)

    def test_prompts(self, seed: int = 0, exponent: float | None = None) -> Prompts:
        """The prompts that accuracies are measured on.

        Parameters
        ----------
        seed : int
            Of a run, independent of its training prompts.
        exponent : float, optional
            Their radius is d to this power; if not given, as `test_radius` says.
        """
        radius = self.d**0.3 if self.test_radius is None else self.test_radius
        if exponent is not None:
            exponent = real("exponent", exponent, "from -10 to 10", lambda x: abs(x) <= 10)
            radius = self.d**exponent
        number = Test.CLASSES if exponent is None else int(1000 * (exponent + 11))
        seeds = (integer("seed", seed, 0), Part.TESTS, number)
        return self.sample(self.test_tasks, self.test_length, seeds, radius, self.test_flip)

    def observer(self, seed: int = 0) -> "Accuracies":
        """What `nlicl.train` measures as it goes: `Accuracies` of this problem."""
        return Accuracies(self, seed=seed)


class Accuracies:
    """Measures the classifier on prompts that no run trains on.

    Parameters
    ----------
    problem : Classifier
    seed : int

    Notes
    -----
    A call with parameters returns a dict: `test_accuracy` and `in_context_accuracy`, see `accuracies`; `trace`, tr W / d; and
    `noise`, ||W - (tr W / d) I||_F / sqrt(d).
    """

    def __init__(self, problem: Classifier, seed: int = 0) -> None:
        self.problem = instance("problem", problem, Classifier)
        self._tests = problem.test_prompts(seed)

    def __call__(self, params: Params) -> dict[str, Any]:
        W = _block(params, self.problem.d)
        trace = float(np.trace(W)) / len(W)
        noise = float(np.linalg.norm(W - trace * np.eye(len(W)))) / len(W) ** 0.5
        test, in_context = accuracies(W, self._tests)
        return {"test_accuracy": test, "in_context_accuracy": in_context, "trace": trace, "noise": noise}


def accuracies(W: np.ndarray, prompts: Prompts) -> tuple[float, float]:
    """The shares of labels that have the sign of the logit: of the queries, and of the contexts themselves [source].

    The second is memorisation: each context is the query in turn, with inputs scaled to norm 1 and all contexts in p.

    Parameters
    ----------
    W : ndarray (D, D)
        The block of the one head.
    prompts : Prompts
        With labels of -1 and +1, flipped ones as they are.

    Returns
    -------
    float, float
    """
    tokens = instance("prompts", prompts, Prompts).tokens
    block: Any = numbers("W", W, shape="(D, D)")
    if block.shape != (tokens.shape[2] - 1,) * 2:
        raise InvalidValue(
            f"W has shape {block.shape}; expected {(tokens.shape[2] - 1,) * 2}, as tokens have shape {tokens.shape}."
        )
    x, y = tokens[:, :-1, :-1], tokens[:, :-1, -1]
    z = np.einsum("ni,ni->n", np.einsum("nt,nti->ni", y, x) @ block, tokens[:, -1, :-1])
    unit = x / np.linalg.norm(x, axis=2, keepdims=True)
    own = np.einsum("ni,nti->nt", np.einsum("nt,nti->ni", y, unit) @ block, unit)
    return float((np.sign(z) == prompts.labels).mean()), float((np.sign(own) == y).mean())


def _block(params: Params, d: int) -> np.ndarray:
    params = check_params(params)
    if params.W.shape != (1, d + 1, d + 1):
        raise InvalidValue(f"params.W has shape {params.W.shape}; expected (1, {d + 1}, {d + 1}), as d is {d}.")
    return np.asarray(params.W[0, :-1, :-1], np.float64)
