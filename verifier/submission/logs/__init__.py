"""Training logs: both dialects of the challenge, every timing, size and metric line with its printed digits."""
