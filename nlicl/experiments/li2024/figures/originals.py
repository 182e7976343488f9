"""What is known of the figures of Li et al. 2024 that ours stand beside. Marks: see `nlicl.papers.li2024`."""

from ...figure import Original

__all__ = ["ORIGINALS"]

_TRAINED = (
    "The model and SGD [paper]; m_a = m_b = 60, the start, alpha = 0.8 and l = 20 in training [quoted]; M1 = 6, M2 = 24 "
    "[summary]."
)
_ONE_LAYER = (
    "beta, xi, m, which are taken from the published curves [derived]; step size, batch and what an epoch is: 400 steps on "
    "fresh batches of 256 here. The calibrated start departs from the paper's in |a_i|."
)
_GPT2 = "GPT-2 with 3 layers and 2 heads [paper], in the framework of Garg et al. 2022 [quoted]."
_GPT2_OPEN = "Width, tokens, where it is read, loss, optimizer, batch and steps; what was taken is in the notes."
_ANOTHER = "How the GPT-2 is fed and trained. Ours is the one-layer model of the theory: another model."

ORIGINALS = {
    "fig2a": Original(
        "Figure 2 (a)",
        f"{_TRAINED} Norms and pattern components of W_Q p_query and W_K p_i at epochs 0 to 400 [digitised], but for the norm "
        "of W_Q p_query.",
        _ONE_LAYER,
    ),
    "fig2b": Original(
        "Figure 2 (b)",
        f"{_TRAINED} Attention on contexts with the query's ODR pattern and on others at epochs 0 to 200 [digitised].",
        f"{_ONE_LAYER} The number of training tasks: 6 and 18 here. S_1 and alpha': 1.2 and 0.8 here.",
    ),
    "fig2c": Original(
        "Figure 2 (c)",
        f"{_TRAINED} Angles to mu-bar and magnitudes of 5 neurons at epochs 0, 100, 200 and 400 [digitised].",
        f"{_ONE_LAYER} Which 5 neurons of 64 are drawn: the largest here.",
    ),
    "fig2d": Original(
        "Figure 2 (d)",
        f"{_TRAINED} Angles to q and magnitudes of 10 neurons, 5 of each sign of a_i, at epochs 0, 100 and 400 [digitised].",
        f"{_ONE_LAYER} Which 10 neurons of 64 are drawn: the largest here.",
    ),
    "fig3a": Original(
        "Figure 3 (a)",
        f"{_GPT2} S_1 = 0.5, 0.7, 0.9, 1.1, 1.3 [paper]; errors at l = 4 to 20 [digitised].",
        f"{_GPT2_OPEN} alpha' and the ODR patterns: 1 and pairs of IDR patterns here.",
    ),
    "fig3b": Original(
        "Figure 3 (b)",
        f"{_GPT2} alpha' = 1, 0.9, 0.8, in domain and out of domain [paper]; errors at l = 0 to 20 [digitised].",
        f"{_GPT2_OPEN} S_1 and the ODR patterns: 1.2 and pairs of IDR patterns here.",
    ),
    "fig3a-one-layer": Original(
        "Figure 3 (a)", f"{_GPT2} S_1 = 0.5, 0.7, 0.9, 1.1, 1.3 [paper]; errors at l = 4 to 20 [digitised].", _ANOTHER
    ),
    "fig3b-one-layer": Original(
        "Figure 3 (b)",
        f"{_GPT2} alpha' = 1, 0.9, 0.8, in domain and out of domain [paper]; errors at l = 0 to 20 [digitised].",
        _ANOTHER,
    ),
    "fig4a": Original(
        "Figure 4 (a)",
        "The one-layer model, alpha' = 0.8, five classical methods [paper]; errors at l = 6 to 20 [digitised], of 2000 "
        "prompts a point [derived].",
        "The domain of the prompts, S_1, K', the settings of the methods: in domain and two settings out of domain here, "
        "scikit-learn's defaults.",
    ),
    "fig4b": Original(
        "Figure 4 (b)",
        "The one-layer model, alpha' = 0.6, five classical methods; harder than Figure 4 (a), and ICL compares well with the "
        "classical methods [paper].",
        "The curves; the domain of the prompts, S_1, K', the settings of the methods: as in Figure 4 (a) here.",
    ),
    "fig5a": Original(
        "Figure 5 (a)",
        "The one-layer model, out of domain; random and magnitude pruning of neurons, ||W_O(i,.)|| in ascending order "
        "[paper]; errors at 0 to 26 of 64 neurons removed, and the norms [digitised].",
        "S_1 and the test length: 1.1 and 20 here. Which error is plotted: the hinge loss and the 0-1 error at two cuts here.",
    ),
    "fig5b": Original(
        "Figure 5 (b)",
        "The one-layer model, out of domain, magnitude pruning at alpha' = 0.6, 0.8, 1; larger alpha' tolerates it better "
        "[paper].",
        "The curves; S_1 and the test length: 1.1 and 20 here. Which error is plotted.",
    ),
    "fig6": Original(
        "Figure 6",
        f"{_GPT2} Attention on contexts with the query's pattern and on others, by layer, at epochs 0 to 1600 [digitised]; "
        "each layer comes to select those with the query's pattern [paper]. The number of the figure is inferred [derived].",
        f"The curves. {_GPT2_OPEN} Whether the query's attention on itself counts. Here one layer does as a rule, not each.",
    ),
    "fig7": Original(
        "Figure 7",
        f"{_GPT2} Magnitudes and angles of neurons, by layer: most grow, and the angles of Figure 2 (c), (d) are seen in one "
        "layer [paper]. The number of the figure is inferred [derived].",
        f"The curves. {_GPT2_OPEN} What a neuron of a layer is: a row on the way by attention here.",
    ),
}
"""By the names of our figures."""
