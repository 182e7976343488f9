"""The one-layer transformer of Li et al. 2024 and Bu et al. 2024: softmax attention and a ReLU MLP."""
