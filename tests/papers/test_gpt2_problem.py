"""GPT-2 on the prompts of Li et al. 2024: prompts in every layout, initial parameters, settings, and what a run measures."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlicl.models.gpt2 import reference
from nlicl.papers import li2024
from nlicl.papers.li2024 import GPT2, gpt2, gpt2_observer, mechanism
from nlicl.training.problem import check_problem

SMALL = GPT2(M1=4, M2=3, d_X=8, d_Y=3, length=5, layers=2, heads=2, width=6, hidden=7, batch=4)
APART = dataclasses.replace(SMALL, layout="interleaved")
PREFIXES = dataclasses.replace(APART, read="prefixes")
seeds = st.integers(0, 2**32 - 1)


# ---------------------------------------------------------------- the data model


def test_the_data_model_is_the_one_layer_problem_s():
    """Fields of one name have one default, but for those of training; patterns, tasks and codes are the same."""
    one, other = li2024.Problem(), GPT2()
    shared = {field.name for field in dataclasses.fields(one)} & {field.name for field in dataclasses.fields(other)}
    assert shared - {"learning_rate", "steps"} == {
        "M1", "M2", "d_X", "d_Y", "beta", "K", "alpha", "length", "batch", "training_tasks", "coefficients",
    }  # fmt: skip
    assert all(getattr(one, name) == getattr(other, name) for name in shared - {"learning_rate", "steps"})
    np.testing.assert_array_equal(one.dictionary, other.dictionary)
    assert [one.tasks(which) for which in ("train", "unseen", "all")] == [
        other.tasks(which) for which in ("train", "unseen", "all")
    ]
    codes, want = other.codes(7, seed=3, alpha=0.5), one.sample(7, seed=3, alpha=0.5)
    for name, array in want.arrays.items():
        np.testing.assert_array_equal(getattr(codes, name), array)
    assert codes.query_attends  # as it does in GPT-2
    np.testing.assert_array_equal(other.sample(7, seed=3, alpha=0.5).tokens, want.dense().tokens)


def test_out_of_domain():
    ood = APART.out_of_domain(S_1=1.1, M1=2, K=0.25)
    assert type(ood) is GPT2 and (ood.M1, ood.K, ood.alpha, ood.layout, ood.training_tasks) == (
        2,
        0.25,
        1.0,
        "interleaved",
        (),
    )
    one = li2024.Problem(M1=4, M2=3, d_X=8, d_Y=3, length=5).out_of_domain(S_1=1.1, M1=2, K=0.25)
    np.testing.assert_array_equal(ood.dictionary, one.dictionary)
    np.testing.assert_array_equal(ood.codes(3).relevant, one.sample(3).relevant)
    with pytest.raises(ValueError, match="out of domain already"):
        ood.out_of_domain()


# ---------------------------------------------------------------- prompts


@given(seeds, st.integers(1, 5), st.sampled_from(["iid", "at-least"]))
def test_prompts_are_a_loop_over_the_codes(seed, length, sampling):
    """Token by token, in all three readings."""
    codes = SMALL.codes(3, length, seed=seed, sampling=sampling)
    dense = codes.dense().tokens
    stacked, apart, prefixes = (problem.prompts_of(codes) for problem in (SMALL, APART, PREFIXES))
    np.testing.assert_array_equal(stacked.tokens, dense)
    np.testing.assert_array_equal(apart.tokens, prefixes.tokens)
    assert (
        stacked.reads == (length,)
        and apart.reads == (2 * length,)
        and prefixes.reads == tuple(range(0, 2 * length + 1, 2))
    )
    for n in range(3):
        for t in range(length + 1):
            x, y = dense[n, t].copy(), dense[n, t].copy()
            x[8:], y[:8] = 0, 0
            np.testing.assert_array_equal(apart.tokens[n, 2 * t], x)
            if t < length:
                np.testing.assert_array_equal(apart.tokens[n, 2 * t + 1], y)
                assert prefixes.labels[n, t] == codes.sign[n, t] == np.sign(y @ np.r_[np.zeros(8), SMALL.q])
        for prompts in (stacked, apart, prefixes):
            assert prompts.labels[n, -1] == codes.labels[n] and prompts.causal
    drawn = PREFIXES.sample(3, length, seed=seed, sampling=sampling)
    np.testing.assert_array_equal(drawn.tokens, prefixes.tokens)
    np.testing.assert_array_equal(drawn.labels, prefixes.labels)


@pytest.mark.parametrize("problem", [SMALL, APART, PREFIXES], ids=["stacked", "apart", "prefixes"])
def test_fewer_contexts_and_none(problem):
    codes = problem.codes(3, seed=1)
    whole = problem.prompts_of(codes)
    for l in range(6):
        part = problem.prompts_of(codes, l)
        before = problem.n_tokens(l) - 1
        assert part.tokens.shape == (3, before + 1, 11)
        np.testing.assert_array_equal(part.tokens[:, :before], whole.tokens[:, :before])  # the first ones
        np.testing.assert_array_equal(part.tokens[:, -1], whole.tokens[:, -1])
        np.testing.assert_array_equal(part.labels[:, -1], whole.labels[:, -1])
        reference.forward(problem.initialize(), part[0])
    none = problem.sample(200, length=0, seed=2)
    assert none.tokens.shape == (200, 1, 11) and none.reads == (0,)
    assert set(none.labels.ravel()) == {-1, 1} and not none.tokens[:, :, 8:].any()


def test_training_prompts_of_several_lengths():
    problem = dataclasses.replace(APART, shortest=2)
    lengths = [(problem.sample(1, seed=(7, t)).length + 1) // 2 for t in range(200)]
    assert set(lengths) == {2, 3, 4, 5} and min(lengths.count(l) for l in range(2, 6)) > 25
    again = problem.sample(3, seed=(7, 0))
    np.testing.assert_array_equal(again.tokens, APART.sample(3, lengths[0], seed=(7, 0)).tokens)
    assert problem.sample(1, length=5, seed=(7, 0)).length == 10  # what is said goes
    assert problem.codes(1, seed=(7, 0)).length == 5


def test_a_context_of_a_prefix_does_not_see_its_label():
    """Turning the label of context i changes no score at x_0 .. x_i."""
    codes = PREFIXES.codes(4, seed=3)
    prompts, params = PREFIXES.prompts_of(codes), PREFIXES.initialize(seed=1)
    for i in range(5):
        tokens = prompts.tokens.copy()
        tokens[:, 2 * i + 1] *= -1
        turned = dataclasses.replace(prompts, tokens=tokens)
        for n in range(4):
            before, after = (reference.forward(params, each[n]).score for each in (prompts, turned))
            np.testing.assert_array_equal(before[: i + 1], after[: i + 1])
            assert (before[i + 1 :] != after[i + 1 :]).all()


def test_another_dtype():
    prompts = PREFIXES.sample(3)
    narrow = prompts.cast(np.dtype(np.float32))
    assert narrow.tokens.dtype == narrow.labels.dtype == np.float32 and narrow.reads == prompts.reads
    np.testing.assert_array_equal(narrow.tokens, prompts.tokens.astype(np.float32))
    assert prompts.cast(np.dtype(float)) is prompts and not dataclasses.replace(SMALL, causal=False).sample(2).causal


# ---------------------------------------------------------------- initial parameters


def test_shapes():
    params = SMALL.initialize()
    assert {name: array.shape for name, array in params._asdict().items()} == {
        "W_in": (6, 11), "b_in": (6,), "wpe": (6, 6), "gamma_1": (2, 6), "beta_1": (2, 6), "W_qkv": (2, 3, 2, 3, 6),
        "b_qkv": (2, 3, 2, 3), "W_o": (2, 6, 6), "b_o": (2, 6), "gamma_2": (2, 6), "beta_2": (2, 6), "W_fc": (2, 7, 6),
        "b_fc": (2, 7), "W_pr": (2, 6, 7), "b_pr": (2, 6), "gamma_f": (6,), "beta_f": (6,), "w_out": (6,), "b_out": (1,),
    }  # fmt: skip
    assert APART.initialize().wpe.shape == (11, 6)
    assert dataclasses.replace(SMALL, positions=30).initialize().wpe.shape == (30, 6)
    assert GPT2().initialize().W_fc.shape == (3, 256, 64)
    assert sum(array.size for array in GPT2().initialize()) == 155_393


def test_scales():
    """Each array is of its law: standard deviations and bounds, to what so many numbers allow."""
    params = GPT2(layers=4, positions=400).initialize(seed=5)
    into_stream = 0.02 / math.sqrt(8)
    for name, sigma in {"wpe": 0.02, "W_qkv": 0.02, "W_fc": 0.02, "W_o": into_stream, "W_pr": into_stream}.items():
        array = getattr(params, name).ravel()
        assert array.std() == pytest.approx(sigma, rel=5 / math.sqrt(2 * array.size)), name
        assert abs(array.mean()) < 5 * sigma / math.sqrt(array.size)
        assert abs(array).max() > 3.5 * sigma  # no uniform law
    for name, fan_in in {"W_in": 60, "b_in": 60, "w_out": 64, "b_out": 64}.items():
        array, bound = getattr(params, name), 1 / math.sqrt(fan_in)
        assert abs(array).max() <= bound and (array.size < 10 or abs(array).max() > 0.9 * bound), name
        assert array.size < 10 or array.std() == pytest.approx(bound / math.sqrt(3), rel=0.15)
    for name in ("beta_1", "b_qkv", "b_o", "beta_2", "b_fc", "b_pr", "beta_f"):
        assert not getattr(params, name).any()
    for name in ("gamma_1", "gamma_2", "gamma_f"):
        assert (getattr(params, name) == 1).all()


def test_seeds():
    one, same, other = (SMALL.initialize(seed=seed) for seed in (0, 0, 1))
    for name in ("W_in", "wpe", "W_qkv", "W_o", "W_fc", "W_pr", "w_out", "b_out"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
        assert (getattr(one, name) != getattr(other, name)).all(), name
    assert not np.allclose(one.W_qkv[0], one.W_qkv[1])


def test_positions_that_are_not_learned():
    off = dataclasses.replace(SMALL, learned_positions=False)
    assert "wpe" not in off.trained and not off.initialize().wpe.any()
    assert set(SMALL.trained) - set(off.trained) == {"wpe"} and SMALL.trained == gpt2.Params._fields
    np.testing.assert_array_equal(off.initialize().W_pr, SMALL.initialize().W_pr)  # nothing else changes


# ---------------------------------------------------------------- settings


def test_marks():
    check_problem(GPT2())
    found = GPT2(heads=4, training_tasks=li2024.cyclic_tasks(6)).settings()
    assert found["layers"] == [3, "paper"] and found["heads"] == [4, "set here"]
    assert found["width"] == [64, "ours"] and found["K"] == [0.5, "recalled"]
    assert found["training_tasks"] == [li2024.cyclic_tasks(6), "recalled"]
    assert set(gpt2.MARKS) <= {field.name for field in dataclasses.fields(GPT2)} | {"optimizer"}


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"heads": 3}, ValueError, "heads is 3, which does not divide the width 64; .* multiple of heads. Take width 66"),
        ({"positions": 20}, ValueError, "length is 20, and positions 20: .* has 21 tokens; .* Set positions to 21, or lower"),
        ({"layout": "interleaved", "positions": 40}, ValueError, "has 41 tokens; expected at least so many positions"),
        ({"read": "prefixes"}, ValueError, "read is 'prefixes' with layout 'stacked': a token there holds its own label; "
         "expected layout 'interleaved'"),
        ({"read": "prefixes", "layout": "interleaved", "causal": False}, ValueError, "with causal False: .* own label behind"),
        ({"shortest": 21}, ValueError, "shortest is 21, with length 20; expected at most that"),
        ({"shortest": -1}, ValueError, "shortest is -1; expected at least 0"),
        ({"layers": 0}, ValueError, "layers is 0; expected at least 1"),
        ({"width": 64.0}, TypeError, "width is 64.0; expected an integer"),
        ({"hidden": True}, TypeError, "hidden is True; expected an integer"),
        ({"learned_positions": 1}, TypeError, "learned_positions is 1; expected True or False"),
        ({"layout": "side by side"}, ValueError, "layout is 'side by side'; expected one of 'stacked', 'interleaved'"),
        ({"read": "last"}, ValueError, "read is 'last'; expected one of 'query', 'prefixes'"),
        ({"loss": "squared"}, ValueError, "loss is 'squared'; expected one of 'hinge', 'logistic'"),
        ({"learning_rate": 0}, ValueError, "learning_rate is 0; expected"),
        ({"M1": 20}, ValueError, "do not fit orthogonally"),
        ({"alpha": 0}, ValueError, "alpha is 0; expected"),
        ({"width": 10**8, "heads": 1}, ValueError, "width 100000000, .* Lower them"),
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_do_not_go_together(settings, error, message):
    with pytest.raises(error, match=message) as caught:
        GPT2(**settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: SMALL.sample(3, length=6), ValueError, "length is 6, and positions 6: .* 7 tokens"),
        (lambda: SMALL.sample(3, length=-1), ValueError, "length is -1; expected at least 0"),
        (lambda: SMALL.sample(0), ValueError, "n is 0; expected at least 1"),
        (lambda: SMALL.sample(3, tasks="some"), ValueError, "tasks is 'some'"),
        (lambda: SMALL.codes(3, length=0), ValueError, "length is 0; expected at least 1"),
        (lambda: SMALL.prompts_of(SMALL.codes(3), 6), ValueError, "n_contexts is 6; expected at most 5"),
        (lambda: SMALL.prompts_of(SMALL.sample(3)), TypeError, "codes is .*; expected a .*CodedPrompts, as codes"),
        (lambda: SMALL.prompts_of(li2024.Problem().sample(3)), ValueError, r"codes.dictionary has shape \(60, 31\)"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ---------------------------------------------------------------- what a run measures


@pytest.mark.parametrize("problem", [SMALL, APART], ids=["stacked", "apart"])
def test_attention_mass_is_a_loop(problem):
    codes = problem.codes(6, seed=4)
    prompts, params = problem.prompts_of(codes), problem.initialize(seed=2)
    params = params._replace(W_qkv=30 * params.W_qkv)  # attention that is not uniform
    attention = np.array([reference.forward(params, prompt).attention[:, :, -1] for prompt in prompts])
    each = prompts.tokens.shape[1] // 5
    want = np.zeros((3, 2))
    for n in range(6):
        for layer in range(2):
            for head in range(2):
                row = attention[n, layer, head]
                for i in range(5):
                    kind = 0 if codes.relevant[n, i] == codes.relevant[n, 5] else 1
                    want[kind, layer] += row[each * i : each * (i + 1)].sum() / 12
                want[2, layer] += row[-1] / 12
    found = gpt2_observer.attention_mass(attention, codes)
    np.testing.assert_allclose(found, want, rtol=1e-12)
    np.testing.assert_allclose(sum(found), 1, rtol=1e-12)
    assert abs(np.diff(want[0])).max() > 1e-3  # layers differ
    with pytest.raises(ValueError, match=r"attention has shape .*; expected \(6, L, H, T\) with T = 6 or 11 tokens"):
        gpt2_observer.attention_mass(attention[..., :-1], codes)


@pytest.mark.parametrize("length", [1, 2])
def test_attention_mass_of_few_contexts(length):
    for problem in (SMALL, APART):
        codes = problem.codes(3, length)
        attention = np.ones((3, 2, 2, problem.n_tokens(length)))
        found = gpt2_observer.attention_mass(attention, codes)
        np.testing.assert_allclose(found.same + found.other, problem.n_tokens(length) - 1)
        np.testing.assert_allclose(found.query, 1)


@pytest.mark.parametrize("path", ["value", "direct"])
def test_neurons_are_the_derivative_of_what_the_mlp_gets(path):
    """Rows are what the first block's MLP gets of a token, to first order, LayerNorms without their 1/sqrt(variance)."""
    rng = np.random.default_rng(0)
    params = SMALL.initialize(seed=3)
    params = params._replace(
        **{name: rng.standard_normal(getattr(params, name).shape) for name in ("gamma_1", "gamma_2")}
    )

    def centred(x, gamma):
        return gamma * (x - x.mean())

    rows = np.empty((2, 7, 11))
    for l in range(2):
        for column, token in enumerate(np.eye(11)):
            x = params.W_in @ token
            if path == "value":
                n = centred(x, params.gamma_1[l])
                heads = [params.W_qkv[l, 2, h] @ n for h in range(2)]  # attention that is all on this token
                x = params.W_o[l] @ np.concatenate(heads)
            rows[l, :, column] = params.W_fc[l] @ centred(x, params.gamma_2[l])
    found = gpt2_observer.neurons(params, SMALL.mu_bar, SMALL.q, path)
    np.testing.assert_allclose(found.feature, np.linalg.norm(rows[..., :8], axis=2), rtol=1e-12)
    np.testing.assert_allclose(found.label, np.linalg.norm(rows[..., 8:], axis=2), rtol=1e-12)
    for got, part, unit in (
        (found.feature_angle, rows[..., :8], SMALL.mu_bar),
        (found.label_angle, rows[..., 8:], SMALL.q),
    ):
        cosine = part @ unit / np.linalg.norm(unit) / np.linalg.norm(part, axis=2)
        np.testing.assert_allclose(np.cos(got), cosine, atol=1e-12)
    with pytest.raises(ValueError, match="path is 'key'; expected one of 'value', 'direct'"):
        gpt2_observer.neurons(params, SMALL.mu_bar, SMALL.q, "key")
    with pytest.raises(ValueError, match="mu_bar has shape"):
        gpt2_observer.neurons(params, SMALL.mu_bar[:-1], SMALL.q)


def test_the_one_layer_model_s_neurons_are_rows_taken_apart():
    problem = li2024.Problem()
    params = problem.initialize(seed=1)
    found = mechanism.neurons(params, problem.mu_bar, problem.q)
    np.testing.assert_array_equal(found[1:], mechanism.parts(params.W_O @ params.W_V, problem.mu_bar, problem.q))


def test_the_observer_measures_what_the_definition_says():
    """Errors at the query, on three tests of its own seeds; attention of the first test; neurons of every layer."""
    for problem in (SMALL, PREFIXES):
        observer, params = li2024.GPT2Observer(problem, n=20, seed=6), problem.initialize(seed=1)
        measured = observer(params)
        assert set(measured) == {
            *(f"{what}_{test}" for what in ("hinge", "error") for test in ("train", "unseen", "ood")),
            *(f"{what}_{layer}" for what in ("same", "other", "query") for layer in (1, 2)),
            "feature", "label", "feature_angle", "label_angle",
        }  # fmt: skip
        for i, (name, domain, arguments) in enumerate(
            (("train", problem, {"tasks": "train"}), ("unseen", problem, {"tasks": "unseen"}),
             ("ood", problem.out_of_domain(S_1=1.2, M1=2), {}))
        ):  # fmt: skip
            prompts = domain.sample(20, seed=(6, 0, i), **arguments)
            F = np.array([reference.forward(params, prompt).score[-1] for prompt in prompts])
            z = prompts.labels[:, -1]
            assert measured[f"hinge_{name}"] == pytest.approx(np.maximum(0, 1 - z * F).mean(), rel=1e-10)
            assert measured[f"error_{name}"] == np.mean(z * F <= 0)
        prompts = problem.sample(20, seed=(6, 0, 0), tasks="train")
        own = np.mean(
            [reference.forward(params, prompt).attention[:, :, -1, -1].mean(axis=1) for prompt in prompts], axis=0
        )
        np.testing.assert_allclose([measured["query_1"], measured["query_2"]], own, rtol=1e-10)
        assert measured["feature"].shape == (2, 7)
        narrow = observer(params._replace(**{k: v.astype(np.float32) for k, v in params._asdict().items()}))
        assert narrow["hinge_ood"] == pytest.approx(measured["hinge_ood"], rel=1e-4)
    two = GPT2(M1=2, M2=3, d_X=8, d_Y=3, alpha=1.0, length=5, layers=1, heads=1, width=4)
    measured = two.observer(seed=1)(two.initialize())
    assert "error_train" in measured and not {"error_unseen", "error_ood"} & set(measured)
