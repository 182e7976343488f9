"""The GPU path without a GPU: what is said then; that nothing of it is loaded unasked; its suite, in the simulator."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from child import KERNELS, python
from cuda_signatures import signatures
from draws import Sizes, problem

import nlicl
from nlicl import devices, forward, loss_and_grad, to_device, train
from nlicl.audit import audit_paper
from nlicl.papers import bu2024, huang2023, li2024

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")
PSI, GIVEN = problem(Sizes(2, 2, 3, 2, 2, 4))
TINY = li2024.Problem(M1=3, M2=1, d_X=4, d_Y=1, length=2, m=2, batch=2, steps=1)
CALLS = {
    "loss_and_grad": lambda: loss_and_grad(PSI, GIVEN, backend="cuda"),
    "forward": lambda: forward(PSI, GIVEN, backend="cuda"),
    "train": lambda: train(TINY, backend="cuda", measure=None),
    "to_device": lambda: to_device(GIVEN),
    "audit_paper": lambda: audit_paper("li2024", backend="cuda", draws=2),
    "device_sampler": lambda: TINY.device_sampler(2),
}
SENTENCE = r"^there is no GPU to use: .+\. To mend it: .+\. Or stay on the CPU: backend='cpu'\.$"


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(devices, "_kernels", None)
    monkeypatch.setattr(devices, "unavailable", lambda: ("the cat sits on it", "feed the cat"))


@pytest.fixture
def truly_none(monkeypatch):
    monkeypatch.setattr(devices, "_kernels", None)
    if devices.unavailable() is None:
        pytest.skip("there is a GPU here")


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
def test_without_a_gpu_there_is_one_message_with_what_to_do(call, no_gpu):
    with pytest.raises(devices.Unavailable, match=SENTENCE) as error:
        call()
    assert "the cat sits on it. To mend it: feed the cat." in str(error.value)


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
def test_and_so_there_is_in_truth(call, truly_none):
    with pytest.raises(devices.Unavailable, match=SENTENCE) as error:
        call()
    assert "\n" not in str(error.value) and ("pip install" in str(error.value) or "nvidia-smi" in str(error.value))


@pytest.mark.parametrize(
    "command",
    [
        ("audit", "--backend", "cuda"),
        ("train", "li2024", "--backend", "cuda"),
        ("train", "bu2024", "--backend", "cuda"),
    ],
    ids=" ".join,
)
def test_the_commands_say_it_in_one_line(command, run, no_gpu):
    status, out, err = run(*command)
    assert status == 2 and out == "" and err.count("\n") == 1
    assert err.startswith("nlicl: there is no GPU to use: the cat sits on it. To mend it: feed the cat.")


def test_a_command_says_it_in_truth(run, truly_none):
    status, out, err = run("audit", "--backend", "cuda")
    assert status == 2 and out == "" and err.count("\n") == 1 and err.startswith("nlicl: there is no GPU to use: ")


def test_without_the_package_it_says_how_to_install_it(monkeypatch):
    monkeypatch.delenv("NUMBA_ENABLE_CUDASIM", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert devices.unavailable() == ("the package numba-cuda is not installed", devices.INSTALL)


def test_a_package_that_cannot_be_imported_is_to_be_upgraded(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
    monkeypatch.setitem(sys.modules, "nlicl.kernels.cuda", None)  # importing it fails
    monkeypatch.delattr(nlicl.kernels, "cuda", raising=False)
    why, fix = devices.unavailable()
    assert why.startswith("numba.cuda cannot be imported (") and "--upgrade" in fix


@pytest.mark.parametrize("backend", ["gpu", "CUDA", "", None, 0, ["cpu"]], ids=repr)
def test_an_unknown_backend_is_refused(backend):
    given = re.escape(repr(backend)) + r"( \(did you mean cuda\?\))?"
    for call in (
        lambda: loss_and_grad(PSI, GIVEN, backend=backend),
        lambda: forward(PSI, GIVEN, backend=backend),
        lambda: train(TINY, backend=backend),
    ):
        with pytest.raises(ValueError, match=rf"^backend is {given}; expected one of 'auto', 'cpu', 'cuda'"):
            call()
    with pytest.raises(ValueError, match=rf"^backend is {given}; expected one of 'cpu', 'cuda'"):
        audit_paper(backend=backend)


@pytest.mark.parametrize("command", ["audit", "train"])
def test_the_commands_refuse_it_too(command, run):
    status, out, err = run(command, "li2024", "--backend", "gpu")
    assert status == 2 and out == "" and err.count("\n") == 1 and "'gpu'" in err and "cuda" in err


@pytest.mark.parametrize("backend", ["auto", "cpu"])
def test_arrays_of_the_host_are_for_the_cpu(backend):
    want, got = loss_and_grad(PSI, GIVEN), loss_and_grad(PSI, GIVEN, backend=backend)
    assert got[0] == want[0] and all((x == y).all() for x, y in zip(got[1], want[1], strict=True))
    assert (forward(PSI, GIVEN, backend=backend).score == forward(PSI, GIVEN).score).all()


# ---------------------------------------------------------------- models without kernels


HUANG = huang2023.Problem(K=3, length=5)


@pytest.mark.parametrize("call", [loss_and_grad, forward])
def test_prompts_of_a_model_without_kernels_are_named(call):
    with pytest.raises(
        TypeError,
        match=r"^prompts is a nlicl\.papers\.huang2023\.\w+, for which the model regression has no kernels on a GPU",
    ):
        call(HUANG.initialize(), HUANG.sample(2), backend="cuda")


def test_nor_does_it_train_or_pass_the_audit_there(run):
    with pytest.raises(TypeError, match=r"^backend is 'cuda', and there are no GPU kernels for the model of nlicl\."):
        train(HUANG, backend="cuda", steps=1, measure=None)
    with pytest.raises(TypeError, match=r"^backend is 'cuda', and there are no GPU kernels for prompts='population'"):
        train(bu2024.small, backend="cuda", prompts="population", steps=1, measure=None)
    with pytest.raises(
        ValueError, match=r"^backend is 'cuda', and there are no GPU kernels for huang2023; expected 'cpu'"
    ):
        audit_paper("huang2023", backend="cuda", draws=2)
    for command in ("audit", "train"):
        status, out, err = run(command, "huang2023", "--backend", "cuda")
        assert status == 2 and out == "" and err.count("\n") == 1 and "there are no GPU kernels for" in err


# ---------------------------------------------------------------- arrays that lie on a GPU, or seem to


class OnGpu:
    """An array of a GPU as far as anyone can see without one."""

    def __init__(self, shape=(2, 3), dtype="<f8"):
        self.__cuda_array_interface__ = {"shape": shape, "typestr": dtype, "data": (4096, False), "version": 3}


class Recording:
    """A tensor of torch that records gradients does not say where it lies."""

    @property
    def __cuda_array_interface__(self):
        raise RuntimeError("Can't get __cuda_array_interface__ on Variable that requires grad.")


def test_where_arrays_lie():
    assert devices.on_device(OnGpu()) is True
    for here in (np.ones(2), [1.0], 3.0, None, "x", PSI):
        assert not devices.on_device(here)


def test_arrays_on_a_gpu_are_refused_on_the_cpu():
    for name in PSI._fields:
        there = PSI._replace(**{name: OnGpu()})
        for call in (loss_and_grad, forward):
            with pytest.raises(
                TypeError, match=rf"^backend is 'cpu', but params\.{name} lies on a GPU; .*nlicl\.to_host"
            ):
                call(there, GIVEN, backend="cpu")
    with pytest.raises(TypeError, match=r"^backend is 'cpu', but params\.W_Q lies on a GPU"):
        train(TINY, params=TINY.initialize()._replace(W_Q=OnGpu()), backend="cpu")


def test_arrays_on_a_gpu_ask_for_one(no_gpu):
    with pytest.raises(devices.Unavailable, match="feed the cat"):
        loss_and_grad(PSI._replace(a=OnGpu()), GIVEN)
    with pytest.raises(devices.Unavailable, match="feed the cat"):
        nlicl.Prompts(OnGpu((2, 3, 3)), [1.0, 1.0])
    with pytest.raises(devices.Unavailable, match="feed the cat"):
        train(TINY, params=TINY.initialize()._replace(W_Q=OnGpu()))


def test_a_tensor_that_records_gradients_is_to_be_detached():
    with pytest.raises(
        TypeError, match=r"^a Recording cannot be used where it is: Can't get .* Give array\.detach\(\)\.$"
    ):
        devices.on_device(Recording())
    with pytest.raises(TypeError, match=r"Give array\.detach\(\)"):
        loss_and_grad(PSI._replace(W_V=Recording()), GIVEN)
    with pytest.raises(TypeError, match=r"Give array\.detach\(\)"):
        nlicl.Prompts(Recording(), [1.0, 1.0])


# ---------------------------------------------------------------- nothing is loaded unasked


def test_the_cpu_loads_nothing_of_it():
    code = """
        import sys
        import numpy as np, nlicl
        from nlicl.papers import li2024, bu2024, huang2023
        from nlicl.audit import audit_paper
        problem = li2024.Problem(M1=3, M2=1, d_X=4, d_Y=1, length=2, m=2, batch=2)
        for backend in ("auto", "cpu"):
            nlicl.train(problem, steps=2, backend=backend)
            nlicl.loss_and_grad(problem.initialize(), problem.sample(2), backend=backend)
            nlicl.forward(problem.initialize(), problem.sample(2).dense(), backend=backend)
        audit_paper("li2024", wrt="a", draws=2)
        print([name for name in sys.modules if name.startswith(("nlicl.kernels.cuda", "numba.cuda", "numba_cuda.numba"))])
    """
    assert python(re.sub(r"^ {8}", "", code, flags=re.M), unset=("NUMBA_ENABLE_CUDASIM",)) == "[]"


def test_every_kernel_is_in_the_table_of_signatures():
    names = [
        f"{path.stem}.{name}"
        for path in (KERNELS / "cuda").glob("*.py")
        for name in re.findall(r"^@kernel\ndef (\w+)\(", path.read_text(), re.M)
    ]
    assert sorted(names) == sorted(signatures(numba.float32))


# ---------------------------------------------------------------- and what it computes


@pytest.mark.slow
@pytest.mark.compiled  # on the CPU, with which it is compared; as plain Python that takes minutes
@pytest.mark.skipif(SIMULATED, reason="runs in the simulator already")
@pytest.mark.skipif(importlib.util.find_spec("numba.cuda") is None, reason="this numba has no simulator of its own")
def test_the_suite_passes_in_the_simulator():
    tests = Path(__file__).parent
    files = tests / "test_cuda_path.py", tests / "test_cuda_races.py"
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *files]
    env = os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run([*map(str, command)], env=env, cwd=tests.parent, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout[-8000:]}\n{done.stderr[-2000:]}"
    assert int(re.search(r"(\d+) passed", done.stdout + done.stderr)[1]) > 50
