"""The experiment of Huang et al. 2023, Section 5 and Appendix B of the ICML version, as quoted by a third party."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from .problem import MARKS, Problem

__all__ = ["Experiment"]


@dataclass(frozen=True)
class Experiment(Problem):
    """The paper's experiment: 300 fixed prompts, full batch, Adam at 0.002, 400 epochs.

    What is known of it is [quoted]: tasks w ~ N(0, I_d), each input v_k with probability p_k, M = 300 prompts that are drawn
    once, and training on "the empirical version of the training objective" for 400 epochs "using Adam with full batch and the
    learning rate of 0.002". An epoch of a full batch is a step.

    K, d, N, p, the kind of features and the seeds are unknown: all of these are ours. Dense features with d = 10 K are our
    default since attention concentrates by Adam in 400 steps only if d is well above K [derived]: see docs/huang2023.md.

    Attributes
    ----------
    K, length, d : int
        10, 100 and 100: ours.
    features : {"one-hot", "dense"} or None
        "dense": ours. Adam moves one-hot features apart much more slowly.
    p_1 : float or None
        0.5, imbalanced: ours; None is the balanced case. `Experiment.balanced()` is that.
    prompts : {"population", "fresh"} or int
        M = 300 prompts, drawn once from the run's seed [quoted].
    batch : int or None
        None: all of them in every step [quoted].
    learning_rate, steps : float, int
        0.002 and 400, of Adam [quoted].
    p, V_seed, counts, draws
        As in `Problem`.

    Raises
    ------
    TypeError, ValueError
        As `Problem`.
    """

    K: int = 10
    length: int = 100
    d: int | None = 100
    features: str | None = "dense"
    learning_rate: float = 0.002
    batch: int | None = None
    steps: int = 400
    prompts: str | int = 300

    optimizer: ClassVar[str] = "adam"
    marks: ClassVar[Mapping[str, str]] = MARKS | dict.fromkeys(
        ("learning_rate", "batch", "steps", "prompts", "optimizer"), "quoted"
    )
