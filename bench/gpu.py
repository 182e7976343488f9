"""Steps and a training run on a GPU beside torch on the same GPU, and what that GPU can do. See bench/README.md.

A step is timed between two events on the default stream, on which numba and torch both launch. Before the first event the
GPU is given large copies to make: they empty its cache of the prompts, and while it makes them the host launches the step.
What lies between the events is then the work of the GPU alone.
"""

import contextlib
import functools
import importlib.util
import shutil
import statistics
import subprocess
import time
import warnings
from collections.abc import Callable
from importlib import metadata
from typing import NamedTuple

import numpy as np
import peers
import timing
import training
from models import transformer

import nlicl
from nlicl import devices
from nlicl.kernels.layers.loss import HINGE
from nlicl.models.transformer.steps import TRANSFORMER
from nlicl.papers.li2024 import Problem

CASES = tuple(transformer.Case(f"gpu-{B}", B=B, l=100, d=60, m=64) for B in (256, 4096, 65536))
QUICK = CASES[:1]
DTYPES = ("float64", "float32")
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}  # of ours; others have timing.TOLERANCE
TORCH = "cuda"  # its name for the GPU
STEPS = 1000  # of the training run
BUFFER = 2**30  # bytes of each of two: many times any cache
COLUMNS = 8192  # of a buffer, where it is read as a matrix
MATRICES = (4096, 8192)  # sizes of torch's products
TRIES = 10  # of what gives a limit
MOST_COPIES = 64  # before a step: if they do not hide its launches, more will not
ROUNDS = {False: 15, True: 5}  # turns, under --quick or not
EACH = 3  # timed steps a turn

MEASURED = (*timing.MEASURED, "call_seconds", "launches_hidden", "to_gpu_seconds", "to_host_seconds")
MEASURED += ("fraction_of_memory", "fraction_of_matrix", "speedup_over_torch_probe")
MOVED = ("transfers_to_host", "bytes_to_host", "transfers_to_gpu", "bytes_to_gpu")  # in a training run


def not_measured():
    """Why nothing is measured on a GPU here; an empty string if it can be."""
    found = devices.unavailable()
    if found is not None:
        return "{}; to mend it: {}".format(*found)
    return "NUMBA_ENABLE_CUDASIM is set: a simulator has no times" if devices.kernels().SIMULATED else ""


def torch_not_timed():
    """Why torch is not timed here; an empty string if it can be."""
    if importlib.util.find_spec("torch") is None:
        return "not installed"
    import torch

    if not torch.cuda.is_available():
        return f"torch {torch.__version__} sees no GPU"
    if torch.cuda.current_stream().cuda_stream != 0:
        return "it does not launch on the default stream, where the events are"
    return ""


def describe():
    """The GPU, its driver and the packages that use it."""
    out = {"device": devices.kernels().device_name(), "nvidia_smi": None}
    out["cuda_runtime"] = devices.kernels().runtime_version()
    if shutil.which("nvidia-smi"):  # which tells what is not to be had from numba
        query = "name,driver_version,compute_cap,memory.total,clocks.max.sm,power.limit,utilization.gpu"
        command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        out["nvidia_smi"] = done.stdout.strip() if done.returncode == 0 else None
    for package in ("numba-cuda", "cuda-bindings", "torch"):
        try:
            out[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            out[package] = None
    return out


# ---- The clock, and what the GPU can do


class Clock:
    """Times what is launched, between events; has the two buffers that are copied before."""

    def __init__(self, dtype):
        place = devices.kernels().place
        self.here, self.there = (place(np.ones(BUFFER // np.dtype(dtype).itemsize, dtype)) for _ in range(2))
        self.copies = 1

    def copy(self):
        self.here.copy_to_device(self.there)

    def seconds(self, launch):
        """Of what `launch` gives the GPU to do; and whether all of it was launched before the GPU came to it."""
        cuda = devices.kernels()
        begin, start, stop = (cuda.event() for _ in range(3))
        cuda.synchronize()
        before = time.perf_counter()
        begin.record()
        for _ in range(self.copies):
            self.copy()
        start.record()
        launch()
        stop.record()
        launching = time.perf_counter() - before
        stop.synchronize()
        return start.elapsed_time(stop) / 1e3, launching < begin.elapsed_time(start) / 1e3

    def hide(self, launch):
        """Take as many copies as it needs to launch this in their shadow."""
        launch()
        while not self.seconds(launch)[1] and self.copies < MOST_COPIES:
            self.copies *= 2

    def best(self, launch):
        self.hide(launch)
        return min(self.seconds(launch)[0] for _ in range(TRIES))


def wall(call):
    """Seconds until all that a call asks of the GPU is done, and what it returns."""
    cuda = devices.kernels()
    cuda.synchronize()
    start = time.perf_counter()
    result = call()
    cuda.synchronize()
    return time.perf_counter() - start, result


class Roofs(NamedTuple):
    """Most that the GPU does in a second: bytes of a copy, read and written; bytes of sums over columns; multiply-adds of
    torch's products, or None."""

    copied_bytes: float
    read_bytes: float
    multiply_adds: float | None

    @property
    def bytes(self):
        return max(self.copied_bytes, self.read_bytes)


def measure_roofs(clock, with_torch):
    kernels, dtype, size = devices.kernels(), clock.here.dtype, clock.here.nbytes
    sums, rows = kernels.empty(COLUMNS, dtype), clock.here.size // COLUMNS

    def read():
        with kernels.scratch:
            kernels.column_sums(sums, clock.here, rows, COLUMNS)

    return Roofs(
        copied_bytes=2 * size / clock.best(clock.copy),
        read_bytes=size / clock.best(read),
        multiply_adds=product_rate(clock, dtype.name) if with_torch else None,
    )


def product_rate(clock, dtype):
    """Multiply-adds a second of torch.matmul, in the precision that dtype names."""
    import torch

    torch.set_float32_matmul_precision("highest")  # no TF32
    found = []
    for size in MATRICES:
        A, B, C = torch.ones((3, size, size), dtype=getattr(torch, dtype), device=TORCH)
        found.append(size**3 / clock.best(functools.partial(torch.matmul, A, B, out=C)))
    return max(found)


# ---- Implementations: `prepare(data) -> Step`


class Step(NamedTuple):
    """One training step of prompts that lie on the GPU.

    launch: () -> None; gives the GPU all of a step to do, and waits for nothing
    call: () -> (loss, *gradients); as a user calls it; returns once the loss is on the host, the gradients are on the GPU
    bring: () -> the prompts; brings them to the GPU
    """

    launch: Callable
    call: Callable
    bring: Callable


def nlicl_prepare(given):
    """Of `data.prompts` or `data.codes`. The call is the public one, its checks included."""

    def prepare(data):
        bring = functools.partial(nlicl.to_device, getattr(data, given))
        params, prompts = nlicl.to_device(data.params), bring()
        step = TRANSFORMER.steps[type(prompts), "cuda"]
        arrays, inputs, labels, n_keys = step.checked(params, prompts)
        _, parts = devices.kernels().gradients_of(arrays)

        def launch():
            step.kernel.step(parts, *inputs, labels, n_keys, *arrays, HINGE)

        def call():
            loss, grads = nlicl.loss_and_grad(params, prompts)
            return loss, *grads

        return Step(launch, call, bring)

    return prepare


def torch_prepare(loss_formula, compiled):
    def prepare(data):
        import torch

        torch.set_float32_matmul_precision("highest")
        step = peers.torch_gradients(loss_formula, data, compiled, device=TORCH)

        def call():
            loss, *grads = step()
            return loss.item(), *grads

        return Step(step, call, lambda: [peers.torch_tensor(array).to(TORCH) for array in data.arrays])

    return prepare


IMPLEMENTATIONS = {
    "nlicl-dense": peers.Implementation("numba", nlicl_prepare("prompts")),
    "nlicl-coded": peers.Implementation("numba", nlicl_prepare("codes"), given="codes"),
    "torch-eager-plain": peers.Implementation("torch", torch_prepare(transformer.plain_loss, compiled=False)),
    "torch-eager-probe": peers.Implementation("torch", torch_prepare(transformer.probe_loss, compiled=False)),
    "torch-compile-plain": peers.Implementation("torch", torch_prepare(transformer.plain_loss, compiled=True)),
    "torch-compile-probe": peers.Implementation("torch", torch_prepare(transformer.probe_loss, compiled=True)),
}


def on_host(array):
    """A number, or an array of numba or torch, as an array on the host."""
    return array.cpu().numpy() if hasattr(array, "cpu") else devices.fetch(array)


# ---- Steps


def time_case(case, dtype, names, threads, rounds, clock, roofs):
    """A row for each implementation in `names`: those that agree with the CPU's kernel in float64 are timed, in turns."""
    data = case.make(dtype)
    truth = of_cpu(data)
    rows, steps = [], {}
    for name in names:
        row = timing.blank(case.name, name, dtype, threads, MEASURED)
        rows.append(row)
        try:
            step = IMPLEMENTATIONS[name].prepare(data)
            results = [list(map(on_host, step.call())) for _ in range(2)]
        except Exception as problem:  # as in timing.time_case
            row["note"] = timing.not_available(problem)
            continue
        row["note"] = check(row, results, truth, own=name.startswith("nlicl"))
        if not row["note"]:
            steps[name] = step
    seconds, calls, hidden = interleaved(steps, rounds, clock)
    timing.fill(rows, seconds, prompts=case.B, ours="nlicl-dense")
    for row in rows:
        name = row["implementation"]
        if name in steps:
            row["call_seconds"] = statistics.median(calls[name])
            row["launches_hidden"] = hidden[name]
            row["to_gpu_seconds"] = statistics.median(wall(steps[name].bring)[0] for _ in range(3))
            result = steps[name].call()
            row["to_host_seconds"] = wall(lambda result=result: list(map(on_host, result)))[0]
    fill_limits(rows, case, roofs)
    return rows


def of_cpu(data):
    """Loss and gradients of the same numbers, by the CPU's kernel for tokens in float64."""
    params = nlicl.Params(*(array.astype(np.float64) for array in data.params))
    prompts = nlicl.Prompts(*(array.astype(np.float64, copy=False) for array in data.arrays))
    loss, grads = nlicl.loss_and_grad(params, prompts, backend="cpu")
    return loss, *grads


def check(row, results, truth, own, tolerances=None):
    """Why a row is not timed, of two results on the host; an empty string if nothing is wrong. Ours must agree in all bits."""
    tolerance = (tolerances or (TOLERANCE if own else timing.TOLERANCE))[row["dtype"]]
    row["max_relative_error"] = error = timing.relative_error(results[0], truth)
    if not error <= tolerance:
        return timing.disagrees(error, tolerance)
    if own and not all(map(np.array_equal, *results)):
        return "DISAGREES: other bits in the second run; not timed"
    return ""


def interleaved(steps, rounds, clock):
    """Of each: seconds between events, seconds of whole calls, and whether all launches were hidden. All in turn, each turn
    beginning with a step that is not counted."""
    seconds, calls, hidden = {name: [] for name in steps}, {name: [] for name in steps}, dict.fromkeys(steps, True)
    for step in steps.values():
        clock.hide(step.launch)
    for _ in range(rounds):
        for name, step in steps.items():
            step.launch()
            for _ in range(EACH):
                took, shadowed = clock.seconds(step.launch)
                seconds[name].append(took)
                hidden[name] = hidden[name] and shadowed
            calls[name].append(wall(step.call)[0])
    return seconds, calls, hidden


def fill_limits(rows, case, roofs):
    """What counted bytes and multiply-adds take at the measured rates; and torch's fastest probe form over each row."""
    probes = [row["seconds"] for row in rows if row["implementation"].endswith("-probe") and row["seconds"]]
    for row in rows:
        costs = case.costs(row["dtype"], IMPLEMENTATIONS[row["implementation"]].given)
        memory = costs.bytes / roofs.bytes
        matrix = costs.multiply_adds / roofs.multiply_adds if roofs.multiply_adds else None
        row["limit_seconds"] = max(memory, matrix or 0)
        if row["seconds"]:
            row["fraction_of_memory"] = memory / row["seconds"]
            row["fraction_of_matrix"] = matrix and matrix / row["seconds"]
            row["fraction_of_limit"] = row["limit_seconds"] / row["seconds"]
            row["speedup_over_torch_probe"] = min(probes) / row["seconds"] if probes else None


# ---- A training run


@contextlib.contextmanager
def counted_transfers():
    """A dict of how many arrays are brought to the host meanwhile, how many to the GPU, and of their bytes.

    Counted are the two methods of numba's arrays. A kernel that is given an array of the host copies it past them; numba warns
    of that, and here it is an error. The simulator fills new arrays otherwise: there those to the GPU are not seen.
    """
    array = type(devices.kernels().empty(1, np.float64))
    counted, restored = dict.fromkeys(MOVED, 0), []
    for method, direction in (("copy_to_host", "to_host"), ("copy_to_device", "to_gpu")):
        owner = next(kind for kind in array.__mro__ if method in vars(kind))
        original = vars(owner)[method]

        def counting(self, *arguments, _original=original, _direction=direction, **named):
            counted[f"transfers_{_direction}"] += 1
            counted[f"bytes_{_direction}"] += self.nbytes
            return _original(self, *arguments, **named)

        setattr(owner, method, counting)
        restored.append((owner, method, original))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Host array used in CUDA kernel")
            yield counted
    finally:
        for owner, method, original in restored:
            setattr(owner, method, original)


def time_training(dtype, threads, rounds=3, problem=None, steps=STEPS):
    """Rows of `nlicl.train` as it is, without measurements, on the GPU and on the CPU; held against the CPU's in float64."""
    problem = problem or Problem()

    def run(backend, dtype=dtype):
        return nlicl.train(problem, steps=steps, dtype=dtype, backend=backend, measure=None)

    def end(run):
        return np.mean(run.history.loss), *run.params

    truth = end(run("cpu", "float64"))
    rows, timed = [], {}
    for name, backend in (("nlicl-coded", "cuda"), ("nlicl-coded-cpu", "cpu")):
        row = timing.blank(f"gpu-training-{steps}", name, dtype, threads, (*MEASURED, *MOVED))
        rows.append(row)
        try:
            first = end(run(backend))  # compiles
            with counted_transfers() as counted:
                second = end(run(backend))
        except Exception as problem:  # as above
            row["note"] = timing.not_available(problem)
            continue
        if backend == "cuda":
            row |= counted
        row["note"] = check(row, [first, second], truth, own=True, tolerances=training.TOLERANCE)
        if not row["note"]:
            timed[name] = backend
    seconds = {name: [] for name in timed}
    for _ in range(rounds):
        for name, backend in timed.items():
            seconds[name].append(wall(lambda backend=backend: run(backend))[0])
    timing.fill(rows, seconds, prompts=steps * problem.batch, ours="nlicl-coded")
    return rows


# ---- All of it


def measure(chosen, threads, quick=False, train=True):
    """What --json says of the GPU, and rows, printed as they come."""
    about = describe()
    print("\nGPU: " + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in about.items()))
    trouble = torch_not_timed()
    if trouble:
        print(f"GPU: torch is not timed ({trouble}); neither is the rate of matrix products")
    names = [name for name, entry in IMPLEMENTATIONS.items() if entry.module != "torch" or not trouble]
    if quick:
        names = [name for name in names if "compile" not in name]
    about["limits"], rows = {}, []
    for dtype in DTYPES:
        clock = Clock(dtype)
        roofs = measure_roofs(clock, with_torch=not trouble)
        about["limits"][dtype] = roofs._asdict()
        print_roofs(dtype, roofs)
        for case in chosen:
            clock.copies = 1
            block = time_case(case, dtype, names, threads, ROUNDS[quick], clock, roofs)
            print_case(case, dtype, block)
            rows += block
            if not trouble:
                import torch

                torch.cuda.empty_cache()  # what it keeps, numba cannot have
        del clock
    if train:
        for dtype in DTYPES:
            block = time_training(dtype, threads)
            print_training(block)
            rows += block
    return about, rows


def print_roofs(dtype, roofs):
    rates = zip(("G bytes copied", "G bytes read", "G multiply-adds"), roofs, strict=True)
    numbers = (f"{rate / 1e9:.4g} {what}" if rate else f"{what} not measured" for what, rate in rates)
    print(f"this GPU at most, a second, {dtype}: {', '.join(numbers)}")


def print_case(case, dtype, rows):
    sizes = ", ".join(f"{name}={value}" for name, value in case.sizes.items())
    held = ", ".join(f"{given} {case.prompt_bytes(dtype, given) / 1e6:.1f} MB" for given in ("tokens", "codes"))
    print(f"\n{case.name} {dtype}: {sizes}; {held}")
    print(
        f"{'':22}{'ms':>10}{'MAD':>8}{'best':>10}{'runs':>6}{'call ms':>10}{'of memory':>11}{'of matrix':>11}"
        f"{'probe / it':>12}{'error':>9}{'to GPU ms':>11}{'to host ms':>12}"
    )
    for row in rows:
        if row["seconds"] is None:
            print(f"{row['implementation']:22}  {row['note']}")
            continue
        matrix = f"{row['fraction_of_matrix']:.3f}" if row["fraction_of_matrix"] else "-"
        probe = f"{row['speedup_over_torch_probe']:.2f}" if row["speedup_over_torch_probe"] else "-"
        mark = " " if row["launches_hidden"] else "*"
        print(
            f"{row['implementation']:22}{1e3 * row['seconds']:10.4f}{1e3 * row['mad']:8.4f}{1e3 * row['best']:10.4f}"
            f"{row['runs']:6}{1e3 * row['call_seconds']:10.3f}{row['fraction_of_memory']:11.3f}{matrix:>11}"
            f"{probe:>12}{row['max_relative_error']:9.0e}{1e3 * row['to_gpu_seconds']:11.3f}"
            f"{1e3 * row['to_host_seconds']:12.3f}{mark}"
        )
    least = {IMPLEMENTATIONS[row["implementation"]].given: row["limit_seconds"] for row in rows}
    print("the limit, ms: " + ", ".join(f"{1e3 * seconds:.4f} for {given}" for given, seconds in least.items()))
    if any(row["launches_hidden"] is False for row in rows):
        print("* the GPU waited for launches: ms has such waits in it")


def print_training(rows):
    print(f"\n{rows[0]['case']} {rows[0]['dtype']}: li2024.Problem() as it is, prompts drawn on the GPU")
    print(f"{'':22}{'s':>10}{'MAD':>8}{'best':>10}{'runs':>6}{'x nlicl':>9}{'error':>9}   transfers")
    for row in rows:
        if row["seconds"] is None:
            print(f"{row['implementation']:22}  {row['note']}")
            continue
        moved = "-"
        if row["transfers_to_host"] is not None:
            moved = (
                f"{row['transfers_to_host']} to the host ({row['bytes_to_host']} bytes), "
                f"{row['transfers_to_gpu']} to the GPU ({row['bytes_to_gpu']} bytes)"
            )
        ratio = f"{row['ratio_to_nlicl']:.2f}" if row["ratio_to_nlicl"] else "-"
        print(
            f"{row['implementation']:22}{row['seconds']:10.4f}{row['mad']:8.4f}{row['best']:10.4f}{row['runs']:6}"
            f"{ratio:>9}{row['max_relative_error']:9.0e}   {moved}"
        )
