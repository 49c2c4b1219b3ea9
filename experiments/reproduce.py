"""Trains the paper's models, injects faults, and prints its tables with ours beside them.

Examples:
    python -m experiments.reproduce                        all tables whose data is there, quickly
    python -m experiments.reproduce --tables=3,8
    python -m experiments.reproduce --scale=paper --data_dir=DIR --seeds=5
    python -m experiments.reproduce --scale=paper --data_dir=DIR --tables=8 --only=dpsgd
    python -m experiments.reproduce --workers=4            four runs at a time, on this machine
    python -m experiments.reproduce --executor=ray --ray_address=HOST:6379 --output_dir=SHARED

Ctrl-C is safe: the same command goes on from there. Records, tables and figures stand below
--output_dir, and reproduce.flags, which repeats the study by --flagfile; the file of that name in a
run's directory repeats that run.
"""

import shutil
from pathlib import Path

from absl import flags

from experiments import _app, _stack, _workers, presets
from ft_tf import checks, data, records, report, study
from ft_tf.errors import ArgumentError, DataNotFoundError
from ft_tf.study import circles, executors, jobs, schedule
from ft_tf.study.config import RunConfig

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(_stack)
flags.adopt_module_key_flags(_workers)

flags.DEFINE_list("tables", [str(table) for table in presets.TABLES], "The paper's tables to run.")
flags.DEFINE_string(
    "scale",
    "quick",
    "quick: minutes, fewer images and epochs; paper: the paper's epochs on all data, days; smoke: "
    "seconds, shows that everything runs and nothing else.",
)
flags.DEFINE_string("output_dir", None, "Where runs, tables and figures go; default results/SCALE.")
flags.DEFINE_integer("seeds", 1, "Trainings of every row, with seeds 0, 1, ...")
flags.DEFINE_string(
    "assignment",
    "text",
    "Which CNN the CNN rows are: text: CNN 2 in Table 5 (TRADES), CNN 1 in Table 7 (DP-SGD), as "
    "the paper says; sources: the reverse, as the code that it builds on.",
)
flags.DEFINE_string("only", "", "Run only what has this in its name; the report shows all.")

_DATASETS = {"fashion_mnist": (5, 7, 8), "cifar10": (4, 6)}
_HINT = (
    "Get {name} with --download, or turn local files into a TFDS directory: "
    "python -m experiments.prepare_data --dataset={name} --from=DIR --data_dir=DIR; then "
    "give --data_dir=DIR"
)


def _tables() -> list[int]:
    tables = []
    for text in FLAGS.tables:
        if not text.isdigit() or int(text) not in presets.TABLES:
            known = ",".join(map(str, presets.TABLES))
            raise ArgumentError(f"tables={text!r} must be of {known}")
        tables.append(int(text))
    if not tables:
        raise ArgumentError("tables='' must name at least one table")
    return sorted(set(tables))


def _load(name: str) -> data.Dataset:
    loaded = data.load(name, data_dir=FLAGS.data_dir, download=FLAGS.download)
    print(loaded.describe(), flush=True)
    return loaded


def _load_all(
    tables: list[int], configs: list[RunConfig]
) -> tuple[dict[str, data.Dataset], list[str]]:
    """The data sets that serve their tables whole, and why some exhibits cannot run."""
    sets, missing = {}, []
    for name, served in _DATASETS.items():
        wanted = [table for table in tables if table in served]
        if not wanted:
            continue
        try:
            loaded = _load(name)
            for config in configs:
                if config.dataset == name:
                    study.check_fits(config, loaded)
        except (DataNotFoundError, ArgumentError) as error:
            exhibits = " and ".join(f"Table {table}" for table in wanted)
            missing.append(f"{exhibits} not run: {error}. {_HINT.format(name=name)}")
        else:
            sets[name] = loaded
    return sets, missing


def _trainings(
    configs: list[RunConfig], sets: dict[str, data.Dataset], output_dir: Path
) -> list[schedule.Job]:
    return [
        jobs.training_job(config, sets[config.dataset], output_dir, data_dir=FLAGS.data_dir)
        for config in configs
        if config.dataset in sets
    ]


def _chosen(listed: list[schedule.Job]) -> list[schedule.Job]:
    return [job for job in listed if FLAGS.only in job.name]


def _execute(
    listed: list[schedule.Job], executor: executors.Executor | None, output_dir: Path
) -> list[records.Record]:
    if executor is None:
        return schedule.execute(listed)
    return executors.execute(listed, executor, output_dir=output_dir)


def main(argv: list[str]) -> None:
    """Runs the binary."""
    del argv
    tables = _tables()
    checks.check_choice(presets.SCALES, scale=FLAGS.scale)
    checks.check_choice(presets.ASSIGNMENTS, assignment=FLAGS.assignment)
    checks.check_positive_integer(seeds=FLAGS.seeds)
    executor = _workers.chosen()
    _stack.start()
    scale = presets.scale(FLAGS.scale)
    output_dir = Path(FLAGS.output_dir or f"results/{scale.name}")
    configs = presets.runs_of(tables, scale, seeds=FLAGS.seeds, assignment=FLAGS.assignment)
    sets, missing = _load_all(tables, configs)
    listed = []
    if 3 in tables:
        listed += [circles.job(settings, output_dir) for settings in presets.table_3(scale)]
    listed = _chosen(listed + _trainings(configs, sets, output_dir))
    if not listed:
        reasons = "; ".join(missing) or f"only={FLAGS.only!r} is in the name of no run"
        raise ArgumentError(f"nothing to run: {reasons}")
    for line in missing:
        print(line, flush=True)
    _app.save_flags(output_dir / "reproduce.flags")
    found = _execute(listed, executor, output_dir)
    for job in listed:
        _app.save_flags(output_dir / job.name / "reproduce.flags", only=job.name)
    if scale is presets.PAPER:
        stopped = _chosen(_trainings(presets.stopped_runs(found, scale), sets, output_dir))
        if stopped:
            print("natural trainings, stopped at the accuracy of the private ones:", flush=True)
        found += _execute(stopped, executor, output_dir)
    written = report.build(output_dir)
    exhibits = [f"table_{table}" for table in tables]
    print()
    width = shutil.get_terminal_size((100, 24)).columns
    print(report.render_terminal(found, exhibits, width=width))
    for line in missing:
        print(line)
    figures = [path for path in written if path.suffix == ".png"]
    print(f"{len(written)} files below {output_dir}, {len(figures)} of them figures:")
    for path in sorted(written):
        print(f"  {path}")


if __name__ == "__main__":
    _app.run(main, resumes=True)
