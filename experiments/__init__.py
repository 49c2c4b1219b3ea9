"""The absl-flag binaries: each parses flags, calls ft_tf and prints."""

import sys

if sys.argv[:1] == ["-m"]:  # python -m experiments.NAME begins: its first own line is later
    from experiments import _interrupts, _terminal

    _terminal.occupy_closed()
    _interrupts.end_process()
