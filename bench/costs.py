"""What a step costs besides time: peak memory, import and compilation, each measured in a fresh process.

python bench/costs.py memory CASE DTYPE IMPLEMENTATION THREADS     prints a number of bytes, or null
python bench/costs.py startup                                      prints {"import": s, "first_call": s}
python bench/costs.py training                                     prints [{"kernel", "signature", "seconds"}, ...]
"""

import gc
import json
import sys
import tempfile
import time
from pathlib import Path

from processes import find_nlicl, fresh


def peak_bytes(case, dtype, implementation, threads):
    """Peak memory of one step, prompts included, or None where this system does not tell (no Linux /proc)."""
    # A fixed threshold: large arrays come from the system and go back to it, so that memory in use is what is seen.
    where = {"MALLOC_MMAP_THRESHOLD_": "65536"}
    return fresh("costs.py", "memory", case.name, dtype, implementation, threads, **where)


def startup():
    """Seconds for `import nlicl`, for a first float64 step, and for a whole process `nlicl train li2024 --steps 1`: with
    an empty compilation cache, then with the one that was left; and what was compiled in the first such process."""
    with tempfile.TemporaryDirectory() as folder:
        cold = fresh("costs.py", "startup", NUMBA_CACHE_DIR=folder)
        warm = fresh("costs.py", "startup", NUMBA_CACHE_DIR=folder)
    with tempfile.TemporaryDirectory() as folder:
        first_training, compiled = _timed_training(folder)
        second_training, _ = _timed_training(folder)
    if None in (cold, warm, compiled):
        return None
    return {
        "import_seconds": warm["import"],
        "first_call_cold_cache_seconds": cold["first_call"],
        "first_call_warm_cache_seconds": warm["first_call"],
        "first_training_cold_cache_seconds": first_training,
        "first_training_warm_cache_seconds": second_training,
        "compile_seconds": sum(entry["seconds"] for entry in compiled),
        "compiled": compiled,
    }


def _timed_training(folder):
    start = time.perf_counter()
    compiled = fresh("costs.py", "training", NUMBA_CACHE_DIR=folder)
    return time.perf_counter() - start, compiled


def _measure_memory(case_name, dtype, implementation, threads):
    import cases

    case = cases.named(case_name)
    chosen = case.implementations[implementation]
    chosen.prepare(cases.tiny(case).make(dtype), threads)()
    data = case.make(dtype)
    step = chosen.prepare(data, threads)
    if chosen.compiles:
        step()  # the memory of compiling for these sizes is not the step's
    gc.collect()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark back to what is in use now
        before = _status("VmRSS")
        result = step()
        peak = _status("VmHWM")
    except OSError:
        return None
    del result
    return case.prompt_bytes(dtype, chosen.given) + peak - before


def _status(field):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}")


def _measure_startup():
    start = time.perf_counter()
    import nlicl

    imported = time.perf_counter()
    from models import transformer

    data = transformer.TINY.make("float64")
    called = time.perf_counter()
    nlicl.loss_and_grad(data.params, data.prompts)
    return {"import": imported - start, "first_call": time.perf_counter() - called}


def _measure_training():
    """Trains one step, as the command does; returns what numba compiled for it, the longest first."""
    from numba.core import event

    class Stopwatch(event.Listener):
        """A kernel compiles those that it calls: theirs is taken off its own time."""

        def __init__(self):
            self.begun, self.done = [], []

        def on_start(self, event):
            self.begun.append([time.perf_counter(), 0.0])

        def on_end(self, event):
            start, inner = self.begun.pop()
            seconds = time.perf_counter() - start
            if self.begun:
                self.begun[-1][1] += seconds
            function = event.data["dispatcher"].py_func
            name = f"{function.__module__}.{function.__qualname__}".partition(".<locals>")[0]
            name = name.removeprefix("nlicl.kernels.")
            signature = ", ".join(map(str, event.data["args"]))
            self.done.append({"kernel": name, "signature": signature, "seconds": seconds - inner})

    stopwatch = Stopwatch()
    event.register("numba:compile", stopwatch)
    from nlicl.cli import main

    if main(["train", "li2024", "--steps", "1"]) != 0:
        raise SystemExit(1)
    return sorted(stopwatch.done, key=lambda entry: -entry["seconds"])


if __name__ == "__main__":
    find_nlicl()
    if sys.argv[1] == "memory":
        found = _measure_memory(*sys.argv[2:5], int(sys.argv[5]))
    else:
        found = {"startup": _measure_startup, "training": _measure_training}[sys.argv[1]]()
    print(json.dumps(found))
