"""Flags that name what is tested: finished runs, or the user's own model file."""

from collections.abc import Iterator
from pathlib import Path

from absl import flags

from experiments import _app, _stack, _terminal
from ft_tf import checks
from ft_tf.errors import ArgumentError
from ft_tf.study import subjects

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(_stack)

_DATASETS = ("fashion_mnist", "cifar10")

flags.DEFINE_list(
    "run",
    None,
    "Directory of a finished run of train or reproduce; attack takes one, inject_faults several.",
)
flags.DEFINE_string(
    "model",
    None,
    "In place of --run: your own model, a .keras file of Keras 2 or 3. No code from it runs.",
)
flags.DEFINE_string(
    "dataset",
    None,
    f"With --model, the data set it is tested on: {' or '.join(_DATASETS)}, pixels in [0, 1].",
)


def check() -> None:
    """Looks at the flags and at what they name, before anything is loaded.

    Raises:
        ArgumentError: a flag is missing, or names nothing that can be tested.
    """
    if FLAGS.model:
        if FLAGS.run:
            raise ArgumentError(f"--run={','.join(FLAGS.run)} and --model={FLAGS.model}: give one")
        if not FLAGS.dataset:
            raise ArgumentError(f"--model={FLAGS.model} needs --dataset={'|'.join(_DATASETS)}")
        checks.check_choice(_DATASETS, dataset=FLAGS.dataset)
        return
    if FLAGS.dataset:
        raise ArgumentError(f"--dataset={FLAGS.dataset} is for --model; a run knows its data set")
    if not FLAGS.run:
        raise ArgumentError("--run must name the directory of a finished run, or --model a file")
    for run in FLAGS.run:
        _check_run(run)


def _check_run(run: str) -> None:
    if (Path(run) / "record.json").is_file():
        return
    if (Path(run) / "config.json").is_file():
        raise ArgumentError(
            f"--run={run} is not finished: give its training command again to go on"
        )
    raise ArgumentError(f"--run={run} holds no record.json: name a finished run's directory")


def results() -> list[str]:
    """How the names of each model's result files begin."""
    if FLAGS.model:
        return [subjects.results_of_file(Path(FLAGS.model), FLAGS.dataset)]
    return [subjects.results_of_run(Path(run)) for run in FLAGS.run]


def loaded() -> Iterator[subjects.Subject]:
    """Each model with its test images; what the user has to know about it is printed."""
    where = {"data_dir": FLAGS.data_dir, "download": FLAGS.download}
    if FLAGS.model:
        found = iter([subjects.of_file(Path(FLAGS.model), FLAGS.dataset, **where)])
    else:
        found = (subjects.of_run(Path(run), **where) for run in FLAGS.run)
    for subject in found:
        _terminal.show(f"{subject.name}\n  {subject.description}")
        for note in subject.notes:
            _app.warn(note)
        yield subject
