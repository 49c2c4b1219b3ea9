"""Turns local Fashion-MNIST or CIFAR-10 files into a TFDS directory, without any network.

    python -m experiments.prepare_data --dataset=fashion_mnist --from=DIR --data_dir=DIR

Fashion-MNIST: the four IDX files, .gz or plain. CIFAR-10: the batches of the binary version
(or of the Python version, read without executing anything). Every other binary then takes the same
--data_dir.
"""

from absl import flags

from experiments import _app
from ft_tf.data.specs import IMAGE_SPECS
from ft_tf.errors import ArgumentError

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags."""
    flags.DEFINE_enum("dataset", None, list(IMAGE_SPECS), "The data set.")
    flags.DEFINE_string("from", None, "Directory with the published files.")
    flags.DEFINE_string("data_dir", None, "TFDS data directory to write to; by default TFDS's own.")


def main(_: list[str]) -> None:
    """Prepares the directory and prints where it is and what is in it."""
    if not FLAGS.dataset:
        raise ArgumentError(f"--dataset is needed: {' or '.join(IMAGE_SPECS)}")
    if not FLAGS["from"].value:
        raise ArgumentError("--from is needed: the directory with the published files")
    # Imported after the flags are known to be good: it brings TensorFlow.
    from ft_tf.data.prepare import prepare

    directory = prepare(FLAGS.dataset, source_dir=FLAGS["from"].value, data_dir=FLAGS.data_dir)
    spec = IMAGE_SPECS[FLAGS.dataset]
    print(f"wrote {spec.num_train} training + {spec.num_test} test images to {directory}")
    print(f"use them with --data_dir={directory.parent.parent}")


if __name__ == "__main__":
    _app.run(main, define_flags)
