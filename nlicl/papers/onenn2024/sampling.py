"""Prompts of the papers' data model: inputs uniform on the sphere, classes uniform."""

import numpy as np

from ...core.seeds import Seed, generator
from .seeds import Purpose

__all__ = ["draw"]


def draw(seed: Seed, n: int, length: int, d: int, K: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (n, N+1, d) and classes (n, N), the classes from 0 to K - 1, or -1 and +1 where K is None. Nothing is checked.

    A class is floor(K u) of a number u in [0, 1); an input is the direction of d normal numbers, which Box and Muller's
    formula makes of pairs of such numbers.
    """
    rng = generator(Purpose.PROMPTS, seed)
    u = rng.random((n, length))
    classes = (u * (2 if K is None else K)).astype(np.intp)
    pairs = rng.random((n, length + 1, (d + 1) // 2, 2))
    radius = np.sqrt(-2 * np.log(np.minimum(1 - pairs[..., 0], 1 - 2.0**-53)))
    angle = 2 * np.pi * pairs[..., 1]
    normals = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1).reshape(n, length + 1, -1)[..., :d]
    inputs = normals / np.sqrt((normals * normals).sum(axis=2, keepdims=True))
    return inputs, 2 * classes - 1 if K is None else classes
