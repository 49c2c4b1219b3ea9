"""Injects faults into trained models; writes accuracies as CSV and prints a summary.

Examples:
    python -m experiments.inject_faults --run=DIR --target=units --rates=0,0.1,0.5,0.9
    python -m experiments.inject_faults --run=DIR --fault=bit_flip --rates=1e-6,1e-5,1e-4
    python -m experiments.inject_faults --run=DIR1,DIR2,DIR3 --trials=50 --half_width=0.5
    python -m experiments.inject_faults --run=DIR --trials=1000 --workers=4
    python -m experiments.inject_faults --model=FILE.keras --dataset=fashion_mnist

The CSV of each model has a row per rate and trial: target, rate, trial, seed, faults, accuracy. The
same trial number hits the same sites in models of the same shape, so runs can be compared in pairs.
Runs that differ in nothing but their seed are also summed up over seeds. Workers share out the
trials of a run (--per_layer stays in this process); the CSV is the same to the byte with the same
--threads. Beside it stands a file of its name that ends in .flags: --flagfile repeats the campaign.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from absl import flags
from tqdm import tqdm

from experiments import _app, _stack, _subject, _workers
from ft_tf import checks, faults, intervals, records
from ft_tf.errors import ArgumentError
from ft_tf.study import executors
from ft_tf.study.finished import FinishedRun
from ft_tf.study.subjects import Subject

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(_subject)
flags.adopt_module_key_flags(_workers)

COLUMNS = ["target", "rate", "trial", "seed", "faults", "accuracy"]
FAULTS: dict[str, Callable[[], faults.FaultModel]] = {
    "stuck_at_0": lambda: faults.StuckAt(0.0),
    "stuck_at_1": lambda: faults.StuckAt(1.0),
    "sign_flip": faults.SignFlip,
    "bit_flip": lambda: faults.BitFlip(storage=FLAGS.storage),
    "bit_errors": lambda: faults.BitErrors(storage=FLAGS.storage),
}

flags.DEFINE_string(
    "target",
    "weights",
    "weights: any trainable parameter; units: Dense neurons and convolution channels, but those of "
    "the output layer; or both.",
)
flags.DEFINE_list(
    "rates",
    "0,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9",
    "Shares of faulty sites, each in [0, 1]. Keep 0: it gives the accuracy without faults.",
)
flags.DEFINE_integer("trials", 10, "Fault sets per rate; with --half_width the most there may be.")
flags.DEFINE_integer("seed", 0, "Fixes the fault sets.")
flags.DEFINE_string(
    "fault",
    "stuck_at_0",
    f"What happens at a faulty site, one of {', '.join(FAULTS)}. bit_flip inverts one bit of a "
    "faulty word (rate per word); bit_errors inverts bits one by one (rate per bit).",
)
flags.DEFINE_string(
    "storage", "float32", "bit_flip, bit_errors: words are float32, bfloat16 or int8."
)
flags.DEFINE_string(
    "allocation",
    "model",
    "How many faults: model: exactly round(rate * sites) among all sites; layer: exactly so many "
    "in each layer; bernoulli: each site on its own.",
)
flags.DEFINE_float(
    "half_width",
    None,
    "Stop when the 95% interval at every rate is +- this many percentage points or less.",
)
flags.DEFINE_integer("images_per_trial", None, "Test each trial on a random subset of images.")
flags.DEFINE_float("per_layer", None, "Also fault one layer at a time, at this rate.")
flags.DEFINE_bool(
    "all_measures",
    False,
    "Further columns: sdc_rate (share of predictions changed), retention, non_finite, and "
    "how far outputs moved.",
)
flags.DEFINE_string(
    "output",
    None,
    "CSV file of a single model; default: faults-TARGET-FAULT-seed_SEED.csv in the run's directory "
    "or, with the model's name before it, beside the model file.",
)


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


def _check_flags() -> None:
    checks.check_choice(("weights", "units", "both"), target=FLAGS.target)
    checks.check_choice(FAULTS, fault=FLAGS.fault)
    checks.check_choice(("float32", "bfloat16", "int8"), storage=FLAGS.storage)
    checks.check_choice(("model", "layer", "bernoulli"), allocation=FLAGS.allocation)
    checks.check_positive_integer(trials=FLAGS.trials)
    checks.check_non_negative_integer(seed=FLAGS.seed)
    if FLAGS.half_width is not None:
        checks.check_positive(half_width=FLAGS.half_width)
    if FLAGS.per_layer is not None:
        checks.check_fraction(per_layer=FLAGS.per_layer)
    if FLAGS.output and len(FLAGS.run or ()) > 1:
        raise ArgumentError(f"output={FLAGS.output!r} is for a single run; leave it out")


class _Bar:
    """A progress bar that shows the running mean and interval of the rate in work."""

    def __init__(self, total: int) -> None:
        self._seen: dict[float, list[float]] = {}
        self._bar = tqdm(total=total, file=sys.stderr, disable=not sys.stderr.isatty())

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def update(self, row: dict[str, Any]) -> None:
        seen = self._seen.setdefault(row["rate"], [])
        seen.append(row["accuracy"])
        if len(seen) > 1:
            interval = intervals.mean(seen, unit="trial")
            middle = (interval.low + interval.high) / 2
            self._bar.set_postfix_str(
                f"rate {row['rate']:g}: {middle:.2%} +- {interval.half_width:.2%}"
            )
        self._bar.update()


def _campaign(
    subject: Subject, rates: list[float], executor: executors.Executor | None
) -> pd.DataFrame:
    settings = {
        "target": FLAGS.target,
        "rates": tuple(rates),
        "seed": FLAGS.seed,
        "fault": FAULTS[FLAGS.fault](),
        "allocation": FLAGS.allocation,
        "images_per_trial": FLAGS.images_per_trial,
    }
    options = {
        "trials": FLAGS.trials,
        "half_width": None if FLAGS.half_width is None else FLAGS.half_width / 100,
    }
    with _Bar(len(set(rates)) * FLAGS.trials) as bar:
        if executor is None:
            return faults.sweep(
                subject.model, subject.x, subject.y, **settings, **options, progress=bar.update
            )
        return executors.sweep(
            subject.run.directory,
            executors.SweepSettings(**settings),
            executor,
            data_dir=FLAGS.data_dir,
            **options,
            progress=bar.update,
            note=lambda text: tqdm.write(text, file=sys.stderr),
        )


def _print_summary(frame: pd.DataFrame) -> None:
    options: dict[str, Any] = {}
    if FLAGS.half_width is not None:
        options = {"method": "anytime", "half_width": FLAGS.half_width / 100}
    summary = faults.summarize(frame, **options)
    for row in summary.itertuples():
        print(
            f"  {row.target} {row.rate:8.4g}: accuracy {row.accuracy:7.2%}  "
            f"[{max(row.low, 0):.2%}, {min(row.high, 1):.2%}]  {row.faults:.0f} faults, "
            f"{row.trials} trials, predictions changed {row.sdc_rate:.2%}"
        )
    print(f"  {summary.level.iloc[0]:.0%} intervals over trials: {summary.method.iloc[0]}")
    if 0.0 in set(frame["rate"]):
        figures = faults.curve_figures(frame, classes=frame.attrs["classes"])
        if figures.levels is not None:
            at_50, at_90 = figures.levels
            print(f"  from 50% to 90% faults: {at_50:.2%} to {at_90:.2%}, drop {figures.drop:.2%}")
        if figures.half_rate is not None:
            print(f"  half of the accuracy above chance is gone at rate {figures.half_rate:.3g}")


def _print_layers(subject: Subject) -> None:
    targets = ("weights", "units") if FLAGS.target == "both" else (FLAGS.target,)
    for target in targets:
        frame = faults.layer_vulnerability(
            subject.model,
            subject.x,
            subject.y,
            target=target,
            rate=FLAGS.per_layer,
            trials=FLAGS.trials,
            seed=FLAGS.seed,
            fault=FAULTS[FLAGS.fault](),
        )
        for row in frame.itertuples():
            print(
                f"  {target} of {row.layer} at {FLAGS.per_layer:g}: accuracy {row.accuracy:.2%}  "
                f"[{max(row.low, 0):.2%}, {min(row.high, 1):.2%}]  {row.sites} sites"
            )


def _differ_in_seeds_only(runs: list[FinishedRun]) -> bool:
    def shape(run: FinishedRun) -> dict[str, Any]:
        fields = {**run.record["config"], "seed": None}
        return {**fields, "algorithm": {**fields["algorithm"], "noise_seed": None}}

    seeds = {run.config.seed for run in runs}
    return len(seeds) == len(runs) and all(shape(run) == shape(runs[0]) for run in runs)


def _print_over_seeds(frames: list[pd.DataFrame]) -> None:
    print(f"over {len(frames)} runs, trials averaged within each:")
    for rate in sorted(set(frames[0]["rate"])):
        accuracies = [frame.loc[frame["rate"] == rate, "accuracy"].tolist() for frame in frames]
        interval = intervals.over_seeds(accuracies)
        middle = (interval.low + interval.high) / 2
        print(
            f"  {FLAGS.target} {rate:8.4g}: accuracy {middle:7.2%}  [{max(interval.low, 0):.2%}, "
            f"{min(interval.high, 1):.2%}]  {interval.method}, {interval.unit}"
        )


def main(argv: list[str]) -> None:
    """Runs the binary."""
    del argv
    rates = _rates()
    _check_flags()
    _subject.check()
    executor = _workers.chosen()
    if executor is not None and FLAGS.model:
        raise ArgumentError(f"--model={FLAGS.model} is tested in this process: leave workers out")
    _stack.start()
    frames, runs = [], []
    for subject in _subject.loaded():
        frame = _campaign(subject, rates, executor)
        name = f"faults-{FLAGS.target}-{FLAGS.fault}-seed_{FLAGS.seed}.csv"
        path = Path(FLAGS.output or f"{subject.results}{name}")
        shown = frame if FLAGS.all_measures else frame[COLUMNS]
        records.write_text(path, shown.to_csv(index=False))
        _app.save_flags(path.with_suffix(".flags"))
        _print_summary(frame)
        if FLAGS.per_layer is not None:
            _print_layers(subject)
        print(f"  written: {path}", flush=True)
        frames.append(frame)
        runs.append(subject.run)
    if len(frames) > 1 and _differ_in_seeds_only(runs):
        _print_over_seeds(frames)


if __name__ == "__main__":
    _app.run(main)
