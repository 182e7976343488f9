"""The register of purposes of random numbers: no number twice, no number elsewhere, and the bits that it always drew."""

import ast
from enum import IntEnum
from pathlib import Path

import numpy as np
import pytest
from trees import nodes_of, tree_of

import nlicl
from nlicl.core import seeds
from nlicl.core.errors import InvalidType, InvalidValue

PACKAGE = Path(nlicl.__file__).parent
CLASSES = [
    kind
    for kind in vars(seeds).values()
    if isinstance(kind, type) and issubclass(kind, IntEnum) and kind is not IntEnum
]
PAPERS = ("Li2024", "Huang2023", "Bu2024")


def test_the_register_is_found():
    assert {kind.__name__ for kind in CLASSES} >= {*PAPERS, "TrainingUncounted", "Part"}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_no_number_twice(kind):
    assert len(kind.__members__) == len(kind) == len({int(member) for member in kind})


@pytest.mark.parametrize("paper", PAPERS)
def test_a_paper_s_second_form_and_training_share_no_number(paper):
    own, shared = getattr(seeds, f"{paper}Uncounted"), seeds.TrainingUncounted
    assert not {int(member) for member in own} & {int(member) for member in shared}


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind.__name__ in ("Li2024Part",)], ids=str)
def test_parts_of_a_paper_are_none_of_those_of_all(kind):
    assert not {int(member) for member in kind} & {int(member) for member in seeds.Part}


# ---- Nothing is numbered elsewhere

KEYED = ("default_rng", "SeedSequence", "generator", "key", "orthonormal", "uncounted")


def purposes_outside(path):
    """Line numbers of calls that start a generator from a number written on the spot."""
    for node in nodes_of(path):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        first = node.args[0]
        if isinstance(first, (ast.List, ast.Tuple)) and first.elts:
            first = first.elts[0]
            written = isinstance(first, ast.Constant)
        else:  # a plain seed of default_rng is no purpose
            written = isinstance(first, ast.Constant) and name not in ("default_rng", "SeedSequence")
        if name in KEYED and written:
            yield node.lineno


def constants_of(path):
    """Names that a module gives to integers at its top level."""
    for node in tree_of(path).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, (ast.Constant, ast.Tuple)):
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            if all(isinstance(value, ast.Constant) and isinstance(value.value, int) for value in values):
                yield from (name.id for name in ast.walk(node) if isinstance(name, ast.Name))


def named_outside(path):
    """Line numbers of calls that start a generator from a constant of the module's own: a number in disguise."""
    own = set(constants_of(path))
    for node in nodes_of(path):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Name) and node.args[0].id in own:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in KEYED:
                yield node.lineno


def parts_outside(path):
    """Line numbers of seeds (seed, NUMBER, ...) whose part is written on the spot."""
    for node in nodes_of(path):
        if not isinstance(node, ast.Tuple) or len(node.elts) < 3:
            continue
        first, part = node.elts[:2]
        if isinstance(first, ast.Name) and first.id == "seed" and isinstance(part, ast.Constant):
            yield node.lineno


def sources():
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "core" / "seeds.py"]


@pytest.mark.parametrize("find", [purposes_outside, named_outside, parts_outside], ids=lambda find: find.__name__)
def test_purposes_are_numbered_in_the_register_only(find):
    found = {f"{path.relative_to(PACKAGE)}:{line}" for path in sources() for line in find(path)}
    assert not found


@pytest.mark.parametrize(
    ("find", "text"),
    [
        (purposes_outside, "np.random.default_rng([3, seed])"),
        (purposes_outside, "rng = np.random.SeedSequence((3, seed))"),
        (purposes_outside, "generator(1, seed)"),
        (purposes_outside, "seeds.uncounted(3, seed)"),
        (named_outside, "_SAMPLE, _OTHER = 1, 2\ngenerator(_SAMPLE, seed)"),
        (parts_outside, "problem.sample(3, seed=(seed, 0, i))"),
    ],
)
def test_such_numbers_would_be_found(find, text, tmp_path):
    (tmp_path / "a.py").write_text(text)
    assert list(find(tmp_path / "a.py"))


# ---- Keys


def test_keys():
    assert seeds.key(seeds.Li2024.PROMPTS, 7) == [1, 1, 7]
    assert seeds.key(5, (7, 0)) == [5, 2, 7, 0] == seeds.key(5, np.array([7, 0]))
    assert all(type(number) is int for number in seeds.key(seeds.Bu2024.NOISE, np.int64(3)))


def test_the_number_of_seeds_counts():
    draws = [seeds.generator(1, seed).random() for seed in (7, (7, 0), (7, 0, 0), 0, (0, 7))]
    assert len(set(draws)) == len(draws)


def test_the_bits_that_it_always_drew():
    np.testing.assert_array_equal(
        seeds.generator(seeds.Li2024.ORDER, (4, 1)).permutation(9), np.random.default_rng([3, 2, 4, 1]).permutation(9)
    )
    np.testing.assert_array_equal(
        seeds.uncounted(seeds.TrainingUncounted.CHOICE, 4, 1).random(9), np.random.default_rng([4, 4, 1]).random(9)
    )
    V = seeds.orthonormal(seeds.Bu2024.WORDS, 0, 6, 4)
    np.testing.assert_allclose(V.T @ V, np.eye(4), atol=1e-14)
    Q, R = np.linalg.qr(np.random.default_rng([3, 1, 0]).standard_normal((6, 4)))
    np.testing.assert_array_equal(V, Q * np.sign(np.diag(R)))


@pytest.mark.parametrize(
    ("seed", "kind", "message"),
    [
        (-1, InvalidValue, "seed is -1; expected at least 0"),
        ((0, -1), InvalidValue, "seed is -1; expected at least 0"),
        (0.5, InvalidType, "seed is 0.5; expected an integer"),
        (True, InvalidType, "seed is True"),
        ("12", InvalidType, "seed is '12'"),
        (None, InvalidType, "seed is None"),
        ({1: 2}, InvalidType, "seed is {1: 2}"),
        (((1,), (1, 2)), InvalidType, r"seed is \(1,\)"),
        (np.array(3.0), InvalidType, r"seed is array\(3.\)"),
    ],
)
def test_seeds_that_are_none(seed, kind, message):
    for call in (seeds.checked, lambda seed: seeds.generator(1, seed)):
        with pytest.raises(kind, match=message):
            call(seed)


def test_a_seed_may_be_as_long_as_one_likes():
    assert seeds.key(1, 10**100) == [1, 1, 10**100]
