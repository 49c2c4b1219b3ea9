"""Classifiers in .tflite files, run by TensorFlow Lite's interpreter.

A file is parsed first (`tflite_file`). Then the interpreter, which verifies all offsets and
lengths, runs made-up images in a forked process (on Linux), so that a file that crashes it ends in
an error.
"""

import os
import select
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ft_tf._compat import quiet_start, tf
from ft_tf.checks import check_positive_integer
from ft_tf.errors import ArgumentError, ModelError
from ft_tf.models.archive import RefusedError
from ft_tf.models.tflite_file import Parsed, StoredTensor, parse

_SECONDS = 30
_SPARE = 4 << 30
"""Bytes that the interpreter may take for two images, beyond a few times the file."""
_BATCH = 256 << 20
"""Bytes that the tensors of a batch may take."""


class TFLiteModel:
    """A classifier in a .tflite file, of one input and one output; `models.load` makes it.

    Integers at its input and output are converted by their scale and zero point: it takes and gives
    numbers as the model did from which it was converted.

    Attributes:
        name: of the file.
        content: its bytes.
        tensors: its weights.
        operators: names of its operators, in order.
        input_shape: (None, ...).
        output_shape: (None, classes).
        activation: "softmax" or "sigmoid" where it ends so, else "linear".
        takes_batches: whether it computes the same when several examples are given at once.
    """

    layers = ()  # of Keras

    def __init__(self, name: str, content: bytes, parsed: Parsed, *, takes_batches: bool) -> None:
        self.name, self.content, self.takes_batches = name, content, takes_batches
        self.tensors, self.operators = parsed.tensors, parsed.operators
        self.input_shape = (None, *parsed.input_shape[1:])
        self.output_shape = (None, *parsed.output_shape[1:])
        self.activation = parsed.activation
        self._smallest = parsed.input_shape[0]
        self._largest = max(1, _BATCH // max(1, parsed.bytes_per_example))

    def check_input(self, x: Any, name: str = "x") -> None:
        """Raises ArgumentError unless `x` has the shape that the model takes."""
        shape = tuple(np.shape(x))
        if len(shape) != len(self.input_shape) or shape[1:] != self.input_shape[1:]:
            sizes = ", ".join("n" if size is None else str(size) for size in self.input_shape)
            raise ArgumentError(
                f"{name}.shape={shape} must be ({sizes}), as model={self.name} takes it"
            )

    def outputs(
        self, x: np.ndarray, *, batch_size: int = 1000, content: bytes | None = None
    ) -> np.ndarray:
        """Returns the outputs float32 [n, classes] of an interpreter made for this call.

        Args:
            x: inputs [n, ...].
            batch_size: examples at once, at most.
            content: bytes of the file with other weights; by default its own.
        """
        check_positive_integer(batch_size=batch_size)
        self.check_input(x)
        if len(self.output_shape) != 2:
            raise ModelError(
                f"model={self.name} has output shape {self.output_shape}, must be (None, classes)"
            )
        batch = min(batch_size, self._largest, len(x)) if self.takes_batches else self._smallest
        try:
            return _run(self.content if content is None else content, x, batch)
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"model={self.name}: {_first_line(error)}") from None


def read(path: Path) -> TFLiteModel:
    """Reads a .tflite file.

    Raises:
        RefusedError: it is missing, damaged, or asks for more than computing with its weights.
    """
    try:
        if path.exists() and not path.is_file():
            raise RefusedError("it is not a regular file")
        content = path.read_bytes()
    except OSError as error:
        raise RefusedError(error.strerror or f"the file is damaged ({error})") from None
    parsed = parse(content)
    inverted = _inverted(content, parsed.tensors)
    if parse(inverted) != parsed:
        raise RefusedError("the file is damaged (its weights are part of its structure)")
    answer = _in_a_fork(content, inverted) if sys.platform == "linux" else _try(content, inverted)
    if answer not in (_ONE, _MANY):
        raise RefusedError(answer)
    with quiet_start():  # the first interpreter of a process announces its delegate
        _interpreter(content).allocate_tensors()
    return TFLiteModel(path.name, content, parsed, takes_batches=answer == _MANY)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _inverted(content: bytes, tensors: tuple[StoredTensor, ...]) -> bytes:
    """The file with all bits of its weights inverted, which must not change its structure."""
    found = np.frombuffer(content, np.uint8).copy()
    for tensor in tensors:
        found[tensor.start : tensor.start + tensor.size] ^= 255
    return found.tobytes()


def _interpreter(content: bytes) -> Any:
    threads = max(1, tf.config.threading.get_intra_op_parallelism_threads())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it announces that it will move to another package
        return tf.lite.Interpreter(model_content=content, num_threads=threads)


def _run(content: bytes, x: np.ndarray, batch: int) -> np.ndarray:
    """Outputs float32 [n, ...] of a new interpreter."""
    interpreter = _interpreter(content)
    (given,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    if batch != given["shape"][0]:
        interpreter.resize_tensor_input(given["index"], [batch, *given["shape"][1:]])
    interpreter.allocate_tensors()
    parts = []
    for first in range(0, len(x), batch):
        part = _quantized(x[first : first + batch], given)
        if len(part) < batch:  # to resize once more would take longer
            part = np.concatenate([part, np.repeat(part[:1], batch - len(part), axis=0)])
        interpreter.reset_all_variables()
        interpreter.set_tensor(given["index"], part)
        interpreter.invoke()
        parts.append(interpreter.get_tensor(result["index"]))
        if parts[-1].shape[:1] != (batch,):
            raise ValueError(f"{batch} examples give an output of shape {parts[-1].shape}")
    return _dequantized(np.concatenate(parts)[: len(x)], result)


def _quantized(x: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """Numbers as an input takes them: round(x / scale) + zero point, within range."""
    scale, zero_point = details["quantization"]
    if not scale:
        return np.asarray(x, details["dtype"])
    limits = np.iinfo(details["dtype"])
    integers = np.rint(np.asarray(x, np.float32) / np.float32(scale)) + zero_point
    return np.clip(integers, limits.min, limits.max).astype(details["dtype"])


def _dequantized(outputs: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    scale, zero_point = details["quantization"]
    if not scale:
        return outputs.astype(np.float32)
    return (outputs.astype(np.float32) - zero_point) * np.float32(scale)


_ONE, _MANY = "one", "many"


def _try(content: bytes, inverted: bytes, note: Any = lambda answer: None) -> str:
    """Runs made-up images: _ONE or _MANY, by what the file takes at once, or an error."""
    try:
        (given,) = _interpreter(content).get_input_details()
        smallest = int(given["shape"][0])
        x = np.random.default_rng(0).random((2 * smallest, *given["shape"][1:]), np.float32)
        alone = _run(content, x, smallest)
        _run(inverted, x, smallest)
        note(_ONE)
    except (RuntimeError, ValueError) as error:
        return _first_line(error)
    try:
        together = _run(content, x, len(x))
    except (RuntimeError, ValueError):
        return _ONE
    scale = max(1.0, float(np.abs(alone[np.isfinite(alone)]).max(initial=0.0)))
    same = np.allclose(alone, together, rtol=0, atol=1e-4 * scale, equal_nan=True)
    return _MANY if same else _ONE


def _in_a_fork(content: bytes, inverted: bytes) -> str:
    """`_try` in a forked process, within half a minute and a few gigabytes."""
    import resource  # there is none on Windows

    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns of a fork beside threads; these end in it
        child = os.fork()
    if not child:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            memory = pages * resource.getpagesize() + _SPARE + 8 * len(content)
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            answer = _try(content, inverted, lambda text: os.write(writing, f"{text}\n".encode()))
            os.write(writing, answer.encode("utf-8", "replace")[:2000])
        finally:
            os._exit(0)
    os.close(writing)
    try:
        answers = _read_to_end(reading)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
    if answers is None:
        return f"TensorFlow Lite has not run it within {_SECONDS} seconds"
    return (answers.splitlines() or ["it crashes TensorFlow Lite's interpreter"])[-1]


def _read_to_end(pipe: int) -> str | None:
    """What comes through a pipe until it is closed; None if that takes too long."""
    read = b""
    while select.select([pipe], [], [], _SECONDS)[0]:
        part = os.read(pipe, 4096)
        if not part:
            return read.decode("utf-8", "replace")
        read += part
    return None
