"""Benchmarks of ft_tf against what a user would run instead; `experiments.benchmark` runs them."""
