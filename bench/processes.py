"""Threads, which are set before anything is imported, and fresh processes. Imports nothing that counts threads."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


def thread_variables(threads):
    """Environment variables for every pool that reads its size from there when it is loaded.

    OpenBLAS's threads keep a core busy for 2^28 cycles after a call, an eighth of a second in which everybody else waits
    for that core: 2^24 are over before the next implementation's turn (`timing.PAUSE`).
    """
    variables = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB")}
    variables["OPENBLAS_THREAD_TIMEOUT"] = os.environ.get("OPENBLAS_THREAD_TIMEOUT", "24")
    variables["NPROC"] = str(threads)  # XLA's
    if threads == 1:
        variables["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
    variables["JAX_PLATFORMS"] = os.environ.get("JAX_PLATFORMS", "cpu")
    return variables


def find_nlicl():
    """The checkout that this folder belongs to comes before any installed nlicl."""
    sys.path.insert(0, str(HERE.parent))


def fresh(script, *arguments, **environment):
    """What a script of this folder prints last, a line of JSON; None if it fails."""
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def busy_cores(seconds=0.3):
    """How many cores other programs keep busy, while this one sleeps; None where the system does not tell."""

    def ticks():
        user, nice, system, idle, waiting, *rest = map(
            int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        )
        return user + nice + system + sum(rest), idle + waiting

    try:
        busy, idle = ticks()
        time.sleep(seconds)
        busy, idle = (after - before for after, before in zip(ticks(), (busy, idle), strict=True))
        return round(busy / max(busy + idle, 1) * os.cpu_count(), 1)
    except (OSError, ValueError):
        return None
