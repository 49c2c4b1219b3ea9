"""One card about one model: fault tolerance, robustness, privacy, and what was not measured.

Examples:
    python -m experiments.assess --model=FILE.keras --dataset=fashion_mnist
    python -m experiments.assess --model=FILE.keras --data=FILE.npz --budget="30 min"
    python -m experiments.assess --model=FILE.keras --data=FOLDER
    python -m experiments.assess --model=FILE.keras --data=tfds:mnist --data_dir=DIR
    python -m experiments.assess --model=FILE.keras --data=my_module:load
    python -m experiments.assess --run=DIR
    python -m experiments.assess --compare DIR1 DIR2

Prints the card and writes it below --output_dir: card.html (pictures first), card.md (with the
metadata that model hubs read), card.json (all of it; the others are made from it). The budget goes
where intervals are widest. The same command continues from card.json where it was interrupted, and
with a larger --budget makes the intervals shorter.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from experiments import _app, _flags, _stack, _terminal
from ft_tf import assessment, checks, models, records
from ft_tf.assessment import comparison, page
from ft_tf.data import own
from ft_tf.errors import ArgumentError
from ft_tf.faults.rows import seconds_of
from ft_tf.study import datasets, trained_models

FLAGS = flags.FLAGS
_SPLITS = ("x_test", "y_test", "x_train", "y_train")


def define_flags() -> None:
    """Defines the flags."""
    _stack.define_flags()
    flags.DEFINE_string(
        "model", None, "Your model, a .keras, .h5 or .tflite file. No code from it runs."
    )
    flags.DEFINE_string(
        "dataset", None, f"Data set it is tested on: {' or '.join(datasets.names())}."
    )
    flags.DEFINE_string(
        "data",
        None,
        f"In place of --dataset: {own.FORMS}. The arrays are x_test and y_test, and x_train and "
        "y_train for membership inference; images of bytes are divided by 255.",
    )
    flags.DEFINE_string(
        "run",
        None,
        "A finished run: its model, its data and its record. With --model, the record alone; by "
        "default the record.json next to the model.",
    )
    flags.DEFINE_string("budget", "10 min", "Time to spend, such as '90 s' or '1 h'.")
    _flags.define_number(
        "epsilon", None, "Radius of the attack (l_inf); default: 8/255 of the range."
    )
    flags.DEFINE_string(
        "attack",
        None,
        "pgd, apgd, autoattack, ...; default: by the time there is, square for a .tflite file.",
    )
    flags.DEFINE_string("storage", None, "Format of the stored weights; default: the model's own.")
    flags.DEFINE_integer(
        "images", assessment.IMAGES, "Test images for faults and attacks, at most."
    )
    flags.DEFINE_integer("seed", 0, "Fixes faults, attacks and the order of the test images.")
    flags.DEFINE_string("output_dir", None, "Where the card goes; default: next to the model.")
    flags.DEFINE_bool(
        "compare", False, "Set two cards against each other: two files or directories."
    )
    flags.DEFINE_bool("all", False, "Print every table of the card, not one screen.")


@dataclasses.dataclass(frozen=True)
class _Material:
    """What is assessed: arguments of `assess`, and where the card goes by default."""

    model: Any
    arrays: dict[str, np.ndarray]
    about: dict[str, Any]
    place: Path


def _material() -> _Material:
    if not FLAGS.model:
        if not FLAGS.run:
            raise ArgumentError("--model must name a model file, or --run a finished run")
        where = {"data_dir": FLAGS.data_dir, "download": FLAGS.download, "data_file": FLAGS.data}
        run = trained_models.load_run(Path(FLAGS.run), **where)
        arrays = {name: getattr(run.data, name) for name in _SPLITS}
        about = {"name": run.record.name, "dataset": run.data.name}
        return _Material(
            run.model, arrays, {**about, "record": run.record}, Path(FLAGS.run) / "card"
        )
    if bool(FLAGS.dataset) == bool(FLAGS.data):
        raise ArgumentError(f"--model={FLAGS.model} needs --dataset or --data")
    path = Path(FLAGS.model)
    model = models.load(path)
    if FLAGS.data:
        arrays, about = _own(model)
    else:
        found = datasets.get(FLAGS.dataset).load(data_dir=FLAGS.data_dir, download=FLAGS.download)
        arrays = {name: getattr(found, name) for name in _SPLITS}
        about = {"dataset": found.name}
    arrays = {name: _shaped(array, model) if name[0] == "x" else array
              for name, array in arrays.items()}  # fmt: skip
    record = Path(FLAGS.run or path.parent) / records.FILE_NAME
    found = records.load(record) if FLAGS.run or record.exists() else None
    about |= {"name": models.zoo.title(path)}
    about |= {"record": found if isinstance(found, records.Run) else None}
    return _Material(model, arrays, about, Path(f"{models.zoo.beside(path)}-card"))


def _own(model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    inputs, outputs = model.input_shape, model.output_shape
    found = own.read(
        FLAGS.data,
        shape=inputs[1:] if isinstance(inputs, tuple) else None,
        data_dir=FLAGS.data_dir,
        download=FLAGS.download,
    )
    if isinstance(outputs, tuple):
        found.check_classes(max(2, outputs[-1] or 0))
    if found.classes:
        _app.warn(f"{found.order}: the model must have its classes in this order")
    for note in found.notes:
        _app.warn(note)
    return found.arrays, {"dataset": found.name}


def _shaped(x: np.ndarray, model: Any) -> np.ndarray:
    """Inputs as the model takes them: (784,) or (28, 28) in place of (28, 28, 1), say."""
    wanted = model.input_shape[1:] if isinstance(model.input_shape, tuple) else (None,)
    if None in wanted or np.prod(wanted) != np.prod(x.shape[1:]):
        return x
    return x.reshape(len(x), *wanted)


def _compare(places: list[str]) -> None:
    if len(places) != 2:
        raise ArgumentError("--compare needs two cards: card.json files or their directories")
    cards = [assessment.load(Path(place)) for place in places]
    found = comparison.page_of_two(*cards)
    _show(found)
    if FLAGS.output_dir:
        place = Path(FLAGS.output_dir)
        _write(place, "comparison", found)
        found = [dataclasses.asdict(line) for line in comparison.differences(*cards)]
        records.write_text(place / "comparison.json", records.dumps(found))


def _show(found: page.Page) -> None:
    print(page.terminal(found, width=_terminal.width(), is_whole=FLAGS.all), flush=True)


def _write(place: Path, name: str, found: page.Page) -> None:
    records.write_text(place / f"{name}.html", page.html(found))
    records.write_text(place / f"{name}.md", page.markdown(found))
    print(f"written: {place / name}.html, .md and .json")


def main(argv: list[str]) -> None:
    """Runs the binary."""
    if FLAGS.compare:
        _compare(argv[1:])
        return
    if argv[1:]:
        raise ArgumentError(f"{argv[1]!r} is not a flag: two cards go with --compare")
    checks.check_non_negative_integer(seed=FLAGS.seed)
    seconds_of(FLAGS.budget)
    _stack.start()
    material = _material()
    place = Path(FLAGS.output_dir or material.place)
    records.check_writable(place / assessment.FILE_NAME)
    options = {name: FLAGS[name].value for name in
               ("budget", "epsilon", "attack", "storage", "images", "seed")}  # fmt: skip
    card = assessment.assess(
        material.model, **material.arrays, **material.about, **options, output_dir=place
    )
    found = page.page_of(card)
    _show(found)
    _write(place, "card", found)


if __name__ == "__main__":
    _app.run(main, define_flags, words=2, resumes=True)
