"""Measures the library against what a user would run instead, in turn, on this machine.

Examples:
    python -m experiments.benchmark dpsgd --architecture=fmnist_cnn_1
    python -m experiments.benchmark trades --architecture=fmnist_dnn --batch_size=128
    python -m experiments.benchmark faults --architecture=fmnist_dnn --format=json
"""
