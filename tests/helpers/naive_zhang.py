"""Slow and obvious twins for linear attention: plain loops over plain numbers, written from the definitions, as in naive.py.

Tokens are lists (x_1, .., x_D, y), the query last with y = 0. v is a list of rows, one for each head; W of matrices.
"""

from naive import dot, exp, log, mean, product, softmax, times


def forward(v, W, tokens, s, soft):
    """yhat, and the weights of each head."""
    heads = []
    for W_h in W:
        scores = [dot(token, times(W_h, tokens[-1])) for token in tokens]
        heads.append(softmax(scores) if soft else scores)
    yhat = 0
    for v_h, a_h in zip(v, heads, strict=True):
        for a, token in zip(a_h, tokens, strict=True):
            yhat += s * a * dot(v_h, token)
    return yhat, heads


def gradient(v, W, tokens, y, s, soft, logistic):
    """Loss, dv and dW of one prompt; da_t/dscore_r = a_t (1[t = r] - a_r) by definition."""
    yhat, heads = forward(v, W, tokens, s, soft)
    if logistic:
        loss, slope = log(1 + exp(-y * yhat)), -y / (1 + exp(y * yhat))
    else:
        loss, slope = (yhat - y) ** 2, 2 * (yhat - y)
    T, E = len(tokens), len(tokens[0])
    dv = [[slope * s * sum(a[t] * tokens[t][j] for t in range(T)) for j in range(E)] for a in heads]
    dW = []
    for v_h, a in zip(v, heads, strict=True):
        dW_h = [[0] * E for _ in range(E)]
        for r in range(T):
            dyhat = 0  # by the score of token r
            for t in range(T):
                by_score = a[t] * ((t == r) - a[r]) if soft else (t == r)
                dyhat += s * by_score * dot(v_h, tokens[t])
            for i in range(E):
                for j in range(E):
                    dW_h[i][j] += slope * dyhat * tokens[r][i] * tokens[-1][j]
        dW.append(dW_h)
    return loss, dv, dW


def batch(v, W, prompts, labels, s, soft, logistic):
    """Mean loss, dv and dW."""
    return mean([gradient(v, W, tokens, y, s, soft, logistic) for tokens, y in zip(prompts, labels, strict=True)])


def merged(K, Q):
    """W_h = K_h^T Q_h."""
    return [product([list(column) for column in zip(*K_h, strict=True)], Q_h) for K_h, Q_h in zip(K, Q, strict=True)]
