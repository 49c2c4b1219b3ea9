"""Attacks a finished run's model: clean and robust accuracy with 95% intervals.

Examples:
    python -m experiments.attack --run=DIR --attack=pgd --epsilon=0.1 --steps=50
    python -m experiments.attack --run=DIR --attack=apgd --epsilon=0.1 --images=1000

The outcome is kept in the run's directory as attacks/NAME.json, beside the record, which is never
edited; reading the record adds it, so that `report` shows it.
"""

from absl import flags

from experiments import _app, _stack
from ft_tf import attacks, checks, records
from ft_tf.study import evaluation, finished

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(_stack)

flags.DEFINE_string("run", None, "Directory of a finished run.")
flags.DEFINE_string("attack", "pgd", f"One of {', '.join(attacks.ATTACKS)}.")
flags.DEFINE_float("epsilon", 0.1, "Radius of the ball, in pixels of [0, 1].")
flags.DEFINE_integer("steps", None, "Gradient steps; default: 1 for fgsm, 50 pgd, 100 apgd.")
flags.DEFINE_string("distance", "l_inf", "l_inf or l_2.")
flags.DEFINE_integer("images", 1000, "Attack the first so many test images; 0 for all.")
flags.DEFINE_integer("seed", 0, "Fixes random starts.")


def main(argv: list[str]) -> None:
    """Runs the binary."""
    del argv
    checks.check_choice(attacks.ATTACKS, attack=FLAGS.attack)
    checks.check_non_negative(epsilon=FLAGS.epsilon)
    checks.check_choice(attacks.DISTANCES, distance=FLAGS.distance)
    checks.check_non_negative_integer(seed=FLAGS.seed, images=FLAGS.images)
    directory = _stack.run_directory(FLAGS.run)
    _stack.start()
    run = finished.load_run(directory, data_dir=FLAGS.data_dir, download=FLAGS.download)
    print(run.data.describe(), flush=True)
    count = FLAGS.images or len(run.data.x_test)
    options = {} if FLAGS.attack == "fgsm" else {"seed": FLAGS.seed}
    result = attacks.evaluate(
        run.model,
        run.data.x_test[:count],
        run.data.y_test[:count],
        attack=FLAGS.attack,
        epsilon=FLAGS.epsilon,
        steps=FLAGS.steps,
        distance=FLAGS.distance,
        **options,
    )
    entry = evaluation.attack_entry(result)
    for kind in ("clean", "robust"):
        low, high = entry[f"{kind}_interval"]
        print(
            f"{kind} accuracy {entry[f'{kind}_accuracy']:.2%}  "
            f"[{low:.2%}, {high:.2%}] on {entry['images']} test images"
        )
    for warning in entry["warnings"]:
        print(f"warning: {warning}")
    name = f"{FLAGS.attack}-{FLAGS.distance}-epsilon_{FLAGS.epsilon:.4g}-steps_{entry['steps']}"
    path = directory / records.ATTACKS / f"{name}-images_{entry['images']}-seed_{FLAGS.seed}.json"
    records.write_text(path, records.dumps(entry))
    print(f"written: {path}")


if __name__ == "__main__":
    _app.run(main)
