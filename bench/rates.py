"""Runs of the paper's experiment a second, many seeds side by side: python bench/rates.py measured|unmeasured DTYPE SEEDS.

In a process of its own: how many threads there are is settled when numba is loaded.
"""

import json
import sys
import time

from processes import find_nlicl

ROUNDS = 7


def measure(measured, dtype, seeds, problem=None, rounds=ROUNDS):
    """Seconds of so many runs, for each round: `nlicl.train` as a user calls it, with its usual measurements or without."""
    import nlicl
    from nlicl.papers.li2024 import Problem

    problem = problem or Problem()
    every = 20 if measured else None
    nlicl.train(problem, seed=range(2), steps=40, measure=every, dtype=dtype)  # compiles
    found = []
    for round in range(rounds):
        start = time.perf_counter()
        nlicl.train(problem, seed=range(round, round + seeds), measure=every, dtype=dtype)
        found.append(time.perf_counter() - start)
    return found


if __name__ == "__main__":
    find_nlicl()
    print(json.dumps(measure(sys.argv[1] == "measured", sys.argv[2], int(sys.argv[3]))))
