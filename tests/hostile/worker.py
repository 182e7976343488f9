"""A process that tries the cases of one part: numbers come in, outcomes go out as lines of JSON. It may crash."""

import json
import os
import resource
import sys
import traceback
from pathlib import Path

from .machine import adopt_orphans
from .outcome import Outcome, failed
from .part import load

__all__: list[str] = []


def main(name: str, seed: int, folder: Path) -> None:
    """Serve until the numbers end. What cases print or read is not taken for numbers or outcomes."""
    numbers, lines = os.fdopen(os.dup(0), "r"), os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(nothing, stream)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    adopt_orphans()
    part = load(name, seed, folder)
    print(json.dumps(part.limit), file=lines, flush=True)
    for number in numbers:
        case = int(number)
        try:
            outcome = part.judge(case)
        except Exception as error:  # the judge itself, or what it did not expect
            outcome = failed("bug", "not expected by the judge: " + "".join(traceback.format_exception(error))[-2500:])
        shown = _described(part.describe, case) if outcome.failures else ""
        print(json.dumps([*Outcome(*outcome), shown]), file=lines, flush=True)


def _described(describe: "object", case: int) -> str:
    try:
        return str(describe(case))  # type: ignore[operator]
    except Exception as error:
        return f"(no description: {type(error).__name__})"


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
