"""Refusals are the ValueError or TypeError that they say, and cross from a worker process as what they are."""

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

import nlicl
from nlicl.core.errors import InvalidInput, InvalidType, InvalidValue, NotFinite
from nlicl.devices import Unavailable
from nlicl.experiments.experiment import Experiment, Training, execute
from nlicl.papers import li2024

KINDS = {"value": InvalidValue, "type": InvalidType, "finite": NotFinite, "gpu": Unavailable, "bug": ZeroDivisionError}
PROBLEM = li2024.Problem(M1=4, M2=3, d_X=8, d_Y=3, m=7, length=5, batch=6)


def test_the_types():
    assert (
        issubclass(InvalidValue, ValueError)
        and issubclass(InvalidType, TypeError)
        and issubclass(NotFinite, InvalidValue)
    )
    assert not issubclass(InvalidValue, TypeError) and not issubclass(Unavailable, InvalidInput)


def no_runs(options):
    return {}


def refuse(options, seed, runs):
    raise KINDS[options["kind"]](f"seed is {seed}; expected another")


def diverging(options):
    return {"run": Training(PROBLEM, steps=60, learning_rate=1e4, measure=None)}


@pytest.fixture(scope="module")
def pool():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as made:
        yield made


@pytest.mark.parametrize("kind", KINDS)
def test_types_survive_a_worker_process(pool, kind):
    error = pool.submit(refuse, {"kind": kind}, 3, {}).exception()
    assert type(error) is KINDS[kind] and str(error) == "seed is 3; expected another"


def test_a_refusal_in_an_experiment_s_worker_is_a_refusal():
    work = execute([Experiment("e", "e", no_runs, refuse, max, {"kind": "value"})], [0, 1], jobs=2)
    with pytest.raises(InvalidValue, match=r"^seed is 0; expected another$"):
        next(work)


@pytest.mark.slow
def test_a_diverged_run_is_still_there_after_a_worker_process():
    """It carries the run, which a plain exception would lose on the way, and break the pool."""
    with pytest.raises(nlicl.Diverged, match=r"^training diverged at step") as caught:
        next(execute([Experiment("e", "e", diverging, refuse, max)], [0, 1], jobs=2))
    run = caught.value.run
    assert run.step == len(run.history.loss) > 0
    assert all(np.isfinite(array).all() for array in run.params)
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is nlicl.Diverged and str(again) == str(caught.value) and again.run.step == run.step
