"""Flags that name what is tested: finished runs, or the user's own model file."""

from collections.abc import Iterator
from pathlib import Path

from absl import flags

from experiments import _app, _stack
from ft_tf import checks, models
from ft_tf.data import own
from ft_tf.errors import ArgumentError
from ft_tf.study import datasets, trained_models
from ft_tf.study.trained_models import TrainedModel

FLAGS = flags.FLAGS
flags.disclaim_key_flags()  # --help lists the flags under the binary that asks for them


def define_flags() -> None:
    """Defines the flags."""
    _stack.define_flags()
    flags.DEFINE_list(
        "run",
        None,
        "Directory of a finished run of train or reproduce; attack takes one, inject_faults "
        "several.",
    )
    flags.DEFINE_string(
        "model",
        None,
        "In place of --run: your own model, a .keras or .h5 file of Keras 2 or 3, or for "
        "inject_faults a .tflite file. No code from it runs.",
    )
    flags.DEFINE_string(
        "dataset",
        None,
        f"With --model, the data set it is tested on: {' or '.join(datasets.names())}, pixels in "
        "[0, 1].",
    )
    flags.DEFINE_string(
        "data",
        None,
        f"Your own data: those that the run was trained on, or with --model in place of --dataset; "
        f"{own.FORMS}.",
    )


def check() -> None:
    """Checks the flags and what they name, before anything is loaded.

    Raises:
        ArgumentError: a flag is missing, or names nothing that can be tested.
    """
    if FLAGS.model:
        if FLAGS.run:
            raise ArgumentError(f"--run={','.join(FLAGS.run)} and --model={FLAGS.model}: give one")
        if bool(FLAGS.dataset) == bool(FLAGS.data):
            raise ArgumentError(
                f"--model={FLAGS.model} needs --dataset={'|'.join(datasets.names())} or --data"
            )
        if FLAGS.dataset:
            checks.check_choice(datasets.names(), dataset=FLAGS.dataset)
        return
    if FLAGS.dataset:
        raise ArgumentError(f"--dataset={FLAGS.dataset} is for --model; a run knows its data set")
    if not FLAGS.run:
        raise ArgumentError("--run must name the directory of a finished run, or --model a file")
    for run in FLAGS.run:
        trained_models.check_finished(Path(run))


def results() -> list[str]:
    """Returns the beginning of the names of each model's result files."""
    if FLAGS.model:
        return [trained_models.results_of_file(Path(FLAGS.model), _dataset())]
    return [trained_models.results_of_run(Path(run)) for run in FLAGS.run]


def _dataset() -> str:
    if not FLAGS.data:
        return FLAGS.dataset
    is_folder = Path(FLAGS.data).is_dir()
    shape = models.load(Path(FLAGS.model)).input_shape[1:] if is_folder else None
    where = {"data_dir": FLAGS.data_dir, "download": FLAGS.download, "shape": shape}
    return datasets.register_own(FLAGS.data, **where).name


def provenance(subject: TrainedModel) -> str:
    """Returns one line that names the model, its data and the threads."""
    return f"{subject.name}; {subject.description}; {FLAGS.threads} threads"


def loaded() -> Iterator[TrainedModel]:
    """Yields each model with its test images, and prints warnings about them."""
    where = {"data_dir": FLAGS.data_dir, "download": FLAGS.download}
    if FLAGS.model:
        found = iter([trained_models.of_file(Path(FLAGS.model), _dataset(), **where)])
    else:
        runs = map(Path, FLAGS.run)
        found = (trained_models.of_run(run, data_file=FLAGS.data, **where) for run in runs)
    for subject in found:
        for note in subject.notes:
            _app.warn(note)
        yield subject
