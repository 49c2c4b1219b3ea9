"""Injects faults into the models of finished runs; prints what is lost, writes CSV and a plot.

Examples:
    python -m experiments.inject_faults --run=DIR --target=units --rates=0,0.1,0.5,0.9
    python -m experiments.inject_faults --run=DIR --fault=bit_errors --storage=int8 --rates=0,0.01
    python -m experiments.inject_faults --run=DIR1,DIR2,DIR3 --trials=2000 --half_width=0.5
    python -m experiments.inject_faults --run=DIR --predict --rates=0,0.001,0.01,0.1
    python -m experiments.inject_faults --run=DIR --trials=1000 --workers=4
    python -m experiments.inject_faults --run=DIR --fault=bit_errors --protections=all
    python -m experiments.inject_faults --model=FILE.keras --dataset=fashion_mnist
    python -m experiments.inject_faults --model=FILE.tflite --data=FILE.npz --fault=bit_errors
    python -m experiments.inject_faults --run=DIR --data=FILE.npz

Prints the rate at which half of the accuracy above chance is lost, a row per rate, the layers with
the most damaging first, and how many trials +-1 point takes. Each model's CSV has a row per rate
and trial: target, rate, trial, seed, faults, accuracy. Files with the same start of the name hold
the plot, the summary, the layers, the prediction if asked for, and the flags: --flagfile takes
them. The same trial number hits the same sites in models of the same shape: a second run of the
shape of the first is compared with it in pairs, and runs that differ only in their seed are summed
up over seeds. Workers share out the trials of a run; the CSV is the same to the byte with the same
--threads.

With --half_width each rate ends by itself: one trial at rate 0, else a pilot of 30 trials and then
as many as Stein's procedure asks for (--method=stein, on 200 images a trial unless
--images_per_trial says otherwise), or --method=anytime, which holds for any distribution but takes
2 / half_width trials or more (400 at half a point). A rate that --trials ends first is NOT REACHED.
"""

import dataclasses
import math
import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from absl import flags
from tqdm import tqdm

from experiments import (
    _app,
    _fault_plot,
    _flags,
    _stack,
    _subject,
    _terminal,
    _with_protections,
    _workers,
)
from experiments import _fault_lines as lines
from ft_tf import checks, faults, records
from ft_tf.errors import ArgumentError
from ft_tf.executors import Executor
from ft_tf.faults import catalogue
from ft_tf.faults.plan import PERSISTENCE, FaultPlan
from ft_tf.faults.rows import STEIN_IMAGES, STOP_METHODS
from ft_tf.faults.storage_formats import format_names
from ft_tf.study import distributed
from ft_tf.study.trained_models import TrainedModel

FLAGS = flags.FLAGS

COLUMNS = ["target", "rate", "trial", "seed", "faults", "accuracy"]
_SITES = {
    "bit_flip": "{} with a flipped bit",
    "bit_errors": "flipped bits of {}",
    "burst_errors": "flipped bits of {}",
    "word_errors": "random words of {}",
}
_SELECT = ("layers", "parameters", "units", "moving_statistics", "output_layer")
_PATTERN = ("pattern", "block")
_PREDICTED_IMAGES, _PREDICTED_TRIALS = 16, 100


def define_flags() -> None:
    """Defines the flags."""
    _subject.define_flags()
    _workers.define_flags()
    flags.DEFINE_string(
        "target",
        "weights",
        "weights: any trainable parameter; units: Dense neurons and convolution channels, but "
        "those of the output layer; or both.",
    )
    flags.DEFINE_list(
        "rates",
        "0,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9",
        "Shares of faulty sites, each in [0, 1]. Keep 0: it gives the accuracy without faults.",
    )
    flags.DEFINE_integer(
        "trials", 10, "Fault sets per rate; with --half_width the most there may be."
    )
    flags.DEFINE_integer("seed", 0, "Fixes the fault sets.")
    flags.DEFINE_string(
        "fault",
        "stuck_at_0",
        f"What happens at a faulty site, one of {', '.join(catalogue.names())}. bit_flip inverts "
        "bits of a faulty word (rate per word); bit_errors inverts bits one by one, burst_errors "
        "adjacent ones (rate per bit); word_errors makes words random (rate per word).",
    )
    flags.DEFINE_multi_string(
        "layer_fault",
        None,
        "PATTERN=FAULT or PATTERN=FAULT:OPTION=VALUE,...: another fault where a wildcard fits the "
        "name of a layer or parameter, such as 'conv*=bit_errors:storage=int8' or "
        "'units:*=stuck_at_0'. Repeat it: the first that fits counts. What none fits has no "
        "faults, or those of --fault if that is given.",
    )
    flags.DEFINE_float("value", None, "stuck_at: what a faulty value reads as.")
    flags.DEFINE_float("sigma", None, "gaussian: standard deviation of what is added.")
    flags.DEFINE_string(
        "storage",
        None,
        f"bit_flip, bit_errors: format of the words, one of {', '.join(format_names())}; default: "
        "float32, or as_stored with a .tflite file.",
    )
    flags.DEFINE_string("bits", None, "bit_flip, bit_errors: LOWEST-HIGHEST bit that may flip.")
    flags.DEFINE_integer("flips", None, "bit_flip: bits inverted in a faulty word, 1 to 4.")
    flags.DEFINE_integer("length", None, "burst_errors, word_errors: bits or words in a row.")
    flags.DEFINE_float("scale", None, "int8, int4: quantization step; default: by each tensor.")
    _flags.define(faults.Patterned, _PATTERN)
    _flags.define(faults.Select, _SELECT)
    _flags.define(FaultPlan, ("persistence",))
    flags.DEFINE_string(
        "allocation",
        "model",
        "How many faults: model: exactly round(rate * sites) among all sites; layer: exactly so "
        "many in each layer; bernoulli: each site on its own. Bursts and patterns have as many "
        "on average.",
    )
    flags.DEFINE_float(
        "half_width",
        None,
        "Stop each rate when its 95% interval is +- this many percentage points or less.",
    )
    flags.DEFINE_string("method", "stein", "With --half_width: stein or anytime.")
    flags.DEFINE_bool(
        "band", False, "A simultaneous band over all rates, not an interval for each."
    )
    flags.DEFINE_integer("images_per_trial", None, "Test each trial on a random subset of images.")
    flags.DEFINE_float(
        "layer_rate", 0.5, "Also fault one layer at a time, at this rate; 0: do not."
    )
    flags.DEFINE_integer("layer_trials", 10, "Fault sets per layer; 200 images each by default.")
    flags.DEFINE_bool(
        "predict", False, "Compare the first-order prediction with trials, on 16 images."
    )
    _with_protections.define_flags()
    flags.DEFINE_bool(
        "all_measures",
        False,
        "Further columns and a table of them: accuracy_lost (on the trial's own images), sdc_rate "
        "(share of predictions changed), retention, non_finite, and how far outputs moved.",
    )
    flags.DEFINE_string(
        "output",
        None,
        "CSV file of a single model; default: in the run's directory, or beside the model file, "
        "named by the settings.",
    )


def _rates() -> list[float]:
    rates = []
    for given in FLAGS.rates:
        try:
            rates.append(float(given))
        except ValueError:
            raise ArgumentError(f"rates={given!r} must be a number in [0, 1]") from None
    for rate in rates:
        checks.check_fraction(rates=rate)
    if not rates:
        raise ArgumentError("rates='' must name at least one rate")
    return rates


def _fault_options() -> dict[str, Any]:
    names = ("value", "sigma", "storage", "flips", "scale", "length")
    options = {name: FLAGS[name].value for name in names}
    in_file = (FLAGS.model or "").endswith(".tflite") and FLAGS.fault in _SITES
    storage = FLAGS.storage or ("as_stored" if in_file else None)
    return {**options, "bits": catalogue.bits_of(FLAGS.bits), "storage": storage}


def _fault() -> faults.FaultModel:
    fault = catalogue.named(FLAGS.fault, _fault_options())
    patterned = faults.Patterned(**_flags.values(faults.Patterned, _PATTERN))
    if patterned.pattern != "point":
        fault = dataclasses.replace(patterned, fault=fault)
    pairs = list(map(catalogue.of_layer, FLAGS.layer_fault or ()))
    if pairs and FLAGS["fault"].present:
        pairs.append(("*", fault))
    return faults.PerLayer(tuple(pairs)) if pairs else fault


def _check_flags() -> None:
    checks.check_choice(("weights", "units", "both"), target=FLAGS.target)
    checks.check_choice(PERSISTENCE, persistence=FLAGS.persistence)
    _fault().check_target(FLAGS.target)
    faults.Select(**_flags.values(faults.Select, _SELECT))
    if FLAGS.predict and FLAGS.persistence != "permanent":
        raise ArgumentError(f"persistence={FLAGS.persistence!r} has no prediction: leave it out")
    checks.check_choice(("model", "layer", "bernoulli"), allocation=FLAGS.allocation)
    _with_protections.check(FLAGS.target)
    checks.check_positive_integer(trials=FLAGS.trials)
    checks.check_non_negative_integer(seed=FLAGS.seed)
    if FLAGS.half_width is not None:
        checks.check_positive(half_width=FLAGS.half_width)
        checks.check_range(0, 50, half_width=FLAGS.half_width)
    elif FLAGS["method"].present:
        raise ArgumentError(f"method={FLAGS.method!r} is for --half_width=POINTS")
    checks.check_choice(STOP_METHODS, method=FLAGS.method)
    if FLAGS.band and (FLAGS.half_width is not None or FLAGS.trials < 3):
        raise ArgumentError("band=True needs trials >= 3 and no --half_width, whose rule looks")
    checks.check_fraction(layer_rate=FLAGS.layer_rate)
    checks.check_positive_integer(layer_trials=FLAGS.layer_trials)
    if FLAGS.images_per_trial is not None:
        checks.check_positive_integer(images_per_trial=FLAGS.images_per_trial)
    if FLAGS.output and len(FLAGS.run or ()) > 1:
        raise ArgumentError(f"output={FLAGS.output!r} is for a single run; leave it out")


class _Bar:
    """A progress bar with the mean and interval, valid at this moment, of the rate in work."""

    def __init__(self, name: str, rates: list[float], options: dict[str, Any]) -> None:
        self._most = FLAGS.trials
        self._rule = faults.StopRule(sorted(set(rates)), **options, most=FLAGS.trials)
        total = self._rule.trials_left(self._most)
        is_shown = sys.stderr.isatty()
        self._bar = tqdm(total=total, desc=name, file=sys.stderr, disable=not is_shown)

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def update(self, row: dict[str, Any]) -> None:
        self._rule.take(row)
        interval = self._rule.interval(row["rate"])
        middle = (interval.low + interval.high) / 2
        if math.isfinite(middle):
            shown = f"rate {row['rate']:g}: {middle:.2%} +- {interval.half_width:.2%}"
            self._bar.set_postfix_str(shown)
        self._bar.total = self._bar.n + 1 + self._rule.trials_left(self._most)
        self._bar.update()


def _campaign(subject: TrainedModel, rates: list[float], executor: Executor | None) -> pd.DataFrame:
    half_width = None if FLAGS.half_width is None else FLAGS.half_width / 100
    rule = {"half_width": half_width, "method": FLAGS.method}
    settings = {
        "rates": tuple(rates),
        "seed": FLAGS.seed,
        "images_per_trial": FLAGS.images_per_trial,
        "persistence": FLAGS.persistence,
        **_where(),
    }
    with _Bar(subject.name, rates, rule) as bar:
        options = {"trials": FLAGS.trials, "margin": half_width, "method": FLAGS.method}
        options["progress"] = bar.update
        if executor is None:
            return faults.sweep(subject.model, subject.x, subject.y, **settings, **options)
        return distributed.sweep(
            subject.run.directory,
            executor,
            data_dir=FLAGS.data_dir,
            data_file=FLAGS.data,
            note=lambda text: tqdm.write(text, file=sys.stderr),
            **settings,
            **options,
        )


def _where() -> dict[str, Any]:
    select = faults.Select(**_flags.values(faults.Select, _SELECT))
    return {
        "target": FLAGS.target,
        "fault": _fault(),
        "allocation": FLAGS.allocation,
        "select": select,
    }


def _print(block: list[str]) -> None:
    if block:
        _terminal.show("\n".join(f"  {line}" for line in block))


def _summarize(subject: TrainedModel, frame: pd.DataFrame, path: Path) -> None:
    summary = faults.summarize(frame, method="band" if FLAGS.band else None)
    kind = "per_layer" if FLAGS.layer_fault else FLAGS.fault
    sites = _SITES.get(kind, "faulty {}").format(FLAGS.target.replace("both", "weights or units"))
    headline = lines.headline(frame, sites)
    _terminal.show(headline)
    _terminal.show(f"{_subject.provenance(subject)}; {lines.settings_line(frame.attrs)}")
    _print(lines.summary_lines(summary))
    if FLAGS.all_measures:
        _print(lines.measure_lines(summary))
    _print(lines.curve_lines(frame))
    _write(_beside(path, "summary"), lines.with_settings(summary, frame.attrs))
    _fault_plot.save(path.with_suffix(".png"), summary, headline, chance=1 / frame.attrs["classes"])


def _fault_layers(subject: TrainedModel, path: Path) -> None:
    images = FLAGS.images_per_trial or min(STEIN_IMAGES, len(subject.x))
    targets = ("weights", "units") if FLAGS.target == "both" else (FLAGS.target,)
    tables = []
    plan = faults.make_plan(subject.model, **_where())
    for target in targets:
        groups = plan.groups_of(target)
        if not groups:
            continue
        table = faults.layer_vulnerability(
            subject.model,
            subject.x,
            subject.y,
            rate=FLAGS.layer_rate,
            trials=FLAGS.layer_trials,
            seed=FLAGS.seed,
            images_per_trial=images,
            persistence=FLAGS.persistence,
            **{**_where(), "target": target, "fault": plan.fault.within(groups)},
        )
        setting = f"{FLAGS.layer_trials} trials of {images} images"
        _print(lines.layer_lines(table, target=target, rate=FLAGS.layer_rate, setting=setting))
        tables.append(table.assign(target=target, rate=FLAGS.layer_rate, images_per_trial=images))
    _write(_beside(path, "layers"), pd.concat(tables))


def _predict(subject: TrainedModel, rates: list[float], path: Path) -> None:
    x = subject.x[:_PREDICTED_IMAGES]
    comparison = faults.compare_with_trials(
        subject.model,
        x,
        rates=faults.prediction_rates(subject.model, rates, **_where()),
        trials=_PREDICTED_TRIALS,
        seed=FLAGS.seed,
        **_where(),
    )
    _print(lines.prediction_lines(comparison, images=len(x), trials=_PREDICTED_TRIALS))
    _write(_beside(path, "prediction"), comparison)


def _path(results: str) -> Path:
    """Where a model's rows go: no campaign takes the place of another, but of its own repetition.

    Names tell the settings but for rates and trials; campaigns that differ in those are numbered.
    """
    if FLAGS.output:
        return _given_path()
    options = {"allocation": None if FLAGS.allocation == "model" else FLAGS.allocation}
    options |= {"images": FLAGS.images_per_trial, "within": FLAGS.half_width}
    given = (*_PATTERN, *_SELECT, "persistence")
    options |= {name: _shown(FLAGS[name].value) for name in given if FLAGS[name].present}
    fault = catalogue.label(FLAGS.fault, _fault_options())
    if FLAGS.layer_fault:
        fault = f"{fault if FLAGS['fault'].present else 'per_layer'}-{_shown(FLAGS.layer_fault)}"
    how = catalogue.label(f"faults-{FLAGS.target}-{fault}", options)
    if FLAGS.half_width is not None:
        how += f"-{FLAGS.method}"
    return _app.beside_others(Path(f"{results}{how}-seed_{FLAGS.seed}.csv"))


def _shown(value: Any) -> str:
    """A flag's value in the name of a file."""
    text = "_".join(map(str, value)) if isinstance(value, list) else str(value)
    return re.sub(r"[^\w.-]+", "_", text)[:60]


def _given_path() -> Path:
    """The file of --output, which may take the place of an earlier campaign's and of no other."""
    path = Path(FLAGS.output)
    if path.suffix != ".csv":
        raise ArgumentError(f"output={FLAGS.output!r} must end in .csv")
    start = f"{','.join(COLUMNS[:3])},"
    is_campaign = path.is_file() and path.read_text(errors="replace").startswith(start)
    for taken in (path, path.with_suffix(".flags"), path.with_suffix(".png")):
        if taken.exists() and not is_campaign:
            raise ArgumentError(f"output={FLAGS.output!r} would overwrite {taken}: choose another")
    return path


def _beside(path: Path, name: str) -> Path:
    return path.with_name(f"{path.stem}-{name}.csv")


def _write(path: Path, frame: pd.DataFrame) -> None:
    records.write_text(path, frame.to_csv(index=False))


def _differ_in_seeds_only(subjects: list[TrainedModel]) -> bool:
    def shape(subject: TrainedModel) -> dict[str, Any]:
        fields = {**subject.run.record.config, "seed": None, "evaluation": None}
        return {**fields, "algorithm": {**fields["algorithm"], "noise_seed": None}}

    seeds = {subject.run.config.seed for subject in subjects}
    first = shape(subjects[0])
    return len(seeds) == len(subjects) and all(shape(subject) == first for subject in subjects)


def _print_pairs(subjects: list[TrainedModel], frames: list[pd.DataFrame]) -> None:
    first = subjects[0]
    for subject, frame in zip(subjects[1:], frames[1:], strict=True):
        same_images = (first.description, frames[0].attrs["images"]) == (
            subject.description,
            frame.attrs["images"],
        )
        if same_images and faults.same_shape(first.model, subject.model):
            _terminal.show(f"{first.name} minus {subject.name}, trial by trial:")
            _print(lines.difference_lines(faults.paired_difference(frames[0], frame)))


def _tested(subject: TrainedModel, rates: list[float], executor: Executor | None) -> pd.DataFrame:
    """Runs one model's campaign, prints it and writes its files."""
    path = _path(subject.results)
    frame = _campaign(subject, rates, executor)
    _write(path, frame if FLAGS.all_measures else frame[COLUMNS])
    _app.save_flags(path.with_suffix(".flags"))
    _summarize(subject, frame, path)
    if FLAGS.layer_rate:
        _fault_layers(subject, path)
    if FLAGS.predict:
        _predict(subject, rates, path)
    if FLAGS.protections:
        _with_protections.compare(
            subject, path, rates=rates, trials=FLAGS.trials, seed=FLAGS.seed,
            images_per_trial=FLAGS.images_per_trial, **_where(),
        )  # fmt: skip
    advice = lines.trials_line(frame)
    if advice:
        _terminal.show(advice)
    _terminal.show(f"plot: {path.with_suffix('.png')}")
    _terminal.show(f"written: {path}")
    return frame


def main(argv: list[str]) -> None:
    """Runs the binary."""
    del argv
    rates = _rates()
    _check_flags()
    executor = _workers.chosen()
    _subject.check()
    if executor is not None and FLAGS.model:
        raise ArgumentError(f"--model={FLAGS.model} is tested in this process: leave workers out")
    _stack.start()
    for results in _subject.results():
        records.check_writable(_path(results))
    subjects, frames = [], []
    for subject in _subject.loaded():
        frames.append(_tested(subject, rates, executor))
        subjects.append(subject)
    if len(frames) > 1 and _differ_in_seeds_only(subjects):
        _terminal.show(f"over {len(frames)} runs, trials averaged within each:")
        _print(lines.over_seeds_lines(frames))
    else:
        _print_pairs(subjects, frames)


if __name__ == "__main__":
    _app.run(main, define_flags)
