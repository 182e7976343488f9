"""Does the audit name what is wrong, and mend it? Gradients and formulas that are wrong in the way people get them wrong.

    python bench/mends.py [--quick] [--seconds 5] [--case NAME ...] [--json FILE] [--markdown FILE]

The wrong gradients stand in bench/mistakes/, written by hand. Each is audited at one point. A repaired function is then
held against the right gradient at points that the audit never saw: near, far, with signs flipped, of other sizes. One
that differs anywhere is a wrong mend. The repaired text is also run with other data. Exit status 0 if every wrong
gradient is detected and no mend is wrong, else 1.
"""

import argparse
import inspect
import json
import re
import statistics
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from mistakes import FAMILIES
from mistakes.data import with_other_data
from mistakes.papers import FORMULAS
from mistakes.places import call, differs, formula_places, leaves, loses_digits, places

import nlicl

PLACES = 60  # at which a repaired function is tried; at least 50 of them have a finite loss
SEED = 2024  # of these places, which no audit draws
LOST = "right but for rounding, which is large"


def gradients(quick):
    """(family, loss's name, wrong gradient, its audit, its trial of a repaired function), one after the other."""
    for family, cases in FAMILIES.items():
        for case in cases:
            for wrong in case.wrong[:1] if quick else case.wrong:
                yield family, case.name, wrong, of_case(case, wrong), trial_of_case(family, case, wrong)
    formulas = {}
    for wrong in FORMULAS:
        formulas.setdefault((wrong.paper, wrong.wrt), []).append(wrong)
    for (paper, wrt), wrongs in formulas.items():
        for wrong in wrongs[:1] if quick else wrongs:
            yield "formulas", f"{paper} {wrt}", wrong, of_formula(wrong), trial_of_formula(wrong)


def of_case(case, wrong):
    return lambda seconds: nlicl.audit_gradient(case.loss, wrong.function, case.point, mend=seconds)


def of_formula(wrong):
    return lambda seconds: nlicl.audit_formula(wrong.function, paper=wrong.paper, wrt=wrong.wrt, mend=seconds)


def trial_of_case(family, case, wrong):
    """A function of a repair: where it differs from the right gradient, then where with other data; "" if nowhere."""

    def trial(repair):
        fault = off(case, repair.function, wrong)
        return fault, "" if fault else off(*renewed(repair.text), wrong)

    def renewed(text):
        """The case with other data, and the function of the repaired text with these."""
        before = Path(sys.modules[f"mistakes.{family}"].__file__).read_text(encoding="utf-8")
        other, repaired = (named(with_other_data(source, family), case.name) for source in (before, text))
        return other, named(repaired.wrong, wrong.name).function

    return trial, case.right.__name__


def named(items, name):
    return next(item for item in items if item.name == name)


def off(case, mended, wrong):
    """Where it differs from the case's right gradient, in words; if nowhere, where it has lost its digits."""
    lost = ""
    for x in places(case, np.random.default_rng(SEED), PLACES):
        try:
            given = call(mended, x)
        except Exception as error:
            return f"raises {type(error).__name__} at {shown(x)}"
        # What the reader's own way of computing cannot do, as exp(1000), is no fault of the mend.
        same = not finite(given) and not finite(call(wrong.function, x))
        if same or not differs(given, call(case.right, x)):
            continue
        if not loses_digits(mended, case, x):
            return f"differs at {shown(x)}"
        lost = lost or f"{LOST} at {shown(x)}"
    return lost


def trial_of_formula(wrong):
    """The same; a formula has no data but its prompts."""

    def trial(repair):
        for params, prompt, right in formula_places(wrong, SEED, PLACES):
            try:
                given = repair.function(params, prompt)
            except Exception as error:
                return f"raises {type(error).__name__} at {shown(tuple(params))}", ""
            if differs(given, right):
                return f"differs at {shown(tuple(params))}", ""
        return "", ""

    return trial, ""


def finite(gradient):
    return all(np.isfinite(array).all() for array in leaves(gradient))


def shown(x):
    return "; ".join(f"{array.shape} {np.array2string(array.ravel()[:4], precision=3)}" for array in leaves(x))


def judge(family, loss, wrong, audit, trial, seconds):
    """The row of one wrong gradient."""
    tried, answer = trial
    began = time.perf_counter()
    report = audit(seconds)
    took = time.perf_counter() - began
    parts = [part for part in report.formulas if part.verdict != "agree"]
    named = [[item["kind"] for item in part.diagnosis] for part in parts]
    repairs = list(report.repairs)
    faults = [tried(repair) if repair.function else ("no function", "") for repair in repairs]
    copied = [bool(answer) and uses(repair, answer) for repair in repairs]
    return {
        "family": family,
        "loss": loss,
        "gradient": wrong.name,
        "says": wrong.says,
        "mistakes": wrong.mistakes,
        "hard": wrong.hard,
        "verdict": report.verdict,
        "diagnosis": [[f"{item['kind']}: {item['detail']}" for item in part.diagnosis] for part in parts],
        "helpful": bool(named) and all(kinds and kinds[0] != "unknown" for kinds in named),
        "right": bool(named) and all(set(kinds) & set(wrong.kinds) for kinds in named),
        "other": any(kinds and kinds[0] != "unknown" and not set(kinds) & set(wrong.kinds) for kinds in named),
        "mended": bool(repairs) and not any(faults[0]) and not copied[0],
        "copied": any(copied),
        "wrong_mends": [fault for fault, _ in faults if fault and not fault.startswith(LOST)],
        "lost": [fault for pair in faults for fault in pair if fault.startswith(LOST)],
        "data_alone": [fault for _, fault in faults if fault and not fault.startswith(LOST)],
        "helper": [change.line for repair in repairs[:1] for change in repair.changes if not within(change, wrong)],
        "changes": [[f"{c.before} -> {c.after}" for c in repair.changes] for repair in repairs],
        "note": report.mending.note,
        "tried": report.mending.tried,
        "verdict_seconds": took,
        "search_seconds": report.mending.seconds,
    }


def within(change, wrong):
    """Whether a change lies in the wrong gradient's own text, and not in a function that it calls."""
    code = getattr(wrong.function, "__func__", getattr(wrong.function, "function", wrong.function))
    lines, first = inspect.getsourcelines(code)
    return first <= change.line < first + len(lines)


def uses(repair, answer):
    """Whether a repair calls the right gradient, which stands in the same file. It would not, in a reader's."""
    return any(re.search(rf"\b{answer}\b", change.after) for change in repair.changes)


COLUMNS = (
    "gradients",
    "detected",
    "diagnosis helps",
    "diagnosis right",
    "mended",
    "wrong mends",
    "search, median s",
    "90%",
    "most",
)


def counts(rows):
    """The cells of a table's row."""
    if not rows:
        return ["0"] + ["-"] * (len(COLUMNS) - 1)
    searched = [row["search_seconds"] for row in rows]
    cells = [f"{len(rows)}"]
    for key in ("detected", "helpful", "right", "mended"):
        found = sum(row["verdict"] == "disagree" if key == "detected" else row[key] for row in rows)
        cells.append(f"{found} ({found / len(rows):.0%})")
    cells.append(str(sum(bool(row["wrong_mends"]) for row in rows)))
    return cells + [f"{f(searched):.2f}" for f in (statistics.median, lambda s: float(np.quantile(s, 0.9)), max)]


def tables(rows):
    """(heading, rows of cells): by number of mistakes, then by family."""
    numbers = {"one mistake": lambda r: r["mistakes"] == 1 and not r["hard"],
               "two mistakes": lambda r: r["mistakes"] == 2 and not r["hard"],
               "no small edit mends it": lambda r: r["hard"], "all": lambda r: True}  # fmt: skip
    first = [[name, *counts([row for row in rows if holds(row)])] for name, holds in numbers.items()]
    families = dict.fromkeys(row["family"] for row in rows)
    second = [[name, *counts([row for row in rows if row["family"] == name])] for name in families]
    return [("mistakes", first), ("family", second)]


def markdown(rows):
    lines = []
    for heading, cells in tables(rows):
        lines += ["| " + " | ".join((heading, *COLUMNS)) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
        lines += ["| " + " | ".join(row) + " |" for row in cells] + [""]
    return "\n".join(lines)


def text(rows):
    lines = []
    for heading, cells in tables(rows):
        table = [[heading, *COLUMNS], *cells]
        widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
        lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table] + [""]
    return "\n".join(lines)


def lists(rows):
    """What is not as it should be, in words."""
    for row in rows:
        if row["verdict"] != "disagree":
            yield f"NOT DETECTED: {title(row)}: {row['verdict']}"
        for fault in row["wrong_mends"]:
            yield f"WRONG MEND: {title(row)}: {row['changes']}: {fault}"
        for fault in row["lost"]:
            yield f"{title(row)}: {row['changes']}: {fault}"
        for fault in row["data_alone"]:
            yield f"right with these data alone: {title(row)}: {row['changes']}: {fault}"
        if row["helper"]:
            yield f"in a helper: {title(row)}: {row['says']} {row['changes'][0]}"
        if row["copied"]:
            yield f"the right gradient itself: {title(row)}: {row['changes']}"
    for row in rows:
        if not row["helpful"]:
            yield f"unknown: {title(row)}: {row['says']}"
        elif row["other"]:
            yield f"named something else: {title(row)}: {row['says']} {row['diagnosis']}"
    for row in rows:
        if not row["changes"]:
            yield f"not mended{', as expected' if row['hard'] else ''}: {title(row)}: {row['says']} {row['note']}"


def title(row):
    return f"{row['family']}, {row['loss']}, {row['gradient']}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one wrong gradient of each loss")
    parser.add_argument("--seconds", type=float, default=5.0, help="that a search may take; 0: diagnosis alone")
    parser.add_argument("--case", nargs="+", metavar="NAME", help="only this family, loss or wrong gradient")
    parser.add_argument("--json", help="write the rows there as well")
    parser.add_argument("--markdown", help="write the tables there as well")
    options = parser.parse_args()
    chosen = [item for item in gradients(options.quick)
              if not options.case or {item[0], item[1], item[2].name} & set(options.case)]  # fmt: skip
    if not chosen:
        parser.error(f"nothing is called {', '.join(options.case)}: give a family, a loss or a wrong gradient")
    first = {item[0] if item[0] != "formulas" else item[2].paper: item for item in reversed(chosen)}
    for item in first.values():
        item[3](0)  # what is compiled or imported once is in no one's seconds
    rows = []
    for item in chosen:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            rows.append(judge(*item, options.seconds))
        row = rows[-1]
        found = "WRONG MEND" if row["wrong_mends"] else "mended" if row["mended"] else "not mended"
        kinds = "; ".join(", ".join(item.split(":")[0] for item in part) for part in row["diagnosis"])
        print(f"{title(row):75} {row['verdict']:13} {kinds:40} {found:10} {row['search_seconds']:6.2f} s", flush=True)
        for change in row["changes"][:1]:
            print("        " + "   ".join(change))
    print("\n" + text(rows))
    print("\n".join(lists(rows)))
    verdicts = [row["verdict_seconds"] for row in rows]
    median, most = statistics.median(verdicts), max(verdicts)
    print(f"\nverdict: median {median:.3f} s, 90% {np.quantile(verdicts, 0.9):.3f} s, most {most:.3f} s")
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=1), encoding="utf-8")
    if options.markdown:
        Path(options.markdown).write_text(markdown(rows), encoding="utf-8")
    return 0 if all(row["verdict"] == "disagree" and not row["wrong_mends"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
