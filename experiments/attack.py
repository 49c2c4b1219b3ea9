"""Attacks a trained model: clean and robust accuracy with 95% intervals.

Examples:
    python -m experiments.attack --run=DIR --attack=pgd --epsilon=0.1 --steps=50
    python -m experiments.attack --run=DIR --attack=apgd --epsilon=0.1 --images=1000
    python -m experiments.attack --model=FILE.keras --dataset=fashion_mnist --epsilon=0.1

The outcome of a run is kept in its directory as attacks/NAME.json, beside the record, which is
never edited; reading the record adds it, so that `report` shows it. That of a model file is kept
beside the file. Beside either stands NAME.flags, which repeats the attack by --flagfile.
"""

from pathlib import Path

from absl import flags

from experiments import _app, _stack, _subject, _terminal
from ft_tf import attacks, checks, records
from ft_tf.errors import ArgumentError
from ft_tf.study import evaluation

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(_subject)

flags.DEFINE_string(
    "attack",
    "pgd",
    "fgsm: one step, a baseline; pgd: many steps; apgd: Auto-PGD, the strongest and slowest.",
)
flags.DEFINE_float("epsilon", 0.1, "Radius of the ball, in pixels of [0, 1].")
flags.DEFINE_integer("steps", None, "Gradient steps; default: 1 for fgsm, 50 pgd, 100 apgd.")
flags.DEFINE_string("distance", "l_inf", "The ball's norm: l_inf or l_2.")
flags.DEFINE_integer("images", 1000, "Attack the first so many test images; 0 for all.")
flags.DEFINE_integer("seed", 0, "Fixes random starts.")


def main(argv: list[str]) -> None:
    """Runs the binary."""
    del argv
    checks.check_choice(attacks.ATTACKS, attack=FLAGS.attack)
    checks.check_choice(attacks.DISTANCES, distance=FLAGS.distance)
    checks.check_radius(distance=FLAGS.distance, epsilon=FLAGS.epsilon)
    checks.check_non_negative_integer(seed=FLAGS.seed, images=FLAGS.images)
    _subject.check()
    if len(FLAGS.run or ()) > 1:
        raise ArgumentError(f"--run={','.join(FLAGS.run)} names several runs: attack one at a time")
    _stack.start()
    (subject,) = _subject.loaded()
    count = FLAGS.images or len(subject.x)
    options = {} if FLAGS.attack == "fgsm" else {"seed": FLAGS.seed}
    result = attacks.evaluate(
        subject.model,
        subject.x[:count],
        subject.y[:count],
        attack=FLAGS.attack,
        epsilon=FLAGS.epsilon,
        steps=FLAGS.steps,
        distance=FLAGS.distance,
        **options,
    )
    entry = evaluation.attack_entry(result)
    for kind in ("clean", "robust"):
        low, high = getattr(entry, f"{kind}_interval")
        _terminal.show(
            f"{kind} accuracy {getattr(entry, f'{kind}_accuracy'):.2%}  "
            f"[{low:.2%}, {high:.2%}] on {entry.images} test images"
        )
    for warning in entry.warnings:
        _app.warn(warning)
    name = f"{FLAGS.attack}-{FLAGS.distance}-epsilon_{FLAGS.epsilon:.4g}-steps_{entry.steps}"
    name += f"-images_{entry.images}-seed_{FLAGS.seed}"
    place = f"{subject.results}{records.ATTACKS}/" if subject.run else subject.results
    records.write_text(Path(f"{place}{name}.json"), records.dumps(entry))
    _app.save_flags(Path(f"{place}{name}.flags"))
    _terminal.show(f"written: {place}{name}.json")


if __name__ == "__main__":
    _app.run(main)
