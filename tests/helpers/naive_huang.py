"""Slow and obvious twins for Huang et al. 2023: plain loops over plain numbers, written from the definitions, as in naive.py.

Tokens are lists (x_1, .., x_d, y), the query last with y = 0; a matrix is a list of rows, of keys.
"""

from naive import dot, mean, softmax, times


def forward(Q, tokens, attends):
    """yhat and attn: scores x_i^T Q x_query over the contexts, and over the query if it attends to itself."""
    keys = tokens if attends else tokens[:-1]
    probe = times(Q, tokens[-1][:-1])
    attn = softmax([dot(key[:-1], probe) for key in keys])
    return dot(attn, [key[-1] for key in keys]), attn


def gradient(Q, tokens, y_query, attends):
    """Loss and dQ of one prompt; dattn_i/ds_r = attn_i (1[i = r] - attn_r) by definition."""
    keys, x_query = tokens if attends else tokens[:-1], tokens[-1][:-1]
    yhat, attn = forward(Q, tokens, attends)
    d = len(Q)
    dQ = [[0] * d for _ in range(d)]
    for r in range(len(keys)):
        dyhat = 0  # by the score of key r
        for i in range(len(keys)):
            dyhat += keys[i][-1] * attn[i] * ((1 if i == r else 0) - attn[r])
        for i in range(d):
            for j in range(d):
                dQ[i][j] += (yhat - y_query) * dyhat * keys[r][i] * x_query[j]
    return (yhat - y_query) ** 2 / 2, dQ


def batch(Q, prompts, labels, attends):
    """Mean loss and dQ."""
    return mean([gradient(Q, tokens, y, attends) for tokens, y in zip(prompts, labels, strict=True)])


def tokens(V, features, omega):
    """Prompts of tokens from codes: V a list of rows, features and omega a list for each prompt."""
    made = []
    for row, labels in zip(features, omega, strict=True):
        prompt = [[v[m] for v in V] + [labels[m]] for m in row]
        prompt[-1][-1] = 0
        made.append(prompt)
    return made
