"""Attacks a trained model: clean and robust accuracy with 95% intervals.

Examples:
    python -m experiments.attack --run=DIR --attack=pgd --epsilon=8/255 --steps=50
    python -m experiments.attack --run=DIR --attack=autoattack --epsilon=0.1 --images=1000
    python -m experiments.attack --model=FILE.keras --dataset=fashion_mnist --epsilon=0.1
    python -m experiments.attack --run=DIR --data=FILE.npz --attack=square --queries=1000

The outcome of a run is kept in its directory as attacks/NAME.json; reading the record adds it, so
that `report` shows it. That of a model file is kept next to the file. NAME.flags, next to either,
repeats the attack by --flagfile. autoattack keeps what its finished stages found in
NAME.resume.npz: after an interruption the same command continues from there.
"""

from pathlib import Path
from typing import Any

from absl import flags

from experiments import _app, _flags, _stack, _subject, _summary, _terminal
from ft_tf import attacks, checks, records
from ft_tf.errors import ArgumentError
from ft_tf.study import evaluation
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
        "evaluation and the slowest.",
    )
    _flags.define_number("epsilon", 0.1, "Radius of the ball, in pixels of [0, 1]; 8/255, say.")
    flags.DEFINE_integer(
        "steps", None, "Gradient steps; default: 1 for fgsm, 50 pgd, 100 apgd, fab, autoattack."
    )
    flags.DEFINE_integer("queries", None, "square, autoattack: passes per image; default: 5000.")
    flags.DEFINE_string("distance", "l_inf", "The ball's norm: l_inf or l_2.")
    flags.DEFINE_integer("images", 1000, "Number of test images to attack, the first; 0 for all.")
    flags.DEFINE_integer("seed", 0, "Fixes random starts.")


def _place(subject: TrainedModel, images: int) -> str:
    """The path of the outcome's files without their endings."""
    steps = FLAGS.steps or attacks.ATTACKS[FLAGS.attack].__kwdefaults__.get("num_steps", 1)
    name = f"{FLAGS.attack}-{FLAGS.distance}-epsilon_{FLAGS.epsilon:.4g}-steps_{steps}"
    if FLAGS.queries is not None:
        name += f"-queries_{FLAGS.queries}"
    directory = f"{subject.results}{records.ATTACKS}/" if subject.run else subject.results
    return f"{directory}{name}-images_{images}-seed_{FLAGS.seed}"


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
    checks.check_choice(tuple(attacks.ATTACKS), attack=FLAGS.attack)
    checks.check_choice(attacks.DISTANCES, distance=FLAGS.distance)
    checks.check_radius(distance=FLAGS.distance, epsilon=FLAGS.epsilon)
    checks.check_non_negative_integer(seed=FLAGS.seed, images=FLAGS.images)
    _subject.check()
    if len(FLAGS.run or ()) > 1:
        raise ArgumentError(f"--run={','.join(FLAGS.run)} names several runs: attack one at a time")
    _stack.start()
    (subject,) = _subject.loaded()
    count = min(FLAGS.images or len(subject.x), len(subject.x))
    place = _place(subject, count)
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
    entry = evaluation.attack_entry(result)
    _terminal.show(_summary.attack_line(entry, intervals=True))
    _terminal.show(_subject.provenance(subject))
    for warning in entry.warnings:
        _app.warn(warning)
    records.write_text(Path(f"{place}.json"), records.dumps(entry))
    _app.save_flags(Path(f"{place}.flags"))
    _terminal.show(f"written: {place}.json")


def _resumes() -> bool:
    return FLAGS.attack == "autoattack"


if __name__ == "__main__":
    _app.run(main, define_flags, resumes=_resumes)
