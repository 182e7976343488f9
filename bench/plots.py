"""Time of one step against each size and against threads: pictures, and their numbers as a table.

python bench/plots.py THREADS     prints the rows of the point with so many threads (they are settled at import)
"""

import csv
import io
import json
import math
import os
import sys
from pathlib import Path

from processes import find_nlicl, fresh, thread_variables

NAMES = ("nlicl-dense", "nlicl-coded", "torch-eager-probe")
DTYPE = "float64"
ROUNDS = 5
SIZES = {  # axis -> (the other sizes, values)
    "B": ({"l": 20, "d": 60, "m": 64}, (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)),
    "l": ({"B": 256, "d": 60, "m": 64}, (8, 16, 32, 64, 128, 256, 512, 1024)),
    "d": ({"B": 256, "l": 100, "m": 64, "M1": 3, "M2": 1}, (8, 16, 32, 64, 128, 256)),
    "m": ({"B": 256, "l": 20, "d": 60}, (16, 32, 64, 128, 256, 512, 1024, 2048)),
    "M1": ({"B": 256, "l": 20, "d": 304, "m": 64}, (4, 8, 16, 32, 64, 128)),
}
THREADS = {"B": 2000, "l": 20, "d": 60, "m": 64}
LABELS = {"B": "B, prompts", "l": "l, contexts", "d": "d, width of a token", "m": "m, neurons"}
LABELS |= {"M1": "$M_1$, relevant patterns", "threads": "threads"}
FIELDS = ("axis", "value", "implementation", "seconds", "mad", "best", "runs", "B", "l", "d", "m", "M1", "M2", "dtype")
FIELDS += ("threads", "max_relative_error", "note")


def measure(threads, sizes=SIZES, most_threads=None, rounds=ROUNDS):
    """Rows of all curves, printed as they come: those of `timing.time_case`, with the axis and the sizes."""
    from models import transformer

    names = [name for name in NAMES if transformer.IMPLEMENTATIONS[name].installed()]
    rows = []
    for axis, (others, values) in sizes.items():
        block = []
        for value in values:
            block += point(transformer.Case(axis, **others, **{axis: value}), axis, value, names, threads, rounds)
        rows += shown(axis, block)
    most = most_threads or os.cpu_count() or 1
    counts = sorted({most, *(2**k for k in range(most.bit_length()) if 2**k <= most)})
    return rows + shown("threads", [row for n in counts for row in fresh_point(n, names)])


def point(case, axis, value, names, threads, rounds):
    """The rows of one point of one curve: checked, then timed."""
    import timing

    rows = timing.time_case(case, DTYPE, names, threads, rounds)
    sizes = {name: getattr(case, name) for name in ("B", "l", "d", "m", "M1", "M2")}
    return [{**row, "axis": axis, "value": value, **sizes} for row in rows]


def fresh_point(threads, names):
    """The same on another number of threads, in a process of its own."""
    return fresh("plots.py", threads, *names, **thread_variables(threads)) or []


def shown(axis, rows):
    """Prints a curve's times and where it is going: the slope of its last doubling, 1 where time is linear."""
    names = list(dict.fromkeys(row["implementation"] for row in rows))
    values = list(dict.fromkeys(row["value"] for row in rows))
    seconds = {(row["implementation"], row["value"]): row["seconds"] for row in rows}
    print(f"\nms against {axis}\n{'':20}" + "".join(f"{value:>9}" for value in values) + "    slope")
    for name in names:
        times = [seconds[name, value] for value in values]
        slope = "-"
        if len(times) > 1 and times[-1] and times[-2]:
            slope = f"{math.log(times[-1] / times[-2]) / math.log(values[-1] / values[-2]):.2f}"
        print(f"{name:20}" + "".join(f"{1e3 * t:9.3f}" if t else f"{'-':>9}" for t in times) + f"{slope:>9}")
    return rows


def draw(rows):
    """A picture of one curve's rows; beside it a thin line of slope 1, or -1 against threads."""
    import numpy as np

    from nlicl.experiments import style
    from nlicl.experiments.series import Series

    figure, axes = style.new()
    axis = rows[0]["axis"]
    slope, fixed = (-1, 0) if axis == "threads" else (1, -1)  # the line meets our curve where no overhead blurs it
    timed = [row for row in rows if row["seconds"] is not None]
    for i, name in enumerate(NAMES):
        found = [row for row in timed if row["implementation"] == name]
        x, y, spread = (np.array([row[key] for row in found], float) for key in ("value", "seconds", "mad"))
        if len(found):
            style.curve(axes, Series(name, x, 1e3 * y, 1e3 * np.maximum(y - spread, y / 2), 1e3 * (y + spread)), i)
        if len(found) and name == ("nlicl-coded" if axis == "M1" else "nlicl-dense"):
            ends = np.array([x[0], x[-1]])
            line = 1e3 * y[fixed] * (ends / x[fixed]) ** slope
            axes.plot(ends, line, color=style.PAPER, linewidth=0.6, zorder=1, label=f"slope {slope}")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    if timed:
        seconds = [row["seconds"] for row in timed]
        axes.set_ylim(1e3 * min(seconds) / 2, 1e3 * max(seconds) * 4)  # room for the legend
    axes.set_xlabel(LABELS[axis])
    axes.set_ylabel("one step, ms")
    values = sorted({row["value"] for row in rows})
    axes.set_xticks(values, [str(value) for value in values])
    others = [f"{name} = {rows[0][name]}" for name in ("B", "l", "d", "m") if name != axis]
    others += [] if axis == "threads" else [f"{rows[0]['threads']} threads"]
    axes.set_title(", ".join(others), fontsize=7)
    style.legend(axes, ncols=2)
    return figure


def write(folder, rows):
    """DIR/scaling.csv and DIR/scaling-AXIS.png; returns their paths."""
    from nlicl.core.files import write_whole
    from nlicl.experiments import style

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    table = csv.DictWriter(text, FIELDS, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    paths = [folder / "scaling.csv"]
    write_whole(paths[0], text.getvalue())
    for axis in dict.fromkeys(row["axis"] for row in rows):
        mine = [row for row in rows if row["axis"] == axis]
        paths.append(folder / f"scaling-{axis}.png")
        write_whole(paths[-1], style.render(draw, mine, "png"))
    return paths


if __name__ == "__main__":
    find_nlicl()
    from models import transformer

    threads = int(sys.argv[1])
    case = transformer.Case("threads", **THREADS)
    print(json.dumps(point(case, "threads", threads, sys.argv[2:], threads, ROUNDS)))
