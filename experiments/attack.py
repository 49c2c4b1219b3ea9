"""Attacks a trained model: clean and robust accuracy with 95% intervals.

Examples:
    python -m experiments.attack --run=DIR --attack=pgd --epsilon=8/255 --steps=50
    python -m experiments.attack --run=DIR --attack=autoattack --epsilon=0.1 --images=1000
    python -m experiments.attack --model=FILE.keras --dataset=fashion_mnist --epsilon=0.1
    python -m experiments.attack --run=DIR --data=FILE.npz --attack=square --queries=1000
    python -m experiments.attack --run=DIR --attack=pgd,square --fault_rates=0,0.01 --fault_trials=5

The outcome of a run is kept in its directory as attacks/NAME.json; reading the record adds it, so
that `report` shows it. That of a model file is kept next to the file. NAME.flags, next to either,
repeats the attack by --flagfile. autoattack keeps what its finished stages found in
NAME.resume.npz: after an interruption the same command continues from there.

With --fault_rates the model is attacked while it is faulty: a table of fault sets by attacks, and a
CSV with a row for each.
"""

from pathlib import Path
from typing import Any

from absl import flags

from experiments import _app, _flags, _stack, _subject, _summary, _terminal
from ft_tf import attacks, checks, faults, records
from ft_tf.errors import ArgumentError
from ft_tf.faults import catalogue
from ft_tf.study.trained_models import TrainedModel

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags."""
    _subject.define_flags()
    flags.DEFINE_string(
        "attack",
        "pgd",
        "fgsm: one step, a baseline; pgd: many steps; apgd: Auto-PGD; fab: smallest perturbations; "
        "square: no gradients; autoattack: APGD-CE, APGD-T, FAB-T and Square, the standard "
        "evaluation and the slowest. Several, separated by commas, with --fault_rates.",
    )
    _flags.define_number("epsilon", 0.1, "Radius of the ball, in pixels of [0, 1]; 8/255, say.")
    flags.DEFINE_integer(
        "steps", None, "Gradient steps; default: 1 for fgsm, 50 pgd, 100 apgd, fab, autoattack."
    )
    flags.DEFINE_integer("queries", None, "square, autoattack: passes per image; default: 5000.")
    flags.DEFINE_string("distance", "l_inf", "The ball's norm: l_inf or l_2.")
    flags.DEFINE_integer("images", 1000, "Number of test images to attack, the first; 0 for all.")
    flags.DEFINE_integer("seed", 0, "Fixes random starts, and the fault sets.")
    flags.DEFINE_list("fault_rates", None, "Attack under faults of these rates; 0: without faults.")
    flags.DEFINE_integer("fault_trials", 1, "With --fault_rates: fault sets per rate.")
    flags.DEFINE_string("fault_target", "weights", "With --fault_rates: weights, units or both.")
    flags.DEFINE_string(
        "fault",
        "stuck_at_0",
        "With --fault_rates: the fault model, one that needs no options; see inject_faults.",
    )


def _place(subject: TrainedModel, images: int) -> str:
    """The path of the outcome's files without their endings."""
    names = _names()
    steps = FLAGS.steps or attacks.ATTACKS[names[0]].__kwdefaults__.get("num_steps", 1)
    name = f"{'-'.join(names)}-{FLAGS.distance}-epsilon_{FLAGS.epsilon:.4g}-steps_{steps}"
    if FLAGS.queries is not None:
        name += f"-queries_{FLAGS.queries}"
    if FLAGS.fault_rates is not None:
        name += f"-{FLAGS.fault}_{FLAGS.fault_target}_{'_'.join(FLAGS.fault_rates)}"
        name += f"-trials_{FLAGS.fault_trials}"
    directory = f"{subject.results}{records.ATTACKS}/" if subject.run else subject.results
    return f"{directory}{name}-images_{images}-seed_{FLAGS.seed}"


def _names() -> list[str]:
    """The attacks; several only for a table."""
    names = FLAGS.attack.split(",")
    for name in names:
        checks.check_choice(tuple(attacks.ATTACKS), attack=name)
    if len(names) > 1 and FLAGS.fault_rates is None:
        raise ArgumentError(f"--attack={FLAGS.attack} needs --fault_rates: give one attack at once")
    return names


def _rates() -> list[float]:
    try:
        rates = [float(text) for text in FLAGS.fault_rates]
    except ValueError:
        raise ArgumentError(
            f"fault_rates={','.join(FLAGS.fault_rates)!r} must be numbers"
        ) from None
    for rate in rates:
        checks.check_fraction(fault_rates=rate)
    return rates


def _options_by_attack() -> dict[str, dict[str, Any]]:
    """Each attack's options: --steps and --queries for those that take them.

    What none takes goes to all, and the attack refuses it.
    """
    options = {name: {"distance": FLAGS.distance, "seed": FLAGS.seed} for name in _names()}
    flags_given = {"num_steps": ("steps", FLAGS.steps), "queries": ("queries", FLAGS.queries)}
    for argument, (key, value) in flags_given.items():
        takers = [name for name in options if argument in attacks.ATTACKS[name].__kwdefaults__]
        if value is not None:
            for name in takers or options:
                options[name][key] = value
    return options


def _under_faults(subject: TrainedModel, count: int, place: str) -> None:
    """Attacks while faults are armed; prints the table and writes its rows."""

    def show(row: dict[str, Any]) -> None:
        _terminal.show(
            f"rate {row['rate']:g}, trial {row['trial']}, {row['attack']}: "
            f"{row['robust_accuracy']:.2%}; not attacked: {row['clean_accuracy']:.2%}"
        )

    found = faults.attack_under_faults(
        subject.model,
        subject.x[:count],
        subject.y[:count],
        attacks=_options_by_attack(),
        epsilon=FLAGS.epsilon,
        rates=_rates(),
        target=FLAGS.fault_target,
        fault=catalogue.named(FLAGS.fault, {}),
        trials=FLAGS.fault_trials,
        seed=FLAGS.seed,
        progress=show,
    )
    table = found.table().map("{:.2%}".format)
    table.index.names = [f"{FLAGS.fault} {FLAGS.fault_target}", "trial"]
    _terminal.show(
        f"accuracy under attack and faults, {FLAGS.distance} epsilon {FLAGS.epsilon:g}, on the "
        f"first {count:,} test images; worst: of images that survive all\n{table.to_string()}"
    )
    _terminal.show(_subject.provenance(subject))
    for warning in dict.fromkeys("\n".join(found.frame["warnings"]).splitlines()):
        if warning:
            _app.warn(warning)
    records.write_text(Path(f"{place}.csv"), found.frame.to_csv(index=False))
    _app.save_flags(Path(f"{place}.flags"))
    _terminal.show(f"written: {place}.csv")


def _options(place: str) -> dict[str, Any]:
    options = {} if FLAGS.queries is None else {"queries": FLAGS.queries}
    if FLAGS.attack == "autoattack":
        resume = Path(f"{place}.resume.npz")
        records.check_writable(resume)
        options |= {"progress": _terminal.show, "resume": resume}
    return options


def main(argv: list[str]) -> None:
    """Runs the binary."""
    del argv
    _names()
    checks.check_choice(attacks.DISTANCES, distance=FLAGS.distance)
    checks.check_radius(distance=FLAGS.distance, epsilon=FLAGS.epsilon)
    checks.check_non_negative_integer(seed=FLAGS.seed, images=FLAGS.images)
    checks.check_positive_integer(fault_trials=FLAGS.fault_trials)
    checks.check_choice(("weights", "units", "both"), fault_target=FLAGS.fault_target)
    catalogue.named(FLAGS.fault, {})
    if FLAGS.fault_rates is not None:
        _rates()
    _subject.check()
    if len(FLAGS.run or ()) > 1:
        raise ArgumentError(f"--run={','.join(FLAGS.run)} names several runs: attack one at a time")
    _stack.start()
    (subject,) = _subject.loaded()
    count = min(FLAGS.images or len(subject.x), len(subject.x))
    place = _place(subject, count)
    if FLAGS.fault_rates is not None:
        _under_faults(subject, count, place)
        return
    result = attacks.evaluate(
        subject.model,
        subject.x[:count],
        subject.y[:count],
        attack=FLAGS.attack,
        epsilon=FLAGS.epsilon,
        steps=FLAGS.steps,
        distance=FLAGS.distance,
        seed=FLAGS.seed,
        **_options(place),
    )
    entry = result.to_record()
    _terminal.show(_summary.attack_line(entry, intervals=True))
    _terminal.show(_subject.provenance(subject))
    for warning in entry.warnings:
        _app.warn(warning)
    records.write_text(Path(f"{place}.json"), records.dumps(entry))
    _app.save_flags(Path(f"{place}.flags"))
    _terminal.show(f"written: {place}.json")


def _resumes() -> bool:
    return FLAGS.attack == "autoattack" and FLAGS.fault_rates is None


if __name__ == "__main__":
    _app.run(main, define_flags, resumes=_resumes)
