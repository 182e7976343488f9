"""Time a training step of nlicl beside NumPy, torch and jax: python bench/run.py --help. See bench/README.md."""

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

KEY = ("case", "implementation", "dtype", "threads")
TOLERANCE = {"float64": 1e-10, "float32": 1e-3}


class Parser(argparse.ArgumentParser):
    def error(self, message):
        fail(message)


def fail(message):
    print(f"bench/run.py: {message}", file=sys.stderr)
    raise SystemExit(2)


def main():
    parser = Parser(prog="bench/run.py", description="Times one training step, checked before it is timed.")
    parser.add_argument("--quick", action="store_true", help="the smallest case, few runs, nothing that compiles long")
    parser.add_argument("--json", metavar="FILE", help="write the results to FILE")
    parser.add_argument("--compare", metavar="FILE", help="print ratios to the results in FILE, an earlier --json")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), metavar="N", help="default 2")
    options = parser.parse_args()
    if options.threads < 1:
        fail(f"--threads is {options.threads}; expected 1 or more.")
    if options.json and not Path(options.json).absolute().parent.is_dir():
        fail(f"--json {options.json}: there is no folder {Path(options.json).absolute().parent}.")
    earlier = read_results(options.compare) if options.compare else None
    set_threads(options.threads)
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

    results = measure(options.quick, options.threads)
    if earlier:
        print_comparison(results["rows"], earlier)
    if options.json:
        write_results(options.json, results)
    return 1 if any(row["note"].startswith("DISAGREES") for row in results["rows"]) else 0


def set_threads(threads):
    """For every pool that reads its size from the environment when it is loaded, hence before any import."""
    for name in ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB"):
        os.environ[f"{name}_NUM_THREADS"] = str(threads)
    os.environ["NPROC"] = str(threads)  # XLA's
    if threads == 1:
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
    os.environ.setdefault("JAX_PLATFORMS", "cpu")


def measure(quick, threads):
    """Everything that was asked for, printed as it comes; returns what --json writes."""
    import cases
    import costs
    import peers
    import timing

    timing.check_truth()
    names = [name for name in peers.IMPLEMENTATIONS if peers.installed(name) and not (quick and "compile" in name)]
    missing = [name for name in peers.IMPLEMENTATIONS if not peers.installed(name)]
    environment = describe(threads)
    print(", ".join(f"{key} {value}" for key, value in environment.items()))
    print("fraction_of_limit is not measured yet: no roof of this machine is known to this command.")
    if missing:
        print("not installed: " + ", ".join(missing))
    if quick:
        print("--quick: torch-compile and start-up times are left out.")
    rows = []
    for case in cases.CASES[: 1 if quick else None]:
        for dtype in cases.DTYPES:
            block = timing.time_case(case, dtype, names, threads, TOLERANCE[dtype], rounds=5 if quick else 15)
            for row in block:
                if row["seconds"] is not None:
                    row["peak_bytes"] = costs.peak_bytes(case, dtype, row["implementation"], threads)
            print_table(case, dtype, block)
            rows += block
    start = None if quick else costs.startup()
    if start:
        print("\nnlicl: " + ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in start.items()))
    return {"environment": environment, "startup": start, "not_installed": missing, "rows": rows}


def describe(threads):
    from importlib import metadata

    out = {"python": platform.python_version(), "machine": platform.machine(), "processor": processor()}
    out |= {"cores": os.cpu_count(), "threads": threads, "date": time.strftime("%Y-%m-%d")}
    for package in ("numpy", "numba", "scipy", "torch", "jax"):
        try:
            out[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            out[package] = None
    return out


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def print_table(case, dtype, rows):
    prompts = case.prompt_bytes(dtype)
    print(f"\n{case.name} {dtype}: B={case.B}, l={case.l}, d={case.d}, m={case.m}; prompts {prompts / 1e6:.1f} MB")
    print(
        f"{'':22}{'ms':>10}{'MAD':>8}{'best':>10}{'runs':>6}{'prompts/s':>12}{'x nlicl':>9}{'error':>9}{'peak/prompts':>14}"
    )
    for row in rows:
        if row["seconds"] is None:
            print(f"{row['implementation']:22}  {row['note']}")
            continue
        own = case.prompt_bytes(dtype, row["implementation"])
        peak = f"{row['peak_bytes'] / own:.2f}" if row["peak_bytes"] else "-"
        ratio = f"{row['ratio_to_nlicl']:.2f}" if row["ratio_to_nlicl"] else "-"
        print(
            f"{row['implementation']:22}{1e3 * row['seconds']:10.3f}{1e3 * row['mad']:8.3f}{1e3 * row['best']:10.3f}"
            f"{row['runs']:6}{row['prompts_per_second']:12.0f}{ratio:>9}{row['max_relative_error']:9.0e}{peak:>14}"
        )


def print_comparison(rows, earlier):
    """Seconds of this run over seconds of the earlier one, row by row."""
    before = {tuple(row[key] for key in KEY): row["seconds"] for row in earlier}
    print("\nthis run / earlier run, below 1 is faster now")
    for row in rows:
        key = tuple(row[name] for name in KEY)
        then = before.get(key)
        ratio = f"{row['seconds'] / then:8.2f}" if then and row["seconds"] else "       - (not timed in both)"
        print(f"{key[0]:15}{key[1]:22}{key[2]:9}{key[3]:3} threads{ratio}")


def read_results(path):
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))["rows"]
        for row in rows:
            _ = [row[key] for key in (*KEY, "seconds")]
        return rows
    except OSError as error:
        fail(f"--compare {path} cannot be read: {error.strerror}.")
    except (ValueError, KeyError, TypeError):
        fail(f"--compare {path} is not a file that --json has written.")


def write_results(path, results):
    """First under another name: a reader never sees half a file."""
    target = Path(path)
    part = target.with_name(target.name + ".part")
    try:
        part.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        part.replace(target)
    except OSError as error:
        fail(f"--json {path} cannot be written: {error.strerror}.")


if __name__ == "__main__":
    sys.exit(main())
