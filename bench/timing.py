"""Check every implementation, then time those that agree, in turns."""

import statistics
import time

import cases
import limits
import numpy as np

TOLERANCE = {"float64": 1e-10, "float32": 1e-3}  # of a step's loss and gradients
PAUSE = 0.02  # seconds: thread pools spin for a while after a call, and would slow down the next implementation
ENOUGH = 0.02  # seconds of timed calls a turn, or one call if it takes longer
APART = 2  # calls a turn that come each after a pause, as in a program that does something else in between
LONGEST = 40  # seconds: after that, and FEWEST rounds, a case is done
FEWEST = 5

# What a row says besides its KEY and its note; None where it was not measured.
MEASURED = ("seconds", "mad", "best", "apart_seconds", "runs", "prompts_per_second", "ratio_to_nlicl", "limit_seconds")
MEASURED += ("fraction_of_limit", "max_relative_error", "peak_bytes")


def blank(case, implementation, dtype, threads, measured=MEASURED):
    """A row of which nothing is known yet."""
    key = {"case": case, "implementation": implementation, "dtype": dtype, "threads": threads}
    return key | dict.fromkeys(measured) | {"note": ""}


def check_truth(tiny):
    """Hold a model's NumPy step, by which all others are judged, against its definition: values and slopes of one prompt.

    Slopes are complex steps of the definition along a random direction of each parameter: exact to rounding.
    """
    params, arrays, prompts, _ = tiny.make("float64")
    loss, *grads = tiny.numpy_step(params, *(array[:1] for array in arrays))
    worst = abs(loss - tiny.loss(params, prompts[0]))
    rng = np.random.default_rng(1)
    for name, grad in zip(params._fields, grads, strict=True):
        direction = rng.standard_normal(grad.shape)
        moved = params._replace(**{name: getattr(params, name) + 1e-30j * direction})
        slope = tiny.loss(moved, prompts[0]).imag / 1e-30
        worst = max(worst, abs(slope - np.vdot(direction, grad)) / np.linalg.norm(grad))
    if not worst < 1e-12:
        raise SystemExit(
            f"bench/run.py: {tiny.name}: the NumPy step is {worst:.1e} away from the definition; nothing can be judged."
        )


def check_truths():
    """Of every model."""
    for tiny in cases.TINY.values():
        check_truth(tiny)


def time_case(case, dtype, names, threads, rounds, roofs=None):
    """A row for each implementation in `names`; timed are those within TOLERANCE of NumPy's float64 result.

    With `roofs` of `limits.measure`, rows say how far from them they are.
    """
    data = case.make(dtype)
    params = type(data.params)(*(array.astype(np.float64) for array in data.params))
    truth = case.numpy_step(params, *(array.astype(np.float64) for array in data.arrays))
    rows, steps = [], {}
    for name in names:
        row = blank(case.name, name, dtype, threads)
        rows.append(row)
        try:
            step = case.implementations[name].prepare(data, threads)
            error = relative_error(step(), truth)
        except Exception as problem:  # a peer's installation may fail in ways we cannot list
            row["note"] = not_available(problem)
            continue
        row["max_relative_error"] = error
        if error <= TOLERANCE[dtype]:
            steps[name] = step
        else:
            row["note"] = disagrees(error, TOLERANCE[dtype])
    seconds, apart = interleaved(steps, rounds)
    fill(rows, seconds, prompts=case.B, ours="nlicl-dense")
    for row in rows:
        if row["seconds"] is not None:
            row["apart_seconds"] = statistics.median(apart[row["implementation"]])
    if roofs is not None:
        fill_limits(rows, case, roofs)
    return rows


def not_available(problem):
    """The note of an implementation that raised."""
    return f"not available: {type(problem).__name__}: {(str(problem).strip().splitlines() or [''])[0][:100]}"


def disagrees(error, tolerance):
    return f"DISAGREES: relative error {error:.1e}, tolerance {tolerance:.0e}; not timed"


def relative_error(result, truth):
    """The largest of |x - truth| / |truth| over loss and gradients, in Euclidean norms; NaN counts as infinite."""
    errors = [
        np.linalg.norm(np.asarray(x, np.float64) - y) / np.linalg.norm(y) for x, y in zip(result, truth, strict=True)
    ]
    return float(np.nan_to_num(max(errors, key=lambda e: np.inf if np.isnan(e) else e), nan=np.inf))


def interleaved(steps, rounds):
    """Seconds of single calls, {name: list}, back to back and each after a pause: all implementations in turn, again and
    again, so that what disturbs the machine disturbs them alike. Each turn begins with a pause and a call that is not counted.
    """
    back_to_back, apart = ({name: [] for name in steps} for _ in range(2))
    begin = time.perf_counter()
    for done in range(rounds):
        if done >= FEWEST and time.perf_counter() - begin > LONGEST:
            break
        for name, step in steps.items():
            time.sleep(PAUSE)
            step()
            end = time.perf_counter() + ENOUGH
            while True:
                back_to_back[name].append(seconds_of(step))
                if time.perf_counter() >= end:
                    break
            for _ in range(APART):
                time.sleep(PAUSE)
                apart[name].append(seconds_of(step))
    return back_to_back, apart


def seconds_of(step):
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def fill(rows, seconds, prompts, ours):
    """Medians and what follows from them, for steps or runs of `prompts` prompts; `ours` is what others are compared with."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ours = medians.get(ours)
    for row in rows:
        name = row["implementation"]
        if name not in medians:
            continue
        median = medians[name]
        row["seconds"] = median
        row["mad"] = statistics.median(abs(value - median) for value in seconds[name])
        row["best"] = min(seconds[name])
        row["runs"] = len(seconds[name])
        row["prompts_per_second"] = prompts / median
        row["ratio_to_nlicl"] = median / ours if ours else None


def fill_limits(rows, case, roofs):
    """Bytes come from where the case's lie once a step is done again and again: from caches, if they fit in there."""
    near = {}
    for row in rows:
        costs = case.costs(row["dtype"], case.implementations[row["implementation"]].given)
        if costs.bytes not in near:
            near[costs.bytes] = limits.bandwidth(row["dtype"], row["threads"], int(costs.bytes))
        least = limits.least_seconds(costs, roofs._replace(bytes=max(roofs.bytes, near[costs.bytes])))
        row["limit_seconds"] = least
        if row["seconds"] is not None:
            row["fraction_of_limit"] = least / row["seconds"]
