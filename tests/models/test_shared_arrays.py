"""Arrays that prompts keep and hand out: nobody changes what compiled code looks up by."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest

import nlicl
from nlicl.core.arrays import frozen
from nlicl.core.errors import InvalidIndex, InvalidInput, InvalidType, InvalidValue
from nlicl.papers import bu2024, huang2023, li2024

LI = li2024.Problem(M1=4, M2=3, d_X=8, d_Y=3, length=5, m=6, alpha=0.7)
HUANG = huang2023.Problem(K=4, length=6, d=5, draws=20)
BU = bu2024.Problem(
    concepts=2, dictionary=6, d_x=8, d_y=6, length=4, m=6, sigma_xi=0.0, p_z=0.2, sigma_0=0.3, sigma_1=0.1
)
PROBLEMS = pytest.mark.parametrize("problem", [LI, HUANG, BU], ids=["li2024", "huang2023", "bu2024"])


def coded(problem):
    return problem.sample(16, seed=0)


def fields(prompts):
    return {f.name: getattr(prompts, f.name) for f in dataclasses.fields(prompts)}


def arrays(prompts):
    return {name: value for name, value in fields(prompts).items() if isinstance(value, np.ndarray)}


def gradients(problem, prompts):
    loss, grads = nlicl.loss_and_grad(problem.initialize(seed=0), prompts)
    return [np.asarray(loss), *grads]


def assert_same(problem, prompts, expected):
    for found, wanted in zip(gradients(problem, prompts), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@PROBLEMS
def test_a_change_of_the_given_arrays_does_not_reach_coded_prompts(problem):
    given = {
        name: np.array(value) if isinstance(value, np.ndarray) else value
        for name, value in fields(coded(problem)).items()
    }
    prompts = type(coded(problem))(**given)
    expected = gradients(problem, prompts)
    for value in given.values():
        if isinstance(value, np.ndarray):
            value[:] = True if value.dtype == bool else 10**6 if value.dtype.itemsize > 1 else 100
    assert_same(problem, prompts, expected)
    assert_same(problem, prompts[:], expected)


@PROBLEMS
def test_what_coded_prompts_hand_out_cannot_be_written_to(problem):
    for prompts in (coded(problem), coded(problem)[2:7], coded(problem)[[3, 1]]):
        handed = [*arrays(prompts).values(), *prompts.arrays.values(), prompts.labels]
        for array in (array for array in handed if array is not None and not array.flags.owndata):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1
            with pytest.raises(ValueError, match="cannot set WRITEABLE flag"):
                array.flags.writeable = True


@PROBLEMS
def test_copies_of_coded_prompts_are_checked_anew(problem):
    prompts = coded(problem)
    expected = gradients(problem, prompts)
    for again in (
        pickle.loads(pickle.dumps(prompts)),
        copy.copy(prompts),
        copy.deepcopy(prompts),
        dataclasses.replace(prompts),
    ):
        assert type(again) is type(prompts)
        assert_same(problem, again, expected)
        for array in arrays(again).values():
            assert not array.flags.writeable
    name = (
        {"CodedPrompts": "concept"}.get(type(prompts).__name__)
        if problem is BU
        else "relevant"
        if problem is LI
        else "features"
    )
    with pytest.raises(InvalidValue, match=name):
        dataclasses.replace(prompts, **{name: np.full_like(getattr(prompts, name), 10**6)})


def test_a_pickle_that_was_tampered_with_is_refused():
    prompts = coded(LI)
    kind, (dictionary, relevant, *rest) = prompts.__reduce__()
    with pytest.raises(InvalidValue, match="relevant holds codes"):
        kind(dictionary, relevant + 10**6, *rest)


def test_a_move_that_changes_codes_is_refused():
    with pytest.raises(InvalidValue, match="relevant holds codes"):
        coded(LI).moved(lambda array: array * 0 + 100)
    with pytest.raises(InvalidType, match="move returns None; expected an array"):
        coded(LI).moved(lambda array: None)
    with pytest.raises(InvalidType, match="move is 3; expected a function"):
        coded(LI).moved(3)


def test_the_least_int8_is_no_sign():
    prompts = coded(LI)
    sign = np.array(prompts.sign)
    sign[0, 0] = -128
    with pytest.raises(InvalidValue, match="sign holds values from -128"):
        dataclasses.replace(prompts, sign=sign)


def test_flags_of_other_bits_than_one_are_one_flag():
    prompts = coded(BU)
    odd = (np.array(prompts.code).astype(np.uint8) * 6).view(bool)
    assert_same(BU, dataclasses.replace(prompts, code=odd), gradients(BU, prompts))


@PROBLEMS
def test_masked_arrays_are_refused_wherever_an_array_is_kept(problem):
    for prompts in (coded(problem), coded(problem).dense()):
        for name, array in arrays(prompts).items():
            with pytest.raises(InvalidType, match=f"{name} is a masked array"):
                dataclasses.replace(prompts, **{name: np.ma.masked_array(array, True)})


def test_laws_semantics_and_trajectories_keep_copies():
    a = np.eye(3)[:, :1].copy()
    semantics = bu2024.Semantics(a, a, a, a)
    weights = np.ones(1)
    source = huang2023.population.Source(np.ones((1, 2)), weights)
    a[:], weights[:] = 7, 7
    assert semantics.a[0, 0] == 1 and source.weights[0] == 1
    with pytest.raises(InvalidValue, match="weights"):
        source._replace(weights=np.ones(1) * 2)
    for array in (semantics.a, source.counts, huang2023.Law(np.eye(2), [0.5, 0.5], source).V):
        assert not array.flags.writeable


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_copies_of_what_cannot_be_written_to_cannot_be_written_to(again):
    problem = bu2024.Problem(dictionary=20, d_x=24, d_y=8)
    things = {
        "labels": [
            problem.sample(3).dense(),
            li2024.Problem().sample(3).dense(),
            huang2023.Problem().sample(3).dense(),
        ],
        "a": [problem.semantics],
        "V": [huang2023.Problem().population()],
    }
    for name, each in things.items():
        for thing in each:
            made = again(thing)
            assert type(made) is type(thing)
            for field in dataclasses.fields(thing):
                np.testing.assert_equal(getattr(made, field.name), getattr(thing, field.name))
            with pytest.raises(ValueError, match="cannot set WRITEABLE"):
                getattr(made, name).flags.writeable = True


def test_an_observer_cannot_change_the_run():
    def observe(params):
        params.W_Q[:] = 0
        return {}

    with pytest.raises(ValueError, match="read-only"):
        nlicl.train(LI, steps=1, batch=4, measure=1, observe=observe)


def test_frozen_views_show_what_is_written_and_cannot_be_thawed():
    for array in (
        np.zeros((2, 3)),
        np.zeros((0, 3)),
        np.zeros((4, 6), np.int8)[::-2, ::2],
        np.zeros(3, complex),
        np.array(1.0),
    ):
        view = frozen(array)
        assert (
            view.shape == array.shape
            and view.dtype == array.dtype
            and np.shares_memory(view, array) == bool(array.size)
        )
        with pytest.raises(ValueError, match="cannot set WRITEABLE flag"):
            view.flags.writeable = True


# ---- Indices


@PROBLEMS
@pytest.mark.parametrize("dense", [False, True])
def test_right_indices(problem, dense):
    prompts = coded(problem).dense() if dense else coded(problem)
    n = len(prompts)
    labels = np.asarray(prompts.labels)
    for index in (
        slice(2, 5),
        slice(None, None, -3),
        [1, 0, 0],
        [-1],
        np.array([3, 2], np.uint8),
        np.arange(n) < 4,
        range(3),
    ):
        found = prompts[index]
        assert type(found) is type(prompts)
        np.testing.assert_array_equal(found.labels, labels[list(index) if isinstance(index, range) else index])
    for index in (0, -1, np.int8(3), np.array(2), n - 1):
        assert prompts[index].z == labels[index]
    assert len(list(prompts)) == n


@PROBLEMS
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize(
    ("index", "kind", "message"),
    [
        (16, InvalidIndex, r"prompts\[16\] is not there: there are 16; expected an integer from -16 to 15"),
        (-17, InvalidIndex, r"prompts\[-17\] is not there"),
        (10**30, InvalidIndex, "is not there"),
        ([0, 16], InvalidIndex, "integers from 0 to 16; expected them from -16 to 15"),
        (True, InvalidType, "indexed by True; expected an integer"),
        (1.0, InvalidType, "indexed by 1.0"),
        (None, InvalidType, "indexed by None"),
        (..., InvalidType, "indexed by Ellipsis"),
        ("labels", InvalidType, "indexed by 'labels'"),
        ((0, 1), InvalidType, r"indexed by \(0, 1\).*Give prompts\[list\(index\)\]"),
        (np.timedelta64(1, "s"), InvalidType, "expected an integer"),
        ([0.0], InvalidType, "dtype float64"),
        ([[0]], InvalidType, r"array of shape \(1, 1\)"),
        (np.ma.masked_array([0], True), InvalidType, "masked array"),
        ([], InvalidValue, "empty batch"),
        (slice(3, 3), InvalidValue, r"prompts\[3:3\] is an empty batch"),
        (slice(None, None, 0), InvalidValue, "steps of 0"),
        (slice("a", None), InvalidType, "slice from 'a' to None"),
        ([True], InvalidValue, "indexed by 1 bools, 1 of them True; expected 16"),
        (np.zeros(16, bool), InvalidValue, "16 bools, 0 of them True"),
        ({0}, InvalidType, r"indexed by \{0\}"),
    ],
)
def test_wrong_indices(problem, dense, index, kind, message):
    prompts = coded(problem).dense() if dense else coded(problem)
    with pytest.raises(kind, match=message) as caught:
        prompts[index]
    assert isinstance(caught.value, InvalidInput)
    assert isinstance(caught.value, IndexError) == (kind is InvalidIndex)
