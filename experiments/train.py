"""Trains one model, evaluates it and leaves one record.

Examples:
    python -m experiments.train --architecture=fmnist_dnn --algorithm=natural --epochs=20
    python -m experiments.train --architecture=fmnist_dnn --algorithm=trades --epsilon=0.1
    python -m experiments.train --architecture=fmnist_cnn_1 --algorithm=dpsgd --epochs=20
    python -m experiments.train --dataset=cifar10 --data_dir=DIR --strategy=mirrored

Run the same command again to go on after an interruption. The run's directory below --output_dir
holds config.json, history.csv, checkpoints/, model.keras and record.json, and train.flags: the
same run again is --flagfile=RUN/train.flags.
"""

import dataclasses
from pathlib import Path

from absl import flags

from experiments import _app, _stack, _terminal
from ft_tf import architectures, checks, data, study
from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError
from ft_tf.study import config as c
from ft_tf.study import spread, tensorboard
from ft_tf.training import precision, strategies

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(_stack)

flags.DEFINE_string(
    "dataset", "fashion_mnist", "fashion_mnist or cifar10 (circles: reproduce --tables=3)."
)
flags.DEFINE_string(
    "architecture",
    None,
    f"One of {', '.join(architectures.NAMES[:-1])}. Default: fmnist_dnn, or cifar10_cnn for "
    "cifar10.",
)
flags.DEFINE_string(
    "algorithm",
    "natural",
    "natural: plain cross-entropy; tikhonov: with an L2 penalty on the kernels; additive_gaussian, "
    "multiplicative_gaussian: noise on the inputs; jacobian_penalty: the penalty that small noise "
    "amounts to; trades: adversarial training; dpsgd: differentially private.",
)
flags.DEFINE_integer("epochs", 10, "Passes over the training data.")
flags.DEFINE_integer("batch_size", 250, "Examples per step (expected examples for dpsgd).")
flags.DEFINE_float(
    "learning_rate",
    0.15,
    "Learning rate. The default is for SGD without momentum; a tenth of it with --momentum=0.9, a "
    "hundredth with adam.",
)
flags.DEFINE_string("optimizer", "sgd", "sgd or adam.")
flags.DEFINE_float("momentum", 0.0, "Momentum of SGD.")
flags.DEFINE_float("weight_decay", 0.0, "Adds weight_decay * w to each gradient.")
flags.DEFINE_integer(
    "seed", 0, "Fixes initial weights, data order, input noise, faults and attacks."
)
flags.DEFINE_bool("augment", False, "Random crop and flip (cifar10).")
flags.DEFINE_string(
    "precision",
    "float32",
    "float32, or mixed_bfloat16: faster where the processor computes in it. Evaluation is in "
    "float32.",
)
flags.DEFINE_float("dropout", 0.0, "Share of hidden Dense units dropped in training.")
flags.DEFINE_float(
    "fault_aware_rate", 0.0, "Fault-aware training: share of sites stuck at 0, anew at each step."
)
flags.DEFINE_string("fault_aware_target", "units", "weights or units: what is faulty in training.")
flags.DEFINE_string("output_dir", "runs", "The run's own directory is made below this one.")
flags.DEFINE_string(
    "strategy",
    "none",
    "Spreads the batches of one training over devices. mirrored: all GPUs of this machine; "
    "multi_worker: the processes that TF_CONFIG names, each started with the same flags, "
    "--output_dir on a file system that all share. Not for dpsgd. Many runs at once: "
    "reproduce --workers.",
)
flags.DEFINE_bool(
    "tensorboard", False, "Write TensorBoard event files to tensorboard/ in the run's directory."
)
flags.DEFINE_string(
    "tensorboard_dir", None, "Write them below this directory instead, under the run's name."
)
flags.DEFINE_integer("train_limit", 0, "Train on the first so many examples; 0 for all.")
flags.DEFINE_integer("test_limit", 0, "Test on the first so many examples; 0 for all.")
flags.DEFINE_integer("fault_trials", 5, "Fault sets per rate in the evaluation.")
flags.DEFINE_string(
    "attack",
    None,
    "fgsm, pgd, apgd or none: attack the trained model. Default: pgd for trades, else none.",
)
flags.DEFINE_float("attack_epsilon", None, "Radius of that attack; default: trades' own, or 0.1.")
flags.DEFINE_integer("attack_steps", 20, "Steps of that attack.")
flags.DEFINE_integer(
    "attack_images", 1000, "That attack takes the first so many test and training images."
)
flags.DEFINE_bool(
    "curve",
    False,
    "Measure train and test accuracy after every epoch; trades also keeps the most robust epoch, "
    "chosen on 500 test images beside --attack_images.",
)
# Options of single algorithms; given to another one they are refused.
flags.DEFINE_float("l2", 1e-3, "tikhonov: coefficient of the squared kernel entries.")
flags.DEFINE_float(
    "sigma",
    0.1,
    "additive_gaussian, multiplicative_gaussian: scale of the noise, in pixels or as a share of "
    "them; jacobian_penalty: of the noise that it stands for.",
)
flags.DEFINE_float("epsilon", 0.1, "trades: radius of the ball, in pixels of [0, 1].")
flags.DEFINE_float("step_size", 0.02, "trades: length of an attack step.")
flags.DEFINE_integer("num_steps", 10, "trades: attack steps.")
flags.DEFINE_float(
    "beta", 1.0, "trades: weight of the KL term: more is more robust, and less accurate."
)
flags.DEFINE_string("distance", "l_inf", "trades: the ball's norm, l_inf or l_2.")
flags.DEFINE_bool(
    "normalized_example",
    False,
    "trades: attack in the space of the authors' MNIST example, where the images are normalised: "
    "epsilon and step_size are in its units (0.1 is 0.031 of a pixel's range).",
)
flags.DEFINE_float("l2_norm_clip", 1.0, "dpsgd: greatest l2 norm of one example's gradient.")
flags.DEFINE_float(
    "noise_multiplier",
    1.1,
    "dpsgd: standard deviation of the noise over l2_norm_clip: more is more private. "
    "compute_epsilon --target_epsilon finds the one for a budget.",
)
flags.DEFINE_string(
    "sampling",
    "poisson",
    "dpsgd: poisson, as accountants assume; or shuffle, the usual practice, with a larger epsilon.",
)
flags.DEFINE_integer(
    "noise_seed",
    None,
    "dpsgd: fixes batches and noise, for replication only: the record publishes it.",
)
flags.DEFINE_string("engine", "fast", "dpsgd: fast, or reference (TF Privacy's optimizer).")
flags.DEFINE_float(
    "delta",
    c.DEFAULT_DELTA,
    "dpsgd: delta at which epsilon is stated, well below one over the number of images.",
)

_OPTIONS = {
    name: tuple(field.name for field in dataclasses.fields(algorithm))
    for name, algorithm in c.ALGORITHMS.items()
}
_DEFAULT_ARCHITECTURE = {"fashion_mnist": "fmnist_dnn", "cifar10": "cifar10_cnn"}


def _algorithm() -> c.Algorithm:
    name = FLAGS.algorithm
    checks.check_choice(c.ALGORITHMS, algorithm=name)
    for option in sorted({option for options in _OPTIONS.values() for option in options}):
        if FLAGS[option].present and option not in _OPTIONS[name]:
            raise ArgumentError(
                f"{option}={FLAGS[option].value!r} is not an option of algorithm={name!r}"
            )
    return c.ALGORITHMS[name](**{option: FLAGS[option].value for option in _OPTIONS[name]})


def _evaluation(algorithm: c.Algorithm) -> c.Evaluation:
    robust = isinstance(algorithm, c.Trades)
    attack = FLAGS.attack or ("pgd" if robust else "none")
    checks.check_choice(("none", "fgsm", "pgd", "apgd"), attack=attack)
    radius = FLAGS.attack_epsilon
    if radius is None:
        radius = algorithm.epsilon if robust and not algorithm.normalized_example else 0.1
    return c.Evaluation(
        fault_trials=FLAGS.fault_trials,
        fault_seed=FLAGS.seed,
        attacks=() if attack == "none" else (attack,),
        attack_epsilon=radius,
        attack_steps=FLAGS.attack_steps,
        attack_images=FLAGS.attack_images,
        apgd_steps=FLAGS.attack_steps,
        curve=FLAGS.curve,
    )


def _config() -> c.RunConfig:
    if FLAGS.dataset == "circles":
        raise ArgumentError(
            "dataset='circles' is trained with all replicates of all its rows at once: "
            "python -m experiments.reproduce --tables=3"
        )
    checks.check_choice(_DEFAULT_ARCHITECTURE, dataset=FLAGS.dataset)
    algorithm = _algorithm()
    shared = (
        "dataset", "epochs", "batch_size", "learning_rate", "optimizer", "momentum",
        "weight_decay", "seed", "augment", "precision", "dropout", "fault_aware_rate",
        "fault_aware_target", "train_limit", "test_limit",
    )  # fmt: skip
    return c.RunConfig(
        architecture=FLAGS.architecture or _DEFAULT_ARCHITECTURE[FLAGS.dataset],
        algorithm=algorithm,
        evaluation=_evaluation(algorithm),
        **{name: FLAGS[name].value for name in shared},
    )


def _strategy(config: c.RunConfig) -> tf.distribute.Strategy | None:
    checks.check_choice(strategies.NAMES, strategy=FLAGS.strategy)
    spread.check(config, FLAGS.strategy)
    if FLAGS.strategy == "multi_worker":
        here = strategies.this_process()
        print(f"process {here.index + 1} of {here.count}, waiting for all", flush=True)
    strategy = strategies.make(FLAGS.strategy)
    if strategy is not None:
        _terminal.show(f"strategy: {FLAGS.strategy}, replicas: {strategy.num_replicas_in_sync}")
    return strategy


def _tensorboard_directory(directory: Path) -> Path | None:
    if FLAGS.tensorboard_dir:
        return Path(FLAGS.tensorboard_dir) / directory.name
    return directory / "tensorboard" if FLAGS.tensorboard else None


def main(argv: list[str]) -> int:
    """Runs the binary."""
    del argv
    config = _config()
    _stack.start()
    strategy = _strategy(config)
    precision.warn_if_slow(precision=config.precision)
    dataset = data.load(config.dataset, data_dir=FLAGS.data_dir, download=FLAGS.download)
    _terminal.show(dataset.describe())
    output_dir = Path(FLAGS.output_dir)
    directory = study.directory_of(config, dataset, output_dir)
    if not strategies.is_chief(strategy):
        spread.assist(config, study.limited(dataset, config), directory, strategy)
        _terminal.show(f"trained along; the chief writes {directory}")
        return 0
    keep_flags = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: _app.save_flags(directory / "train.flags")
    )
    events = _tensorboard_directory(directory)
    record = study.run(
        config,
        dataset,
        output_dir,
        verbose=_stack.keras_verbosity(),
        callbacks=[keep_flags, *([tensorboard.Summaries(events)] if events else [])],
        strategy=strategy,
    )
    if events:
        tensorboard.write_curves(record, events)
    _terminal.show(study.summary(record))
    _terminal.show(f"record: {directory / 'record.json'}")
    return 1 if record.status == "failed" else 0


if __name__ == "__main__":
    _app.run(main, resumes=True)
