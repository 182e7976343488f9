"""The costs that limits are made of, against numbers that count what is done with them."""

import numpy as np
import pytest

import nlicl
from nlicl.kernels.compile import source
from nlicl.kernels.layers import code_attention
from nlicl.kernels.layers.loss import HINGE
from nlicl.kernels.steps import coded, dense, multihot, regression, unmerged
from nlicl.papers import huang2023


class Number:
    """A number that counts multiplications and exponentials."""

    multiplications = exponentials = 0

    def __init__(self, value):
        self.value = float(getattr(value, "value", value))

    def __mul__(self, other):
        Number.multiplications += 1
        return Number(self.value * Number(other).value)

    __rmul__ = __mul__

    def exp(self):
        Number.exponentials += 1
        return Number(np.exp(self.value))

    def __add__(self, other):
        return Number(self.value + Number(other).value)

    __radd__ = __add__

    def __sub__(self, other):
        return Number(self.value - Number(other).value)

    def __rsub__(self, other):
        return Number(Number(other).value - self.value)

    def __truediv__(self, other):
        return Number(self.value / Number(other).value)

    def __rtruediv__(self, other):
        return Number(Number(other).value / self.value)

    def __neg__(self):
        return Number(-self.value)

    @property
    def real(self):
        return self.value

    def __gt__(self, other):
        return self.value > Number(other).value

    def __eq__(self, other):
        return self.value == Number(other).value

    __hash__ = None


class Table(np.ndarray):
    """A vector that counts how often one of its numbers is looked up, or added to, by an index from a code."""

    look_ups = 0

    def __getitem__(self, index):
        Table.look_ups += isinstance(index, np.uint32)
        return super().__getitem__(index)


def counting(array):
    out = np.empty(array.shape, object)
    out.flat = [Number(x) for x in array.flat]
    return out


@pytest.fixture
def sizes():
    Number.multiplications = Number.exponentials = Table.look_ups = 0
    return {"B": 3, "n_keys": 5, "d": 7, "m": 4, "m_a": 2, "m_b": 6}


def parameters(rng, d, m, m_a, m_b, **_):
    """Small and positive, as all tokens below are: every neuron is on, every hinge active."""
    shapes = ((m_a, d), (m_a, d), (m_b, d), (m, m_b), (m,))
    return nlicl.Params(*(rng.uniform(0.01, 0.05, shape) for shape in shapes))


IN_THE_LOSS = 2  # multiplications, of z F: once for the loss, once for its slope


def guards():
    """Multiplications of scores by zero, one beside each exponential: they make NaN of infinity, and no result needs them."""
    return Number.exponentials


def test_dense(sizes):
    rng = np.random.default_rng(0)
    params = parameters(rng, **sizes)
    tokens, labels = rng.uniform(0.1, 1, (3, 6, 7)), np.ones(3)
    value = source(dense.step)(counting(tokens), counting(labels), 5, *map(counting, params), HINGE)[0]
    costs = dense.costs(**sizes, itemsize=8)
    assert Number.multiplications - guards() - 3 * IN_THE_LOSS == costs.multiply_adds
    assert Number.exponentials == costs.exponentials
    arrays = [tokens, labels, *params, *params]
    assert costs.bytes == sum(array.nbytes for array in arrays)
    assert value.value == pytest.approx(nlicl.loss_and_grad(params, nlicl.Prompts(tokens, labels))[0])


def test_unmerged(sizes):
    rng = np.random.default_rng(0)
    params = parameters(rng, **sizes)
    tokens, labels = rng.uniform(0.1, 1, (3, 6, 7)), np.ones(3)
    value = source(unmerged.step)(counting(tokens), counting(labels), 5, *map(counting, params), HINGE)[0]
    costs = unmerged.costs(**sizes, itemsize=8)
    assert Number.multiplications - guards() - 3 * IN_THE_LOSS == costs.multiply_adds
    assert Number.exponentials == costs.exponentials
    assert costs.bytes == dense.costs(**sizes, itemsize=8).bytes
    assert value.value == pytest.approx(nlicl.loss_and_grad(params, nlicl.Prompts(tokens, labels))[0])
    merged = dense.costs(**sizes, itemsize=8).multiply_adds
    assert unmerged.pays(*(sizes[name] for name in ("B", "d", "m_a", "m_b", "m"))) == (costs.multiply_adds < merged)


def test_multihot(sizes):
    rng = np.random.default_rng(0)
    params = parameters(rng, **sizes)
    E, labels = rng.uniform(0.1, 1, (7, 8)), np.ones(3)
    E_query = np.where(np.arange(7)[:, None] < 4, E, 0)
    indptr = np.cumsum([0, *rng.integers(1, 4, 18)])
    indices = rng.integers(0, 8, indptr[-1]).astype(np.int32)
    value = source(multihot.step)(counting(E), counting(E_query), indptr, indices, counting(labels), 5,
                                *map(counting, params), HINGE)[0]  # fmt: skip
    costs = multihot.costs(**sizes, K=8, columns=indptr[-1] / 18, itemsize=8)
    assert Number.multiplications - guards() - 3 * IN_THE_LOSS == costs.multiply_adds
    assert Number.exponentials == costs.exponentials
    arrays = [E, E, indices, indptr[:-1], labels, *params, *params]
    assert costs.bytes == sum(array.nbytes for array in arrays)
    tokens = np.zeros((3, 6, 7))
    multihot.add_tokens(tokens, indptr, indices, np.ascontiguousarray(E.T), np.ascontiguousarray(E_query.T))
    assert value.value == pytest.approx(nlicl.loss_and_grad(params, nlicl.Prompts(tokens, labels))[0])


def test_coded(sizes):
    rng = np.random.default_rng(0)
    params = parameters(rng, **sizes)
    E = rng.uniform(0.1, 1, (7, 8))
    E[[1, 4]] = 0
    relevant, irrelevant = rng.integers(0, 7, (2, 3, 6)).astype(np.int32)
    kappa, sign, labels = rng.uniform(0.1, 1, (3, 6)), np.ones((3, 6), np.int8), np.ones(3)
    sign[:, -1] = 0
    codes = (counting(E), relevant, irrelevant, counting(kappa), sign)
    value = source(coded.step)(*codes, counting(labels), 5, *map(counting, params), HINGE)[0]
    costs = coded.costs(**sizes, K=8, support=5, itemsize=8)
    assert Number.multiplications - guards() - 3 * IN_THE_LOSS == costs.multiply_adds
    assert Number.exponentials == costs.exponentials
    arrays = [E, relevant, irrelevant, kappa, sign, labels, *params, *params]
    assert costs.bytes == sum(array.nbytes for array in arrays)
    prompts = nlicl.CodedPrompts(E, relevant, irrelevant, kappa, sign, labels)
    assert value.value == pytest.approx(nlicl.loss_and_grad(params, prompts)[0])


def test_look_ups(sizes):
    """Of one token: two read and two added to, forward and backward."""
    x, w = np.ones(8).view(Table), np.ones(5)
    relevant, irrelevant, kappa, sign = (
        np.arange(6, dtype=np.int32),
        np.ones(6, np.int32),
        np.ones(6),
        np.ones(6, np.int8),
    )
    w, *codes = (array[None] for array in (w, relevant, irrelevant, kappa, sign))
    source(code_attention.gather)(w, x[None], 5, *codes)
    source(code_attention.scatter)(x[None], np.empty((4, 8)), w, w[0], 5, *codes[:3])
    assert 2 * Table.look_ups * 3 == coded.costs(**sizes, K=8, itemsize=8).look_ups


@pytest.mark.parametrize("attends", [0, 1])
def test_regression(sizes, attends):
    rng = np.random.default_rng(0)
    tokens, labels, Q = rng.normal(size=(3, 6, 4)), rng.normal(size=3), rng.normal(size=(3, 3))
    tokens[:, -1, -1] = 0
    value, dQ = source(regression.step)(counting(tokens), counting(labels), 5 + attends, counting(Q))
    costs = regression.costs(B=3, n_keys=5 + attends, d=3, itemsize=8)
    assert Number.multiplications - guards() == costs.multiply_adds
    assert Number.exponentials == costs.exponentials
    bytes_of = sum(array.nbytes for array in (tokens, labels, Q, dQ))
    assert bytes_of == regression.costs(B=3, n_keys=5, d=3, itemsize=8).bytes
    prompts = huang2023.Prompts(tokens, labels, query_attends=bool(attends))
    assert value.value == pytest.approx(nlicl.loss_and_grad(huang2023.Params(Q), prompts)[0])


def test_regression_coded(sizes):
    rng = np.random.default_rng(0)
    features = np.array([[0, 1, 2, 3, 4, 0], [0, 0, 2, 2, 4, 2], [1, 1, 1, 3, 3, 4]])
    V, omega, Q = rng.normal(size=(7, 5)), rng.normal(size=(3, 5)), rng.normal(size=(7, 7))
    prompts = huang2023.CodedPrompts(V, features, omega)
    counts, query = prompts.counts.astype(float), np.ascontiguousarray(prompts.query)
    value, dQ = source(regression.coded_step)(*map(counting, (counts, omega)), query, 0, *map(counting, (V, Q)))
    costs = regression.coded_costs(B=3, K=5, d=7, present=(5 + 3 + 2) / 3, itemsize=8)
    assert Number.multiplications - guards() == costs.multiply_adds
    assert Number.exponentials == costs.exponentials
    assert costs.bytes == sum(array.nbytes for array in (counts, omega, query, V, Q, dQ))
    assert regression.coded_costs(B=3, K=5, d=7, itemsize=8).exponentials == 3 * 5  # unless said otherwise
    assert value.value == pytest.approx(nlicl.loss_and_grad(huang2023.Params(Q), prompts)[0])
