"""Uniform numbers into codes: two a token, each used to its last bit. Which numbers depends on a seed, never on threads.

Legend   n prompts, l+1 tokens each;   M1 relevant patterns, then M2 irrelevant ones, in the dictionary's order;
         task (n, 2): patterns a and b of each prompt;   z (n,): +1 where the query carries mu_a, -1 where mu_b
"""

from ._jit import kernel


@kernel
def decode(relevant, irrelevant, kappa, sign, uniform, task, z, alpha, M1, M2, K):
    """Fill relevant, irrelevant, kappa, sign (n, l+1) from numbers `uniform` (n, l+1, 2) in [0, 1).

    A context carries mu_a or mu_b with probability alpha/2 each, every other relevant pattern with (1 - alpha)/(M1 - 2); its
    label is +1 on mu_a, -1 on mu_b and a coin on others. The irrelevant pattern is uniform, kappa ~ U(-K, K). Where a number
    settles an index, what is left of it is uniform again, and settles the next: the coin, and kappa.
    """
    n, rows = relevant.shape
    for p in range(n):
        a, b = task[p, 0], task[p, 1]
        for t in range(rows):
            which, rest = uniform[p, t, 0], uniform[p, t, 1]
            if t == rows - 1:  # the query
                relevant[p, t] = a if z[p] > 0 else b
                sign[p, t] = 0
            elif which < alpha / 2:
                relevant[p, t] = a
                sign[p, t] = 1
            elif which < alpha:
                relevant[p, t] = b
                sign[p, t] = -1
            else:
                which = (which - alpha) / (1 - alpha) * (M1 - 2)
                other = min(
                    int(which), M1 - 3
                )  # an index among the M1 - 2 patterns other than a and b; < 1 may round to 1
                sign[p, t] = 1 if which - other < 0.5 else -1
                if other >= min(a, b):
                    other += 1
                if other >= max(a, b):
                    other += 1
                relevant[p, t] = other
            index = min(int(rest * M2), M2 - 1)
            irrelevant[p, t] = M1 + index
            kappa[p, t] = K * (2 * (rest * M2 - index) - 1)
