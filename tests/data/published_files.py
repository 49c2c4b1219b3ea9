"""Writers of tiny data sets in the published formats, for tests: struct and bytes, no library."""

import dataclasses
import gzip
import pickle
import struct

import numpy as np

from ft_tf.data.specs import CIFAR10, FASHION_MNIST

TINY_FASHION_MNIST = dataclasses.replace(FASHION_MNIST, num_train=150, num_test=70)
TINY_CIFAR10 = dataclasses.replace(CIFAR10, num_train=20, num_test=3)


def random_arrays(spec, seed=1):
    random = np.random.Generator(np.random.Philox(seed))
    arrays = {}
    for split, n in spec.counts.items():
        arrays[f"x_{split}"] = random.integers(0, 256, (n, *spec.shape), dtype=np.uint8)
        arrays[f"y_{split}"] = random.integers(0, len(spec.class_names), n, dtype=np.uint8)
    return arrays


def idx_bytes(values):
    return (
        struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()
    )


def write_idx(directory, arrays, compress=True):
    for split, prefix in (("train", "train"), ("test", "t10k")):
        for name, values in (
            (f"{prefix}-images-idx3-ubyte", arrays[f"x_{split}"][..., 0]),
            (f"{prefix}-labels-idx1-ubyte", arrays[f"y_{split}"]),
        ):
            data = idx_bytes(values)
            path = directory / (f"{name}.gz" if compress else name)
            path.write_bytes(gzip.compress(data, 1) if compress else data)


def cifar_batches(arrays):
    """Name, images and labels of the six batches."""
    n = len(arrays["x_train"]) // 5
    for number in range(5):
        rows = slice(n * number, n * (number + 1))
        yield f"data_batch_{number + 1}", arrays["x_train"][rows], arrays["y_train"][rows]
    yield "test_batch", arrays["x_test"], arrays["y_test"]


def planes(image):
    """The bytes of one image, all red values first, then green, then blue."""
    return b"".join(image[:, :, channel].tobytes() for channel in range(3))


def write_cifar_binary(directory, arrays):
    for name, images, labels in cifar_batches(arrays):
        rows = (bytes([label]) + planes(image) for image, label in zip(images, labels, strict=True))
        (directory / f"{name}.bin").write_bytes(b"".join(rows))


def write_cifar_python(directory, arrays, python=2):
    """The Python version as Python 2 pickled it, the published form, or as Python 3 would."""
    for name, images, labels in cifar_batches(arrays):
        data = np.array([np.frombuffer(planes(image), np.uint8) for image in images])
        if python == 2:
            pickled = python2_batch(data, labels)
        else:
            pickled = pickle.dumps({b"data": data, b"labels": labels.tolist()})
        (directory / name).write_bytes(pickled)


def python2_batch(data, labels):
    """Protocol 2, opcode by opcode: byte strings as U and T, which Python 3 never writes."""
    n, size = data.shape
    return b"".join(
        (
            b"\x80\x02}(U\x04data",
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R",
            b"(K\x01" + b"K" + bytes([n]) + b"M" + struct.pack("<H", size) + b"\x86",
            b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R",
            b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
            b"\x89T" + struct.pack("<i", data.size) + data.tobytes() + b"tb",
            b"U\x06labels](" + b"".join(b"K" + bytes([label]) for label in labels) + b"eu.",
        )
    )
