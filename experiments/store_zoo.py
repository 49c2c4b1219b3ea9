"""Puts the trained networks of plan "zoo" into the package, next to their records.

Examples:
    python -m experiments.run_plan --plan=zoo --data_dir=DIR
    python -m experiments.store_zoo --runs=results/zoo --data_dir=DIR

Weights go to ft_tf/models/zoo_weights, rounded to float16. Into experiments/zoo go each run's
record, which is of the float32 weights, and a page with the accuracy of the networks as stored. A
card of one: `python -m experiments.assess --model=fmnist_dnn/natural --dataset=fashion_mnist`.
"""

import shutil
from pathlib import Path

from absl import flags

from experiments import _app, _stack, _terminal
from experiments.plans import zoo as plan
from ft_tf import data, metrics, models, records
from ft_tf.models import zoo
from ft_tf.study import directory, execution

FLAGS = flags.FLAGS
RECORDS = Path(__file__).with_name("zoo")
AVERAGED_ALONE = ("fmnist_cnn_1/dpsgd",)
"""Of these only the averaged weights are kept: the package is to stay small."""


PAGE = """# Networks that come with the package

`ft_tf.load_model("fmnist_cnn_1/trades")` gives one, and every `--model` takes its name. Trained by
[plan zoo](../plans/zoo.py), rounded to float16. Test accuracy is that of the network as stored, on
{images:,} images ({source}). The noise seeds of DP-SGD are in the records, so that the networks can
be trained again: to a reader, who knows the noise, epsilon promises nothing.

| network | test accuracy | before rounding | epsilon | record |
| --- | ---: | ---: | ---: | --- |
{lines}
"""


def define_flags() -> None:
    """Defines the flags."""
    _stack.define_flags()
    flags.DEFINE_string("runs", "results/zoo", "The finished runs of plan zoo.")


def main(argv: list[str]) -> None:
    """Runs the binary."""
    del argv
    _stack.start()
    test = data.load("fashion_mnist", FLAGS.data_dir, download=FLAGS.download)
    RECORDS.mkdir(exist_ok=True)
    lines = []
    for config in plan.cells():
        run = Path(FLAGS.runs) / config.name(is_sample=False)
        name = f"{config.architecture}/{config.label.removeprefix('zoo-')}"
        record = records.load(run)
        kept = RECORDS / f"{name.replace('/', '-')}.json"
        shutil.copy(run / records.FILE_NAME, kept)
        both = {
            name: (directory.MODEL, record),
            f"{name}_averaged": (execution.AVERAGED_MODEL, record.averaged),
        }
        for stored, (file, measured) in both.items():
            if measured and stored not in AVERAGED_ALONE:
                _terminal.show(f"written: {zoo.store(models.load(run / file), stored)}")
                accuracy = metrics.accuracy(zoo.load(stored), test.x_test, test.y_test)
                epsilon = f"{record.privacy.epsilon_claimed:.2f}" if record.privacy else ""
                link = f"[{kept.name}]({kept.name})"
                cells = (stored, f"{accuracy:.2%}", f"{measured.accuracy.test:.2%}", epsilon, link)
                lines.append(f"| {' | '.join(cells)} |")
    page = PAGE.format(images=len(test.y_test), source=test.source, lines="\n".join(sorted(lines)))
    records.write_text(RECORDS / "README.md", page)


if __name__ == "__main__":
    _app.run(main, define_flags)
