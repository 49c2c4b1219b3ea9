"""Trains one model, evaluates it and leaves one record.

Examples:
    python -m experiments.train --architecture=fmnist_dnn --algorithm=natural --epochs=20
    python -m experiments.train --architecture=fmnist_dnn --algorithm=trades --epsilon=0.1
    python -m experiments.train --architecture=fmnist_cnn_1 --algorithm=dpsgd --epochs=20
    python -m experiments.train --dataset=cifar10 --data_dir=DIR --strategy=mirrored
    python -m experiments.train --data=FILE.npz --epochs=20

Run the same command again to go on after an interruption. The run's directory below --output_dir
holds config.json, history.csv, checkpoints/, model.keras and record.json, and train.flags: the
same run again is --flagfile=RUN/train.flags.
"""

from pathlib import Path

from absl import flags

from experiments import _app, _flags, _stack, _summary, _tensorboard, _terminal
from ft_tf import attacks, checks, study
from ft_tf._compat import keras, tf
from ft_tf.data import own
from ft_tf.errors import ArgumentError
from ft_tf.study import algorithms, datasets, trainer
from ft_tf.study.algorithms import Algorithm
from ft_tf.study.config import Evaluation, RunConfig
from ft_tf.training import bfloat16, strategies

FLAGS = flags.FLAGS

_RUN = (
    "epochs", "batch_size", "learning_rate", "optimizer", "momentum", "weight_decay", "seed",
    "augment", "precision", "dropout", "fault_aware_rate", "fault_aware_target",
    "fault_aware_storage", "max_weight", "train_limit", "test_limit", "holdout",
    "stop_at_holdout_accuracy",
)  # fmt: skip
"""Fields of `RunConfig` that are flags."""

_EVALUATION = (
    "fault_targets", "fault", "fault_rates", "fault_trials", "fault_images", "layer_rate",
    "attack_steps", "attack_images", "attack_sanity", "membership", "reference_models",
    "rescaling", "curve",
)  # fmt: skip
"""Fields of `Evaluation` that are flags."""


def define_flags() -> None:
    """Defines the flags."""
    _stack.define_flags()
    flags.DEFINE_string(
        "dataset",
        None,
        f"{', '.join(datasets.names())} (circles: reproduce --tables=3). Default: the first.",
    )
    flags.DEFINE_string(
        "data",
        None,
        f"In place of --dataset, your own images: {own.FORMS}. Arrays are x_train, y_train, x_test "
        "and y_test, pixels uint8 in 0..255 or floating in [0, 1], labels from 0.",
    )
    flags.DEFINE_string("architecture", None, "Default: fmnist_dnn, cifar10_cnn or dnn.")
    flags.DEFINE_string("algorithm", "natural", f"One of {', '.join(algorithms.names())}.")
    flags.DEFINE_string("output_dir", "runs", "The run's own directory is made below this one.")
    flags.DEFINE_string(
        "strategy",
        "none",
        "Distributes the batches of one training over devices. mirrored: all GPUs of this machine; "
        "multi_worker: the processes that TF_CONFIG names, each started with the same flags, "
        "--output_dir on a file system that all share. dpsgd takes mirrored alone. Many runs at "
        "once: reproduce --workers.",
    )
    flags.DEFINE_bool(
        "tensorboard",
        False,
        "Write TensorBoard event files to tensorboard/ in the run's directory.",
    )
    flags.DEFINE_string(
        "tensorboard_dir", None, "Write them below this directory instead, under the run's name."
    )
    _flags.define(RunConfig, _RUN)
    _flags.define(Evaluation, _EVALUATION)
    flags.DEFINE_string(
        "attack",
        None,
        f"{', '.join(attacks.ATTACKS)} or none: attack the trained model. Default: pgd for a "
        "robust algorithm such as trades, else none.",
    )
    _flags.define_number(
        "attack_epsilon", None, "Radius of that attack, such as 8/255; default: trades' or 0.1."
    )
    # Options of single algorithms; given to another one they are refused.
    _flags.define_options(map(algorithms.get, algorithms.names()))


def _algorithm() -> Algorithm:
    cls = algorithms.get(FLAGS.algorithm)
    return cls(**_flags.given_options(cls, map(algorithms.get, algorithms.names())))


def _evaluation(algorithm: Algorithm) -> Evaluation:
    robust = algorithm.attack_radius is not None
    attack = FLAGS.attack or ("pgd" if robust else "none")
    checks.check_choice(("none", *attacks.ATTACKS), attack=attack)
    radius = algorithm.attack_radius if FLAGS.attack_epsilon is None else FLAGS.attack_epsilon
    return Evaluation(
        fault_seed=FLAGS.seed,
        attacks=() if attack == "none" else (attack,),
        apgd_steps=FLAGS.attack_steps,
        **({} if radius is None else {"attack_epsilon": radius}),
        **_flags.values(Evaluation, _EVALUATION),
    )


def _source() -> datasets.DataSource:
    if FLAGS.data is not None:
        if FLAGS.dataset is not None:
            raise ArgumentError(f"--dataset={FLAGS.dataset} and --data={FLAGS.data}: give one")
        return datasets.register_own(FLAGS.data, data_dir=FLAGS.data_dir, download=FLAGS.download)
    if FLAGS.dataset == "circles":
        raise ArgumentError(
            "dataset='circles' is trained with all replicates of all its rows at once: "
            "python -m experiments.reproduce --tables=3"
        )
    return datasets.get(FLAGS.dataset or datasets.names()[0])


def _config(source: datasets.DataSource) -> RunConfig:
    algorithm = _algorithm()
    return RunConfig(
        dataset=source.name,
        architecture=FLAGS.architecture or source.architecture,
        algorithm=algorithm,
        evaluation=_evaluation(algorithm),
        **_flags.values(RunConfig, _RUN),
    )


def _strategy(config: RunConfig) -> tf.distribute.Strategy | None:
    checks.check_choice(strategies.NAMES, strategy=FLAGS.strategy)
    trainer.check_strategy(config, FLAGS.strategy)
    if FLAGS.strategy == "multi_worker":
        here = strategies.peers()
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
    _stack.start()
    source = _source()
    config = _config(source)
    strategy = _strategy(config)
    bfloat16.warn_if_slow(precision=config.precision)
    dataset = source.load(data_dir=FLAGS.data_dir, download=FLAGS.download)
    _terminal.show(dataset.describe())
    output_dir = Path(FLAGS.output_dir)
    directory = study.directory_of(config, dataset, output_dir)
    if not strategies.is_chief(strategy):
        trainer.assist(config, study.limited(dataset, config), directory, strategy)
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
        callbacks=[keep_flags, *([_tensorboard.Summaries(events)] if events else [])],
        strategy=strategy,
    )
    if events:
        _tensorboard.write_curves(record, events)
        _tensorboard.write_hparams(record, events)
    _terminal.show(_summary.summary(record))
    _terminal.show(f"record: {directory / 'record.json'}")
    return 1 if record.status == "failed" else 0


if __name__ == "__main__":
    _app.run(main, define_flags, resumes=True)
