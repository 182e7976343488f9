"""The model of Li et al. 2024 and of Athreya and Wang: softmax attention with one matrix that finds the nearest context."""
