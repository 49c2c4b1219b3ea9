"""The flag --protections of inject_faults: what protections cost and what they keep."""

from pathlib import Path
from typing import Any

from absl import flags

from experiments import _fault_lines as lines
from experiments import _fault_plot, _terminal
from ft_tf import faults, records
from ft_tf.errors import ArgumentError
from ft_tf.faults.protections.base import protection_names, protection_of
from ft_tf.study.trained_models import TrainedModel

FLAGS = flags.FLAGS
flags.disclaim_key_flags()


def define_flags() -> None:
    """Defines the flag."""
    flags.DEFINE_list(
        "protections",
        None,
        f"Also compare protections under the same faults: all, or some of "
        f"{', '.join(protection_names())}. An option may follow: triplication:LAYER+LAYER, "
        "range_restriction:zero.",
    )


def _chosen() -> list[str]:
    return protection_names() if FLAGS.protections == ["all"] else FLAGS.protections


def check(target: str) -> None:
    """Raises ArgumentError if a protection is not known, or faults are not in the weights."""
    for name in _chosen() or ():
        protection_of(name)
    if FLAGS.protections and target != "weights":
        raise ArgumentError(f"target={target!r} must be 'weights' with --protections")


def compare(subject: TrainedModel, path: Path, **settings: Any) -> None:
    """Measures the protections; prints the table and writes it and its figure.

    Args:
        subject: the model.
        path: of the campaign's CSV file; the names of the new files begin as its.
        settings: arguments of `faults.sweep`.
    """
    settings.pop("target")
    table = faults.compare_protections(
        subject.model,
        subject.x,
        subject.y,
        protections=_chosen(),
        x_train=subject.x_train,
        **settings,
    )
    _terminal.show("protections, under the same faults:")
    _terminal.show("\n".join(f"  {line}" for line in lines.protection_lines(table)))
    file = path.with_name(f"{path.stem}-protections.csv")
    records.write_text(file, table.to_csv(index=False))
    spread = table.groupby("rate")["accuracy"].agg(lambda values: values.max() - values.min())
    rate = spread.idxmax()  # where protections differ most
    title = f"{subject.name}: {settings['fault'].name} at rate {rate:g}"
    _fault_plot.save_protections(file.with_suffix(".png"), table[table["rate"] == rate], title)
    _terminal.show(f"plot: {file.with_suffix('.png')}")
