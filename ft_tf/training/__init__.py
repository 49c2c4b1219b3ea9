"""Training: natural, Tikhonov, input noise, TRADES and DP-SGD."""
