"""Prompts of the papers' data model: inputs uniform on the sphere, classes uniform."""

import numpy as np

from ...core.seeds import Seed, key
from ...kernels.random import words
from ...kernels.steps import sphere
from .seeds import Purpose

__all__ = ["draw", "entropy"]


def entropy(seed: Seed) -> np.ndarray:
    """The words of the key that the prompts of a seed are drawn by."""
    return words(key(Purpose.PROMPTS, seed))


def draw(seed: Seed, n: int, length: int, d: int, K: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (n, N+1, d) and classes (n, N), the classes from 0 to K - 1, or -1 and +1 where K is None. Nothing is checked."""
    inputs, classes = np.empty((n, length + 1, d)), np.empty((n, length), np.int64)
    sphere.draw(inputs, classes, entropy(seed), K or 0)
    return inputs, classes
