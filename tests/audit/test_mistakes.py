"""The vocabulary of mistakes: a marked formula is right without edits, and wrong with one in just the way it says."""

import dataclasses
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nlicl.audit import PLAIN, Formula, Mark, Point, Subject, audit_formula, audit_paper, check_marks
from nlicl.audit.mistakes import Edit, edits
from nlicl.core.errors import InvalidType
from nlicl.papers import bu2024, huang2023, li2024

NUMBERS = st.floats(-5, 5, allow_nan=False, width=32).map(float)
VECTORS = arrays(float, st.integers(2, 5), elements=NUMBERS)


def only(kind, detail, use):
    """What `use(mark)` gives if this mistake is made; it must be one that `use` lists."""
    (edit,) = (edit for edit in edits(lambda params, prompt, mark: use(mark), [(None, None)]) if edit.detail == detail)
    assert edit.kind == kind
    return use(Mark([edit]))


def listed(use):
    return [edit.detail for edit in edits(lambda params, prompt, mark: use(mark), [(None, None)])]


# ---- Each verb


VERBS = {
    "choice": lambda mark, x: mark.choice("x", x, "wrong-factor", {"zero": 0.0}),
    "factor": lambda mark, x: mark.factor("x", x, {"y": 2.0}),
    "other": lambda mark, x: mark.other("x", x, {"y": 2.0}),
    "matrix": lambda mark, x: mark.matrix("x", x, "p", {"y": x}),
    "gate": lambda mark, x: mark.gate("relu-gate", "active neurons", "1[u > 0]", x, {"none": False}),
    "term": lambda mark, x: mark.term("x", x, " in f"),
    "minus": lambda mark, x: mark.minus("the label", "x", x, of="y"),
    "mean_term": lambda mark, x: mark.mean_term("x", x, "y", {"x y": 1.0}),
    "terms": lambda mark, x: mark.terms("token", "s", x),
    "attends": lambda mark, x: mark.attends(len(x) > 2) and x,
}


@pytest.mark.parametrize("verb", VERBS)
def test_without_edits_a_verb_returns_what_it_is_given(verb):
    value = np.arange(3.0)
    elsewhere = Mark([Edit("another slot", "wrong-factor", "another mistake")])
    for mark in (PLAIN, Mark(), elsewhere):
        assert VERBS[verb](mark, value) is value
    assert listed(lambda mark: VERBS[verb](mark, value))


@given(VECTORS, NUMBERS)
def test_a_factor(x, y):
    def use(mark):
        return mark.factor("a_i", x, {"b": y, "c": lambda: x[::-1], "d": lambda: x[0]})

    assert listed(use) == [
        "a factor is absent: a_i", "a factor is doubled: a_i stands twice",
        *(f"a factor is another one: {other} for a_i" for other in "bcd"),
    ]  # fmt: skip
    for detail, expected in zip(listed(use), (1 + 0 * x, x**2, y + 0 * x, x[::-1], x[0] + 0 * x), strict=True):
        found = only("wrong-factor", detail, use)
        assert found.shape == x.shape
        np.testing.assert_array_equal(found, expected)


def test_what_makes_no_sense_can_be_left_out():
    assert listed(lambda mark: mark.factor("z", 1.0, doubled=False)) == ["a factor is absent: z"]
    assert listed(lambda mark: mark.factor("z", 1.0, absent=False)) == ["a factor is doubled: z stands twice"]
    assert listed(lambda mark: mark.other("z", 1.0, {"y": 2.0})) == ["a factor is another one: y for z"]
    assert listed(lambda mark: mark.factor("z", 1.0, absent=False, doubled=False)) == []


@given(VECTORS)
def test_a_gate(u):
    def use(mark):
        return mark.gate("relu-gate", "active neurons", "1[u_i > 0]", u > 0, {"1[u_1 > 0]": lambda: u[0] > 0})

    wrong = {
        "the indicator of active neurons 1[u_i > 0] is missing": np.ones(len(u), bool),
        "the indicator of active neurons is reversed: 1[u_i <= 0]": u <= 0,
        "the indicator is another one: 1[u_1 > 0]": np.full(len(u), u[0] > 0),
    }
    assert set(listed(use)) == set(wrong)
    for detail, expected in wrong.items():
        np.testing.assert_array_equal(only("relu-gate", detail, use), expected)


def test_a_reversed_gate_is_named_both_ways():
    names = {"1[x > 0]": "1[x <= 0]", "1[x < 0]": "1[x >= 0]"}
    for name, turned in names.items():
        found = listed(lambda mark, name=name: mark.gate("hinge-gate", "it", name, True))
        assert found[-1] == f"the indicator of it is reversed: {turned}"


@given(VECTORS, VECTORS)
def test_summands(x, y):
    wrong = {"missing-term": 0 * x, "wrong-factor": -x, "extra-term": 2 * x}
    cases = (
        (
            lambda mark: mark.term("- x", x, " in f"),
            ["- x is missing in f", "- x has the wrong sign in f", "- x is counted twice in f"],
        ),
        (
            lambda mark: mark.minus("the label", "z", x, of="F"),
            [
                "the label is missing: F for F - z",
                "the label has the wrong sign: F + z for F - z",
                "the label is counted twice: F - 2 z for F - z",
            ],
        ),
    )
    for use, details in cases:
        assert listed(use) == details
        for detail, (kind, expected) in zip(details, wrong.items(), strict=True):
            np.testing.assert_array_equal(only(kind, detail, use), expected)


@given(VECTORS)
def test_a_mean_term(x):
    def use(mark, of=""):
        return mark.mean_term("m", x, of, {"a (1 - a)": lambda: x**2})

    centring = "softmax-centering"
    wrong = {
        "the softmax's mean term, - m, is missing": (centring, 0 * x),
        "the softmax's mean term has the wrong sign: + m": (centring, -x),
        "the softmax's mean term, - m, is counted twice": ("extra-term", 2 * x),
        "only the diagonal of the softmax's Jacobian is there: a (1 - a)": (centring, x**2),
    }
    assert listed(use) == list(wrong)
    for detail, (kind, expected) in wrong.items():
        np.testing.assert_array_equal(only(kind, detail, use), expected)
    assert listed(lambda mark: use(mark, "y"))[:2] == [
        "the softmax's mean term, - m, is missing: y for y - m", "the softmax's mean term has the wrong sign: y + m",
    ]  # fmt: skip


@given(arrays(float, st.tuples(st.integers(1, 3), st.integers(1, 5)), elements=NUMBERS))
def test_the_summands_of_a_sum(x):
    def use(mark):
        return mark.terms("token", "s", x)

    n = x.shape[1]
    first, last = np.arange(n) == 0, np.arange(n) == n - 1
    wrong = {
        "the sum over s is missing: only the first token counts": ("missing-term", x * first),
        "the first token is left out of the sum over s": ("missing-term", x * ~first),
        "the last token is left out of the sum over s": ("missing-term", x * ~last),
        "the first token is counted twice in the sum over s": ("extra-term", x * (1 + first)),
        "the last token is counted twice in the sum over s": ("extra-term", x * (1 + last)),
    }
    assert listed(use) == list(wrong)
    for detail, (kind, expected) in wrong.items():
        np.testing.assert_array_equal(only(kind, detail, use), expected)


def test_a_matrix():
    W, V = np.arange(4.0).reshape(2, 2), np.ones((2, 2))
    agrees = "a factor is another one: it agrees after {} p -> {} p"
    for name, transposed in {"W": "W^T", "W^x": "W^xT"}.items():

        def use(mark, W=W, name=name):
            return mark.matrix(name, W, "p", {"V": V})

        turned = agrees.format(transposed, name) + f"; invisible where {name} is symmetric"
        absent = f"a factor is absent: p for {name} p"
        assert listed(use) == [turned, agrees.format("V", name), absent]
        np.testing.assert_array_equal(only("wrong-factor", turned, use), W.T)
        assert only("wrong-factor", agrees.format("V", name), use) is V
        with pytest.raises(ValueError, match=r"shape \(2, 3\)"):
            only("wrong-factor", turned, lambda mark, use=use: use(mark, W=np.ones((2, 3))))


def test_what_is_summed_over():
    tokens = np.arange(8.0).reshape(4, 2)
    for attends, text, other in (
        (False, "the query was summed over as if it were a context: N+1 terms", tokens),
        (True, "the query was left out of the sums, which run to N, not N+1", tokens[:-1]),
    ):

        def use(mark, tokens=tokens, attends=attends):
            return mark.keys(tokens, attends, "N")

        right = tokens if attends else tokens[:-1]
        np.testing.assert_array_equal(use(PLAIN), right)
        np.testing.assert_array_equal(only("query-in-context", text, use), other)
        first, last = (f"the {which} context is left out everywhere, of the softmax too" for which in ("first", "last"))
        assert set(listed(use)) == {first, last, text}
        np.testing.assert_array_equal(only("missing-term", first, use), right[1:])
        np.testing.assert_array_equal(only("missing-term", last, use), np.delete(right, 2, axis=0))
        with pytest.raises(ValueError, match="no context is left"):
            only("missing-term", first, lambda mark, use=use: use(mark, tokens=tokens[:2]))


# ---- A marked formula


class Weights(NamedTuple):
    Q: np.ndarray


class Prompt(NamedTuple):
    x: np.ndarray
    z: np.ndarray


@dataclasses.dataclass
class Batch:
    prompts: list

    def __len__(self):
        return len(self.prompts)

    def __getitem__(self, index):
        return Batch(self.prompts[index]) if isinstance(index, slice) else self.prompts[index]


def dQ(params, prompt, mark=PLAIN):
    """(Q x - z) x^T."""
    Q = mark.matrix("Q", params.Q, "x")
    error = Q @ prompt.x - mark.minus("the label", "z", prompt.z, of="Q x")
    return np.outer(error, mark.factor("x", prompt.x))


WRONG = {
    "it agrees after Q^T x -> Q x": ("wrong-factor", lambda Q, x, z: np.outer(Q.T @ x - z, x)),
    "a factor is absent: x for Q x": ("wrong-factor", lambda Q, x, z: np.outer(x - z, x)),
    "the label is missing": ("missing-term", lambda Q, x, z: np.outer(Q @ x, x)),
    "the label has the wrong sign": ("wrong-factor", lambda Q, x, z: np.outer(Q @ x + z, x)),
    "the label is counted twice": ("extra-term", lambda Q, x, z: np.outer(Q @ x - 2 * z, x)),
    "a factor is absent: x": ("wrong-factor", lambda Q, x, z: np.outer(Q @ x - z, np.ones(len(x)))),
    "a factor is doubled: x": ("wrong-factor", lambda Q, x, z: np.outer(Q @ x - z, x * x)),
}


def definition(params, prompt):
    error = params.Q @ prompt.x - prompt.z
    return error @ error / 2, np.empty(0)


def mean_loss(params, prompts):
    return sum(definition(params, prompt)[0] for prompt in prompts) / len(prompts)


def mean_gradient(params, prompts):
    return Weights(sum(dQ(params, prompt) for prompt in prompts) / len(prompts))


def points(draws, seed, query_attends):
    rng = np.random.default_rng(seed)
    sizes = [(3, 3), (2, 4), (4, 3)]
    found = []
    for n in range(draws):
        k, d = sizes[n % 3]
        prompt = Prompt(rng.standard_normal(d), rng.standard_normal(k))
        found.append(Point(f"random (k={k}, d={d})", Weights(rng.standard_normal((k, d))), Batch([prompt])))
    return found


def subject(marked=dQ):
    return Subject(
        name="toy", title="A linear model", formulas={"Q": Formula(dQ, "Q", "Q", "(Q x - z) x^T", "here")}, points=points,
        definition=definition, kernel=mean_loss, source=mean_loss, gradient=mean_gradient, marked={"Q": marked},
        sizes=lambda params, prompt: {"k": params.Q.shape[0], "d": params.Q.shape[1]},
    )  # fmt: skip


PLACES = [(point.params, point.prompts[0]) for point in points(6, 0, False)]


def test_its_wrong_forms_are_listed_once_in_order():
    found = edits(dQ, PLACES)
    assert [edit.kind for edit in found] == [kind for kind, _ in WRONG.values()]
    assert all(text in edit.detail for edit, text in zip(found, WRONG, strict=True))
    assert found == edits(dQ, PLACES[:1])
    assert [edit.slot for edit in found] == ["Q", "Q", "z", "z", "z", "x", "x"]


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_each_changes_just_what_it_says(seed):
    ((params, prompts),) = ((point.params, point.prompts) for point in points(1, seed, False))
    prompt = prompts[0]
    np.testing.assert_array_equal(dQ(params, prompt), np.outer(params.Q @ prompt.x - prompt.z, prompt.x))
    for edit, (_, expected) in zip(edits(dQ, PLACES), WRONG.values(), strict=True):
        np.testing.assert_array_equal(dQ(params, prompt, Mark([edit])), expected(params.Q, *prompt))


def test_two_mistakes_are_both_made():
    _, _, missing, *_, doubled = edits(dQ, PLACES)
    params, prompt = PLACES[1]
    np.testing.assert_array_equal(
        dQ(params, prompt, Mark([missing, doubled])), np.outer(params.Q @ prompt.x, prompt.x**2)
    )


def test_two_of_one_slot_are_refused():
    _, _, missing, sign, *_ = edits(dQ, PLACES)
    with pytest.raises(ValueError, match=r"slots \['z', 'z'\]; expected different ones"):
        Mark([missing, sign])


def test_the_same_mistake_in_two_places_is_one():
    def use(mark):
        return [mark.choice("side", n, "transpose", {"on the left": -n}) for n in (1, 2)]

    assert listed(use) == ["on the left"]
    assert only("transpose", "on the left", use) == [-1, -2]


def test_alternatives_are_computed_when_chosen_and_not_before():
    computed = []

    def use(mark):
        others = {name: lambda name=name: computed.append(name) or 0.0 for name in "ab"}
        return mark.factor("x", 1.0, others)

    assert use(PLAIN) == 1.0 and len(listed(use)) == 4 and computed == []
    only("wrong-factor", "a factor is another one: b for x", use)
    assert computed == ["b"]


def test_touched_slots_are_known():
    (edit, *_) = edits(dQ, PLACES)
    assert not PLAIN.touches("Q")
    assert Mark([edit]).touches("z", "Q") and not Mark([edit]).touches("z")


@pytest.mark.parametrize("text", WRONG)
def test_the_audit_names_them(text):
    kind, wrong = WRONG[text]
    entry = audit_formula(lambda params, prompt: wrong(params.Q, *prompt), paper=subject(), wrt="Q", draws=8).formulas[
        0
    ]
    (item,) = [item for item in entry.diagnosis if item["kind"] != "shape"]  # Q^T does not fit everywhere
    assert entry.verdict == "disagree" and item["kind"] == kind and text in item["detail"]


def test_a_formula_may_itself_be_the_marked_one():
    assert audit_paper(subject(), draws=6).ok
    entry = audit_formula(dQ, paper=subject(), wrt="Q", draws=6).formulas[0]
    assert (entry.verdict, entry.diagnosis) == ("agree", [])


def test_wrong_forms_of_another_shape_or_without_a_value_are_no_hypotheses():
    def marked(params, prompt, mark=PLAIN):
        gradient = mark.choice("shape", dQ(params, prompt), "shape", {"a row more": lambda: np.ones((9, 9))})
        return mark.choice("value", gradient, "wrong-factor", {"infinite": lambda: gradient / 0.0, "nothing": raising})

    def raising():
        raise ValueError("never fits")

    def junk(params, prompt):
        return np.sin(1e3 * dQ(params, prompt))

    entry = audit_formula(junk, paper=subject(marked), wrt="Q", draws=6).formulas[0]
    assert [item["kind"] for item in entry.diagnosis] == ["unknown"]


SLIPS = {
    "TypeError": lambda: -np.ones(3, bool),
    "IndexError": lambda: [][1],
    "ZeroDivisionError": lambda: 1 / 0,
    "KeyError": lambda: {}["x"],
}


@pytest.mark.parametrize("name", SLIPS)
def test_an_alternative_that_raises_something_else_does_not_end_the_audit(name):
    """It is no hypothesis there, and whoever checks the marks is told of it."""

    def marked(params, prompt, mark=PLAIN):
        return mark.choice("slip", dQ(params, prompt, mark), "wrong-factor", {"a slip": SLIPS[name]})

    entry = audit_formula(
        lambda params, prompt: WRONG["a factor is absent: x"][1](params.Q, *prompt),
        paper=subject(marked),
        wrt="Q",
        draws=6,
    ).formulas[0]
    assert [item["kind"] for item in entry.diagnosis] == ["wrong-factor"]
    (fault,) = check_marks(subject(marked))
    assert fault.startswith(f"Q: raises {name}: ") and fault.endswith("no sense: wrong-factor, a slip")


def test_a_marked_formula_that_raises_is_named():
    def marked(params, prompt, mark=PLAIN):
        return {}[prompt]

    assert len(found := check_marks(subject(marked))) == 1
    assert found[0].startswith("Q: without mistakes, the marked formula raises TypeError")


def test_a_term_may_be_an_indicator():
    use = lambda mark: mark.term("1[u > 0]", np.array([True, False]))  # noqa: E731
    assert [only(kind, f"1[u > 0] {what}", use).tolist() for kind, what in (
        ("missing-term", "is missing"), ("wrong-factor", "has the wrong sign"), ("extra-term", "is counted twice")
    )] == [[0, 0], [-1, 0], [2, 0]]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Mark(5), r"^edits is 5; expected a list of Edit"),
        (lambda: Mark(["z"]), r"^edits is \['z'\]; expected a list of Edit"),
        (lambda: edits(dQ, 5), r"^places is 5; expected a list of pairs \(params, prompt\)"),
        (lambda: edits(dQ, [1]), r"^places is \[1\]; expected a list of pairs"),
        (lambda: edits(5, PLACES), r"^marked is 5; expected a function f"),
        (lambda: check_marks(5), r"^subject is 5; expected an nlicl.audit.subject.Subject"),
    ],
)
def test_what_is_no_edit_place_or_subject_is_refused(call, message):
    with pytest.raises(InvalidType, match=message):
        call()


# ---- Marks that are no good are reported


def test_good_marks_have_no_faults():
    assert check_marks(subject()) == []


def faults(change):
    return check_marks(
        subject(lambda params, prompt, mark=PLAIN: change(dQ(params, prompt, mark), params, prompt, mark))
    )


def test_a_marked_formula_that_is_not_the_gradient():
    assert faults(lambda g, params, prompt, mark: g * (1 + 1e-6)) == [
        "Q: without mistakes, the marked formula is not the gradient"
    ]


def test_a_mistake_that_changes_nothing():
    found = faults(lambda g, params, prompt, mark: mark.factor("1", np.ones(1)) * g)
    assert "Q: no change on all 12 draws: wrong-factor, a factor is absent: 1" in found
    assert "Q: no change on all 12 draws: wrong-factor, a factor is doubled: 1 stands twice" in found
    assert len(found) == 3  # these two are the same, too


def test_a_mistake_that_never_has_a_value():
    found = faults(lambda g, params, prompt, mark: mark.other("g", g, {"h": lambda: np.ones(7)}))
    assert found == ["Q: without a value on all 12 draws: wrong-factor, a factor is another one: h for g"]


def test_two_mistakes_that_are_one():
    found = faults(lambda g, params, prompt, mark: mark.choice("also z", g, "missing-term", {
        "no z": lambda: np.outer(params.Q @ prompt.x, prompt.x)}))  # fmt: skip
    assert found == [
        "Q: the same on all 12 draws: missing-term, the label is missing: Q x for Q x - z; missing-term, no z"
    ]


# ---- The papers


PARTS = {
    (part.name, wrt): part
    for paper in (li2024, bu2024, huang2023)
    for part in paper.subject.every
    for wrt in part.marked
}


def test_every_parameter_of_a_paper_has_a_marked_formula():
    for paper in (li2024, bu2024, huang2023):
        for part in paper.subject.every:
            assert list(part.marked) == list(dict.fromkeys(formula.wrt for formula in part.formulas.values()))


SCORED = {("li2024", "W_Q"), ("li2024", "W_K"), ("bu2024", "W_Q"), ("bu2024", "W_K"), ("bu2024", "W_QK"), ("bu2024", "W_Qx"),
          ("bu2024", "W_Kx"), ("huang2023", "Q"), ("huang2023", "S"), ("huang2023", "AB")}  # fmt: skip


@pytest.mark.parametrize("attends", [False, True], ids=["l", "l+1"])
def test_wherever_a_softmax_is_differentiated_it_may_be_reduced_to_its_diagonal(attends):
    found = set()
    for (name, wrt), part in PARTS.items():
        places = [(point.params, point.prompts[0]) for point in part.points(3, 0, attends)]
        diagonal = [edit for edit in edits(part.marked[wrt], places) if "only the diagonal" in edit.detail]
        assert {(edit.slot, edit.kind) for edit in diagonal} <= {("centring", "softmax-centering")}
        found |= {(name, wrt)} if diagonal else set()
    assert found == SCORED


def softmax_by_numbers(wrt):
    """The gradient by W_Q or W_K of the transformer, with J = diag(attn (1 - attn)) for the softmax's Jacobian."""

    def gradient(params, prompt):
        W_Q, W_K, W_V, W_O, a = params
        X, query, z = prompt.keys, prompt.query, prompt.z
        attn = np.exp(X.T @ W_K.T @ W_Q @ query)
        attn = attn / attn.sum()
        u = W_O @ W_V @ X @ attn
        F = a @ np.maximum(u, 0)
        slope = {"li2024": -z * (z * F < 1), "bu2024": -z / (1 + np.exp(z * F))}
        d_scores = attn * (1 - attn) * (X.T @ W_V.T @ W_O.T @ (a * (u > 0)))
        direction = {"W_Q": np.outer(W_K @ X @ d_scores, query), "W_K": np.outer(W_Q @ query, X @ d_scores)}[wrt]
        return {paper: slope[paper] * direction for paper in slope}

    return gradient


@pytest.mark.parametrize("attends", [False, True], ids=["l", "l+1"])
@pytest.mark.parametrize("wrt", ["W_Q", "W_K"])
@pytest.mark.parametrize("paper", ["li2024", "bu2024"])
def test_the_diagonal_is_what_it_says(paper, wrt, attends):
    part, by_numbers = PARTS[paper, wrt], softmax_by_numbers(wrt)
    for point in part.points(9, 0, attends):
        params, prompt = point.params, point.prompts[0]
        (edit,) = (edit for edit in edits(part.marked[wrt], [(params, prompt)]) if "only the diagonal" in edit.detail)
        found = part.marked[wrt](params, prompt, Mark([edit]))
        expected = by_numbers(params, prompt)[paper]
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12 * max(abs(expected).max(), 1e-300))


@pytest.mark.parametrize("part, wrt", [pytest.param(part, key[1], id=" ".join(key)) for key, part in PARTS.items()])
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000))
def test_listing_its_mistakes_makes_none(part, wrt, seed):
    """A recorder returns what it is given: the gradient is that without a mark.

    To rounding, for a formula may skip work that only mistakes need. What it adds and subtracts is of order one.
    """
    recorded = []
    point = part.points(2, seed, False)[0]
    marked = part.marked[wrt]

    def recording(params, prompt, mark):
        recorded.append(marked(params, prompt, mark))

    found = edits(recording, [(point.params, point.prompts[0])])
    assert len(found) == len({edit.detail for edit in found}) >= 12
    expected = marked(point.params, point.prompts[0], PLAIN)
    np.testing.assert_allclose(recorded[0], expected, rtol=0, atol=1e-14 * max(abs(expected).max(), 1.0))
