"""Measures the library against what a user would run instead, on this machine.

Examples:
    python -m experiments.benchmark dpsgd --architecture=fmnist_cnn_1
    python -m experiments.benchmark memory --architecture=fmnist_cnn_1
    python -m experiments.benchmark trades --architecture=fmnist_dnn --batch_size=128
    python -m experiments.benchmark faults --architecture=fmnist_dnn --format=json
    python -m experiments.benchmark formats      trials in each storage format over float32
    python -m experiments.benchmark campaigns    trials to a failure rate of +-1 point
    python -m experiments.benchmark protections --architecture=fmnist_cnn_2
    python -m experiments.benchmark executors    20 networks, one by one and a worker a thread
    python -m experiments.benchmark attacks --run=DIR --peer_python=VENV/bin/python
    python -m experiments.benchmark peers --peer_python=VENV/bin/python    PyTorch and Opacus
    python -m experiments.benchmark scaling --output=scaling.png    batch size, width and depth
    python -m experiments.benchmark gpu --format=json    checks and times, with a GPU or without

Timings mean something only on a machine that does nothing else.
"""

import importlib
import json
from typing import Any

from absl import flags

from experiments import _app, _flags, _stack
from ft_tf import architectures, checks
from ft_tf.errors import ArgumentError

FLAGS = flags.FLAGS
_NETWORKS = tuple(name for name in architectures.NAMES if name != "circles_mlp")
"""Those of images."""


def define_flags() -> None:
    """Defines the flags."""
    _stack.define_flags()
    flags.DEFINE_string("architecture", "fmnist_dnn", f"One of {', '.join(_NETWORKS)}.")
    flags.DEFINE_integer(
        "batch_size",
        None,
        "Examples per step; default: 250 dpsgd, protections; 128 trades, executors; 1000 faults; "
        "4096 and 16384 memory.",
    )
    flags.DEFINE_integer("rounds", 3, "Rounds; each contender is measured once in every round.")
    flags.DEFINE_string("precision", "float32", "trades: float32 or mixed_bfloat16.")
    flags.DEFINE_list(
        "contenders",
        None,
        "dpsgd: some of plain, fit, plain_l2, tikhonov, fast, reference, vectorized; default: "
        "all. At 250 examples of cifar10_cnn reference and vectorized each take more than 24 GiB "
        "of memory.",
    )
    flags.DEFINE_list("run", None, "attacks: directories of finished runs.")
    flags.DEFINE_string(
        "peer_python",
        None,
        "The Python of an environment of the peers' own. attacks: pip install torch torchattacks "
        "(without it no peer); peers: pip install torch opacus.",
    )
    flags.DEFINE_integer("images", 1000, "attacks: number of test images, the first ones.")
    _flags.define_number("epsilon", 0.1, "attacks: radius of the ball; 8/255, say.")
    flags.DEFINE_string("distance", "l_inf", "attacks: the ball's norm, l_inf or l_2.")
    flags.DEFINE_string("output", None, "scaling: PNG, PDF or SVG file of the figure.")
    flags.DEFINE_string("format", "text", "text: a table; json: the same as a list of objects.")


_BENCHMARKS = {
    "dpsgd": ("architecture", "batch_size", "contenders"),
    "memory": ("architecture", "batch_size"),
    "trades": ("architecture", "batch_size", "precision"),
    "faults": ("architecture", "batch_size", "data_dir"),
    "formats": ("networks",),
    "campaigns": ("networks", "data_dir"),
    "protections": ("architecture", "batch_size", "data_dir"),
    "executors": ("architecture", "batch_size", "threads", "data_dir", "download"),
    "attacks": (
        "run", "peer_python", "images", "epsilon", "distance", "threads", "data_dir", "download",
    ),
    "peers": ("peer_python", "threads"),
    "scaling": ("output",),
    "gpu": ("data_dir",),
}  # fmt: skip
"""Options of experiments.benchmarks.NAME.run besides rounds: flags, or networks of one name."""
_SHARED = ("threads",)


def _table(rows: list[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns] + [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main(argv: list[str]) -> None:
    """Runs the binary."""
    if len(argv) < 2:
        raise ArgumentError(f"name what to measure: one of {', '.join(_BENCHMARKS)}")
    checks.check_choice(_BENCHMARKS, benchmark=argv[1])
    checks.check_choice(_NETWORKS, architecture=FLAGS.architecture)
    checks.check_choice(("text", "json"), format=FLAGS.format)
    taken = ["architecture" if name == "networks" else name for name in _BENCHMARKS[argv[1]]]
    for name in sorted({name for names in _BENCHMARKS.values() for name in names} & set(FLAGS)):
        if FLAGS[name].present and name not in (*taken, *_SHARED):
            takers = ", ".join(key for key, names in _BENCHMARKS.items() if name in names)
            raise ArgumentError(f"{FLAGS[name].serialize()[2:]} goes with {takers} only")
    if FLAGS.contenders == []:
        raise ArgumentError("contenders= names none: leave the flag out for all")
    if FLAGS.batch_size is not None:
        checks.check_positive_integer(batch_size=FLAGS.batch_size)
    options = {name: FLAGS[name].value for name in taken if FLAGS[name].value is not None}
    if "networks" in _BENCHMARKS[argv[1]]:
        network = options.pop("architecture")
        options |= {"networks": (network,)} if FLAGS["architecture"].present else {}
    checks.check_positive_integer(rounds=FLAGS.rounds)
    _stack.start()
    module = importlib.import_module(f"experiments.benchmarks.{argv[1]}")
    if "contenders" in options:
        options = {**options, "contenders": module.contenders_named(FLAGS.contenders)}
    rows = module.run(rounds=FLAGS.rounds, **options)
    print(json.dumps(rows, indent=1) if FLAGS.format == "json" else _table(rows))


if __name__ == "__main__":
    _app.run(main, define_flags, words=1)
