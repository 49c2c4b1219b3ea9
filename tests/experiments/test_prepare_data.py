import gzip
import struct
import subprocess
import sys

import numpy as np
import pytest

from ft_tf.data import load


def run(*flags):
    return subprocess.run(
        [sys.executable, "-m", "experiments.prepare_data", *flags],
        capture_output=True,
        text=True,
        check=False,
    )


def write_blank_fashion_mnist(directory):
    """All the rows of Fashion-MNIST, black but for one pixel, labels 0..9 in turn."""
    for prefix, n in (("train", 60_000), ("t10k", 10_000)):
        images = struct.pack(">4I", 0x0803, n, 28, 28) + b"\xff" + bytes(n * 784 - 1)
        labels = struct.pack(">2I", 0x0801, n) + bytes(range(10)) * (n // 10)
        (directory / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images, 1))
        (directory / f"{prefix}-labels-idx1-ubyte").write_bytes(labels)


@pytest.mark.slow
def test_from_idx_files_to_a_directory(tmp_path):
    source, target = tmp_path / "idx", tmp_path / "tfds"
    source.mkdir()
    write_blank_fashion_mnist(source)
    done = run("--dataset=fashion_mnist", f"--from={source}", f"--data_dir={target}")
    assert (done.returncode, done.stderr) == (0, "")
    directory = target / "fashion_mnist" / "3.0.1"
    assert f"wrote 60000 training + 10000 test images to {directory}" in done.stdout
    dataset = load("fashion_mnist", data_dir=target)
    assert dataset.source == "tfds:fashion_mnist:3.0.1"
    assert (dataset.x_train.sum(), dataset.x_test.sum()) == (1, 1)
    np.testing.assert_array_equal(np.bincount(dataset.y_train), [6000] * 10)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--dataset=mnist", "--from=d"), "--dataset=mnist"),
        (("--dataset=cifar10",), "--from is needed"),
        (("--dataset=cifar10", "--from=/proc/nowhere"), "from='/proc/nowhere' is not a directory"),
    ],
)
def test_bad_input_is_one_line(tmp_path, flags, message):
    done = run(*flags, f"--data_dir={tmp_path / 'tfds'}")
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and message in done.stderr
    assert not (tmp_path / "tfds").exists()
