"""Slow and obvious twins for the one-nearest-neighbour transformer: plain loops over plain numbers, from the definitions.

A prompt is a list of inputs, the query last, and a list of classes from 0, or of labels -1 and +1 where K is None; a matrix is
a list of rows.
"""

import cmath
import math

import numpy as np
from naive import dot, softmax, times


def code(label, K):
    """u_c = e_c - 1/K; of a binary label itself."""
    return [label] if K is None else [(1 if k == label else 0) - 1 / K for k in range(K)]


def tokens(inputs, classes, K):
    """h_1 .. h_N, and the query's last."""
    width = 1 if K is None else K
    contexts = [[*x, *code(c, K), 0] for x, c in zip(inputs[:-1], classes, strict=True)]
    return [*contexts, [*inputs[-1], *[0] * width, 1]]


def nearest(inputs):
    """The first context with the smallest distance from the query."""
    gaps = [sum((a - b) ** 2 for a, b in zip(x, inputs[-1], strict=True)) for x in inputs[:-1]]
    return gaps.index(min(gaps))


def forward(W, inputs, classes, K):
    """l and q."""
    H, d = tokens(inputs, classes, K), len(inputs[0])
    q = softmax([dot(h, times(W, H[-1])) for h in H])
    return [sum(q[j] * H[j][d + k] for j in range(len(H))) for k in range(len(H[0]) - d - 1)], q


def loss(W, inputs, classes, K, kind="squared", mixture=0.5):
    """Of one prompt."""
    l, _ = forward(W, inputs, classes, K)
    c = classes[nearest(inputs)]
    u = code(c, K)
    square = sum((a - b) ** 2 for a, b in zip(l, u, strict=True)) / 2
    if kind == "squared":
        return square
    exps = [cmath.exp(a) if isinstance(a, complex) else math.exp(a) for a in l]
    total = sum(exps)
    entropy = (cmath.log(total) if isinstance(total, complex) else math.log(total)) - l[c]
    if kind == "cross-entropy":
        return entropy
    if kind == "squentropy":
        return entropy + sum(l[k] ** 2 for k in range(K) if k != c) / (K - 1)
    return (1 - mixture) * square + mixture * entropy


def gradient(W, inputs, classes, K, kind="squared", mixture=0.5):
    """dW by the complex step, entry by entry: nothing is derived."""
    E, h = len(W), 1e-30
    found = np.zeros((E, E))
    for a in range(E):
        for b in range(E):
            moved = [[complex(w) for w in row] for row in W]
            moved[a][b] += 1j * h
            found[a, b] = complex(loss(moved, inputs, classes, K, kind, mixture)).imag / h
    return found
