"""Hostile inputs, for minutes or for hours: python -m tests.hostile --minutes N, from the root of a clone.

Each part has cases by number, made from the seed alone. They are tried in processes of their own, under limits of memory and
time. A crash ends one of those, and is told by the case that caused it. What fails is printed with what repeats it.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from .machine import adopt_orphans, end_all
from .part import OF_ITSELF, PARTS
from .runner import Runner
from .table import failures_text, table

SLICE = 6.0  # seconds before it is another part's turn


def main() -> int:
    """Returns 0 if nothing failed, otherwise 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=2.0, metavar="N", help="for so long (default %(default)g)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of all cases (default %(default)s)")
    parser.add_argument("--only", metavar="PART", help=f"of {', '.join(PARTS)}; several separated by commas")
    parser.add_argument("--case", type=int, metavar="K", help="this case alone, of the part that --only names")
    parser.add_argument("--first", type=int, default=0, metavar="K", help="begin with this case of each part")
    parser.add_argument("--cases", type=int, metavar="N", help="at most so many of each part")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the table and what failed there as well")
    parser.add_argument("--verbose", action="store_true", help="a line for each case, on standard error")
    options = parser.parse_args()
    chosen = options.only.split(",") if options.only else list(PARTS)
    if not set(chosen) <= {*PARTS, OF_ITSELF}:
        parser.error(f"--only {options.only}: expected some of {', '.join(PARTS)}")
    first = options.first if options.case is None else options.case
    count = options.cases if options.case is None else 1
    adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="nlicl-hostile-") as folder:
        parts = [Runner(name, options.seed, Path(folder), first, count, options.verbose) for name in chosen]
        began = time.monotonic()  # what parts prepare, such as compiled kernels, is not counted
        try:
            until = began + 60 * options.minutes
            while time.monotonic() < until and any(part.more() for part in parts):
                for part in parts:
                    part.work(min(time.monotonic() + SLICE, until))
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
        finally:
            for part in parts:
                part.close()
            end_all()
    text = table(parts, time.monotonic() - began)
    failures = failures_text(parts, options.seed)
    print(text + ("\n\n" + failures if failures else ""))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "table.txt").write_text(text + "\n", encoding="utf-8")
        (options.out / "failures.txt").write_text(failures + "\n", encoding="utf-8", errors="backslashreplace")
    return 1 if any(part.failures for part in parts) or not any(part.inputs for part in parts) else 0


if __name__ == "__main__":
    sys.exit(main())
