"""Zhang, Singh, Latham, Saxe: "Training Dynamics of In-Context Learning in Linear Attention" (ICML 2025)."""
