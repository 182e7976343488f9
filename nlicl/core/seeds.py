"""Random numbers for one purpose: prompts, parameters and features of the same seed are independent."""

import numpy as np

from .checks import integer


def key(purpose, seed):
    """What `numpy.random.default_rng` takes, of the number of a purpose and a seed, an int or several: list of int."""
    seeds = [seed] if np.ndim(seed) == 0 else list(seed)
    for value in seeds:
        integer("seed", value, 0)
    # Their number belongs to the key: to NumPy, trailing zeros are nothing, and step 0 of seed 7 would be seed 7.
    return [purpose, len(seeds), *map(int, seeds)]


def generator(purpose, seed):
    """A generator for one purpose."""
    return np.random.default_rng(key(purpose, seed))


def orthonormal(purpose, seed, rows, columns):
    """Random orthonormal columns (rows, columns), uniform over all such; columns <= rows."""
    V, R = np.linalg.qr(generator(purpose, seed).standard_normal((rows, columns)))
    return np.ascontiguousarray(V * np.sign(np.diag(R)))
