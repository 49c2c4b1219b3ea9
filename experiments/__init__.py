"""The absl-flag binaries: each parses flags, calls ft_tf and prints."""
