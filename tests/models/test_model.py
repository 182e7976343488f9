"""The front door: every kind of bad input has its promised error, every kind of good array gives the same bits."""

import numpy as np
import pytest
from draws import LOSSES, Sizes, problem

import nlicl
from nlicl import CodedPrompts, Params, Prompt, Prompts
from nlicl.core.describe import name_of
from nlicl.kernels.steps import dense, unmerged
from nlicl.papers import huang2023, li2024

SIZE = Sizes(B=6, l=7, d=5, m_a=3, m_b=4, m=9)
BOTH = (nlicl.forward, nlicl.loss_and_grad)


def refused(error, *facts, params=None, prompts=None, loss=None):
    """Both functions raise `error`, and the message holds every one of `facts`."""
    p, x = problem(SIZE)
    given = (p if params is None else params, x if prompts is None else prompts)
    calls = [lambda: nlicl.loss_and_grad(*given, loss=loss)] if loss else [lambda f=f: f(*given) for f in BOTH]
    for call in calls:
        with pytest.raises(error) as caught:
            call()
        for fact in facts:
            assert fact in str(caught.value)


def changed(name, change):
    p, _ = problem(SIZE)
    return p._replace(**{name: change(getattr(p, name))})


# ---------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("name", "change", "facts"),
    [
        ("W_Q", lambda W: W[:, :-1], ["params.W_K has shape (3, 5)", "(m_a, d)", "d = 4", "W_Q of shape (3, 4)"]),
        ("W_K", lambda W: W[:-1], ["params.W_K has shape (2, 5)", "m_a = 3", "W_Q of shape (3, 5)"]),
        ("W_V", lambda W: W[:, :-1], ["params.W_V has shape (4, 4)", "(m_b, d)", "d = 5"]),
        ("W_V", lambda W: W[:-1], ["params.W_O has shape (9, 4)", "m_b = 3", "W_V of shape (3, 5)"]),
        ("W_O", lambda W: W.T, ["params.W_O has shape (4, 9)", "(m, m_b)", "m_b = 4"]),
        ("W_O", lambda W: W[:-1], ["params.a has shape (9,)", "m = 8", "W_O of shape (8, 4)"]),
        ("a", lambda a: a[:-1], ["params.a has shape (8,)", "(m,)", "m = 9"]),
        ("a", lambda a: a[:, None], ["params.a has shape (9, 1)", "1 axes, (m,)"]),
        ("W_Q", lambda W: W[0], ["params.W_Q has shape (5,)", "2 axes, (m_a, d)"]),
        ("W_V", lambda W: W[None], ["params.W_V has shape (1, 4, 5)", "2 axes, (m_b, d)"]),
        ("W_K", lambda W: W[:0], ["params.W_K has shape (0, 5)", "every size at least 1"]),
    ],
)
def test_shapes_that_do_not_fit(name, change, facts):
    refused(ValueError, *facts, params=changed(name, change))


@pytest.mark.parametrize("name", Params._fields)
def test_dtypes_that_do_not_fit(name):
    for dtype in (int, object, bool):
        refused(
            TypeError,
            f"params.{name}",
            str(np.dtype(dtype)),
            ".astype(numpy.float64)",
            params=changed(name, lambda w, t=dtype: w.astype(t)),
        )
    for dtype in (np.float32, np.float16, complex):  # one of five
        facts = [f"params.{name}", str(np.dtype(dtype)), "one dtype for all"]
        refused(TypeError, *facts, params=changed(name, lambda w, t=dtype: w.astype(t)))
    refused(TypeError, f"params.{name} is None", params=changed(name, lambda w: None))


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble, complex])
def test_dtypes_without_a_kernel(dtype):
    if np.dtype(dtype) == np.float64:
        pytest.skip("numpy.longdouble is float64 here")
    p, x = problem(SIZE)
    q = Params(*(w.astype(dtype) for w in p))
    facts = [f"params has dtype {np.dtype(dtype)}", "float32 or float64", ".astype(numpy.float64)"]
    refused(TypeError, *facts, params=q, prompts=Prompts(x.tokens.astype(dtype), x.labels))


@pytest.mark.parametrize(
    ("of_params", "of_tokens"), [("float32", "float64"), ("float64", "float32"), ("float64", "float16")]
)
def test_params_and_prompts_of_different_dtypes(of_params, of_tokens):
    p, x = problem(SIZE)
    q = Params(*(w.astype(of_params) for w in p))
    facts = [f"prompts.tokens has dtype {of_tokens}, params {of_params}", "one dtype", f"astype(numpy.{of_params})"]
    refused(TypeError, *facts, params=q, prompts=Prompts(x.tokens.astype(of_tokens), x.labels))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", Params._fields)
def test_parameters_that_are_not_finite(name, bad):
    p, _ = problem(SIZE)
    at = tuple(n - 1 for n in getattr(p, name).shape)
    getattr(p, name)[at] = bad
    count = f"1 of {getattr(p, name).size} entries"
    refused(ValueError, f"params.{name}{list(at)} is {bad}", "expected finite", count, "Remove or replace", params=p)


def test_what_is_no_params():
    p, _ = problem(SIZE)
    refused(TypeError, "params is a tuple", "expected nlicl.Params(W_Q, W_K, W_V, W_O, a)", params=tuple(p))
    refused(TypeError, "params is a dict", "expected nlicl.Params", params=p._asdict())


LI, HUANG = li2024.Problem(), huang2023.Problem(K=3, length=5)


@pytest.mark.parametrize(
    ("prompts", "facts"),
    [
        (np.ones((2, 3, 5)), ["prompts is a ndarray; expected nlicl.Prompts, nlicl.CodedPrompts", "Prompts(tokens, labels)"]),
        ((1, 2), ["prompts is a tuple", "Prompts(tokens, labels)"]),
        ([], ["prompts is a list"]),
        (LI.sample(2)[0], ["prompts is a nlicl.Prompt;", "single one", "prompts[i : i + 1]"]),
        (HUANG.sample(2)[0], ["prompts is a nlicl.papers.huang2023.Prompt;", "single one"]),
        (LI, ["prompts is a nlicl.papers.li2024.Problem;", "Draw them from it: problem.sample(256)"]),
        (HUANG, ["prompts is a nlicl.papers.huang2023.Problem;", "Draw them from it"]),
        (LI.initialize(), ["prompts is a nlicl.Params;", "The parameters come first"]),
        (huang2023.CodedPrompts, ["prompts is the class nlicl.papers.huang2023.CodedPrompts"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("params", [LI.initialize(), HUANG.initialize()], ids=["li2024", "huang2023"])
def test_what_is_no_batch_of_prompts_is_blamed_not_the_parameters(params, prompts, facts):
    refused(TypeError, *facts, params=params, prompts=prompts)


def test_parameters_of_another_paper():
    for params, wanted, prompts in (
        (HUANG.initialize(), "expected nlicl.Params(W_Q, W_K, W_V, W_O, a)", LI.sample(2)),
        (HUANG.initialize(), "expected nlicl.Params(W_Q, W_K, W_V, W_O, a)", LI.sample(2).dense()),
        (LI.initialize(), "expected nlicl.papers.huang2023.Params(Q)", HUANG.sample(2)),
        (LI.initialize(), "expected nlicl.papers.huang2023.Params(Q)", HUANG.sample(2).dense()),
    ):
        given, batch = type(params), type(prompts)
        facts = [f"params is a {name_of(given)};", wanted, f"prompts of type {name_of(batch)}"]
        refused(TypeError, *facts, params=params, prompts=prompts)


def test_parameters_as_lists():
    """Lists of floats are arrays; for others the advice has to work on a list, too."""
    p, _ = problem(SIZE)
    lists = p._replace(W_Q=[[1, 2, 3, 4, 5]] * 3)
    refused(
        TypeError, "params.W_Q has dtype int64", "Give numpy.asarray(params.W_Q).astype(numpy.float64)", params=lists
    )
    ragged = p._replace(W_Q=[[1.0, 2.0], [1.0]])
    refused(ValueError, "params.W_Q is a list of rows of unequal lengths; expected an array", params=ragged)


def test_widths_of_params_and_prompts():
    _, x = problem(SIZE._replace(d=6))
    refused(
        ValueError,
        "prompts.tokens has shape (6, 8, 6), width d = 6",
        "W_Q has shape (3, 5), d = 5",
        "same d",
        prompts=x,
    )


@pytest.mark.parametrize("loss", ["Hinge", "l2", "", 0, ["hinge"]])
def test_unknown_losses(loss):
    with pytest.raises(ValueError) as caught:
        nlicl.loss_and_grad(*problem(SIZE), loss=loss)
    assert str(caught.value) == f"loss is {loss!r}; expected one of 'hinge', 'logistic', 'squared'."


# ---------------------------------------------------------------- prompts


@pytest.mark.parametrize(
    ("shape", "facts"),
    [
        ((0, 4, 5), ["tokens has shape (0, 4, 5)", "empty batch", "B >= 1"]),
        ((3, 1, 5), ["tokens has shape (3, 1, 5)", "l = 0 contexts", "l >= 1, the query last"]),
        ((3, 0, 5), ["tokens has shape (3, 0, 5)", "l >= 1"]),
        ((3, 4, 0), ["tokens has shape (3, 4, 0)", "width 0", "d >= 1"]),
        ((3, 4), ["tokens has shape (3, 4)", "3 axes, (B, l+1, d)"]),
        ((3, 4, 5, 6), ["tokens has shape (3, 4, 5, 6)", "3 axes, (B, l+1, d)"]),
    ],
)
def test_shapes_of_tokens(shape, facts):
    with pytest.raises(ValueError) as caught:
        Prompts(np.ones(shape), np.ones(shape[0]))
    assert all(fact in str(caught.value) for fact in facts)


@pytest.mark.parametrize("tokens", ["abc", None, {1: 2}, b"abc", object()])
def test_what_is_no_array(tokens):
    with pytest.raises(TypeError, match=r"tokens is .*; expected an array \(B, l\+1, d\) of a floating dtype\."):
        Prompts(tokens, np.ones(2))


@pytest.mark.parametrize("tokens", [np.ones((2, 3, 4), int), np.ones((2, 3, 4), bool), np.ones((2, 3, 4), object)])
def test_dtypes_of_tokens(tokens):
    with pytest.raises(
        TypeError, match=r"tokens has dtype .*; expected a floating dtype. Give numpy.asarray\(tokens\).astype"
    ):
        Prompts(tokens, np.ones(2))


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ([1, -1, 0], "[0]"),
        ([1, 2, 3], "[2, 3]"),
        ([1, -1, np.nan], "[nan]"),
        ([1, -1, np.inf], "[inf]"),
        ([1, -1, 0.5], "[0.5]"),
        (["1", "-1", "1"], "['1', '-1', '1']"),
        ([1, -1, None], "[None]"),
        ([True, False, True], "[False]"),
        ([True, True, True], "[True, True, True]"),
        ([1 + 0j, -1, 1], "[(1+0j), (-1+0j), (1+0j)]"),  # complex labels need complex tokens
        (np.array([1, 1, 255], np.uint8), "[255]"),
    ],
)
def test_values_of_labels(labels, found):
    with pytest.raises(ValueError) as caught:
        Prompts(np.ones((3, 4, 5)), labels)
    assert f"labels holds {found}" in str(caught.value) and "expected -1 or +1 only" in str(caught.value)
    assert "numpy.where" in str(caught.value)


@pytest.mark.parametrize("labels", [[1, -1], [1, -1, 1, 1], 1, [[1], [1], [1]], []])
def test_shapes_of_labels(labels):
    with pytest.raises(
        ValueError, match=r"labels has shape \(.*\); expected \(3,\), one label for each prompt of tokens"
    ):
        Prompts(np.ones((3, 4, 5)), labels)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [(0, 0, 0), (5, 7, 4), (3, 2, 1)])
def test_tokens_that_are_not_finite(at, bad):
    """At construction, and where a token is overwritten later: Prompts keeps the caller's memory."""
    p, x = problem(SIZE)
    tokens = x.tokens.copy()
    tokens[at] = bad
    with pytest.raises(ValueError, match=r"tokens\[.*\] is .*; expected finite numbers \(1 of 240 entries are not\)"):
        Prompts(tokens, x.labels)
    x.tokens[at] = bad
    for loss in LOSSES:
        refused(ValueError, f"prompts.tokens{list(at)} is {bad}", params=p, prompts=x, loss=loss)
    refused(ValueError, f"prompts.tokens{list(at)} is {bad}", params=p, prompts=x)


def test_labels_cannot_be_overwritten():
    """Nothing would look at them again: a label of 5 would be trained on in silence."""
    _, x = problem(SIZE)
    with pytest.raises(ValueError, match="read-only"):
        x.labels[0] = 5
    mine = np.ones(2)
    Prompts(np.ones((2, 3, 4)), mine)
    mine[0] = 5  # the caller's own array stays as it was: writable


def test_finite_numbers_whose_sum_is_not_are_finite():
    huge = np.full((2, 3, 4), 1e308)
    assert Prompts(huge, [1, -1]).tokens.max() == 1e308


# ---------------------------------------------------------------- overflow


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_overflow_is_an_error(dtype, loss):
    """F of the order of 1e80 (float32) or 1e400 (float64), against its label where the hinge would be inactive."""
    p, x = problem(SIZE, dtype=dtype)
    big = dtype(1e35 if dtype is np.float32 else 1e200)
    x = Prompts(np.abs(x.tokens), -np.ones(SIZE.B))
    p = p._replace(W_V=np.abs(p.W_V) * big, W_O=np.abs(p.W_O) * big, a=np.abs(p.a))
    advice = "or use float64" if dtype is np.float32 else "Scale parameters or prompts down."
    refused(
        ValueError, "overflow", np.dtype(dtype).name, "Scale parameters or prompts down", advice, params=p, prompts=x
    )
    refused(ValueError, "the loss is not finite", advice, params=p, prompts=x, loss=loss)


def test_overflow_behind_a_finite_loss_is_an_error():
    """F is of the order 1e100, and dW_V, in which W_V is no factor, of 1e400."""
    p, x = problem(SIZE)
    x = Prompts(np.abs(x.tokens), -np.ones(SIZE.B))
    p = p._replace(W_V=np.abs(p.W_V) * 1e-300, W_O=np.abs(p.W_O) * 1e200, a=np.abs(p.a) * 1e200)
    assert np.isfinite(nlicl.forward(p, x).score).all()
    refused(ValueError, "the gradient of ", "is not finite", "overflow", params=p, prompts=x, loss="logistic")


def test_an_infinite_score_has_no_logistic_loss():
    """It would be 0 of the right sign; but infinity is of any sign."""
    p, x = problem(SIZE)
    x = Prompts(np.abs(x.tokens), np.ones(SIZE.B))
    p = p._replace(W_V=np.abs(p.W_V) * 1e200, W_O=np.abs(p.W_O) * 1e200, a=np.abs(p.a))
    refused(ValueError, "the loss is not finite", "overflow", params=p, prompts=x, loss="logistic")


def test_overflow_of_the_mean_alone_is_an_error_and_no_warning():
    """Each prompt's loss is finite, and each chunk's sum; the whole sum is not."""
    identity, tokens = np.eye(2), np.ones((400, 3, 2))
    p = Params(identity, identity, 7e152 * identity, identity, np.ones(2))
    value, _ = nlicl.loss_and_grad(p, Prompts(tokens[:1], [1]), "squared")
    assert np.finfo(float).max / 400 < value < np.finfo(float).max / 50
    refused(ValueError, "the loss is not finite", params=p, prompts=Prompts(tokens, np.ones(400)), loss="squared")


# ---------------------------------------------------------------- good arrays of every kind


def views(array, tmp_path):
    """The same numbers, otherwise laid out."""
    padded = np.zeros([2 * n for n in array.shape], array.dtype)
    strided = padded[tuple(slice(None, None, 2) for _ in array.shape)]
    strided[...] = array
    yield "strided", strided
    yield "Fortran", np.asfortranarray(array)
    yield "reversed", np.ascontiguousarray(array[::-1])[::-1]
    read_only = array.copy()
    read_only.flags.writeable = False
    yield "read-only", read_only
    yield "byte-swapped", array.astype(array.dtype.newbyteorder())
    unaligned = np.frombuffer(b"x" + array.tobytes(), array.dtype, offset=1).reshape(array.shape)
    yield "unaligned", unaligned
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.npy"
    np.save(path, array)
    yield "mapped", np.load(path, mmap_mode="r")


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_layout_gives_the_same_bits(dtype, loss, tmp_path):
    p, x = problem(SIZE, dtype=dtype)
    want, want_out = nlicl.loss_and_grad(p, x, loss), nlicl.forward(p, x)
    all_params = zip(*(list(views(w, tmp_path)) for w in p), strict=True)
    for laid_out, (kind, tokens) in zip(all_params, views(x.tokens, tmp_path), strict=True):
        q, y = Params(*(w for _, w in laid_out)), Prompts(tokens, x.labels)
        got, out = nlicl.loss_and_grad(q, y, loss), nlicl.forward(q, y)
        assert got[0] == want[0], kind
        for result, expected in zip([*got[1], *out], [*want[1], *want_out], strict=True):
            np.testing.assert_array_equal(result, expected, kind)
            assert result.dtype == dtype and result.dtype.isnative
        for array, before in zip([*q, y.tokens], [*p, x.tokens], strict=True):
            np.testing.assert_array_equal(array, before, kind)


@pytest.mark.parametrize(("kernel", "B"), [(unmerged, 4), (dense, 60)])
def test_kernels_are_given_one_layout_only(kernel, B, tmp_path, monkeypatch):
    """Each further layout would be compiled for anew, which takes seconds; loops are vectorised for contiguous rows."""
    p, x = problem(SIZE._replace(B=B))
    given, step = [], kernel.step
    monkeypatch.setattr(kernel, "step", lambda *arguments: given.extend(arguments) or step(*arguments))
    all_params = zip(*(list(views(w, tmp_path)) for w in p), strict=True)
    for laid_out, (_, tokens) in zip(all_params, views(x.tokens, tmp_path), strict=True):
        nlicl.loss_and_grad(Params(*(w for _, w in laid_out)), Prompts(tokens, x.labels))
    arrays = [array for array in given if isinstance(array, np.ndarray)]
    assert len(arrays) == 7 * 7  # tokens, labels and five parameters, in seven layouts
    for array in arrays:
        assert array.flags.carray and array.dtype.isnative


@pytest.mark.parametrize("query_attends", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_have_the_shapes_and_dtype_given_and_inputs_stay(dtype, query_attends):
    p, x = problem(SIZE, dtype=dtype, query_attends=query_attends)
    before = [array.copy() for array in [*p, x.tokens, x.labels]]
    out = nlicl.forward(p, x)
    loss, grads = nlicl.loss_and_grad(p, x)
    assert [a.shape for a in out] == [(6,), (6, 7 + query_attends), (6, 5), (6, 9)]
    assert isinstance(grads, Params) and [g.shape for g in grads] == [w.shape for w in p]
    assert np.ndim(loss) == 0 and loss.dtype == dtype
    for array in [*out, *grads]:
        assert array.dtype == dtype and array.flags.c_contiguous and array.flags.writeable
    for array, old in zip([*p, x.tokens, x.labels], before, strict=True):
        np.testing.assert_array_equal(array, old)
    for array in [*out, *grads]:
        assert not any(np.shares_memory(array, given) for given in [*p, x.tokens, x.labels])


def test_hinge_is_the_default():
    p, x = problem(SIZE)
    assert (
        nlicl.loss_and_grad(p, x)[0] == nlicl.loss_and_grad(p, x, "hinge")[0] != nlicl.loss_and_grad(p, x, "squared")[0]
    )


def test_results_do_not_depend_on_earlier_calls():
    p, x = problem(SIZE)
    first, kept = nlicl.loss_and_grad(p, x)
    copies = [g.copy() for g in kept]
    nlicl.loss_and_grad(Params(*(3 * w for w in p)), x)
    again, grads = nlicl.loss_and_grad(p, x)
    assert again == first
    for a, b, c in zip(kept, copies, grads, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


def test_lists_are_arrays():
    assert nlicl.loss_and_grad(Params(*([[[1.0]]] * 4), [1.0]), Prompts([[[1.0], [2.0]]], [1]))[0] == 0


# ---------------------------------------------------------------- the nouns


def test_prompts_index_like_an_array():
    _, x = problem(SIZE)
    assert len(x) == 6 and x.length == 7 and x.query_attends is False
    for n, prompt in enumerate(x):
        assert isinstance(prompt, Prompt) and prompt.z in (-1.0, 1.0) and isinstance(prompt.z, float)
        np.testing.assert_array_equal(prompt.tokens, x.tokens[n])
        assert prompt.z == x.labels[n]
    assert n == 5
    np.testing.assert_array_equal(x[-1].tokens, x.tokens[5])
    np.testing.assert_array_equal(x[np.int64(2)].tokens, x.tokens[2])
    for index in (slice(1, 4), [1, 2, 3], np.array([False, True, True, True, False, False])):
        part = x[index]
        assert isinstance(part, Prompts)
        np.testing.assert_array_equal(part.tokens, x.tokens[1:4])
        np.testing.assert_array_equal(part.labels, x.labels[1:4])
    with pytest.raises(IndexError):
        x[6]
    with pytest.raises(ValueError, match="empty batch"):
        x[:0]
    y = Prompts(x.tokens, x.labels, query_attends=True)
    assert y[0].query_attends and y[1:].query_attends and y[[0]].query_attends


def test_prompts_keep_tokens_without_a_copy():
    tokens = np.ones((2, 3, 4))
    assert Prompts(tokens, [1, -1]).tokens is tokens
    tokens.flags.writeable = False
    assert Prompts(tokens, [1, -1]).tokens is tokens
    assert Prompts(tokens.astype(np.float32), [1, -1]).labels.dtype == np.float32


def test_prompt_in_the_papers_notation():
    _, x = problem(SIZE)
    for attends in (False, True):
        prompt = Prompt(x.tokens[0], 1.0, attends)
        assert (prompt.P.shape, prompt.contexts.shape, prompt.query.shape) == ((5, 8), (5, 7), (5,))
        assert prompt.keys.shape == (5, 8 if attends else 7)
        np.testing.assert_array_equal(prompt.P, x.tokens[0].T)
        np.testing.assert_array_equal(prompt.P[:, -1], prompt.query)
        np.testing.assert_array_equal(prompt.P[:, :-1], prompt.contexts)
        np.testing.assert_array_equal(prompt.keys, prompt.P if attends else prompt.contexts)


def test_nouns_are_frozen_and_say_what_they_are():
    p, x = problem(SIZE)
    for noun in (x, x[0]):
        with pytest.raises(AttributeError):
            noun.query_attends = True
    assert repr(p) == "Params(W_Q (3, 5), W_K (3, 5), W_V (4, 5), W_O (9, 4), a (9,), float64)"
    assert repr(x) == "Prompts(B=6, l=7, d=5, float64)"
    assert repr(Prompts(x.tokens, x.labels, True)) == "Prompts(B=6, l=7, d=5, float64, query_attends=True)"
    assert "z=" in repr(x[0]) and "array" not in repr(x[0])
    assert repr(Params(*[None] * 5)).endswith("a (), ?)")  # a broken one can still be looked at


def coded(seed=0, B=6, l=7, d=5, K=4):
    rng = np.random.default_rng(seed)
    sign = rng.choice([-1, 1], (B, l + 1)).astype(np.int8)
    sign[:, -1] = 0
    patterns = lambda: rng.integers(0, K - 1, (B, l + 1)).astype(np.int32)  # noqa: E731
    return CodedPrompts(
        rng.normal(size=(d, K)), patterns(), patterns(), rng.normal(size=(B, l + 1)), sign, rng.choice([-1.0, 1.0], B)
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", LOSSES)
def test_coded_prompts_are_the_dense_ones(loss, dtype):
    """token = E[relevant] + kappa E[irrelevant] + sign E[label], taken literally, in the dtype of the parameters."""
    x = coded()
    E = x.dictionary
    tokens = np.empty((6, 8, 5))
    for n in range(6):
        for i in range(8):
            tokens[n, i] = E[:, x.relevant[n, i]] + x.kappa[n, i] * E[:, x.irrelevant[n, i]] + x.sign[n, i] * E[:, -1]
    np.testing.assert_allclose(x.dense().tokens, tokens, rtol=0, atol=1e-15 * 8)
    assert x.dense().tokens.dtype == np.float64 and x.dense(np.float32).tokens.dtype == np.float32
    p, _ = problem(SIZE, dtype=dtype)
    value, grads = nlicl.loss_and_grad(p, x, loss)
    want, want_grads = nlicl.loss_and_grad(p, x.dense(dtype), loss)
    tolerance = 1e3 * np.finfo(dtype).eps  # another kernel may do it: a few hundred terms of order 1
    assert value.dtype == dtype and abs(value - want) < tolerance
    for grad, expected in zip(grads, want_grads, strict=True):
        assert grad.dtype == dtype
        np.testing.assert_allclose(grad, expected, rtol=0, atol=tolerance)
    for got, expected in zip(nlicl.forward(p, x), nlicl.forward(p, x.dense(dtype)), strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance)


def test_coded_prompts_index_like_dense_ones():
    x = coded()
    assert len(x) == 6 and x.length == 7
    assert repr(x) == "CodedPrompts(B=6, l=7, d=5, 4 patterns)"
    dense = x.dense()
    assert isinstance(x[2], Prompt)
    np.testing.assert_array_equal(x[2].tokens, dense.tokens[2])
    assert x[2].z == dense[2].z
    for index in (slice(1, 4), [5, 0]):
        assert isinstance(x[index], CodedPrompts)
        np.testing.assert_array_equal(x[index].dense().tokens, dense.tokens[index])
        np.testing.assert_array_equal(x[index].labels, dense.labels[index])
