"""Puts the trained networks of plan "zoo" into the package, next to their records.

Examples:
    python -m experiments.run_plan --plan=zoo --data_dir=DIR
    python -m experiments.store_zoo --runs=results/zoo

Weights go to ft_tf/models/zoo_weights, rounded to float16; each run's record goes to
experiments/zoo, and is of the float32 weights. Of the networks as stored `experiments.assess
--model=fmnist_dnn/natural` writes a card.
"""

import shutil
from pathlib import Path

from absl import flags

from experiments import _app, _terminal
from experiments.plans import zoo as plan
from ft_tf import models, records
from ft_tf.models import zoo
from ft_tf.study import directory, execution

FLAGS = flags.FLAGS
RECORDS = Path(__file__).with_name("zoo")
AVERAGED_ALONE = ("fmnist_cnn_1/dpsgd",)
"""Of these only the averaged weights are kept: the package is to stay small."""


def define_flags() -> None:
    """Defines the flags."""
    flags.DEFINE_string("runs", "results/zoo", "The finished runs of plan zoo.")


def main(argv: list[str]) -> None:
    """Runs the binary."""
    del argv
    for config in plan.cells():
        run = Path(FLAGS.runs) / config.name(is_sample=False)
        name = f"{config.architecture}/{config.label.removeprefix('zoo-')}"
        files = {name: run / directory.MODEL, f"{name}_averaged": run / execution.AVERAGED_MODEL}
        for stored, path in files.items():
            if path.exists() and stored not in AVERAGED_ALONE:
                _terminal.show(f"written: {zoo.store(models.load(path), stored)}")
        RECORDS.mkdir(exist_ok=True)
        shutil.copy(run / records.FILE_NAME, RECORDS / f"{name.replace('/', '-')}.json")


if __name__ == "__main__":
    _app.run(main, define_flags)
