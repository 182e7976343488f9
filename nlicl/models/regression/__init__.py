"""The model of Huang et al. 2023: softmax attention on linear tasks, squared loss."""
