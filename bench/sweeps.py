"""What a sweep costs beside its runs: python bench/sweeps.py [--cells N] [--jobs N].

    planning    a million cells counted, one by one: seconds, and the memory that they take
    overhead    cells of one small step: seconds a cell, beside those of the same runs in a plain loop over `nlicl.train`
    busy        cells of about 0.1 s: the share of the cores' time that the workers work

The machine should be quiet.
"""

import argparse
import json
import resource
import tempfile
import time
from dataclasses import replace

from processes import find_nlicl


def main():
    find_nlicl()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", type=int, default=600, help="cells of about 0.1 s (default %(default)s)")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    for name, found in (
        ("planning", planning()),
        ("overhead", overhead(options.jobs)),
        ("busy", busy(options.cells, options.jobs)),
    ):
        print(name, json.dumps(found), flush=True)


def small():
    from nlicl.papers.li2024 import Problem

    return Problem(m=8, batch=16, steps=1, length=4)


def planning():
    """Seconds and memory of a million cells, of which none is done."""
    from nlicl.experiments.sweeps.run import planned

    over = {"alpha": [i / 10_000 for i in range(1, 10_001)], "beta": [1.0, 2.0, 3.0, 4.0, 5.0]}
    plan = planned(small(), over, seeds=20, measure="training_loss")
    before, start = memory(), time.perf_counter()
    cells = sum(1 for _ in plan.keyed())
    return {"cells": cells, "seconds": time.perf_counter() - start, "MiB": memory() - before}


def overhead(jobs):
    """Milliseconds of a core that a small cell takes: in a loop, in threads, in processes, kept in a folder."""
    import nlicl

    alphas = [i / 1000 for i in range(1, 1001)]
    nlicl.train(small(), measure=None)
    start = time.perf_counter()
    for alpha in alphas:
        nlicl.train(replace(small(), alpha=alpha), measure=None)
    found = {"loop": 1000 * (time.perf_counter() - start) / len(alphas)}
    with tempfile.TemporaryDirectory() as folder:
        for name, more in {
            "threads": {},
            "processes": {"jobs": jobs},
            "kept": {"jobs": jobs, "out": folder},
            "found again": {"jobs": jobs, "out": folder},
        }.items():
            start = time.perf_counter()
            nlicl.sweep(small(), {"alpha": alphas}, seeds=jobs * 2, measure="training_loss", **more)
            seconds = time.perf_counter() - start
            found[name] = 1000 * seconds * (1 if name == "threads" else jobs) / (len(alphas) * jobs * 2)
    return found


def busy(cells, jobs):
    """The share of the time of `jobs` cores in which the workers' processors work, and seconds a cell."""
    import nlicl
    from nlicl.papers.li2024 import Problem

    problem = Problem(steps=600)
    start, before = time.perf_counter(), worked()
    nlicl.sweep(problem, {"alpha": [0.6, 0.8]}, seeds=-(-cells // 2), measure="training_loss", jobs=jobs)
    seconds = time.perf_counter() - start
    return {"share": (worked() - before) / (jobs * seconds), "seconds a cell": jobs * seconds / (2 * -(-cells // 2))}


def worked():
    """Seconds that processors have worked for the workers, which have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def memory():
    """The most that this process has held, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
