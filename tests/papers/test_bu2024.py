"""Bu et al. 2024: settings, geometry, concepts, prompts, their laws, shifts, initialisation, and what each refuses."""

import dataclasses
import itertools
import json
import math

import naive
import numpy as np
import pytest
from draws import assert_close, seeds
from hypothesis import given
from hypothesis import strategies as st

import nlicl
from nlicl.core import memory
from nlicl.kernels.steps import dense, multihot, unmerged
from nlicl.models.transformer.steps import TRANSFORMER
from nlicl.papers import bu2024
from nlicl.papers.bu2024 import CodedPrompts, Problem, Semantics, shifts, small, theory, theory_case

TINY = Problem(dictionary=6, d_x=9, d_y=7, p_z=0.3, m=5)  # two irrelevant words; noise; signs with at least one match
CLEAN = dataclasses.replace(TINY, sigma_xi=0.0)
FIRST = {name: [[1], [0]] for name in "abcd"}  # the first of two concepts alone


def refused(call, error, words):
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def within(count, n, probability, sigmas=5):
    return abs(count - n * probability) <= sigmas * math.sqrt(n * probability * (1 - probability)) + 1e-9


# ---------------------------------------------------------------- settings


def test_the_defaults_are_the_reference_setting():
    p = Problem()
    numbers = (p.concepts, p.dictionary, p.d_x, p.d_y, p.norm_x, p.norm_y, p.kappa_x, p.kappa_y, p.sigma_xi, p.length)
    assert numbers == (2, 104, 200, 60, 5.0, 5.0, 0.5, 0.5, 0.05, 4)
    training = (p.m, p.batch, p.weight_decay, p.step_offset, p.sigma_0, p.sigma_1, p.steps, p.match, p.p_z)
    assert training == (50, 16, 0.002, 1e4, 0.1, 0.01, 1500, "at-least-one", None)
    assert (p.d, p.presence, p.learning_rate) == (260, 1 / 104, 0.1)
    assert (p.loss, p.trained) == ("logistic", ("W_Q", "W_K", "W_O"))
    assert list(bu2024.problems) == ["reference", "paper", "small", "theory"] and bu2024.problems["reference"] == p
    with pytest.raises(dataclasses.FrozenInstanceError):
        p.concepts = 3


def test_presets():
    fields = (
        "dictionary",
        "d_x",
        "d_y",
        "norm_x",
        "norm_y",
        "sigma_xi",
        "p_z",
        "match",
        "m",
        "weight_decay",
        "step_offset",
    )
    values = [getattr(small, name) for name in (*fields, "sigma_0", "sigma_1", "length", "batch")]
    assert values == [4, 10, 6, 4, 4, 0.3, 0, "balanced", 20, 0.01, 4e3, 0.3, 0.1, 4, 4]
    assert (theory_case.sigma_xi, theory_case.p_z, theory_case.match) == (0, 0, "balanced")
    assert small.learning_rate == theory_case.learning_rate == 0.05


def test_where_a_value_comes_from():
    assert set(Problem().settings()) == {field.name for field in dataclasses.fields(Problem)}
    assert {mark for _, mark in Problem().settings().values()} == {"quoted", "derived", "ours"}
    assert dataclasses.replace(Problem(), d_y=8).settings()["d_y"] == [8, "set here"]


INTEGERS = {
    "concepts": 1,
    "dictionary": 2,
    "d_x": 1,
    "d_y": 1,
    "length": 1,
    "semantics_seed": 0,
    "m": 1,
    "batch": 1,
    "steps": 0,
}
POSITIVE = ("norm_x", "norm_y", "step_offset", "learning_rate")
NOT_NEGATIVE = ("sigma_xi", "sigma_0", "sigma_1", "weight_decay")
COSINES = ("kappa_x", "kappa_y")


@pytest.mark.parametrize("name", [*INTEGERS, *POSITIVE, *NOT_NEGATIVE, *COSINES, "p_z"])
def test_what_is_no_number_is_refused_by_name(name):
    kind = "an integer" if name in INTEGERS else "a number"
    for value in ("3", True, [1], np.array([1.0, 2.0]), 1 + 0j, *([2.0] if name in INTEGERS else [])):
        refused(lambda v=value: Problem(**{name: v}), TypeError, [f"{name} is {value!r}; expected {kind}"])
    if name not in INTEGERS:
        for value in (math.nan, math.inf, -1.0):
            refused(lambda v=value: Problem(**{name: v}), ValueError, [f"{name} is {value}; expected a finite number"])


BAD = [
    *({"name": n, "value": least - 1, "words": f"expected at least {least}"} for n, least in INTEGERS.items()),
    *({"name": n, "value": 0, "words": "greater than 0"} for n in POSITIVE),
    *({"name": n, "value": v, "words": "between 0 and 1, a cosine"} for n in COSINES for v in (0, 1, 1.5)),
    {"name": "p_z", "value": 1.01, "words": "from 0 to 1, a probability"},
    *({"name": "match", "value": v, "words": "expected one of 'at-least-one', 'balanced', 'iid'"}
      for v in ("conditioned", None, 3, ["iid"], np.array(["iid", "iid"]))),
]  # fmt: skip


@pytest.mark.parametrize("case", BAD, ids=lambda case: f"{case['name']}={case['value']!r}"[:30])
def test_values_out_of_range(case):
    name, value = case["name"], case["value"]
    refused(lambda: Problem(**{name: value}), ValueError, [f"{name} is {value!r}; expected" if name == "match" else
                                                           f"{name} is {value}; expected", case["words"]])  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"concepts": 3, "dictionary": 5}, ["dictionary is 5 with 3 concepts of two words each", "K >= 2 K1 = 6"]),
        ({"d_x": 103}, ["d_x is 103 with a dictionary of K = 104", "Expected d_x >= K; raise d_x or lower dictionary"]),
        ({"d_y": 3}, ["d_y is 3 with 2 concepts: no 4 orthogonal directions fit", "Expected d_y >= 2 K1"]),
        ({"match": "balanced", "length": 3}, ["length is 3 with match 'balanced'", "expected an even number"]),
        (
            {"weight_decay": 0},
            ["learning_rate is None with weight_decay = 0", "Give one of them a number greater than 0"],
        ),
        *(
            (
                {"weight_decay": decay, "step_offset": offset},
                [
                    f"weight_decay is {decay:g} and step_offset {offset:g}: learning_rate = 2/",
                    f"comes to {eta}. Exp",
                    fix,
                ],
            )
            for decay, offset, eta, fix in (
                (1e-200, 1e-200, "inf", "raise one of them"),
                (1e-300, 1e-300, "inf", "raise one of them"),
                (1e-320, 1e4, "inf", "raise one of them"),
                (1e200, 1e200, "0", "lower one of them"),
            )
        ),
        ({"step_offset": 1}, ["step_offset is 1: ", "1 - lambda eta_0 = -1, which does not", "step_offset above 1"]),
        ({"step_offset": 0.5, "weight_decay": 0.3}, ["step_offset is 0.5: ", "1 - lambda eta_0 = -3"]),
        (
            {"learning_rate": 8, "weight_decay": 0.25},
            ["learning_rate is 8 with weight_decay = 0.25", "1 - lambda eta_0 = -1", "Expected lambda eta_0 < 2"],
        ),
        ({"learning_rate": 1e300, "weight_decay": 1e300}, ["1 - lambda eta_0 = -inf"]),
    ],
)
def test_settings_that_do_not_go_together(settings, words):
    refused(lambda: Problem(**settings), ValueError, words)


def test_the_smallest_problem():
    p = Problem(concepts=1, dictionary=2, d_x=2, d_y=2, length=1, m=1, batch=1, steps=0)
    assert p.nu.shape == (2, 0) and p.M.shape == (2, 2) and p.sample(1).tokens.shape == (1, 2, 4)
    assert np.isfinite(nlicl.loss_and_grad(p.initialize(), p.sample(1))[0])


def test_numbers_are_kept_as_plain_ones(tmp_path):
    """NumPy's are taken, and a run with them is written to a file that holds plain text."""
    integers = {
        "concepts": np.int64(2),
        "dictionary": np.int32(4),
        "d_x": np.int8(4),
        "d_y": np.uint8(4),
        "m": np.int64(3),
    }
    numbers = {"norm_x": 2, "sigma_xi": np.float32(0.5), "p_z": np.float64(0.25), "weight_decay": np.float16(0.5)}
    p = Problem(**integers, **numbers, steps=np.int64(2))
    assert {type(value) for value in (getattr(p, f.name) for f in dataclasses.fields(p))} >= {int, float}
    for field in dataclasses.fields(p):
        value = getattr(p, field.name)
        assert isinstance(value, (int, float, str)) and type(value).__module__ != "numpy", field.name
    json.dumps(p.settings())
    run = nlicl.train(p, measure=None, out=tmp_path)
    assert nlicl.load_run(tmp_path).params.W_Q.tobytes() == run.params.W_Q.tobytes()


def test_the_step_size_follows_from_lambda_and_gamma():
    p = Problem()
    for steps in (0, 1, 7, 1499):
        assert p.learning_rate * p.schedule(steps) == pytest.approx(2 / (0.002 * (1e4 + steps)), rel=1e-15)
    np.testing.assert_allclose(
        [p.learning_rate * p.schedule(t) for t in range(9)], theory.step_sizes(9, 0.002, 1e4), rtol=1e-15
    )


def test_a_copy_with_another_lambda_has_its_own_step_size():
    """Else eta_t = 2/(lambda (gamma + t)) would hold for the first problem alone."""
    p = dataclasses.replace(small, weight_decay=0.04)
    assert p.learning_rate == 2 / (0.04 * 4000) and p == Problem(
        **{**vars_of(small), "weight_decay": 0.04, "learning_rate": None}
    )
    assert dataclasses.replace(p, step_offset=1000.0).learning_rate == 0.05
    own = dataclasses.replace(small, learning_rate=0.7)
    assert dataclasses.replace(own, weight_decay=0.04).learning_rate == 0.7
    assert dataclasses.replace(own, learning_rate=None).learning_rate == small.learning_rate
    assert dataclasses.replace(own, weight_decay=0.0).learning_rate == 0.7
    refused(
        lambda: dataclasses.replace(small, weight_decay=0), ValueError, ["learning_rate is None with weight_decay = 0"]
    )
    assert repr(small).count("learning_rate=0.05") == 1 and json.loads(json.dumps(small.learning_rate)) == 0.05


def test_decay_may_overshoot_as_long_as_it_shrinks():
    """|1 - lambda eta_0| < 1."""
    assert abs(1 - 0.002 * Problem(step_offset=1.001).learning_rate) < 1
    assert Problem(learning_rate=7.99, weight_decay=0.25).learning_rate == 7.99
    assert Problem(learning_rate=1e3, weight_decay=0, step_offset=1).learning_rate == 1e3


def vars_of(problem):
    return {field.name: getattr(problem, field.name) for field in dataclasses.fields(problem)}


# ---------------------------------------------------------------- geometry


kappas = st.floats(0.01, 0.99)


@given(st.integers(1, 4), st.integers(0, 3), st.integers(0, 3), kappas, kappas, st.floats(0.1, 10), seeds)
def test_words_and_labels_have_the_geometry(K1, nus, more, kappa_x, kappa_y, norm, seed):
    K = 2 * K1 + nus
    p = Problem(
        concepts=K1, dictionary=K, d_x=K + more, d_y=2 * K1 + more, kappa_x=kappa_x, kappa_y=kappa_y, norm_x=norm,
        norm_y=2 * norm, semantics_seed=seed,
    )  # fmt: skip
    for E, size, kappa in ((p.M[:, : 2 * K1], norm, kappa_x), (p.Q_labels[:, : 2 * K1], 2 * norm, kappa_y)):
        want = size**2 * np.kron(np.eye(K1), [[1, kappa], [kappa, 1]])
        assert_close(E.T @ E, want, 1e-13 * size**2 * K)
    assert_close(p.nu.T @ p.nu, norm**2 * np.eye(nus), 1e-13 * norm**2 * K)
    assert_close(p.M[:, : 2 * K1].T @ p.nu, np.zeros((2 * K1, nus)), 1e-13 * norm**2 * K)
    assert not p.Q_labels[:, 2 * K1 :].any()
    s, norms = p.semantics, theory.norms(norm, 2 * norm, kappa_x, kappa_y)
    for name, length in norms._asdict().items():
        assert_close(np.linalg.norm(getattr(s, name), axis=0), np.full(K1, length), 1e-13 * norm * K)
    for k in range(K1):
        np.testing.assert_array_equal(p.M[:, 2 * k], s.a[:, k] + s.b[:, k])
        np.testing.assert_array_equal(p.M[:, 2 * k + 1], s.a[:, k] - s.b[:, k])
        np.testing.assert_array_equal(p.Q_labels[:, 2 * k], s.c[:, k] + s.d[:, k])
        np.testing.assert_array_equal(p.Q_labels[:, 2 * k + 1], s.c[:, k] - s.d[:, k])
    np.testing.assert_array_equal(p.M[:, 2 * K1 :], p.nu)
    gram = np.hstack([s.a, s.b]).T @ np.hstack([s.a, s.b])
    assert_close(gram - np.diag(np.diag(gram)), np.zeros_like(gram), 1e-13 * norm**2 * K)


def test_directions_are_drawn_by_a_seed_and_cannot_be_changed():
    p, q = TINY, dataclasses.replace(TINY, semantics_seed=1)
    np.testing.assert_array_equal(p.M, dataclasses.replace(TINY, sigma_0=0.7).M)
    assert abs(p.M - q.M).max() > 0.1 and abs(p.Q_labels - q.Q_labels).max() > 0.1
    for array in (p.semantics.a, p.semantics.b, p.semantics.c, p.semantics.d, p.sample(2).dictionary):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    before = p.M
    for array in (p.M, p.Q_labels, p.nu):  # copies
        array[...] = 0
    np.testing.assert_array_equal(p.M, before)


# ---------------------------------------------------------------- concepts and semantics


def test_combinations():
    s = TINY.semantics
    rng = np.random.default_rng(0)
    C = {name: rng.normal(size=(2, 3)) for name in "abcd"}
    new = s.combined(**C)
    assert new.concepts == 3 and repr(new) == "Semantics(K1=3, d_x=9, d_y=7)"
    for name in "abcd":
        old = getattr(s, name)
        for k in range(3):
            want = [C[name][0, k] * old[x, 0] + C[name][1, k] * old[x, 1] for x in range(len(old))]
            assert_close(getattr(new, name)[:, k], want, 1e-14)
    same = s.combined(b=[[0, 1], [1, 0]])
    np.testing.assert_array_equal(same.a, s.a)
    np.testing.assert_array_equal(same.b, s.b[:, ::-1])


def test_switched_semantics_are_the_next_concept_s():
    """(a_2; b_1) with c_2, d_1."""
    s = TINY.semantics
    new = s.switched()
    np.testing.assert_array_equal(new.a, s.a[:, ::-1])
    np.testing.assert_array_equal(new.c, s.c[:, ::-1])
    np.testing.assert_array_equal(new.b, s.b)
    np.testing.assert_array_equal(new.d, s.d)
    three = Problem(concepts=3, dictionary=6, d_x=6, d_y=6).semantics
    np.testing.assert_array_equal(three.switched().a, three.a[:, [1, 2, 0]])
    np.testing.assert_array_equal(three.switched(2).c, three.c[:, [2, 0, 1]])
    np.testing.assert_array_equal(three.switched(3).a, three.a)


X, Y = np.ones((3, 2)), np.ones((4, 2))
BAD_SEMANTICS = [
    (lambda: Semantics(X.astype(int), X, Y, Y), TypeError, ["a has dtype int64; expected a floating dtype"]),
    (lambda: Semantics(X, X, Y, Y.astype(complex)), TypeError, ["d has dtype complex128"]),
    (lambda: Semantics(X, X, "c", Y), TypeError, ["c is 'c'; expected an array"]),
    (lambda: Semantics(X, [[1.0], [1.0, 2.0]], Y, Y), ValueError, ["b is a list of rows of unequal lengths"]),
    (lambda: Semantics(X[0], X, Y, Y), ValueError, ["a has shape (2,); expected 2 axes, (d_x, K1)"]),
    (lambda: Semantics(X, X, Y[0], Y), ValueError, ["c has shape (2,); expected 2 axes, (d_y, K1)"]),
    (lambda: Semantics(X, X * np.nan, Y, Y), ValueError, ["b[0, 0] is nan; expected finite numbers"]),
    (lambda: Semantics(X, X[:2], Y, Y), ValueError, ["b has shape (2, 2); expected that of a, (3, 2)"]),
    (lambda: Semantics(X, X, Y, Y[:, :1]), ValueError, ["d has shape (4, 1); expected that of c, (4, 2)"]),
    (lambda: Semantics(X, X, Y[:, :1], Y[:, :1]), ValueError, ["a has shape (3, 2) and c (4, 1)", "as many in both"]),
    (lambda: Semantics(X[:, :0], X[:, :0], Y[:, :0], Y[:, :0]), ValueError, ["a has shape (3, 0)"]),
    (lambda: TINY.semantics.combined(c=np.ones((3, 2))), ValueError, ["c has shape (3, 2); expected (2, K1')"]),
    (lambda: TINY.semantics.combined(c=1.0), ValueError, ["c has shape (); expected (2, K1')"]),
    (lambda: TINY.semantics.combined(d=[["x"], ["y"]]), TypeError, ["d is [['x'], ['y']]; expected finite numbers"]),
    (lambda: TINY.semantics.combined(b=[[math.inf], [1.0]]), ValueError, ["b[0, 0] is inf"]),
    (lambda: TINY.semantics.combined(b=[[1.0], [1.0, 2.0]]), ValueError, ["b is a list of rows of unequal lengths"]),
    (lambda: TINY.semantics.combined(b=[[1.0], [1.0]]), ValueError, ["b has shape (9, 1); expected that of a, (9, 2)"]),
    (lambda: TINY.semantics.switched(-1), ValueError, ["by is -1; expected at least 0"]),
    (lambda: TINY.semantics.switched(0.5), TypeError, ["by is 0.5; expected an integer"]),
]  # fmt: skip


@pytest.mark.parametrize("call, error, words", BAD_SEMANTICS, ids=range(len(BAD_SEMANTICS)))
def test_semantics_that_are_none(call, error, words):
    refused(call, error, words)


def test_semantics_are_read_only_views():
    a = X.copy()
    s = Semantics(a, X, Y, Y)
    with pytest.raises(ValueError, match="read-only"):
        s.a[0, 0] = 2
    a[0, 0] = 2.0  # the user's own stays writable


def test_unseen_directions():
    p = Problem(dictionary=6, d_x=11, d_y=9)
    for name in "abcd":
        new, old = p.unseen(name), getattr(p.semantics, name)
        taken = p.M if name in "ab" else p.Q_labels
        assert_close(taken.T @ new, np.zeros((6, 2)), 1e-12)
        assert_close(new.T @ new, old.T @ old, 1e-12)
        np.testing.assert_array_equal(new, p.unseen(name, 0))
        assert abs(new - p.unseen(name, 1)).max() > 0.1
    for one, other in ("ab", "cd"):  # were they the same, words would be a and 0, or labels
        cosines = (p.unseen(one) / np.linalg.norm(p.unseen(one), axis=0)).T @ p.unseen(other)
        assert abs(cosines).max() < 0.98 * np.linalg.norm(p.unseen(other)[:, 0])
    refused(lambda: p.unseen("e"), ValueError, ["direction is 'e'; expected one of 'a', 'b', 'c', 'd'"])
    refused(lambda: p.unseen(["a"]), ValueError, ["direction is ['a']"])
    refused(lambda: p.unseen("a", -1), ValueError, ["seed is -1"])
    refused(lambda: p.unseen("a", (1, 2)), TypeError, ["seed is (1, 2); expected an integer"])
    full = Problem(dictionary=6, d_x=7, d_y=5)
    refused(
        lambda: full.unseen("b"), ValueError, ["d_x is 7: 6 directions are taken and 2 new ones asked for", "d_x >= 8"]
    )
    refused(lambda: full.unseen("c"), ValueError, ["d_y is 5: 4 directions are taken", "Expected d_y >= 6"])


# ---------------------------------------------------------------- prompts


@given(seeds, st.integers(1, 5), st.integers(1, 4), st.sampled_from([0.0, 0.3, 1.0]))
def test_tokens_are_the_sums_of_their_columns(seed, n, L, p_z):
    p = dataclasses.replace(CLEAN, p_z=p_z)
    x = p.sample(n, length=L, seed=seed)
    want = naive.sums(naive.numbers(x.dictionary), naive.numbers(x.code), 9)
    for dtype, eps in ((np.float64, 1e-14), (np.float32, 1e-5)):
        made = x.dense(dtype)
        assert made.tokens.dtype == dtype and not made.query_attends
        assert_close(made.tokens, want, 20 * eps)
        np.testing.assert_array_equal(made.labels, x.labels)
    np.testing.assert_array_equal(x.dictionary, np.vstack([p.M, p.Q_labels]))
    shared = x.signs < 0
    for k in range(2):
        own = x.concept == k
        np.testing.assert_array_equal(x.code[own][..., 2 * k], ~shared[own])
        np.testing.assert_array_equal(x.code[own][..., 2 * k + 1], shared[own])
    assert not (x.code[..., 0:4:2] & x.code[..., 1:4:2]).any()  # a concept is there with one of its two words
    np.testing.assert_array_equal(x.labels, x.signs[:, -1])


@given(seeds)
def test_noise_is_added_to_the_same_codes(seed):
    clean, noisy = CLEAN.sample(50, seed=seed), TINY.sample(50, seed=seed, sigma_xi=0.7)
    for name in ("code", "signs", "concept"):
        np.testing.assert_array_equal(getattr(noisy, name), getattr(clean, name))
    noise = noisy.dense().tokens - clean.dense().tokens
    assert_close(noise[:, -1, 9:], np.zeros((50, 7)), 0)  # the query has no label, with noise or without
    drawn = np.append(noise[:, :-1].ravel(), noise[:, -1, :9].ravel())
    assert abs(drawn.mean()) < 6 * 0.7 / math.sqrt(drawn.size)
    assert abs(drawn.std() / 0.7 - 1) < 6 / math.sqrt(2 * drawn.size)
    assert clean.tokens is None and noisy.tokens is not None


def test_one_prompt_in_the_paper_s_letters():
    p = dataclasses.replace(CLEAN, p_z=0.0)
    x = p.sample(40, seed=3)
    s = p.semantics
    for n, prompt in enumerate(x):
        k = x.concept[n]
        for name in "abcd":
            assert_close(getattr(prompt, name), getattr(s, name)[:, k], 1e-14)
        assert (prompt.P.shape, prompt.x.shape, prompt.y.shape, prompt.x_q.shape) == ((16, 5), (9, 4), (7, 4), (9,))
        assert prompt.one_concept and prompt.d_x == 9 and prompt.z == x.labels[n] and not prompt.query_attends
        for l, e in enumerate(prompt.signs[:-1]):
            assert_close(prompt.x[:, l], s.a[:, k] + e * s.b[:, k], 1e-13)
            assert_close(prompt.y[:, l], s.c[:, k] + e * s.d[:, k], 1e-13)
        assert_close(prompt.x_q, s.a[:, k] + prompt.z * s.b[:, k], 1e-13)
        np.testing.assert_array_equal(prompt.query[9:], 0)
    assert not any(prompt.one_concept for prompt in p.sample(3, sigma_xi=0.1))
    assert not all(prompt.one_concept for prompt in CLEAN.sample(30))


def test_batches_are_cut_and_shown():
    x = TINY.sample(5, seed=1)
    assert (len(x), x.length, repr(x)) == (5, 4, "CodedPrompts(B=5, L=4, d=16, K=6, with noise)")
    assert repr(CLEAN.sample(1)) == "CodedPrompts(B=1, L=4, d=16, K=6, no noise)"
    for index in (slice(1, 4), [4, 0], np.array([True, False, True, False, True]), np.arange(5)[::-1]):
        part = x[index]
        assert isinstance(part, CodedPrompts)
        for name in ("code", "signs", "concept", "labels", "tokens"):
            np.testing.assert_array_equal(getattr(part, name), getattr(x, name)[index])
    np.testing.assert_array_equal(x[-1].tokens, x.tokens[-1])
    np.testing.assert_array_equal(x[np.int64(2)].tokens, x.tokens[2])
    assert len(list(x)) == 5
    with pytest.raises(IndexError):
        x[5]
    for array in (x.dictionary, x.code, x.concept, x.signs, x.tokens):
        assert not array.flags.writeable


def test_many_concepts_do_not_overflow_their_columns():
    """2k + 1 of a concept k that is kept in eight bits."""
    E = np.vstack([np.eye(200), np.ones((1, 200))])
    code = np.zeros((1, 2, 200), bool)
    code[..., 198] = True
    x = CodedPrompts(E, 200, code, np.array([99], np.int8), np.ones((1, 2), int))
    np.testing.assert_array_equal(x[0].feature, E[:, [198, 199]])


def test_which_kernel_serves_which_prompts():
    """Codes where they are many; tokens where there is noise, or too few codes to sum up, through merged matrices where that
    takes fewer multiply-adds: the numbers agree."""
    p = CLEAN.initialize(seed=1)
    many, few = CLEAN.sample(6, seed=2), CLEAN.sample(5, seed=2)
    step = TRANSFORMER.steps[CodedPrompts, "cpu"]
    kernels = [step.operands(p, x)[0] for x in (many, few, TINY.sample(50))]
    assert kernels == [multihot, unmerged, dense]
    for x in (many, few, TINY.sample(7)):
        value, grads = nlicl.loss_and_grad(p, x)
        want, others = nlicl.loss_and_grad(p, x.dense(), "logistic")
        assert_close(value, want, 1e-14)
        for one, other in zip(grads, others, strict=True):
            assert_close(one, other, 1e-13)
        for one, other in zip(nlicl.forward(p, x), nlicl.forward(p, x.dense()), strict=True):
            assert_close(one, other, 1e-13)


GOOD = {
    "dictionary": np.eye(6),
    "d_x": 4,
    "code": np.eye(6, dtype=bool)[[[0, 1, 0], [3, 3, 2]]],
    "concept": np.array([0, 1]),
    "signs": np.array([[1, -1, 1], [-1, -1, 1]]),
}
BAD_PROMPTS = [
    ({"dictionary": np.eye(6, dtype=int)}, TypeError, ["dictionary has dtype int64; expected a floating dtype"]),
    ({"dictionary": np.ones(6)}, ValueError, ["dictionary has shape (6,); expected 2 axes, (d, K)"]),
    ({"dictionary": np.eye(6) * np.nan}, ValueError, ["dictionary[0, 0] is nan"]),
    ({"d_x": 6}, ValueError, ["d_x is 6; expected an integer from 1 to d - 1 = 5"]),
    ({"d_x": 0}, ValueError, ["d_x is 0; expected at least 1"]),
    ({"d_x": True}, TypeError, ["d_x is True; expected an integer"]),
    ({"d_x": 4.0}, TypeError, ["d_x is 4.0; expected an integer"]),
    ({"code": GOOD["code"].astype(int)}, ValueError, ["code has shape (2, 3, 6) and dtype int64"]),
    ({"code": GOOD["code"][..., :5]}, ValueError, ["code has shape (2, 3, 5)"]),
    ({"code": GOOD["code"][:, :1]}, ValueError, ["code has shape (2, 1, 6)", "L >= 1 demonstrations and the query"]),
    ({"code": GOOD["code"][:0]}, ValueError, ["code has shape (0, 3, 6)", "B >= 1"]),
    ({"code": GOOD["code"][0]}, ValueError, ["code has shape (3, 6)"]),
    ({"code": [[True], [True, False]]}, ValueError, ["code is a list of rows of unequal lengths"]),
    ({"concept": np.zeros(3, int)}, ValueError, ["concept has shape (3,)", "expected (2,) integers"]),
    ({"concept": np.zeros(2)}, ValueError, ["concept has shape (2,) and dtype float64"]),
    ({"concept": np.array([0, 3])}, ValueError, ["concept holds 0 to 3; expected 0 to 2: columns 2k and 2k+1"]),
    ({"concept": np.array([-1, 0])}, ValueError, ["concept holds -1 to 0"]),
    ({"signs": np.ones((2, 2), int)}, ValueError, ["signs has shape (2, 2)", "expected (2, 3), each -1 or +1"]),
    ({"signs": np.zeros((2, 3), int)}, ValueError, ["signs has shape (2, 3) and dtype int64; expected (2, 3), each -1 or +1"]),
    ({"signs": np.full((2, 3), np.nan)}, ValueError, ["signs has shape", "each -1 or +1"]),
    ({"signs": np.full((2, 3), "+")}, ValueError, ["signs has shape (2, 3) and dtype <U1"]),
    ({"signs": np.ones((2, 3), bool)}, ValueError, ["dtype bool"]),
    ({"tokens": np.ones((2, 3, 5))}, ValueError, ["tokens has shape (2, 3, 5); expected (2, 3, 6)"]),
    ({"tokens": np.ones((2, 3, 6), int)}, TypeError, ["tokens has dtype int64"]),
    ({"tokens": np.full((2, 3, 6), np.inf)}, ValueError, ["tokens[0, 0, 0] is inf"]),
]  # fmt: skip


@pytest.mark.parametrize("change, error, words", BAD_PROMPTS, ids=range(len(BAD_PROMPTS)))
def test_prompts_that_are_none(change, error, words):
    assert len(CodedPrompts(**GOOD)) == 2
    refused(lambda: CodedPrompts(**{**GOOD, **change}), error, words)


def test_signs_may_be_floating():
    x = CodedPrompts(**{**GOOD, "signs": GOOD["signs"] * 1.0})
    assert x.signs.dtype == np.int8 and x[0].signs.dtype == np.int8 and x.labels.dtype == float


def test_what_does_not_go_with_prompts():
    x = CLEAN.sample(7)
    narrow = Problem(dictionary=4, d_x=4, d_y=4).initialize()
    refused(
        lambda: nlicl.loss_and_grad(narrow, x),
        ValueError,
        ["prompts.dictionary has shape (16, 6), width d = 16", "d = 8"],
    )
    refused(lambda: nlicl.loss_and_grad(CLEAN, x), TypeError, ["params is a nlicl.papers.bu2024.Problem"])
    refused(lambda: nlicl.loss_and_grad(CLEAN.initialize(), x, "cubic"), ValueError, ["loss is 'cubic'"])
    assert nlicl.loss_and_grad(CLEAN.initialize(), x)[0] == nlicl.loss_and_grad(CLEAN.initialize(), x, "logistic")[0]


# ---------------------------------------------------------------- sampling


RULES = [(match, L) for match in bu2024.MATCHES for L in (1, 2, 4, 5) if match != "balanced" or L % 2 == 0]


@pytest.mark.parametrize("match, L", RULES)
def test_the_number_of_matches_has_its_law(match, L):
    n = 20_000
    x = CLEAN.sample(n, length=L, match=match, seed=L)
    matches = np.sum(x.signs[:, :-1] == x.signs[:, -1:], axis=1)
    counts, law = np.bincount(matches, minlength=L + 1), theory.match_law(L, match)
    for j in range(L + 1):
        assert within(counts[j], n, law[j]), (j, counts, law * n)
    assert within((x.labels > 0).sum(), n, 0.5) and within((x.concept == 0).sum(), n, 0.5)
    for l in range(L):  # no place is special: neither for signs, nor for the one that is turned to match
        assert within((x.signs[:, l] == x.signs[:, -1]).sum(), n, law @ np.arange(L + 1) / L)
        alone = (matches == 1) & (x.signs[:, l] == x.signs[:, -1])
        assert within(alone.sum(), counts[1], 1 / L)
    for e in (1, -1):  # nor is a query's sign
        of = matches[x.labels == e]
        assert all(within((of == j).sum(), len(of), law[j]) for j in range(L + 1))
        for l in range(L):
            assert within((x.signs[x.labels == e, l] == e).sum(), len(of), law @ np.arange(L + 1) / L)


def test_balanced_signs_come_in_every_order():
    signs = CLEAN.sample(6000, length=4, match="balanced", seed=3).signs[:, :4]
    orders, counts = np.unique(signs, axis=0, return_counts=True)
    assert len(orders) == 6 and all(within(count, 6000, 1 / 6) for count in counts)


@pytest.mark.parametrize("p_z, presence", [(None, 1 / 6), (0.0, 0.0), (0.4, 0.4), (1.0, 1.0)])
def test_other_columns_are_there_independently(p_z, presence):
    p = dataclasses.replace(CLEAN, p_z=p_z)
    assert p.presence == presence
    x = p.sample(6000, seed=5)
    tokens = len(x) * 5
    for j in (4, 5):
        assert within(x.code[..., j].sum(), tokens, presence)
        for t in range(5):
            assert within(x.code[:, t, j].sum(), len(x), presence)
    assert within((x.code[..., 4] & x.code[..., 5]).sum(), tokens, presence**2)
    for k in range(2):
        other = x.code[x.concept != k]
        for column in (2 * k, 2 * k + 1):
            assert within(other[..., column].sum(), other[..., 0].size, presence / 2)
        both = other[:, 0, 2 * k : 2 * k + 2].any(axis=1) & other[:, 1, 2 * k : 2 * k + 2].any(axis=1)
        assert within(both.sum(), len(both), presence**2)
        tied = other[:, 0, 2 * k] & (x.signs[x.concept != k][:, 0] > 0)  # its sign is not the shared concept's
        assert within(tied.sum(), len(tied), presence / 4)


def test_concepts_may_be_skewed():
    x = CLEAN.sample(20_000, concept_weights=(0.9, 0.1), seed=1)
    assert within((x.concept == 0).sum(), 20_000, 0.9)
    assert not (CLEAN.sample(500, concept_weights=[0, 1]).concept == 0).any()
    one = CLEAN.semantics.combined(**FIRST)
    assert CLEAN.sample(5, concept_weights=[1], semantics=one).dictionary.shape == (16, 4)


def test_other_semantics_in_the_same_places():
    s = CLEAN.semantics.combined(d=-np.eye(2))
    x, y = CLEAN.sample(30, seed=4), CLEAN.sample(30, seed=4, semantics=s)
    np.testing.assert_array_equal(y.code, x.code)
    np.testing.assert_array_equal(y.dictionary[:9], x.dictionary[:9])
    assert_close(y.dictionary[9:, :4], s.labels(), 0)
    np.testing.assert_array_equal(y.dictionary[:, 4:], x.dictionary[:, 4:])  # irrelevant words are the problem's


def test_seeds():
    same = lambda x, y: np.array_equal(x.code, y.code) and np.array_equal(x.dense().tokens, y.dense().tokens)  # noqa: E731
    assert same(TINY.sample(20, seed=7), TINY.sample(20, seed=7))
    assert same(TINY.sample(20, seed=(7, 3)), TINY.sample(20, seed=np.array([7, 3])))
    found = [TINY.sample(20, seed=seed) for seed in (7, 8, (7, 0), (7, 1), (1, 7), (7, 0, 0))]
    assert not any(same(x, y) for x, y in itertools.combinations(found, 2))
    assert TINY.sample(3, length=7).length == 7 and TINY.sample(3, match="balanced", length=2).signs[:, :-1].sum() == 0


SAMPLES = [
    ({"n": 0}, ValueError, ["n is 0; expected at least 1"]),
    ({"n": 2.0}, TypeError, ["n is 2.0; expected an integer"]),
    ({"n": True}, TypeError, ["n is True"]),
    ({"length": 0}, ValueError, ["length is 0"]),
    ({"length": "4"}, TypeError, ["length is '4'"]),
    ({"length": 3, "match": "balanced"}, ValueError, ["length is 3 with match 'balanced'"]),
    ({"match": "conditioned"}, ValueError, ["match is 'conditioned'; expected one of"]),
    ({"match": 1}, ValueError, ["match is 1"]),
    ({"sigma_xi": -0.1}, ValueError, ["sigma_xi is -0.1"]),
    ({"sigma_xi": math.nan}, ValueError, ["sigma_xi is nan"]),
    ({"sigma_xi": "no"}, TypeError, ["sigma_xi is 'no'"]),
    ({"sigma_xi": 1e308}, ValueError, ["sigma_xi is 1e+308: noise of that size overflows float64. Lower it"]),
    ({"seed": -1}, ValueError, ["seed is -1"]),
    ({"seed": None}, TypeError, ["seed is None"]),
    ({"seed": (1, 0.5)}, TypeError, ["seed is 0.5"]),
    ({"concept_weights": (0.5, 0.4)}, ValueError, ["concept_weights is (0.5, 0.4); expected 2 probabilities of sum 1"]),
    ({"concept_weights": (1.5, -0.5)}, ValueError, ["concept_weights is (1.5, -0.5)"]),
    ({"concept_weights": (math.nan, 1.0)}, ValueError, ["concept_weights is (nan, 1.0)"]),
    ({"concept_weights": 1.0}, ValueError, ["concept_weights is 1.0"]),
    ({"concept_weights": (0.2, 0.3, 0.5)}, ValueError, ["expected 2 probabilities of sum 1, one for each concept"]),
    ({"concept_weights": ("a", "b")}, TypeError, ["concept_weights is ('a', 'b'); expected 2 probabilities"]),
    ({"concept_weights": ([1], 2)}, ValueError, ["concept_weights is a tuple of rows of unequal lengths"]),
    ({"concept_weights": (0.5, 0.5), "semantics": CLEAN.semantics.combined(**FIRST)}, ValueError,
     ["expected 1 probabilities of sum 1, one for each concept of the semantics drawn from"]),
    ({"semantics": "switched"}, TypeError, ["semantics is a str; expected a nlicl.papers.bu2024.Semantics"]),
    ({"semantics": small.semantics}, ValueError, ["semantics has d_x = 10 and d_y = 6; expected the problem's, 9 and 7"]),
]  # fmt: skip


@pytest.mark.parametrize("arguments, error, words", SAMPLES, ids=[str(arguments)[:40] for arguments, _, _ in SAMPLES])
def test_samples_that_are_none(arguments, error, words):
    refused(lambda: CLEAN.sample(**({"n": 4} | arguments)), error, words)


def test_more_than_fits_into_memory_is_refused_before_it_is_made(monkeypatch):
    monkeypatch.setattr(memory, "_memory", lambda: 16 * 2**30)
    monkeypatch.setattr(memory, "_limits", lambda root: iter(()))
    huge = Problem(dictionary=10**6, d_x=10**6)
    advice = ["there are 16 GiB of memory. Lower them."]
    refused(
        lambda: huge.M, ValueError, ["dictionary is 1000000 with d_x = 1000000", "some 5 arrays", "37,253 GiB", *advice]
    )
    refused(lambda: huge.sample(1), ValueError, ["dictionary is 1000000"])
    refused(lambda: huge.initialize(), ValueError, ["d_x 1000000, d_y 60: W_Q, W_K, W_V and W_O", *advice])
    words = [
        "n is 1000000000 with length 4: drawing holds 222 bytes for each of 5000000000 tokens",
        "Lower n or length",
    ]
    refused(lambda: TINY.sample(10**9), ValueError, words)
    refused(lambda: TINY.sample(1, length=10**12), ValueError, ["n is 1 with length 1000000000000"])
    monkeypatch.setattr(memory, "_memory", lambda: None)  # where the system does not say
    assert len(TINY.sample(3)) == 3


# ---------------------------------------------------------------- the population


POPULATIONS = [("balanced", 2), ("balanced", 4), ("iid", 1), ("iid", 3), ("at-least-one", 1), ("at-least-one", 4)]


@pytest.mark.parametrize("match, L", POPULATIONS)
def test_the_population_is_all_prompts_as_often_as_they_are_likely(match, L):
    p = dataclasses.replace(theory_case, match=match, length=L, concepts=2)
    x = p.population()
    assert len(x) == (4 if match == "balanced" else 4 * 2**L) and x.tokens is None
    matches = np.sum(x.signs[:, :-1] == x.signs[:, -1:], axis=1)
    for k, e in itertools.product(range(2), (1, -1)):
        of = matches[(x.concept == k) & (x.labels == e)]
        assert len(of) * 4 == len(x)
        np.testing.assert_allclose(np.bincount(of, minlength=L + 1) / len(of), theory.match_law(L, match), rtol=1e-15)
    code = np.zeros_like(x.code)
    for n, t in np.ndindex(x.signs.shape):
        code[n, t, 2 * x.concept[n] + (x.signs[n, t] < 0)] = True
    np.testing.assert_array_equal(x.code, code)
    assert all(prompt.one_concept for prompt in x)


@pytest.mark.parametrize("match", bu2024.MATCHES)
def test_samples_average_to_the_population(match):
    p = dataclasses.replace(theory_case, match=match)
    params = p.initialize(seed=2)
    value, grads = nlicl.loss_and_grad(params, p.population())
    parts = [nlicl.loss_and_grad(params, p.sample(500, seed=(9, s))) for s in range(40)]
    losses = np.array([part[0] for part in parts])
    assert abs(losses.mean() - value) < 5 * losses.std() / math.sqrt(40)
    for name in ("W_Q", "W_K", "W_O"):
        slopes = np.array([getattr(part[1], name) for part in parts])
        assert np.all(
            abs(slopes.mean(axis=0) - getattr(grads, name)) < 5.5 * slopes.std(axis=0) / math.sqrt(40) + 1e-15
        )


def test_populations_that_have_no_end():
    refused(
        lambda: TINY.population(), ValueError, ["sigma_xi is 0.05 and p_z 0.3: there is no end of different prompts"]
    )
    refused(lambda: CLEAN.population(), ValueError, ["sigma_xi is 0 and p_z 0.3", "train on fresh prompts"])
    long = dataclasses.replace(theory_case, match="iid", length=13)
    refused(
        lambda: long.population(),
        ValueError,
        ["length is 13: 2^13 signs are too many to enumerate. Expected at most 12"],
    )
    assert len(dataclasses.replace(theory_case, length=14).population()) == 4


# ---------------------------------------------------------------- shifts


def the_semantics(problem, shift):
    return shift.draw["semantics"]


def test_shifts_out_of_distribution():
    p = Problem(dictionary=6, d_x=9, d_y=7)
    s, found, half = p.semantics, shifts(p), math.sqrt(0.5)
    assert [found[f"L* = {L}"].draw for L in (1, 2, 4, 8, 16, 32, 64, 128)] == [{"length": 2**i} for i in range(8)]
    assert found["skewed 0.9/0.1"].draw == {"concept_weights": (0.9, 0.1)}
    assert found["noise 0.5"].draw == {"sigma_xi": 0.5}
    a, b, c, d = (getattr(s, name).T for name in "abcd")
    tilt = math.sqrt(0.91)
    want = {
        "switched": [(a[1], b[0], c[1], d[0]), (a[0], b[1], c[0], d[1])],
        "exchanged b": [(a[0], b[1], c[0], d[0]), (a[1], b[0], c[1], d[1])],
        "conic": [tuple(half * (v[0] + v[1]) for v in (a, b, c, d))],
        "b_1-b_2": [(half * (a[0] + a[1]), half * (b[0] - b[1]), half * (c[0] + c[1]), half * (d[0] + d[1]))],
        "b_1-b_2, d_1-d_2": [(half * (a[0] + a[1]), half * (b[0] - b[1]), half * (c[0] + c[1]), half * (d[0] - d[1]))],
        "b_1+b_2, d_1": [(a[0], half * (b[0] + b[1]), c[0], d[0])],
        "tilted": [(half * (a[0] + a[1]), 0.3 * b[0] + tilt * b[1], half * (c[0] + c[1]), tilt * d[0] + 0.3 * d[1])],
        "flipped": [(a[k], b[k], c[k], -d[k]) for k in range(2)],
    }
    for name, concepts in want.items():
        new = found[name].draw["semantics"]
        assert new.concepts == len(concepts), name
        for k, directions in enumerate(concepts):
            for letter, direction in zip("abcd", directions, strict=True):
                assert_close(getattr(new, letter)[:, k], direction, 1e-14, f"{name}, {letter}_{k + 1}")
    for letter in "abcd":
        new = found[f"new {letter}"].draw["semantics"]
        np.testing.assert_array_equal(getattr(new, letter), p.unseen(letter))
        assert all(np.array_equal(getattr(new, other), getattr(s, other)) for other in "abcd" if other != letter)
    fail = {name for name, shift in found.items() if shift.succeeds is False}
    assert fail == {"b_1-b_2, d_1-d_2", "flipped", "new b", "new d"}
    assert [name for name, shift in found.items() if shift.succeeds is None] == ["noise 1"]
    assert len(found) == 8 + 2 + 8 + 4 + 3


@pytest.mark.parametrize("problem", [small, Problem(dictionary=6, d_x=9, d_y=7)], ids=["small", "reference, smaller"])
def test_every_shift_can_be_drawn(problem):
    """Where signs are balanced there is no prompt of one demonstration."""
    found = shifts(problem, seed=3)
    assert ("L* = 1" in found) == (problem.match != "balanced")
    params = problem.initialize()
    for shift in found.values():
        assert np.isfinite(nlicl.loss_and_grad(params, problem.sample(3, seed=1, **shift.draw))[0]), shift.name


def test_shifts_that_are_none():
    refused(lambda: shifts("small"), TypeError, ["problem is a str; expected a bu2024.Problem"])
    refused(lambda: shifts(Problem(concepts=3)), ValueError, ["concepts is 3; expected a problem of two"])
    refused(lambda: shifts(Problem(dictionary=6, d_x=7)), ValueError, ["d_x is 7", "Expected d_x >= 8"])
    refused(lambda: shifts(TINY, seed=-1), ValueError, ["seed is -1"])


# ---------------------------------------------------------------- initialisation


def test_initialization():
    p = Problem()
    params = p.initialize(seed=3)
    assert [array.shape for array in params] == [(200, 260), (200, 260), (60, 260), (50, 60), (50,)]
    block = np.hstack([0.1 * np.eye(200), np.zeros((200, 60))])
    np.testing.assert_array_equal(params.W_Q, block)
    np.testing.assert_array_equal(params.W_K, block)
    assert not np.shares_memory(params.W_Q, params.W_K)
    np.testing.assert_array_equal(params.W_V, np.hstack([np.zeros((60, 200)), np.eye(60)]))
    np.testing.assert_array_equal(abs(params.a), 1 / 50)
    assert abs(params.W_O.std() / 0.01 - 1) < 5 / math.sqrt(2 * 3000) and abs(params.W_O.mean()) < 5 * 0.01 / math.sqrt(
        3000
    )
    many = p.initialize(m=20_000, seed=1)
    assert within((many.a > 0).sum(), 20_000, 0.5) and many.a.max() == 1 / 20_000
    assert not any(np.array_equal(p.initialize(seed=s).W_O, params.W_O) for s in (4, (3, 0)))
    np.testing.assert_array_equal(p.initialize(seed=3).W_O, params.W_O)
    assert not np.array_equal(p.initialize(seed=3).a, p.initialize(seed=5).a)


def test_initial_sizes_of_other_models():
    params = TINY.initialize(m=3, m_a=4, m_b=8)
    assert [array.shape for array in params] == [(4, 16), (4, 16), (8, 16), (3, 8), (3,)]
    np.testing.assert_array_equal(params.W_Q, 0.1 * np.eye(4, 16))
    assert np.isfinite(nlicl.loss_and_grad(params, TINY.sample(9))[0])
    for name in ("m", "m_a", "m_b"):
        refused(lambda n=name: TINY.initialize(**{n: 0}), ValueError, [f"{name} is 0; expected at least 1"])
        refused(lambda n=name: TINY.initialize(**{n: 2.0}), TypeError, [f"{name} is 2.0; expected an integer"])
    refused(lambda: TINY.initialize(seed=-1), ValueError, ["seed is -1"])


def test_attention_at_the_start_is_the_closed_form():
    """Without noise E[n_+/(n_+ + n_- exp(-2 sigma_0^2 ||b||^2))], 0.5406 in the reference setting."""
    for problem, want in ((Problem(sigma_xi=0.0, p_z=0.0), 0.5406), (theory_case, None)):
        norm_b = theory.norms(problem.norm_x, problem.norm_y, problem.kappa_x, problem.kappa_y).b
        law = theory.initial_attention(problem.length, problem.match, problem.sigma_0**2 * norm_b**2)
        assert want is None or abs(law - want) < 5e-5
        x = problem.sample(4000, seed=1)
        attn = bu2024.mechanism.correct_attention(nlicl.forward(problem.initialize(), x).attention, x)
        assert abs(attn.mean() - law) < 5 * attn.std() / math.sqrt(4000) + 1e-12


def test_what_trains_within_the_trained_blocks():
    assert set(TINY.mask) == {"W_Q", "W_K"}
    for flags in TINY.mask.values():
        np.testing.assert_array_equal(flags, [True] * 9 + [False] * 7)
