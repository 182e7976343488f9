"""The model of Li et al. 2024 and Athreya and Wang: softmax attention with one merged matrix that finds the nearest context."""
