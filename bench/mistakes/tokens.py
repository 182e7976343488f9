"""Embeddings, convolutions, sequences: indices that repeat, and indices that are off by one."""

import numpy as np
from scipy.special import expit

from .case import Case, Wrong

rng = np.random.default_rng(18)
words = np.array([0, 3, 3, 1, 0, 5, 3])
targets = rng.standard_normal((7, 3))
sentence_of = np.array([0, 0, 0, 1, 1, 2, 2])
signal = rng.standard_normal(10)
wanted = rng.standard_normal(8)
u_labels = np.array([1.0, 0, 1, 1, 0, 0, 1])


# ---- Embedding table (6, 3) and squared error; words repeat


def embedding(E):
    return 0.5 * np.sum((E[words] - targets) ** 2)


def embedding_gradient(E):
    g = np.zeros_like(E)
    np.add.at(g, words, E[words] - targets)
    return g


def embedding_assigned(E):
    """= for +=: the last occurrence of a word wins."""
    g = np.zeros_like(E)
    g[words] = E[words] - targets
    return g


def embedding_buffered(E):
    """+= with repeated indices adds once."""
    g = np.zeros_like(E)
    g[words] += E[words] - targets
    return g


def embedding_loop(E):
    """The loop ends one word early."""
    g = np.zeros_like(E)
    for i in range(len(words) - 1):
        g[words[i]] += E[words[i]] - targets[i]
    return g


def embedding_position(E):
    """Position for word on the left."""
    g = np.zeros_like(E)
    for i, word in enumerate(words):
        g[i % len(E)] += E[word] - targets[i]
    return g


def embedding_mean(E):
    """Averaged over the batch, and the sign of the error."""
    g = np.zeros_like(E)
    np.add.at(g, words, targets - E[words])
    return g / len(words)


# ---- Bags of embeddings: a sentence is the mean of its words, logistic loss per word pair


def bags(E, w):
    size = np.bincount(sentence_of)
    bag = np.zeros((3, E.shape[1]))
    for i, s in enumerate(sentence_of):
        bag[s] = bag[s] + E[words[i]] / size[s]
    return np.sum(np.logaddexp(0, bag @ w)) - bag[0] @ w


def bags_gradient(E, w):
    size = np.bincount(sentence_of)
    B = np.zeros((3, 7))
    B[sentence_of, np.arange(7)] = 1 / size[sentence_of]
    bag = B @ E[words]
    r = expit(bag @ w) - np.array([1.0, 0, 0])
    dE = np.zeros_like(E)
    np.add.at(dE, words, B.T @ np.outer(r, w))
    return dE, bag.T @ r


def pooled(E):
    bag = np.zeros((3, E.shape[1]))
    np.add.at(bag, sentence_of, E[words])
    return bag / np.bincount(sentence_of)[:, None]


def bags_not_averaged(E, w):
    """The mean's 1 / size is missing on the way back."""
    bag = pooled(E)
    r = expit(bag @ w)
    r[0] -= 1
    dE = np.zeros_like(E)
    for i, s in enumerate(sentence_of):
        dE[words[i]] += r[s] * w
    return dE, bag.T @ r


def bags_reset(E, w):
    """= for += in the loop."""
    bag, size = pooled(E), np.bincount(sentence_of)
    r = expit(bag @ w)
    r[0] -= 1
    dE = np.zeros_like(E)
    for i, s in enumerate(sentence_of):
        dE[words[i]] = r[s] * w / size[s]
    return dE, bag.T @ r


def bags_no_label(E, w):
    """The label of the first sentence is forgotten."""
    bag, size = pooled(E), np.bincount(sentence_of)
    r = expit(bag @ w)
    dE = np.zeros_like(E)
    for i, s in enumerate(sentence_of):
        dE[words[i]] += r[s] * w / size[s]
    return dE, bag.T @ r


def bags_two(E, w):
    """Divided by all words, and by the residual of the sentence numbered as the word."""
    bag = pooled(E)
    r = expit(bag @ w)
    r[0] -= 1
    dE = np.zeros_like(E)
    for i in range(len(words)):
        dE[words[i]] += r[i % 3] * w / len(words)
    return dE, bag.T @ r


# ---- Convolution 1d, correlation with a kernel k of 3 entries, bias b


def convolution(k, b):
    out = np.array([signal[i : i + len(k)] @ k for i in range(len(signal) - len(k) + 1)]) + b
    return 0.5 * np.mean((out - wanted) ** 2)


def convolution_gradient(k, b):
    e = (np.correlate(signal, k, "valid") + b - wanted) / len(wanted)
    return np.correlate(signal, e, "valid"), e.sum()


def convolution_flipped(k, b):
    """A convolution for a correlation on the way back: the kernel's gradient is reversed."""
    e = (np.correlate(signal, k, "valid") + b - wanted) / len(wanted)
    return np.convolve(signal, e[::-1], "valid")[::-1], np.sum(e)


def convolution_flipped_forward(k, b):
    """The forward pass that the gradient repeats is a convolution."""
    e = (np.convolve(signal, k, "valid") + b - wanted) / len(wanted)
    dk = np.array([e @ signal[j : j + len(e)] for j in range(3)])
    return dk, e.sum()


def convolution_window(k, b):
    """The window is one too far on the left."""
    out = np.array([signal[i : i + 3] @ k for i in range(8)]) + b
    e = (out - wanted) / 8
    dk = np.zeros(3)
    for i in range(8):
        for j in range(3):
            dk[j] += e[i] * signal[i + j - 1]
    return dk, e.sum()


def convolution_loop(k, b):
    """The loop over positions starts at 1, and b's gradient is a mean once more."""
    e = (np.correlate(signal, k, "valid") + b - wanted) / len(wanted)
    dk = np.zeros_like(k)
    for i in range(1, len(e)):
        dk += e[i] * signal[i : i + len(k)]
    return dk, e.mean()


# ---- Total variation, smoothed, with a data term

noisy = rng.standard_normal(9)


def variation(x):
    return 0.5 * np.sum((x - noisy) ** 2) + np.sum(np.sqrt(np.diff(x) ** 2 + 0.1))


def variation_gradient(x):
    step = np.diff(x)
    s = step / np.sqrt(step**2 + 0.1)
    return x - noisy - np.diff(np.concatenate([[0], s, [0]]))


def variation_one_side(x):
    """A step counts for its right end only."""
    step = np.diff(x)
    g = x - noisy
    g[1:] += step / np.sqrt(step**2 + 0.1)
    return g


def variation_signs(x):
    """Both ends of a step get the same sign."""
    step = np.diff(x)
    s = step / np.sqrt(step**2 + 0.1)
    g = x - noisy
    g[1:] += s
    g[:-1] += s
    return g


def variation_off_by_one(x):
    """The last step is left out of the loop."""
    g = x - noisy
    for i in range(len(x) - 2):
        s = (x[i + 1] - x[i]) / np.sqrt((x[i + 1] - x[i]) ** 2 + 0.1)
        g[i + 1] += s
        g[i] -= s
    return g


def variation_two(x):
    """The root is not divided by, and the data term has a factor 2."""
    g = 2 * (x - noisy)
    step = np.diff(x)
    g[1:] += step
    g[:-1] -= step
    return g


# ---- Word vectors with negative samples: centre c, context o, negatives K (4, 3)


def skip_gram(c, o, K):
    return np.logaddexp(0, -(o @ c)) + np.sum(np.logaddexp(0, K @ c))


def skip_gram_gradient(c, o, K):
    positive, negative = expit(o @ c) - 1, expit(K @ c)
    return positive * o + negative @ K, positive * c, np.outer(negative, c)


def skip_gram_no_negatives(c, o, K):
    """The negatives' share is missing in c's gradient."""
    p = expit(o @ c) - 1
    return p * o, p * c, np.outer(expit(K @ c), c)


def skip_gram_negative_sign(c, o, K):
    """The negatives' sign."""
    p = expit(o @ c) - 1
    q = -expit(K @ c)
    return p * o + q @ K, p * c, np.outer(q, c)


def skip_gram_positive(c, o, K):
    """sigmoid for sigmoid - 1 at the positive pair."""
    p = expit(o @ c)
    return p * o + expit(K @ c) @ K, p * c, np.outer(expit(K @ c), c)


def skip_gram_mean(c, o, K):
    """The negatives are averaged."""
    p, q = expit(o @ c) - 1, expit(K @ c) / len(K)
    dc = p * o
    for k in range(len(K)):
        dc = dc + q[k] * K[k]
    return dc, p * c, np.outer(q, c)


def skip_gram_two(c, o, K):
    """c and o are exchanged at the positive pair, and the negatives are 1 - sigmoid."""
    p, q = expit(o @ c) - 1, 1 - expit(K @ c)
    return p * c + q @ K, p * o, np.outer(q, c)


TERM = ("extra-term", "missing-term", "wrong-factor", "term", "formula")


def any_skip_gram(rng):
    d = rng.integers(2, 6)
    return rng.standard_normal(d), rng.standard_normal(d), rng.standard_normal((rng.integers(1, 6), d))


CASES = [
    Case("embedding", embedding, embedding_gradient, rng.standard_normal((6, 3)), [
        Wrong(embedding_assigned, ("entries", *TERM)),
        Wrong(embedding_buffered, ("entries", *TERM)),
        Wrong(embedding_loop, ("entries", *TERM)),
        Wrong(embedding_position, ("entries", "permutation", *TERM)),
        Wrong(embedding_mean, ("scale", "sign"), 2),
    ]),
    Case("bags of embeddings", bags, bags_gradient, (rng.standard_normal((6, 3)), rng.standard_normal(3)), [
        Wrong(bags_not_averaged, (*TERM, "entries", "scale")),
        Wrong(bags_reset, (*TERM, "entries")),
        Wrong(bags_no_label, (*TERM, "entries")),
        Wrong(bags_two, (*TERM, "entries", "scale"), 2),
    ]),
    Case("convolution", convolution, convolution_gradient, (np.array([0.5, -1.0, 0.3]), np.array(0.2)), [
        Wrong(convolution_flipped, ("permutation",)),
        Wrong(convolution_flipped_forward, TERM),
        Wrong(convolution_window, (*TERM, "entries", "permutation")),
        Wrong(convolution_loop, (*TERM, "scale"), 2),
    ]),
    Case("total variation", variation, variation_gradient, rng.standard_normal(9), [
        Wrong(variation_one_side, (*TERM, "entries")),
        Wrong(variation_signs, (*TERM, "entries")),
        Wrong(variation_off_by_one, (*TERM, "entries")),
        Wrong(variation_two, TERM, 2),
    ]),
    Case("word vectors", skip_gram, skip_gram_gradient,
         (rng.standard_normal(3), rng.standard_normal(3), rng.standard_normal((4, 3))), [
        Wrong(skip_gram_no_negatives, TERM),
        Wrong(skip_gram_negative_sign, (*TERM, "sign")),
        Wrong(skip_gram_positive, (*TERM, "scale")),
        Wrong(skip_gram_mean, (*TERM, "scale")),
        Wrong(skip_gram_two, (*TERM, "wrong-parameter"), 2),
    ], any_skip_gram),
]  # fmt: skip
