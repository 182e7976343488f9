"""What a step costs besides time: peak memory, import and compilation, each measured in a fresh process.

python bench/costs.py memory CASE DTYPE IMPLEMENTATION THREADS     prints a number of bytes, or null
python bench/costs.py startup                                      prints {"import": s, "first_call": s}
"""

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


def peak_bytes(case, dtype, implementation, threads):
    """Peak memory of one step, prompts included, or None where this system does not tell (no Linux /proc)."""
    return _fresh("memory", case.name, dtype, implementation, str(threads))


def startup():
    """Seconds for `import nlicl` and for a first float64 step: cold, then with the cache that the cold one left."""
    with tempfile.TemporaryDirectory() as folder:
        cold = _fresh("startup", NUMBA_CACHE_DIR=folder)
        warm = _fresh("startup", NUMBA_CACHE_DIR=folder)
    if cold is None or warm is None:
        return None
    return {
        "import_seconds": warm["import"],
        "first_call_cold_cache_seconds": cold["first_call"],
        "first_call_warm_cache_seconds": warm["first_call"],
    }


def _fresh(*arguments, **environment):
    # A fixed threshold: large arrays come from the system and go back to it, so that memory in use is what is seen.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", **environment}
    command = [sys.executable, str(HERE / "costs.py"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def _measure_memory(case_name, dtype, implementation, threads):
    import cases
    import peers

    case = next(case for case in cases.CASES if case.name == case_name)
    peers.prepare(implementation, *cases.make(cases.TINY, dtype), threads)()
    data = cases.make(case, dtype)
    step = peers.prepare(implementation, *data, threads)
    if peers.compiles(implementation):
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
    return case.prompt_bytes(dtype, implementation) + peak - before


def _status(field):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}")


def _measure_startup():
    start = time.perf_counter()
    import nlicl

    imported = time.perf_counter()
    import cases

    params, prompts, _ = cases.make(cases.TINY, "float64")
    called = time.perf_counter()
    nlicl.loss_and_grad(params, prompts)
    return {"import": imported - start, "first_call": time.perf_counter() - called}


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    if sys.argv[1] == "memory":
        print(json.dumps(_measure_memory(*sys.argv[2:5], int(sys.argv[5]))))
    else:
        print(json.dumps(_measure_startup()))
