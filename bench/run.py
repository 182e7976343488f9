"""Time a training step of nlicl beside NumPy, torch and jax: python bench/run.py --help. See bench/README.md."""

import argparse
import importlib.util
import json
import os
import platform
import shutil
import sys
import time
from pathlib import Path

from processes import busy_cores, find_nlicl, fresh, thread_variables

RATE_SEEDS = 12  # runs a round for each thread, of which the last may run alone
KEY = ("case", "implementation", "dtype", "threads")


class Parser(argparse.ArgumentParser):
    def error(self, message):
        fail(message)


def fail(message):
    print(f"bench/run.py: {message}", file=sys.stderr)
    raise SystemExit(2)


def main():
    parser = Parser(prog="bench/run.py", description="Times training, step and run, checked before it is timed.")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--quick", action="store_true", help="the smallest cases, few runs, nothing that takes long")
    what.add_argument("--training", action="store_true", help="the whole training run alone")
    what.add_argument("--plots", metavar="DIR", help="pictures of time against every size and threads, instead")
    parser.add_argument("--gpu", action="store_true", help="steps and a training run on a GPU, nothing else")
    parser.add_argument("--case", metavar="NAME", action="append", help="steps of this case alone; may be given again")
    parser.add_argument("--json", metavar="FILE", help="write the results to FILE")
    parser.add_argument("--compare", metavar="FILE", help="print ratios to the results in FILE, an earlier --json")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), metavar="N", help="default 2")
    options = parser.parse_args()
    if options.threads < 1:
        fail(f"--threads is {options.threads}; expected 1 or more.")
    if options.json and not Path(options.json).absolute().parent.is_dir():
        fail(f"--json {options.json}: there is no folder {Path(options.json).absolute().parent}.")
    if options.case and (options.training or options.plots is not None):
        fail("--case chooses among the steps; it does not go with --training or --plots.")
    if options.gpu and (options.training or options.plots is not None):
        fail("--gpu has steps and a training run of its own; it does not go with --training or --plots.")
    if options.plots is not None:
        check_plots(options)
    earlier = read_results(options.compare) if options.compare else None
    os.environ.update(thread_variables(options.threads))  # before anything is imported that counts threads
    find_nlicl()

    if options.plots is not None:
        return make_plots(options.plots, options.threads)
    if options.gpu:
        check_gpu(options, earlier)
    results = measure(options)
    if earlier:
        print_comparison(results, earlier)
    if options.json:
        write_results(options.json, results)
    return 1 if any(map(failed, results["rows"])) else 0


def failed(row):
    """Whether a row has no time that should have one. On a GPU an implementation may not fit."""
    return bool(row["note"]) and (row["note"].startswith("DISAGREES") or not row["case"].startswith("gpu-"))


def check_plots(options):
    """Before the work, not after."""
    if options.json or options.compare:
        fail("--plots writes its numbers to DIR/scaling.csv; it does not go with --json or --compare.")
    if importlib.util.find_spec("matplotlib") is None:
        fail("--plots needs matplotlib, which is not installed: pip install matplotlib.")
    try:
        Path(options.plots).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"--plots {options.plots}: the folder cannot be made: {error.strerror}.")


def check_gpu(options, earlier):
    """That there is one, and numbers of one to compare with."""
    import gpu

    if why := gpu.not_measured():
        fail(f"--gpu: not measured ({why}).")
    if earlier and not earlier.get("gpu"):
        fail(f"--compare {options.compare} has no rows of a GPU; expected a file that --json wrote where there is one.")


def make_plots(folder, threads):
    import plots
    import timing

    timing.check_truths()
    print_environment(describe(threads))
    rows = plots.measure(threads)
    print()
    for path in plots.write(folder, rows):
        print(path)
    return 1 if any(row["note"].startswith("DISAGREES") for row in rows) else 0


def measure(options):
    """Everything that was asked for, printed as it comes; returns what --json writes."""
    import timing

    chosen = chosen_cases(options)
    timing.check_truths()
    environment = describe(options.threads)
    print_environment(environment)
    results = {"environment": environment, "limits": None, "startup": None, "gpu": None, "not_installed": []}
    if options.gpu:
        results["gpu"], results["rows"] = measure_gpu(chosen, options)
        return results
    known = {name: entry for case in chosen for name, entry in case.implementations.items()}
    names = [name for name, entry in known.items() if entry.installed()]
    missing = [name for name in known if name not in names]
    for module in dict.fromkeys(known[name].module for name in missing):
        left_out = ", ".join(name for name in missing if known[name].module == module)
        print(f"{module} is not installed, so these are left out: {left_out}. pip install {module}")
    results |= {"not_installed": missing, "rows": []}
    if not options.quick and any("torch-compile" in name for name in names):
        check_compiler()
    if options.quick:
        print("--quick: torch-compile, peak memory, the training run and start-up times are left out.")
        names = [name for name in names if "compile" not in name]
    if not options.training:
        results["limits"], results["rows"] = measure_steps(chosen, names, options.threads, options.quick)
    if not options.quick and not options.case:
        results["rows"] += measure_training(names, options.threads)
    if not options.quick and not options.case and not options.training:
        results["startup"] = measure_startup()
    if not options.case and not options.training:
        import gpu

        if why := gpu.not_measured():
            print(f"\nGPU: not measured ({why})")
        else:
            results["gpu"], rows = measure_gpu(gpu.QUICK if options.quick else gpu.CASES, options)
            results["rows"] += rows
    return results


def check_compiler():
    """torch.compile is the strongest of the others: a table without it would flatter nlicl."""
    wanted = os.environ.get("CXX") or "g++"
    if shutil.which(wanted) is None and ("CXX" in os.environ or shutil.which("clang++") is None):
        fail(
            f"torch.compile needs a C++ compiler, and {wanted} is not found. Install one (apt install g++), or name one by "
            "the variable CXX. --quick leaves torch.compile out."
        )


def measure_gpu(chosen, options):
    import gpu

    return gpu.measure(chosen, options.threads, options.quick, train=not options.quick and not options.case)


def chosen_cases(options):
    """Those that were named, else all, or the smallest."""
    if options.gpu:
        import gpu as cases
    else:
        import cases

    if not options.case:
        return cases.QUICK if options.quick else cases.CASES
    known = [case.name for case in cases.CASES]
    for name in options.case:
        if name not in known:
            fail(f"--case {name}: there is no such case; expected one of {', '.join(known)}.")
    return [case for case in cases.CASES if case.name in options.case]


def measure_steps(chosen, names, threads, quick):
    """The roofs of this machine, and rows for every case that was chosen."""
    import cases
    import costs
    import limits
    import timing

    roofs, rows = {}, []
    for dtype in cases.DTYPES:
        roofs[dtype] = limits.measure(dtype, threads)
        numbers = ", ".join(
            f"{rate / 1e9:.3g} G {name.replace('_', '-')}" for name, rate in roofs[dtype]._asdict().items()
        )
        print(f"this machine at most, a second, {dtype}: {numbers}")
    for case in chosen:
        known = [name for name in case.implementations if name in names]
        for dtype in cases.DTYPES:
            block = timing.time_case(case, dtype, known, threads, 5 if quick else 15, roofs[dtype])
            for row in block:
                if row["seconds"] is not None and not quick:
                    row["peak_bytes"] = costs.peak_bytes(case, dtype, row["implementation"], threads)
            print_table(case, dtype, block)
            rows += block
    return {dtype: found._asdict() for dtype, found in roofs.items()}, rows


def measure_training(names, threads):
    import cases
    import training
    import wide

    from nlicl.papers.li2024 import Problem

    steps = training.steps_to_goal(Problem())
    print(f"\nA whole training run: {steps} steps, to a hinge loss below {training.GOAL} on unseen tasks")
    rows = []
    for dtype in cases.DTYPES:
        known = [name for name in training.IMPLEMENTATIONS if name in names]
        block = training.time_training(dtype, known, threads, steps)
        print_training(dtype, block)
        rows += block
    rows += measure_rates(threads)
    print(f"\n{wide.STEPS} steps of SGD on wide matrices: Bu et al.'s own problem")
    for dtype in cases.DTYPES:
        known = [name for name, (module, _) in wide.IMPLEMENTATIONS.items() if importlib.util.find_spec(module)]
        block = wide.time_wide(dtype, known, threads)
        print_training(dtype, block)
        rows += block
    return rows


def measure_rates(threads):
    """Runs of the paper's experiment a second: seeds side by side, on one thread and on all."""
    import cases
    import timing

    print("\nThe paper's experiment, 400 steps, many seeds: runs a second, the fastest round and the median")
    rows = []
    for dtype in cases.DTYPES:
        for measured in ("unmeasured", "measured"):
            best = {}
            for n in dict.fromkeys((1, threads)):
                seeds = RATE_SEEDS * n
                seconds = fresh("rates.py", measured, dtype, seeds, **thread_variables(n))
                row = timing.blank("experiment-400", f"nlicl-{measured}", dtype, n)
                rows.append(row)
                if seconds is None:
                    row["note"] = "not available: bench/rates.py failed"
                    print(f"{dtype} {measured}: {row['note']}")
                    continue
                timing.fill([row], {row["implementation"]: [s / seeds for s in seconds]}, prompts=400 * 256, ours=None)
                best[n] = row["best"]
                times = f", {best[1] / row['best']:.2f} times one thread" if n > 1 and 1 in best else ""
                print(
                    f"{dtype} {measured:10} {n} thread{'s' * (n > 1)}: {1 / row['best']:6.1f} {1 / row['seconds']:6.1f}{times}"
                )
    return rows


def measure_startup():
    import costs

    start = costs.startup()
    if start is None:
        return None
    print("\nnlicl, seconds")
    for name, value in start.items():
        if name != "compiled":
            print(f"  {name.removesuffix('_seconds').replace('_', ' '):32}{value:8.2f}")
    print("compiled by the first training, seconds; in all that is not listed "
          f"{sum(entry['seconds'] for entry in start['compiled'] if entry['seconds'] < 0.1):.2f}")  # fmt: skip
    for entry in start["compiled"]:
        if entry["seconds"] >= 0.1:
            print(f"  {entry['kernel']:32}{entry['seconds']:8.2f}  {entry['signature'][:80]}")
    return start


def print_environment(environment):
    print(", ".join(f"{key.replace('_', ' ')} {value}" for key, value in environment.items()))
    if (environment["busy_cores"] or 0) >= 0.3:
        print(
            f"others keep {environment['busy_cores']} cores busy: threads that spin while they wait for each other, torch's "
            "and BLAS's, may take a hundred times as long"
        )


def describe(threads):
    from importlib import metadata

    out = {"python": platform.python_version(), "machine": platform.machine(), "processor": processor()}
    out |= {"cores": os.cpu_count(), "threads": threads, "busy_cores": busy_cores()}
    out["date"] = time.strftime("%Y-%m-%d")
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
    sizes = ", ".join(f"{name}={value}" for name, value in case.sizes.items())
    print(f"\n{case.name} {dtype}: {sizes}; prompts {prompts / 1e6:.1f} MB")
    print(
        f"{'':22}{'ms':>10}{'MAD':>8}{'best':>10}{'apart':>10}{'runs':>6}{'prompts/s':>12}{'x nlicl':>9}{'of limit':>9}"
        f"{'error':>9}{'peak/prompts':>14}"
    )
    for row in rows:
        if row["seconds"] is None:
            print(f"{row['implementation']:22}  {row['note']}")
            continue
        own = case.prompt_bytes(dtype, case.implementations[row["implementation"]].given)
        peak = f"{row['peak_bytes'] / own:.2f}" if row["peak_bytes"] else "-"
        ratio = f"{row['ratio_to_nlicl']:.2f}" if row["ratio_to_nlicl"] else "-"
        limit = f"{row['fraction_of_limit']:.2f}" if row["fraction_of_limit"] else "-"
        print(
            f"{row['implementation']:22}{1e3 * row['seconds']:10.3f}{1e3 * row['mad']:8.3f}{1e3 * row['best']:10.3f}"
            f"{1e3 * row['apart_seconds']:10.3f}{row['runs']:6}{row['prompts_per_second']:12.0f}{ratio:>9}{limit:>9}"
            f"{row['max_relative_error']:9.0e}{peak:>14}"
        )
    least = {case.implementations[row["implementation"]].given: row["limit_seconds"] for row in rows}
    print("the limit, ms: " + ", ".join(f"{1e3 * seconds:.3f} for {given}" for given, seconds in least.items()))


def print_training(dtype, rows):
    print(f"\n{rows[0]['case']} {dtype}")
    print(
        f"{'':22}{'s':>10}{'MAD':>8}{'drawing':>10}{'steps':>10}{'runs':>6}{'x nlicl':>9}{'final loss':>14}{'error':>9}"
    )
    for row in rows:
        if row["seconds"] is None:
            print(f"{row['implementation']:22}  {row['note']}")
            continue
        ratio = f"{row['ratio_to_nlicl']:.2f}" if row["ratio_to_nlicl"] else "-"
        print(
            f"{row['implementation']:22}{row['seconds']:10.3f}{row['mad']:8.3f}{row['sampling_seconds']:10.3f}"
            f"{row['steps_seconds']:10.3f}{row['runs']:6}{ratio:>9}{row['final_loss']:14.8f}{row['max_relative_error']:9.0e}"
        )


def print_comparison(results, earlier):
    """Seconds of this run over seconds of the earlier one, row by row."""
    before = {tuple(row[key] for key in KEY): row["seconds"] for row in earlier["rows"]}
    print("\nthis run / earlier run, below 1 is faster now")
    devices = [run["gpu"]["device"] for run in (earlier, results) if run.get("gpu")]
    if len(set(devices)) > 1:
        print("rows of a GPU: the earlier run had the {}, this run the {}".format(*devices))
    for row in results["rows"]:
        key = tuple(row[name] for name in KEY)
        then = before.get(key)
        ratio = f"{row['seconds'] / then:8.2f}" if then and row["seconds"] else "       - (not timed in both)"
        print(f"{key[0]:19}{key[1]:22}{key[2]:9}{key[3]:3} threads{ratio}")


def read_results(path):
    try:
        results = json.loads(Path(path).read_text(encoding="utf-8"))
        for row in results["rows"]:
            _ = [row[key] for key in (*KEY, "seconds")]
        if results.get("gpu"):
            _ = results["gpu"]["device"]
        return results
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
