"""Can the verdicts of `nlicl.audit_gradient` be trusted? Common losses, their right gradients, and systematic mistakes.

    python bench/gradients.py [--seeds 100] [--wrong-seeds 5] [--losses NAME ...] [--quick] [--json FILE]

Each loss is audited in float64, in float32, and as a function that computes in float32 whatever it is given. Its right
gradient is audited at one random point for each seed; each mistake at one point for each of the first few seeds. No right
gradient may disagree, and no wrong one may agree: exit status 0 if so, else 1. A call that raises is counted apart, and
fails as well.
"""

import argparse
import contextlib
import io
import json
import statistics
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

import nlicl

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
from losses import LOSSES, wrongs

DTYPES = {  # name -> (dtype, whether the functions cast what they are given)
    "float64": (np.float64, False),
    "float32": (np.float32, False),
    "float32, cast": (np.float32, True),
}
VERDICTS = ("agree", "undetermined", "disagree", "raised")


def verdict(loss, gradient, x):
    """(verdict, reason, seconds); the verdict is "raised" where the audit raises."""
    began = time.perf_counter()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            report = nlicl.audit_gradient(loss, gradient, x)
        found, reason = report.verdict, report.reason
    except Exception as error:
        found, reason = "raised", f"{type(error).__name__}: {error}"
    return found, reason, time.perf_counter() - began


def count(name, dtype, seeds, wrong_seeds):
    """The row of one loss in one dtype: verdicts on right and wrong gradients, and everything that is not as it should be."""
    kind, cast = DTYPES[dtype]
    right, wrong, seconds, notes = Counter(), Counter(), [], []
    for seed in range(seeds):
        found, reason, took = verdict(*LOSSES[name].make(np.random.default_rng(seed), kind, cast=cast))
        right[found] += 1
        seconds.append(took)
        if found != "agree":
            notes.append({"seed": seed, "mistake": None, "verdict": found, "reason": reason})
    mistakes = set()
    for seed in range(wrong_seeds):
        for mistake, *case in wrongs(LOSSES[name], seed, kind, cast):
            found, reason, _ = verdict(*case)
            wrong[found] += 1
            mistakes.add(mistake)
            if found != "disagree":
                notes.append({"seed": seed, "mistake": mistake, "verdict": found, "reason": reason})
    return {
        "loss": name,
        "dtype": dtype,
        "right": {key: right[key] for key in VERDICTS},
        "wrong": {key: wrong[key] for key in VERDICTS},
        "mistakes": len(mistakes),
        "seconds": statistics.median(seconds),
        "notes": notes,
    }


def line(name, dtype, right, wrong, mistakes, seconds):
    cells = "".join(f"{right[key]:9}" for key in VERDICTS) + f"{mistakes:12}"
    cells += "".join(f"{wrong[key]:9}" for key in ("disagree", "undetermined", "agree", "raised"))
    return f"{name:30}{dtype:15}{cells}{seconds:10.3f}"


def total(rows, key):
    return sum((Counter(row[key]) for row in rows), Counter())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100, help="right gradients of each loss and dtype")
    parser.add_argument("--wrong-seeds", type=int, default=5, help="points at which each mistake is made")
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=list(LOSSES), metavar="NAME", help="only these")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--quick", action="store_true", help="5 right gradients of each, mistakes at one point")
    parser.add_argument("--verbose", action="store_true", help="list each verdict that is not as it should be")
    parser.add_argument("--json", help="write the rows there as well")
    options = parser.parse_args()
    seeds, wrong_seeds = (5, 1) if options.quick else (options.seeds, options.wrong_seeds)
    began = time.perf_counter()
    print(f"{'':45}{'right gradients':^36}{'':12}{'wrong gradients':^36}{'median':>10}")
    print(f"{'loss':30}{'dtype':15}{'agree':>9}{'undet.':>9}{'disagree':>9}{'raised':>9}{'mistakes':>12}"
          f"{'caught':>9}{'undet.':>9}{'agree':>9}{'raised':>9}{'seconds':>10}")  # fmt: skip
    rows = []
    for name in options.losses:
        for dtype in options.dtypes:
            row = count(name, dtype, seeds, wrong_seeds)
            rows.append(row)
            print(line(name, dtype, row["right"], row["wrong"], row["mistakes"], row["seconds"]), flush=True)
            bad = [note for note in row["notes"] if note["verdict"] != "undetermined"]
            for note in row["notes"] if options.verbose else bad[:3]:
                print(f"    seed {note['seed']}, {note['mistake'] or 'right'}: {note['verdict']}: {note['reason']}")
    right, wrong = total(rows, "right"), total(rows, "wrong")
    least = min(row["mistakes"] for row in rows)
    print(line("all", "", right, wrong, least, statistics.median(row["seconds"] for row in rows)))
    alarms, missed, raised = right["disagree"], wrong["agree"], right["raised"] + wrong["raised"]
    print(f"false alarms: {alarms} of {right.total()}; wrong gradients that agree: {missed} of {wrong.total()}; "
          f"raised: {raised}; {time.perf_counter() - began:.0f} s")  # fmt: skip
    if options.json:
        document = {"seeds": seeds, "wrong_seeds": wrong_seeds, "false_alarms": alarms, "missed": missed, "rows": rows}
        Path(options.json).write_text(json.dumps(document, indent=1), encoding="utf-8")
    return 0 if alarms == missed == raised == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
