"""Injects stuck-at-0 faults into a finished run's model and writes accuracies as CSV.

Examples:
    python -m experiments.inject_faults --run=DIR --target=units --rates=0,0.1,0.5,0.9
    python -m experiments.inject_faults --run=DIR --target=weights --trials=100 --output=faults.csv

The CSV has a row per rate and trial: target, rate, trial, seed, faults, accuracy. A summary with
the mean and its 95% interval per rate follows on the terminal.
"""

import sys
from pathlib import Path

import pandas as pd
from absl import flags
from tqdm import tqdm

from experiments import _app, _stack
from ft_tf import checks, faults, records
from ft_tf.errors import ArgumentError
from ft_tf.study import finished

FLAGS = flags.FLAGS

flags.DEFINE_string("run", None, "Directory of a finished run.")
flags.DEFINE_string("target", "weights", "weights, units or both.")
flags.DEFINE_list("rates", "0,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9", "Shares of faulty sites.")
flags.DEFINE_integer("trials", 10, "Fault sets per rate.")
flags.DEFINE_integer("seed", 0, "Fixes the fault sets.")
flags.DEFINE_string("output", None, "CSV file; default: faults-TARGET-seed_SEED.csv in the run.")


def _rates() -> list[float]:
    rates = []
    for text in FLAGS.rates:
        try:
            rates.append(float(text))
        except ValueError:
            raise ArgumentError(f"rates={text!r} must be a number in [0, 1]") from None
    for rate in rates:
        checks.check_fraction(rates=rate)
    if not rates:
        raise ArgumentError("rates='' must name at least one rate")
    return rates


def _print_summary(summary: pd.DataFrame) -> None:
    for row in summary.itertuples():
        print(
            f"{row.target} {row.rate:8.4g}: accuracy {row.accuracy:7.2%}  "
            f"[{max(row.low, 0):.2%}, {min(row.high, 1):.2%}]  {row.faults:.0f} faults"
        )
    print(f"{summary.level.iloc[0]:.0%} intervals: {summary.method.iloc[0]} over trials")


def main(argv: list[str]) -> None:
    """Runs the binary."""
    del argv
    checks.check_choice(("weights", "units", "both"), target=FLAGS.target)
    rates = _rates()
    checks.check_positive_integer(trials=FLAGS.trials)
    checks.check_non_negative_integer(seed=FLAGS.seed)
    directory = _stack.run_directory(FLAGS.run)
    _stack.start()
    run = finished.load_run(directory, data_dir=FLAGS.data_dir, download=FLAGS.download)
    print(run.data.describe(), flush=True)
    with tqdm(
        total=len(set(rates)) * FLAGS.trials, file=sys.stderr, disable=not sys.stderr.isatty()
    ) as bar:
        frame = faults.sweep(
            run.model,
            run.data.x_test,
            run.data.y_test,
            target=FLAGS.target,
            rates=rates,
            trials=FLAGS.trials,
            seed=FLAGS.seed,
            progress=lambda row: bar.update(),
        )
    name = f"faults-{FLAGS.target}-seed_{FLAGS.seed}.csv"
    path = Path(FLAGS.output) if FLAGS.output else directory / name
    records.write_text(path, frame.to_csv(index=False))
    _print_summary(faults.summarize(frame))
    print(f"written: {path}")


if __name__ == "__main__":
    _app.run(main)
