"""The benchmark itself: what it counts, divides, draws and compares. Never how long anything takes."""

import csv
import importlib
import importlib.util
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from child import ROOT, python

BENCH = ROOT / "bench"
if not BENCH.exists():
    pytest.skip("installed: there is no bench/", allow_module_level=True)
pytestmark = pytest.mark.slow
MODELS = sorted(path.stem for path in (BENCH / "models").glob("[!_]*.py"))
OURS = ["nlicl-dense", "nlicl-coded", "numpy"]


@pytest.fixture
def bench(monkeypatch):
    """bench("limits") is the module of that name, imported as the scripts of the folder do."""
    monkeypatch.syspath_prepend(str(BENCH))
    yield importlib.import_module
    for name in [
        "models",
        *(".".join(path.relative_to(BENCH).with_suffix("").parts) for path in BENCH.glob("**/*.py")),
    ]:
        sys.modules.pop(name, None)


@pytest.fixture
def tiny(bench):
    return bench("models.transformer").Case("tiny", B=16, l=5, d=8, m=6, M1=3, M2=1)


@pytest.fixture
def tiny_linear(bench):
    return bench("models.linear").Case("tiny-linear", B=16, N=5, K=3, d=4)


@pytest.fixture
def impatient(bench, monkeypatch):
    """Tries so short that only their order of magnitude means anything."""
    limits, timing = bench("limits"), bench("timing")
    monkeypatch.setattr(limits, "SECONDS", 1e-4)
    monkeypatch.setattr(limits, "last_cache", lambda: 2**16)
    monkeypatch.setattr(timing, "PAUSE", 0)
    monkeypatch.setattr(timing, "ENOUGH", 0)


# ---------------------------------------------------------------- limits


@pytest.mark.compiled
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_roofs_are_rates(bench, impatient, dtype, threads):
    roofs = bench("limits").measure(dtype, threads)
    assert all(math.isfinite(rate) and rate > 1e5 for rate in roofs)


def test_least_time_is_the_longer_of_moving_and_computing(bench):
    limits = bench("limits")
    roofs = limits.Roofs(bytes=100.0, multiply_adds=10.0, exponentials=2.0, look_ups=4.0)
    costs = SimpleNamespace(bytes=300, multiply_adds=20, exponentials=1, look_ups=2)
    assert limits.least_seconds(costs, roofs) == 3.0  # 300 / 100; computing takes 2 + 1/2 + 1/2, as long
    costs.look_ups = 3
    assert limits.least_seconds(costs, roofs) == 3.25
    costs.bytes = 1000
    assert limits.least_seconds(costs, roofs) == 10.0


def test_a_rate_is_amounts_over_seconds(bench, monkeypatch):
    """A clock that stands still but for the work: each of the jobs, side by side, moves it by n / 8."""
    limits = bench("limits")
    clock = [0.0]
    monkeypatch.setattr(limits.time, "perf_counter", lambda: clock[0])

    def job(n):
        clock[0] += n / 8

    assert limits.rate([job], amount=5) == 40.0
    assert limits.rate([job, lambda n: None], amount=5) == 40.0


def costs_of(case, *names):
    return [case.costs("float32", case.implementations[name].given) for name in names]


def test_who_is_given_codes_is_judged_by_the_costs_of_codes(tiny):
    coded, dense, other = costs_of(tiny, "nlicl-coded", "nlicl-dense", "jax-jit-plain")
    assert vars_of(dense) == vars_of(other) != vars_of(coded)
    assert coded.look_ups > dense.look_ups and coded.bytes < dense.bytes


def test_who_counts_features_is_judged_by_what_counting_takes(tiny_linear):
    counted, fresh, dense, other = costs_of(
        tiny_linear, "nlicl-coded", "nlicl-coded-fresh", "nlicl-dense", "jax-jit-plain"
    )
    assert vars_of(dense) == vars_of(other)
    assert (counted.look_ups, fresh.look_ups) == (0, 16 * 5)
    assert fresh.multiply_adds == counted.multiply_adds and fresh.exponentials == counted.exponentials
    # features of 6 tokens for counts of 3 features and a query
    assert fresh.bytes - counted.bytes == 16 * (6 * 4 - (3 * 4 + 4))


def test_exponentials_are_of_the_features_that_there_are(bench):
    """On average over prompts; two standard deviations of 3000 of them."""
    case = bench("models.linear").Case("x", B=3000, N=8, K=4, d=4)
    present = (case.make("float64").codes.counts > 0).sum(axis=1)
    expected = case.costs("float64", "counts").exponentials / case.B
    assert 1 < expected < 4 and abs(present.mean() - expected) < 2 * present.std() / 3000**0.5


# ---------------------------------------------------------------- cases


def test_models_are_held_against_their_definitions(bench):
    bench("timing").check_truths()


@pytest.mark.parametrize("model", MODELS)
def test_a_wrong_numpy_step_is_found_out(bench, monkeypatch, model):
    module, timing = bench(f"models.{model}"), bench("timing")
    right = module.numpy_step

    def wrong(params, *arrays):
        loss, *grads, last = right(params, *arrays)
        return loss, *grads, last * (1 + 1e-9)

    monkeypatch.setattr(module.Case, "numpy_step", staticmethod(wrong))
    with pytest.raises(SystemExit, match=f"{module.TINY.name}: the NumPy step is .* away from the definition"):
        timing.check_truth(module.TINY)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_data_are_the_same_prompts_in_every_form(bench, tiny, tiny_linear, dtype):
    for case in (tiny, tiny_linear):
        data = case.make(dtype)
        assert {array.dtype.name for array in (*data.params, *data.arrays, data.prompts.tokens)} == {dtype}
        again = data.codes.dense(dtype)
        assert (again.tokens == data.prompts.tokens).all() and (again.labels == data.arrays[-1]).all()
        assert data.prompts.tokens.nbytes == case.prompt_bytes(dtype)
    codes = data.codes
    assert case.prompt_bytes(dtype, "features") == codes.features.nbytes + codes.omega.nbytes
    assert case.prompt_bytes(dtype, "counts") == codes.counts.nbytes + codes.omega.nbytes + codes.query.nbytes


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_step_of_gpt2_reads_prompts_and_parameters_and_writes_gradients(bench, dtype):
    """All in the case's dtype, the NumPy step's results as well."""
    case = bench("models.gpt2").Case("x", B=3, l=4, d=8, C=6, L=2, M1=3, M2=1)
    data = case.make(dtype)
    arrays = [*data.arrays, *data.params, *data.params]
    assert case.costs(dtype, "tokens").bytes == sum(array.nbytes for array in arrays)
    assert data.prompts.tokens.nbytes == case.prompt_bytes(dtype)
    assert {array.dtype.name for array in (*arrays, *case.numpy_step(data.params, *data.arrays))} == {dtype}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_hinge_of_gpt2_is_active(bench, dtype):
    data = bench("models.gpt2").CASES[0].make(dtype)
    import nlicl

    assert (data.arrays[1] * nlicl.forward(data.params, data.prompts).score[:, 0] < 0.9).all()


def test_cases_have_names_of_their_own(bench):
    cases = bench("cases")
    names = [case.name for case in cases.CASES]
    assert len(set(names)) == len(names)
    assert all(cases.named(case.name) is case and type(cases.tiny(case)) is type(case) for case in cases.CASES)
    assert {type(case) for case in cases.QUICK} == set(cases.TINY)


@pytest.mark.parametrize("module", ["torch", "jax"])
def test_peers_of_all_models_agree(module):
    """In a process of their own, as below."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    code = f"""
import sys
sys.path.insert(0, {str(BENCH)!r})
import cases, timing
timing.PAUSE = timing.ENOUGH = 0
for case in cases.TINY.values():
    names = [n for n, entry in case.implementations.items() if entry.module == {module!r} and "compile" not in n]
    for row in timing.time_case(case, "float64", names, 1, rounds=1):
        print(row["implementation"], row["seconds"] is not None, row["note"])
"""
    lines = python(code, JAX_PLATFORMS="cpu").splitlines()
    assert len(lines) >= 2 * len(MODELS) and all(line.split()[1:] == ["True"] for line in lines), lines


def vars_of(costs):
    return [getattr(costs, name) for name in ("bytes", "multiply_adds", "exponentials", "look_ups")]


@pytest.mark.compiled
@pytest.mark.parametrize("model", ["tiny", "tiny_linear"])
def test_rows_say_how_far_from_the_limit_they_are(bench, model, request, impatient, monkeypatch):
    case = request.getfixturevalue(model)
    limits, timing = bench("limits"), bench("timing")
    monkeypatch.setattr(limits, "bandwidth", lambda dtype, threads, size: 1e30)
    roofs = limits.Roofs(1.0, 1e9, 1e9, 1e9)
    ours = [name for name, entry in case.implementations.items() if entry.module in ("numba", "numpy")]
    assert set(OURS) <= set(ours)
    rows = timing.time_case(case, "float64", ours, 1, rounds=1, roofs=roofs)
    for row in rows:
        costs = case.costs("float64", case.implementations[row["implementation"]].given)
        work = (costs.multiply_adds + costs.exponentials + costs.look_ups) / 1e9
        assert row["limit_seconds"] == pytest.approx(work)
        assert row["fraction_of_limit"] == pytest.approx(work / row["seconds"])
    without = timing.time_case(case, "float64", OURS[:1], 1, rounds=1)
    assert without[0]["fraction_of_limit"] is None and without[0]["seconds"] > 0 and without[0]["apart_seconds"] > 0


def test_what_disagrees_is_not_timed(bench, tiny, impatient, monkeypatch):
    peers, timing = bench("peers"), bench("timing")

    def wrong(data, threads):
        right = tiny.numpy_step(data.params, *data.arrays)
        return lambda: (*right[:-1], 1.001 * right[-1])

    def broken(data, threads):
        raise OSError

    monkeypatch.setitem(tiny.implementations, "wrong", peers.Implementation("numpy", wrong))
    monkeypatch.setitem(tiny.implementations, "broken", peers.Implementation("numpy", broken))
    rows = timing.time_case(tiny, "float64", ["numpy", "wrong", "broken"], 1, rounds=1)
    assert [row["seconds"] is None for row in rows] == [False, True, True]
    assert rows[1]["note"].startswith("DISAGREES") and rows[1]["max_relative_error"] == pytest.approx(1e-3)
    assert rows[2]["note"].startswith("not available: OSError")


# ---------------------------------------------------------------- the training run


@pytest.fixture
def short(impatient):
    from nlicl.papers.li2024 import Problem

    return Problem(M1=4, M2=2, d_X=6, d_Y=4, m=10, length=6, batch=16)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_all_trainings_end_alike(bench, short, dtype):
    """Whatever is installed: torch's optimiser and jax's compiled update take the steps that nlicl.train takes."""
    training = bench("training")
    names = [name for name, (module, _) in training.IMPLEMENTATIONS.items() if module not in ("torch", "jax")]
    rows = training.time_training(dtype, names, 1, steps=12, problem=short, rounds=2)
    assert [row["implementation"] for row in rows] == names
    for row in rows:
        assert row["note"] == "" and row["max_relative_error"] <= training.TOLERANCE[dtype]
        assert row["case"] == "training-12" and row["runs"] == 2
        assert 0 < row["sampling_seconds"] < row["seconds"] and row["steps_seconds"] > 0
    assert len({round(row["final_loss"], 4) for row in rows}) == 1


@pytest.mark.parametrize("module", ["torch", "jax"])
def test_peers_end_where_we_do(module):
    """In a process of their own: what they do to warnings and threads is theirs."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    code = f"""
import sys
sys.path.insert(0, {str(BENCH)!r})
import training
from nlicl.papers.li2024 import Problem
problem = Problem(M1=4, M2=2, d_X=6, d_Y=4, m=10, length=6, batch=16)
names = [n for n, (module, _) in training.IMPLEMENTATIONS.items() if module == {module!r} and "compile" not in n]
for row in training.time_training("float64", names, 1, steps=12, problem=problem, rounds=1):
    print(row["implementation"], row["seconds"] is not None, row["note"])
"""
    lines = python(code, JAX_PLATFORMS="cpu").splitlines()
    assert len(lines) == 2 and all(line.split()[1:] == ["True"] for line in lines), lines


def test_another_update_is_found_out(bench, short, monkeypatch):
    training = bench("training")

    def forgetful(threads):
        train = training.numpy_train(threads)
        return lambda problem, params, steps: train(problem, params, steps - 1)

    monkeypatch.setitem(training.IMPLEMENTATIONS, "forgetful", ("numpy", forgetful))
    rows = training.time_training("float64", ["numpy", "forgetful"], 1, steps=5, problem=short, rounds=1)
    assert rows[0]["seconds"] and rows[1]["seconds"] is None
    assert rows[1]["note"].startswith("DISAGREES")


WIDE = {"d_x": 130, "d_y": 20, "dictionary": 12, "m": 9, "batch": 5}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_all_trainings_on_wide_matrices_end_alike(bench, impatient, dtype):
    """In place, by gradients, and NumPy's loop: L2 and decaying steps included."""
    from nlicl.papers.bu2024 import Problem

    wide = bench("wide")
    names = [name for name, (module, _) in wide.IMPLEMENTATIONS.items() if module not in ("torch", "jax")]
    rows = wide.time_wide(dtype, names, 1, steps=12, problem=Problem(**WIDE, weight_decay=0.05), rounds=2)
    assert [row["implementation"] for row in rows] == ["nlicl", "nlicl-gradients", "numpy"]
    for row in rows:
        assert row["note"] == "" and row["max_relative_error"] <= wide.TOLERANCE[dtype]
        assert row["case"] == "training-wide-12" and row["runs"] == 2
        assert 0 < row["sampling_seconds"] < row["seconds"] and row["steps_seconds"] > 0


@pytest.mark.parametrize("module", ["torch", "jax"])
def test_peers_end_where_we_do_on_wide_matrices(module):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    code = f"""
import sys
sys.path.insert(0, {str(BENCH)!r})
import wide
from nlicl.papers.bu2024 import Problem
names = [name for name, (module, _) in wide.IMPLEMENTATIONS.items() if module == {module!r}]
for row in wide.time_wide("float64", names, 1, steps=12, problem=Problem(**{WIDE!r}), rounds=1):
    print(row["implementation"], row["seconds"] is not None, row["note"])
"""
    lines = python(code, JAX_PLATFORMS="cpu").splitlines()
    assert lines and all(line.split()[1:] == ["True"] for line in lines), lines


# ---------------------------------------------------------------- plots


@pytest.fixture
def plots(bench, impatient, monkeypatch):
    plots = bench("plots")
    monkeypatch.setattr(plots, "NAMES", OURS[:2])
    return plots


def test_curves_are_drawn_and_listed(plots, monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    sizes = {
        "B": ({"l": 4, "d": 8, "m": 5, "M1": 3, "M2": 1}, (4, 8, 16)),
        "M1": ({"B": 8, "l": 4, "d": 24, "m": 5, "M2": 1}, (3, 6)),
    }
    case = {"B": 8, "l": 4, "d": 8, "m": 5, "M1": 3, "M2": 1}

    def point(threads, names):
        transformer = importlib.import_module("models.transformer")
        return plots.point(transformer.Case("threads", **case), "threads", threads, names, threads, 1)

    monkeypatch.setattr(plots, "fresh_point", point)
    rows = plots.measure(1, sizes=sizes, most_threads=3, rounds=1)
    paths = plots.write(tmp_path / "new", rows)
    assert [path.name for path in paths] == ["scaling.csv", "scaling-B.png", "scaling-M1.png", "scaling-threads.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths[1:])
    with paths[0].open(newline="") as file:
        table = list(csv.DictReader(file))
    assert tuple(table[0]) == plots.FIELDS
    points = [(row["axis"], int(row["value"]), row["implementation"]) for row in table]
    assert points == [
        (axis, value, name)
        for axis, values in (("B", (4, 8, 16)), ("M1", (3, 6)), ("threads", (1, 2, 3)))
        for value in values
        for name in OURS[:2]
    ]
    assert all(float(row["seconds"]) > 0 and row["note"] == "" for row in table)
    assert all(row[row["axis"]] == row["value"] for row in table)
    assert "ms against M1" in capsys.readouterr().out


def test_a_slope_is_that_of_the_last_doubling(plots, capsys):
    rows = [{"implementation": "x", "value": n, "seconds": t} for n, t in ((2, 1.0), (4, 2.0), (8, 8.0))]
    assert plots.shown("d", rows) == rows
    assert capsys.readouterr().out.splitlines()[-1].split() == ["x", "1000.000", "2000.000", "8000.000", "2.00"]


def test_what_was_not_timed_is_a_gap(plots, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    sizes = {"axis": "m", "mad": 0.0, "threads": 1, "B": 1, "l": 1, "d": 1}
    times = {("nlicl-dense", 1): 1.0, ("nlicl-dense", 2): None, ("nlicl-coded", 1): None, ("nlicl-coded", 2): None}
    rows = [{**sizes, "implementation": name, "value": m, "m": m, "seconds": t} for (name, m), t in times.items()]
    plots.shown("m", rows)
    assert len(plots.write(tmp_path, rows)) == 2


def test_a_point_in_a_process_of_its_own(plots):
    """The real thing, once: the threads are those it was asked for."""
    rows = plots.fresh_point(1, OURS[1:2])
    assert [row["threads"] for row in rows] == [1] and rows[0]["axis"] == "threads" and rows[0]["seconds"] > 0


# ---------------------------------------------------------------- costs, processes and the command


@pytest.mark.compiled
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read where Linux tells")
def test_peak_memory_is_of_the_prompts_and_a_step(bench):
    case = bench("cases").named("linear-100")
    peak = bench("costs").peak_bytes(case, "float64", "nlicl-dense", 1)
    assert 1 <= peak / case.prompt_bytes("float64") < 1.5


def test_threads_are_variables(bench, monkeypatch):
    variables = bench("processes").thread_variables
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    assert variables(3)["NUMBA_NUM_THREADS"] == variables(3)["OPENBLAS_NUM_THREADS"] == "3"
    assert "XLA_FLAGS" not in variables(3) and "multi_thread_eigen=false" in variables(1)["XLA_FLAGS"]


def test_cores_that_others_use(bench, monkeypatch):
    processes = bench("processes")
    lines = iter(["cpu  10 0 5 100 0 0 0 0 0 0\ncpu0 ..", "cpu  35 0 10 130 0 0 0 0 0 0\ncpu0 .."])
    monkeypatch.setattr(processes.Path, "read_text", lambda path: next(lines))
    monkeypatch.setattr(processes.os, "cpu_count", lambda: 4)
    assert processes.busy_cores(0) == 2.0  # 30 ticks of 60, of four cores
    monkeypatch.setattr(processes.Path, "read_text", lambda path: Path("/no/such/file").read_bytes())
    assert processes.busy_cores(0) is None


@pytest.mark.compiled
def test_a_training_compiles_once(bench):
    """With the cache that the first has left, the next compiles nothing."""
    import nlicl
    from nlicl.papers.li2024 import Problem

    nlicl.train(Problem(), steps=1)  # fills the cache
    assert bench("processes").fresh("costs.py", "training") == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--plots", "x", "--json", "y"], "--plots writes its numbers to DIR/scaling.csv"),
        (["--quick", "--training"], "not allowed with argument"),
        (["--training", "--case", "paper-256"], "--case chooses among the steps"),
        (["--plots", "x", "--case", "paper-256"], "--case chooses among the steps"),
        (["--gpu", "--training"], "it does not go with --training or --plots"),
        (["--gpu", "--plots", "x"], "it does not go with --training or --plots"),
        (["--threads", "0"], "--threads is 0; expected 1 or more"),
        (["--json", "nowhere/at/all.json"], "there is no folder"),
        (["--compare", "nowhere.json"], "cannot be read"),
    ],
)
def test_wrong_arguments_are_status_2(bench, monkeypatch, capsys, arguments, said):
    run = bench("run")
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    with pytest.raises(SystemExit) as stop:
        run.main()
    assert stop.value.code == 2 and said in capsys.readouterr().err


def options_of(**given):
    return SimpleNamespace(**{"case": None, "quick": False, "training": False, "gpu": False, "threads": 1, **given})


def test_cases_are_chosen(bench, capsys):
    run, cases = bench("run"), bench("cases")
    assert run.chosen_cases(options_of()) == cases.CASES
    assert run.chosen_cases(options_of(quick=True)) == cases.QUICK
    chosen = run.chosen_cases(options_of(case=["linear-400", "paper-256", "linear-400"], quick=True))
    assert [case.name for case in chosen] == ["paper-256", "linear-400"]
    with pytest.raises(SystemExit) as stop:
        run.chosen_cases(options_of(case=["paper-256", "linear"]))
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert "--case linear: there is no such case; expected one of paper-256, " in said and "concepts-2000, " in said


@pytest.mark.compiled
def test_a_chosen_case_is_all_that_is_timed(bench, tiny_linear, impatient, monkeypatch, capsys):
    """Its rows are in the file, with the names of its implementations; no training run, no start-up."""
    run, cases, costs = bench("run"), bench("cases"), bench("costs")
    monkeypatch.setattr(cases, "CASES", (*cases.CASES, tiny_linear))
    monkeypatch.setattr(run, "busy_cores", lambda: 0.0)
    monkeypatch.setattr(costs, "peak_bytes", lambda case, dtype, name, threads: 1000)
    for name, entry in tiny_linear.implementations.items():
        if entry.module in ("torch", "jax"):
            monkeypatch.setitem(tiny_linear.implementations, name, entry._replace(module="no_such_module"))
    results = run.measure(options_of(case=["tiny-linear"]))
    ours = ["nlicl-dense", "nlicl-coded", "nlicl-coded-fresh", "numpy"]
    assert [(row["implementation"], row["dtype"]) for row in results["rows"]] == [
        (name, dtype) for dtype in cases.DTYPES for name in ours
    ]
    assert all(row["case"] == "tiny-linear" and row["seconds"] > 0 for row in results["rows"])
    assert set(results["limits"]) == set(cases.DTYPES) and results["startup"] is None
    assert set(results["not_installed"]) == set(tiny_linear.implementations) - set(ours)
    out = capsys.readouterr().out
    assert "tiny-linear float32: B=16, N=5, K=3, d=4; prompts" in out
    assert "for tokens" in out and "for counts" in out and "for features" in out


def test_torch_without_a_compiler_is_said_before_the_work(bench, monkeypatch, capsys):
    run = bench("run")
    monkeypatch.delenv("CXX", raising=False)
    there = {"g++"}
    monkeypatch.setattr(run.shutil, "which", lambda name: name if name in there else None)
    run.check_compiler()
    monkeypatch.setenv("CXX", "my-compiler")
    with pytest.raises(SystemExit) as stop:
        run.check_compiler()
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert (
        "my-compiler is not found" in said and "apt install g++" in said and "--quick leaves torch.compile out" in said
    )
    there.add("my-compiler")
    run.check_compiler()
    there.clear()
    monkeypatch.delenv("CXX")
    with pytest.raises(SystemExit):
        run.check_compiler()
    assert "g++ is not found" in capsys.readouterr().err
    there.add("clang++")
    run.check_compiler()


def test_a_row_without_a_time_is_a_failure(bench):
    run = bench("run")
    assert not run.failed({"case": "single", "note": ""})
    assert run.failed({"case": "single", "note": "not available: OSError"})
    assert not run.failed({"case": "gpu-65536", "note": "not available: no memory"})
    assert run.failed({"case": "gpu-65536", "note": "DISAGREES: relative error 1"})


def test_few_prompts_are_judged_by_the_form_that_merges_nothing(bench):
    """One prompt of a wide model: five products of a matrix and a vector, and none of two matrices."""
    costs = {case.name: case.costs("float64", "tokens") for case in bench("models.transformer").CASES}
    assert costs["single"].multiply_adds < 3 * 256**3 < costs["wide-64"].multiply_adds < 64 * 12 * 1024 * 4096


def test_plots_without_matplotlib_are_status_2(bench, monkeypatch, capsys, tmp_path):
    run = bench("run")
    monkeypatch.setattr(sys, "argv", ["run.py", "--plots", str(tmp_path / "x")])
    monkeypatch.setattr(run.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stop:
        run.main()
    assert stop.value.code == 2 and "--plots needs matplotlib" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_tables_are_printed(bench, tiny, capsys, monkeypatch):
    run, timing = bench("run"), bench("timing")
    row = {"case": "tiny", "implementation": "nlicl-dense", "dtype": "float64", "threads": 1, "note": ""}
    row |= {**dict.fromkeys(timing.MEASURED, 0.5), "runs": 3, "sampling_seconds": 0.2, "steps_seconds": 0.3}
    row |= {"final_loss": 0.25}
    other = {
        **row,
        **dict.fromkeys(timing.MEASURED),
        "implementation": "other",
        "limit_seconds": 0.5,
        "note": "DISAGREES",
    }
    monkeypatch.setitem(tiny.implementations, "other", tiny.implementations["numpy"])
    run.print_table(tiny, "float64", [row, other])
    run.print_training("float64", [row, other])
    out = capsys.readouterr().out
    assert out.count("DISAGREES") == 2 and "500.000" in out and "0.25000000" in out and "0.50" in out


# ---------------------------------------------------------------- a GPU

SIMULATED = f"""
import functools, importlib.util, json, sys, time
sys.path.insert(0, {str(BENCH)!r})
import numba.cuda
import gpu
from models import transformer
from nlicl.papers.li2024 import Problem

class Event:  # the simulator's know nothing of time; its launches return when they are done
    def record(self): self.at = time.perf_counter()
    def synchronize(self): pass
    def elapsed_time(self, other): return 1e3 * (other.at - self.at)

refused = gpu.not_measured()
numba.cuda.event = Event
gpu.BUFFER, gpu.COLUMNS, gpu.MATRICES, gpu.TRIES, gpu.EACH, gpu.MOST_COPIES = 64, 4, (4,), 1, 1, 2
gpu.DTYPES, gpu.ROUNDS = ("float64",), {{True: 1}}
if importlib.util.find_spec("torch") is not None:
    gpu.TORCH, gpu.torch_not_timed = "cpu", lambda: ""
problem = Problem(M1=3, M2=1, d_X=4, d_Y=2, m=2, length=2, batch=2)
gpu.time_training = functools.partial(gpu.time_training, rounds=1, problem=problem, steps=2)
case = transformer.Case("gpu-tiny", B=2, l=2, d=8, m=2, M1=3, M2=1)
print(json.dumps([refused, *gpu.measure([case], 1, quick=True)]))
"""


@pytest.mark.compiled
def test_a_gpu_is_measured_in_the_simulator():
    """All that happens on a GPU, and nothing said of its times; torch, where it is installed, stands in on the CPU."""
    out = python(SIMULATED, NUMBA_ENABLE_CUDASIM="1").splitlines()
    refused, about, rows = json.loads(out[-1])
    assert refused.startswith("NUMBA_ENABLE_CUDASIM is set")
    assert about["device"] == "numba's simulator" and about["limits"]["float64"]["read_bytes"] > 0
    torch = importlib.util.find_spec("torch") is not None
    names = ["nlicl-dense", "nlicl-coded", *(["torch-eager-plain", "torch-eager-probe"] if torch else [])]
    steps, training = rows[: len(names)], rows[len(names) :]
    assert [row["implementation"] for row in steps] == names
    for row in steps:
        assert row["note"] == "" and row["seconds"] > 0 and row["call_seconds"] > 0
        assert (
            row["max_relative_error"] < 1e-12 and row["to_gpu_seconds"] > 0 and row["launches_hidden"] in (True, False)
        )
        assert bool(row["speedup_over_torch_probe"]) == bool(row["fraction_of_matrix"]) == torch
    assert [(row["case"], row["implementation"]) for row in training] == [
        ("gpu-training-2", "nlicl-coded"),
        ("gpu-training-2", "nlicl-coded-cpu"),
    ]
    there, here = training
    assert there["note"] == here["note"] == "" and there["max_relative_error"] < 1e-12
    # one fetch, at the end: the state, the parameters, the losses and one entry more
    size = sum(math.prod(shape) for shape in ((6, 6), (6, 6), (6, 6), (2, 6), (2,)))
    assert (there["transfers_to_host"], there["bytes_to_host"]) == (3, 8 * (2 + size + 2 + 1))
    assert here["transfers_to_host"] is None
    assert any(line.startswith("gpu-tiny float64: B=2, l=2, d=8, m=2") for line in out)


def test_shares_are_of_the_measured_rates(bench):
    gpu = bench("gpu")
    case = gpu.CASES[-1]
    dense, coded = (case.costs("float32", given) for given in ("tokens", "codes"))
    roofs = gpu.Roofs(copied_bytes=1e12, read_bytes=2e12, multiply_adds=1e13)
    rows = [
        {"implementation": name, "dtype": "float32", "seconds": seconds}
        for name, seconds in (
            ("nlicl-dense", 1e-3),
            ("nlicl-coded", 1e-4),
            ("torch-eager-plain", 2e-3),
            ("torch-eager-probe", 4e-3),
            ("torch-compile-probe", 3e-3),
            ("torch-compile-plain", None),
        )
    ]
    gpu.fill_limits(rows, case, roofs)
    assert rows[0]["fraction_of_memory"] == pytest.approx(dense.bytes / 2e12 / 1e-3)
    assert rows[0]["fraction_of_matrix"] == pytest.approx(dense.multiply_adds / 1e13 / 1e-3)
    assert rows[0]["limit_seconds"] == dense.bytes / 2e12 == rows[2]["limit_seconds"] == rows[5]["limit_seconds"]
    assert rows[1]["limit_seconds"] == max(coded.bytes / 2e12, coded.multiply_adds / 1e13)
    assert [row.get("speedup_over_torch_probe") for row in rows] == pytest.approx([3, 30, 1.5, 0.75, 1, None])
    gpu.fill_limits(rows[:1], case, roofs._replace(multiply_adds=None))
    assert rows[0]["fraction_of_matrix"] is None and rows[0]["speedup_over_torch_probe"] is None


def test_the_floors_of_the_page_are_what_is_counted(bench):
    """At 3 TB/s, for the largest case."""
    case = bench("gpu").CASES[-1]
    table = (
        (BENCH / "README.md").read_text(encoding="utf-8").split("at 3 TB/s, ms")[1].split("\n\n")[0].splitlines()[2:]
    )
    written = {tuple(line.split("|")[1].split()): line.split("|")[2:5] for line in table}
    for given in ("tokens", "codes"):
        for dtype in ("float32", "float64"):
            costs = case.costs(dtype, given)
            found = [f"{costs.bytes / 1e6:.0f}", f"{costs.multiply_adds / 1e9:.2f}", f"{costs.bytes / 3e9:.3f}"]
            assert [cell.strip() for cell in written[given, dtype]] == found


def test_launches_are_hidden_by_as_many_copies_as_it_takes(bench, monkeypatch):
    gpu = bench("gpu")
    clock = gpu.Clock.__new__(gpu.Clock)
    clock.copies = 1
    monkeypatch.setattr(clock, "seconds", lambda launch: (0.0, clock.copies >= 5), raising=False)
    clock.hide(lambda: None)
    assert clock.copies == 8
    clock.hide(lambda: None)
    assert clock.copies == 8
    monkeypatch.setattr(clock, "seconds", lambda launch: (0.0, False), raising=False)
    clock.hide(lambda: None)
    assert clock.copies == gpu.MOST_COPIES


def test_other_bits_are_found_out(bench):
    gpu, one = bench("gpu"), 1 + 2.0**-52
    row = {"dtype": "float64"}
    assert gpu.check(row, [[1.0], [1.0]], [1.0], own=True) == "" and row["max_relative_error"] == 0
    assert gpu.check(row, [[1.0], [one]], [1.0], own=True).startswith("DISAGREES: other bits")
    assert gpu.check(row, [[1.0], [one]], [1.0], own=False) == ""
    assert gpu.check(row, [[1 + 1e-11], [1 + 1e-11]], [1.0], own=True).startswith("DISAGREES: relative error")
    assert gpu.check(row, [[1 + 1e-11], [1 + 1e-11]], [1.0], own=False) == ""


@pytest.fixture
def run_module(bench, monkeypatch):
    """bench/run.py, whose main leaves this process as it is."""
    run = bench("run")
    monkeypatch.setattr(run, "thread_variables", lambda threads: {})
    monkeypatch.setattr(run, "find_nlicl", lambda: None)
    return run


def test_without_a_gpu_everything_else_is_measured(bench, run_module, monkeypatch, capsys):
    run, gpu = run_module, bench("gpu")
    monkeypatch.setattr(gpu, "not_measured", lambda: "there is none")
    monkeypatch.setattr(run, "measure_steps", lambda *_: ({}, []))
    results = run.measure(options_of(quick=True))
    assert results["gpu"] is None and capsys.readouterr().out.endswith("\nGPU: not measured (there is none)\n")
    monkeypatch.setattr(sys, "argv", ["run.py", "--gpu"])
    with pytest.raises(SystemExit) as stop:
        run.main()
    assert stop.value.code == 2 and "--gpu: not measured (there is none)." in capsys.readouterr().err


def test_a_gpu_has_cases_of_its_own(bench, monkeypatch, capsys):
    run, gpu = bench("run"), bench("gpu")
    monkeypatch.setattr(gpu, "measure", lambda *given, train: ({"device": "one"}, [*given, train]))
    results = run.measure(options_of(gpu=True, case=["gpu-4096"]))
    assert results["rows"] == [[gpu.CASES[1]], 1, False, False] and results["gpu"] == {"device": "one"}
    assert run.measure(options_of(gpu=True))["rows"] == [gpu.CASES, 1, False, True]
    assert run.measure(options_of(gpu=True, quick=True))["rows"] == [gpu.QUICK, 1, True, False]
    with pytest.raises(SystemExit):
        run.measure(options_of(gpu=True, case=["paper-256"]))
    assert "expected one of gpu-256, gpu-4096, gpu-65536." in capsys.readouterr().err


def test_gpus_are_compared_with_gpus(bench, run_module, monkeypatch, capsys, tmp_path):
    run, gpu = run_module, bench("gpu")
    row = {"case": "gpu-256", "implementation": "nlicl-dense", "dtype": "float64", "threads": 1}
    file = tmp_path / "before.json"
    monkeypatch.setattr(gpu, "not_measured", lambda: "")
    monkeypatch.setattr(sys, "argv", ["run.py", "--gpu", "--compare", str(file)])
    now = {"gpu": {"device": "that"}, "rows": [{**row, "seconds": 1.0, "note": ""}]}
    monkeypatch.setattr(run, "measure", lambda options: now)
    file.write_text(json.dumps({"gpu": None, "rows": []}), encoding="utf-8")
    with pytest.raises(SystemExit) as stop:
        run.main()
    assert stop.value.code == 2 and "has no rows of a GPU" in capsys.readouterr().err
    file.write_text(json.dumps({"gpu": {"device": "this"}, "rows": [{**row, "seconds": 2.0}]}), encoding="utf-8")
    assert run.main() == 0
    out = capsys.readouterr().out
    assert "the earlier run had the this, this run the that" in out and out.rstrip().endswith("1 threads    0.50")
