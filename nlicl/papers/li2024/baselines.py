"""Classical classifiers fitted on one prompt's contexts: the baselines of Figure 4 of Li et al. 2024.

A method is fitted on the l pairs (x_i, y_i) of one prompt, x parts only, and asked for the label of x_query. `predict`
does so by scikit-learn, one prompt at a time, and is the definition. `predictions` solves the same problems in NumPy for a
whole batch, 4 to 200 times as fast [measured]: of the milliseconds a fit takes scikit-learn, nearly all go into its checks.

| method         | scikit-learn's estimator, defaults unless said                                             |
|----------------|--------------------------------------------------------------------------------------------|
| "Logistic"     | LogisticRegression: (1/2)||w||^2 + C sum log(1 + exp(-y_i (w x_i + b))), C = 1, b is free  |
| "SVM Gaussian" | SVC: C = 1, kernel exp(-gamma ||x - x'||^2), gamma = 1 / (d_X variance of all coordinates) |
| "SVM linear"   | SVC(kernel="linear"): C = 1, kernel x^T x'                                                 |
| "1-NN", "3-NN" | KNeighborsClassifier(1), (3): majority of the nearest contexts in Euclidean distance       |

The paper's settings are not known; the defaults are what most would run, and nobody chose them to win or to lose. Features
are not standardised: all patterns have one norm, so coordinates are comparable as they are, and 30 standard deviations from
6 to 20 points would be noise. Contexts that share one label leave nothing to fit: the answer is that label.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ...core.checks import choice, integer, numbers, real
from ...core.describe import kind_of
from ...core.errors import InvalidType, InvalidValue
from ...core.memory import check_memory
from ...models.transformer.prompts import CodedPrompts, Prompts

__all__ = ["METHODS", "predict", "predictions"]

METHODS = ("Logistic", "SVM Gaussian", "SVM linear", "1-NN", "3-NN")
_NEIGHBOURS = {"1-NN": 1, "3-NN": 3}
_LARGE = 1e60  # what features may be: fourth powers of them are formed
_BLOCK = 2000  # prompts solved at once: some tens of MB


def predict(method: str, contexts: ArrayLike, labels: ArrayLike, query: ArrayLike, C: float = 1.0) -> int:
    """The label that a method fitted on one prompt's contexts gives to the query, by scikit-learn.

    Parameters
    ----------
    method : str
        One of `METHODS`.
    contexts : array_like (l, d_X)
        x_1 .. x_l as rows.
    labels : array_like (l,)
        Their labels, each -1 or +1.
    query : array_like (d_X,)
    C : float
        Weight of the data against the penalty, from 1e-6 to 1e6; k-NN has none.

    Returns
    -------
    int
        -1 or +1. A tie is decided as scikit-learn decides it.

    Raises
    ------
    ValueError
        Another method, shapes that do not fit, labels other than -1 and +1, NaN, C out of range, 3-NN with fewer than 3
        contexts.
    ImportError
        scikit-learn is not installed.
    """
    given = {"contexts": contexts, "labels": labels, "query": query}
    contexts, labels, query = (np.asarray(numbers(name, value)) for name, value in given.items())
    C = _check(method, contexts, labels, query, C)
    estimator = _estimator(method, C)
    if np.all(labels == labels[0]):
        return int(labels[0])
    return int(estimator.fit(contexts, labels).predict(query[None])[0])


def _estimator(method: str, C: float) -> Any:
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.neighbors import KNeighborsClassifier
        from sklearn.svm import SVC
    except ImportError:
        raise ImportError(
            "nlicl.papers.li2024.baselines.predict needs scikit-learn: pip install '.[baselines]' in a clone. "
            "nlicl.papers.li2024.baselines.predictions does without."
        ) from None
    if method in _NEIGHBOURS:
        return KNeighborsClassifier(_NEIGHBOURS[method])
    if method == "Logistic":
        return LogisticRegression(C=C)
    return SVC(C=C, kernel="rbf" if method == "SVM Gaussian" else "linear")


def predictions(
    method: str, prompts: CodedPrompts | Prompts, d_X: int, q: ArrayLike | None = None, C: float = 1.0
) -> np.ndarray:
    """What a method, fitted anew on each prompt's contexts, answers to each query.

    Parameters
    ----------
    method : str
        One of `METHODS`.
    prompts : CodedPrompts or Prompts
    d_X : int
        Dimension of x, the first coordinates of a token.
    q : array_like (d - d_X,), optional
        The label embedding of +1. Needed for `Prompts`, whose contexts carry +q or -q; coded prompts know their labels.
    C : float
        Weight of the data against the penalty, from 1e-6 to 1e6; k-NN has none.

    Returns
    -------
    ndarray of int8 (B,)
        Each -1 or +1; -1 where the score is 0 exactly. Of contexts equally far away the earlier one is the nearer.

    Raises
    ------
    ValueError, TypeError
        As `predict`; other prompts, d_X out of range, no q or one that the contexts do not carry.
    ArithmeticError
        A fit that does not settle, on features of a very large scale.

    Notes
    -----
    Logistic regression is solved until no score moves by more than 1e-6, an SVM until its optimality conditions hold to
    1e-3, as in scikit-learn. Where a score is further than that from 0 both predict the same; on the paper's data the tests
    find no difference.
    """
    if not isinstance(prompts, (CodedPrompts, Prompts)):
        raise InvalidType(f"prompts is of type {kind_of(prompts)}; expected CodedPrompts or Prompts.")
    if isinstance(prompts, Prompts) and prompts.tokens.dtype.kind != "f":
        raise InvalidType(f"prompts.tokens has dtype {prompts.tokens.dtype}; expected a real floating dtype.")
    choice("method", method, METHODS)
    l, d, at_once = prompts.length, _width(prompts), min(_BLOCK, len(prompts))
    each = 3 * l * d + (0 if method in _NEIGHBOURS else 6 * l**2)  # numbers: tokens, and products of all of them
    check_memory(
        f"length is {l} and d {d}: {method} of {at_once} prompts at once holds {each} numbers for each",
        8 * each * at_once,
        "Give shorter prompts, or fewer at once.",
    )
    answers = []
    for lo in range(0, len(prompts), _BLOCK):
        X, y, x = _taken(prompts[lo : lo + _BLOCK], d_X, q)
        C = _check(method, X, y, x, C)
        answers.append(np.where(_scores(method, X, y, x, C) > 0, 1, -1).astype(np.int8))
    return np.concatenate(answers)


def _width(prompts: CodedPrompts | Prompts) -> int:
    return len(prompts.dictionary) if isinstance(prompts, CodedPrompts) else prompts.tokens.shape[2]


def _taken(prompts: CodedPrompts | Prompts, d_X: int, q: ArrayLike | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Contexts (B, l, d_X), their labels (B, l), queries (B, d_X)."""
    coded = isinstance(prompts, CodedPrompts)
    d = _width(prompts)
    most = d - (not coded)
    d_X = integer("d_X", d_X, 1)
    if d_X > most:
        raise InvalidValue(f"d_X is {d_X}; expected the number of a token's coordinates that are x, out of d = {d}.")
    if isinstance(prompts, CodedPrompts):
        tokens, labels = prompts.dense().tokens, prompts.sign[:, :-1].astype(float)
    else:
        tokens = prompts.tokens
        q = None if q is None else np.asarray(numbers("q", q))
        shape = () if q is None else q.shape
        if q is None or shape != (d - d_X,):
            raise InvalidValue(
                f"q has shape {shape}; expected ({d - d_X},), the label embedding of +1: dense prompts show their "
                "labels as +q or -q."
            )
        with np.errstate(over="ignore", invalid="ignore"):  # then they are not what q says
            labels = np.sign(tokens[:, :-1, d_X:] @ q)
        if not np.allclose(tokens[:, :-1, d_X:], labels[:, :, None] * q, rtol=1e-4, atol=1e-6):
            raise InvalidValue(
                "q is not what the contexts carry; expected their last d - d_X coordinates to be +q or -q."
            )
    return np.array(tokens[:, :-1, :d_X], float), labels, np.array(tokens[:, -1, :d_X], float)


def _check(method: str, contexts: np.ndarray, labels: np.ndarray, query: np.ndarray, C: float) -> float:
    """C as a float, if the arguments, of one prompt or of a batch, make sense together."""
    choice("method", method, METHODS)
    l = labels.shape[-1] if labels.ndim else 0
    if l < 1 or contexts.shape[:-1] != labels.shape or query.shape != (*contexts.shape[:-2], contexts.shape[-1]):
        raise InvalidValue(
            f"contexts, labels and query have shapes {contexts.shape}, {labels.shape} and {query.shape}; "
            "expected (l, d_X), (l,) and (d_X,) with l >= 1."
        )
    if l < _NEIGHBOURS.get(method, 1):
        raise InvalidValue(f"{method} of l = {l} contexts; expected l >= {_NEIGHBOURS[method]}. Take longer prompts.")
    if not np.all(abs(labels) == 1):
        raise InvalidValue("labels holds other values than -1 and +1; expected one of them for each context.")
    if not all((abs(part) <= _LARGE).all() for part in (contexts, query)):  # nor is NaN
        raise InvalidValue(
            f"contexts or query holds NaN, or numbers above {_LARGE:g}, whose products overflow; expected smaller ones. "
            "Divide the features by their scale."
        )
    return real("C", C, "greater than 0, from 1e-6 to 1e6", lambda x: 1e-6 <= x <= 1e6)


def _scores(method: str, X: np.ndarray, y: np.ndarray, x: np.ndarray, C: float) -> np.ndarray:
    """Scores (B,) whose sign is the prediction."""
    if method in _NEIGHBOURS:
        distance = np.sum((X - x[:, None]) ** 2, axis=2)
        nearest = np.argsort(distance, axis=1, kind="stable")[:, : _NEIGHBOURS[method]]
        return np.take_along_axis(y, nearest, axis=1).sum(axis=1)
    score, mixed = y[:, 0].copy(), np.any(y != y[:, :1], axis=1)
    if mixed.any():
        gram, cross = _kernel(method, X[mixed], x[mixed])
        score[mixed] = (_logistic if method == "Logistic" else _svm)(gram, cross, y[mixed], C)
    return score


def _kernel(method: str, X: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """k(x_i, x_j) as (B, l, l) and k(x_query, x_i) as (B, l)."""
    gram, cross = X @ X.transpose(0, 2, 1), np.einsum("bld,bd->bl", X, x)
    if method != "SVM Gaussian":
        return gram, cross
    variance = X.var(axis=(1, 2))
    gamma = 1 / np.where(variance > 0, X.shape[2] * variance, 1.0)
    norm, own = np.einsum("bll->bl", gram), np.sum(x**2, axis=1)
    square = norm[:, :, None] + norm[:, None] - 2 * gram
    return np.exp(-gamma[:, None, None] * square), np.exp(-gamma[:, None] * (norm + own[:, None] - 2 * cross))


@np.errstate(over="ignore", invalid="ignore")  # then nothing settles
def _logistic(
    gram: np.ndarray, cross: np.ndarray, y: np.ndarray, C: float, tolerance: float = 1e-6, limit: int = 200
) -> np.ndarray:
    """Scores w x_query + b, by Newton's method for w = sum_i v_i x_i; the contexts' scores are f = gram v + b.

    A step goes to the v+, b+ with  (gram + D^-1) v+ + b+ = f + r / D,  sum_i v+_i = 0,  where  p_i = 1 / (1 + exp(y_i f_i)),
    D = C p (1 - p), r = C y p;  it is halved until the objective does not rise.
    """
    B, l = y.shape
    v, b = np.zeros((B, l)), np.zeros(B)
    left = np.arange(B)  # prompts not solved yet
    for _ in range(limit):
        G, Y, v0, b0 = gram[left], y[left], v[left], b[left, None]
        w0 = _apply(G, v0)  # w x_i
        p = 0.5 - 0.5 * np.tanh(0.5 * Y * (w0 + b0))
        D = C * np.maximum(p * (1 - p), 1e-12)
        A, rhs = np.ones((len(left), l + 1, l + 1)), np.zeros((len(left), l + 1, 1))
        A[:, :l, :l] = G + np.eye(l) / D[:, None]
        A[:, l, l] = 0
        rhs[:, :l, 0] = w0 + b0 + C * Y * p / D
        try:
            step = np.linalg.solve(A, rhs)[..., 0]
        except np.linalg.LinAlgError:
            raise _unsettled("Logistic", len(left), limit) from None
        dv, db = step[:, :l] - v0, step[:, l:] - b0
        dw = _apply(G, dv)

        t, start = np.ones((len(left), 1)), _objective(v0, w0, b0, Y, C)
        for _ in range(40):
            rises = _objective(v0 + t * dv, w0 + t * dw, b0 + t * db, Y, C) > start + 1e-12 * abs(start)
            if not rises.any():
                break
            t[rises] /= 2
        v[left], b[left] = v0 + t * dv, (b0 + t * db)[:, 0]
        left = left[np.max(abs(dw + db), axis=1) > tolerance]
        if not len(left):
            return np.sum(cross * v, axis=1) + b
    raise _unsettled("Logistic", len(left), limit)


def _objective(v: np.ndarray, w: np.ndarray, b: np.ndarray, y: np.ndarray, C: float) -> np.ndarray:
    return 0.5 * np.sum(v * w, axis=1) + C * np.logaddexp(0, -y * (w + b)).sum(axis=1)


def _svm(
    gram: np.ndarray, cross: np.ndarray, y: np.ndarray, C: float, tolerance: float = 1e-3, limit: int = 200_000
) -> np.ndarray:
    """Scores of the support vector machine, by sequential minimal optimisation with libsvm's choice of pairs and its end.

    The dual in v_i = y_i alpha_i:  maximise  y^T v - (1/2) v^T gram v  over  sum_i v_i = 0,  0 <= y_i v_i <= C.  A step moves
    v_i up and v_j down: i has the largest gradient s = y - gram v, and j gains most with it (Fan, Chen, Lin 2005).
    """
    B, _ = y.shape
    score, left = np.empty(B), np.arange(B)  # left: prompts not solved yet, those that `state` is about
    low, high = np.minimum(C * y, 0), np.maximum(C * y, 0)
    state = gram, np.einsum("bll->bl", gram), np.zeros_like(y), y.copy(), low, high
    for step in range(limit):
        G, diagonal, v, s, low, high = state
        n = np.arange(len(left))
        rising, falling = np.where(v < high, s, -np.inf), np.where(v > low, s, np.inf)
        i = np.argmax(rising, axis=1)
        top, bottom = rising[n, i], falling.min(axis=1)
        if step % 20 == 0 and np.any(solved := top - bottom < tolerance):
            free = (v > low) & (v < high)
            b = np.where(
                free.any(axis=1), np.sum(s * free, axis=1) / np.maximum(free.sum(axis=1), 1), (top + bottom) / 2
            )
            score[left[solved]] = (np.sum(cross[left] * v, axis=1) + b)[solved]
            left, state = left[~solved], tuple(array[~solved] for array in state)
            if not len(left):
                return score
            continue
        gap = top[:, None] - falling
        curvature = np.maximum(diagonal[n, i][:, None] + diagonal - 2 * G[n, i], 1e-12)
        j = np.argmax(np.where(gap > 0, gap**2 / curvature, -1), axis=1)
        up, down = high[n, i] - v[n, i], v[n, j] - low[n, j]
        move = np.minimum(np.minimum(gap[n, j] / curvature[n, j], up), down)
        move = np.where(j == i, 0, np.maximum(move, 0))  # solved already
        v[n, i] = np.where(move == up, high[n, i], v[n, i] + move)  # at its bound exactly
        v[n, j] = np.where(move == down, low[n, j], v[n, j] - move)
        s -= move[:, None] * (G[n, i] - G[n, j])
    raise _unsettled("the SVM", len(left), limit)


def _apply(G: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.einsum("bij,bj->bi", G, v)


class _Unsettled(InvalidValue, ArithmeticError):
    """A fit that does not settle."""


def _unsettled(method: str, count: int, limit: int) -> _Unsettled:
    return _Unsettled(
        f"{method} has not settled on {count} prompts after {limit} steps; divide the features by their scale."
    )
