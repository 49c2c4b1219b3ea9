"""Trains the paper's models, injects faults, and compares the outcome with the paper's.

Examples:
    python -m experiments.reproduce                        all tables whose data is there, quickly
    python -m experiments.reproduce --tables=3,8
    python -m experiments.reproduce --scale=paper --data_dir=DIR --seeds=5
    python -m experiments.reproduce --scale=paper --data_dir=DIR --tables=8 --only=dpsgd
    python -m experiments.reproduce --workers=4            four runs at a time, on this machine
    python -m experiments.reproduce --executor=ray --ray_address=HOST:6379 --output_dir=SHARED

Ctrl-C is safe: the same command goes on from there. Records, tables and figures stand below
--output_dir, and reproduce.flags, which repeats the study by --flagfile (reproduce-2.flags where
that of another command stands); reproduce.flags in a run's directory repeats that run.
"""

import dataclasses
from pathlib import Path

from absl import flags

from experiments import _app, _stack, _terminal, _workers, presets, scales
from ft_tf import architectures, checks, data, executors, records, report, study
from ft_tf.errors import ArgumentError, DataNotFoundError
from ft_tf.study import circles, datasets, schedule
from ft_tf.study.config import RunConfig
from ft_tf.training import bfloat16

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags."""
    _stack.define_flags()
    _workers.define_flags()
    flags.DEFINE_list(
        "tables", [str(table) for table in presets.TABLES], "The paper's tables to run."
    )
    flags.DEFINE_string(
        "scale",
        "quick",
        "quick: minutes, fewer images and epochs; paper: all epochs on all data, days; smoke: "
        "a minute or two, shows that everything runs and nothing else.",
    )
    flags.DEFINE_string(
        "output_dir", None, "Where runs, tables and figures go; default results/SCALE."
    )
    flags.DEFINE_integer("seeds", 1, "Trainings of every row, with seeds 0, 1, ...")
    flags.DEFINE_string(
        "assignment",
        "text",
        "Which CNN the CNN rows are: text: CNN 2 in Table 5 (TRADES), CNN 1 in Table 7 (DP-SGD), "
        "as the paper says; sources: the reverse, as the code that it builds on.",
    )
    flags.DEFINE_list(
        "only",
        [],
        "Run only what has one of these in its name, comma separated; the report shows all.",
    )
    flags.DEFINE_string(
        "trades_precision",
        None,
        "Of TRADES on CIFAR-10, float32 or mixed_bfloat16, which is slow where the processor has "
        "no instructions for it. Default: mixed_bfloat16 at --scale=paper, else float32.",
    )
    flags.DEFINE_integer(
        "holdout",
        0,
        "Hold the last training images out of every run, this many (5000 for a study). At "
        "--scale=paper natural trainings then stop at the held-out accuracy of each run with DP or "
        "TRADES, so that these are compared at equal accuracy.",
    )


def _tables() -> list[int]:
    tables = []
    for text in FLAGS.tables:
        if not (text.isascii() and text.isdigit()) or int(text) not in presets.TABLES:
            known = ",".join(map(str, presets.TABLES))
            raise ArgumentError(f"tables={text!r} must be of {known}")
        tables.append(int(text))
    if not tables:
        raise ArgumentError("tables='' must name at least one table")
    return sorted(set(tables))


def _scale() -> scales.Scale:
    checks.check_choice(scales.SCALES, scale=FLAGS.scale)
    scale = scales.scale(FLAGS.scale)
    if FLAGS.trades_precision is None:
        return scale
    checks.check_choice(architectures.PRECISIONS, trades_precision=FLAGS.trades_precision)
    return dataclasses.replace(scale, trades_precision=FLAGS.trades_precision)


def _load(name: str) -> data.Dataset:
    loaded = datasets.get(name).load(data_dir=FLAGS.data_dir, download=FLAGS.download)
    _terminal.show(loaded.describe())
    return loaded


def _load_all(
    tables: list[int], configs: list[RunConfig]
) -> tuple[dict[str, data.Dataset], dict[str, str]]:
    """The data sets that serve their tables whole; tables that cannot run, and why."""
    sets, missing = {}, {}
    for name, served in presets.TABLES_OF.items():
        wanted = [table for table in tables if table in served]
        if not wanted:
            continue
        try:
            loaded = _load(name)
            for config in configs:
                if config.dataset == name:
                    study.check_fits(config, loaded)
        except DataNotFoundError as error:
            missing[_named(wanted)] = str(error)
        except ArgumentError as error:
            missing[_named(wanted)] = f"{error}: {data.how_to_get(name)}"
        else:
            sets[name] = loaded
    return sets, missing


def _named(tables: list[int]) -> str:
    """Table 4; Tables 4 and 6; Tables 5, 7 and 8."""
    *others, last = map(str, tables)
    return f"Tables {', '.join(others)} and {last}" if others else f"Table {last}"


def _trainings(
    configs: list[RunConfig], sets: dict[str, data.Dataset], output_dir: Path
) -> list[schedule.Job]:
    return [
        schedule.training_job(config, sets[config.dataset], output_dir, data_dir=FLAGS.data_dir)
        for config in configs
        if config.dataset in sets
    ]


def _is_chosen(name: str) -> bool:
    return _app.is_chosen(name, FLAGS.only)


def _chosen(listed: list[schedule.Job]) -> list[schedule.Job]:
    return [job for job in listed if _is_chosen(job.name)]


def _nothing_to_run(
    listed: list[schedule.Job], without_data: list[RunConfig], missing: dict[str, str]
) -> ArgumentError:
    """Why nothing is chosen of what is listed: its data is not there, or --only is in no name."""
    names = [config.name(is_sample=False) for config in without_data]
    if not listed or any(map(_is_chosen, names)):
        reasons = "; ".join(f"{tables} not run: {reason}" for tables, reason in missing.items())
        return ArgumentError(f"nothing to run: {reasons}")
    some = dict.fromkeys(listed[index].name for index in (0, len(listed) // 2, -1))
    return ArgumentError(
        f"only={','.join(FLAGS.only)!r} is in the name of no run: give a part of a name, which are "
        f"like {', '.join(some)}"
    )


def _execute(
    listed: list[schedule.Job], executor: executors.Executor | None, output_dir: Path
) -> list[records.Record]:
    return schedule.execute(listed, executor=executor, output_dir=output_dir)


def main(argv: list[str]) -> None:
    """Runs the binary."""
    del argv
    tables = _tables()
    checks.check_choice(presets.ASSIGNMENTS, assignment=FLAGS.assignment)
    checks.check_positive_integer(seeds=FLAGS.seeds)
    checks.check_non_negative_integer(holdout=FLAGS.holdout)
    executor = _workers.chosen()
    scale = _scale()
    _stack.start()
    output_dir = Path(FLAGS.output_dir or f"results/{scale.name}")
    configs = presets.runs_of(
        tables, scale, seeds=FLAGS.seeds, assignment=FLAGS.assignment, holdout=FLAGS.holdout
    )
    sets, missing = _load_all(tables, configs)
    listed = []
    if 3 in tables:
        listed += [circles.job(settings, output_dir) for settings in presets.table_3(scale)]
    listed += _trainings(configs, sets, output_dir)
    if not _chosen(listed):
        without_data = [config for config in configs if config.dataset not in sets]
        raise _nothing_to_run(listed, without_data, missing)
    listed = _chosen(listed)
    for config in configs:
        if config.dataset in sets and _is_chosen(config.name(is_sample=False)):
            bfloat16.warn_if_slow(trades_precision=config.precision)
    for named, reason in missing.items():
        _terminal.show(f"{named} not run: {reason}")
    flagfile = _app.keep_flags(output_dir / "reproduce.flags")
    found = _execute(listed, executor, output_dir)
    for job in listed:
        _app.save_flags(output_dir / job.name / "reproduce.flags", only=job.name)
    if scale.name == "paper":
        stopped = _chosen(_trainings(presets.stopped_runs(found), sets, output_dir))
        if stopped:
            print("natural trainings, stopped at the held-out accuracy of others:", flush=True)
        found += _execute(stopped, executor, output_dir)
    written = report.build(output_dir)
    print()
    print(_terminal.coloured(report.render_answer(found, _terminal.width(), has_rows=True)))
    if scale.name == "smoke":
        print("--scale=smoke shows that everything runs: its runs are compared with nothing")
    if scale.name == "quick":
        print("--scale=quick: reduced runs, which replicate few rows; --scale=paper runs all of it")
    for named in missing:
        _terminal.show(f"{named} not run: data not there, see the start of this output")
    print(f"{len(written)} files below {output_dir}; {output_dir / 'report.html'} shows all of it")
    _terminal.show(
        f"every table: python -m experiments.report --output_dir={output_dir} --print=all"
    )
    _terminal.show(f"the same again: python -m experiments.reproduce --flagfile={flagfile}")


if __name__ == "__main__":
    _app.run(main, define_flags, resumes=True)
