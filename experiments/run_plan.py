"""Trains the runs of a study beyond the paper, as its plan in experiments/plans states them.

Examples:
    python -m experiments.run_plan --plan=remedies --data_dir=DIR --output_dir=DIR
    python -m experiments.run_plan --plan=remedies --seeds=3 --only=decay_0.012,plain
    python -m experiments.run_plan --plan=remedies --list

Every seed is complete before the next one begins. Rows of DP-SGD or TRADES that held training
images out then get a natural partner each, stopped at the same held-out accuracy. Ctrl-C is safe:
the same command goes on from there. `report` reads the records.
"""

from pathlib import Path

from absl import flags

from experiments import _app, _stack, _terminal, _workers, plans, presets
from ft_tf import checks, records, study
from ft_tf.errors import ArgumentError
from ft_tf.study import datasets, schedule
from ft_tf.study.config import RunConfig

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags."""
    _stack.define_flags()
    _workers.define_flags()
    flags.DEFINE_string("plan", None, f"One of {', '.join(plans.PLANS)}.")
    flags.DEFINE_string("output_dir", None, "Where runs go; default results/PLAN.")
    flags.DEFINE_integer("seeds", 1, "Trainings of every cell, with seeds 0, 1, ...")
    flags.DEFINE_list("only", [], "Only runs with one of these in their name, comma separated.")
    flags.DEFINE_bool("list", False, "Print the plan and the names of its runs, and stop.")


def _name(config: RunConfig) -> str:
    return config.name(is_sample=False)


def _chosen(configs: list[RunConfig]) -> list[RunConfig]:
    return [run for run in configs if _app.is_chosen(_name(run), FLAGS.only)]


def main(argv: list[str]) -> None:
    """Runs the binary."""
    del argv
    if FLAGS.plan is None:
        raise ArgumentError(f"--plan is needed: one of {', '.join(plans.PLANS)}")
    checks.check_choice(plans.PLANS, plan=FLAGS.plan)
    checks.check_positive_integer(seeds=FLAGS.seeds)
    executor = _workers.chosen()
    plan = plans.plan(FLAGS.plan)
    configs = [presets.with_seed(run, seed) for seed in range(FLAGS.seeds) for run in plan.cells()]
    chosen = _chosen(configs)
    if not chosen:
        raise ArgumentError(
            f"only={','.join(FLAGS.only)!r} is in the name of no run: names are like "
            f"{_name(configs[0])}"
        )
    if FLAGS.list:
        print(plan.__doc__)
        print("\n".join(map(_name, chosen)))
        return
    _stack.start()
    output_dir = Path(FLAGS.output_dir or f"results/{FLAGS.plan}")
    sets = {}
    for name in dict.fromkeys(config.dataset for config in chosen):
        sets[name] = datasets.get(name).load(data_dir=FLAGS.data_dir, download=FLAGS.download)
        _terminal.show(sets[name].describe())
    for config in chosen:
        study.check_fits(config, sets[config.dataset])
    flagfile = _app.keep_flags(output_dir / "run_plan.flags")

    def run(configs: list[RunConfig]) -> list[records.Record]:
        jobs = [
            schedule.training_job(config, sets[config.dataset], output_dir, data_dir=FLAGS.data_dir)
            for config in configs
        ]
        return schedule.execute(jobs, executor=executor, output_dir=output_dir)

    run(_chosen(presets.stopped_runs(run(chosen))))
    _terminal.show(
        f"records below {output_dir}; tables: python -m experiments.report "
        f"--output_dir={output_dir}"
    )
    _terminal.show(f"the same again: python -m experiments.run_plan --flagfile={flagfile}")


if __name__ == "__main__":
    _app.run(main, define_flags, resumes=True)
