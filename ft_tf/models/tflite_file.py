"""Parses a .tflite file without trusting it: its operators and where its weights are.

Operators that can do more than compute are refused here, before an interpreter sees them. Offsets
and lengths are checked as far as they are used; the interpreter verifies all of them.
"""

import dataclasses
import importlib
import itertools
import math
import re
from typing import Any

import numpy as np

from ft_tf._compat import tf
from ft_tf.models.archive import RefusedError
from ft_tf.models.limits import LARGEST_OUTPUT

_OBJECTS = 100_000
"""Operators, tensors or buffers in a file."""
_TYPES = {
    "FLOAT32": "float32", "FLOAT16": "float16", "BFLOAT16": "bfloat16", "INT8": "int8",
    "INT4": "int4", "UINT8": "uint8", "INT16": "int16", "INT32": "int32",
}  # fmt: skip
_BIASES = {
    "FULLY_CONNECTED": (2,), "CONV_2D": (2,), "DEPTHWISE_CONV_2D": (2,), "CONV_3D": (2,),
    "TRANSPOSE_CONV": (3,), "CONV_3D_TRANSPOSE": (3,),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (12, 13, 14, 15),
}  # fmt: skip
"""Inputs of operators that are biases. All other constants of int32 are shapes, axes or indices."""
_REFUSED = re.compile(
    "CUSTOM|DELEGATE|CALL|^IF$|WHILE|CASE|COMPOSITE|VARIABLE|VAR_HANDLE|HASHTABLE|RANDOM|RNG|"
    "MULTINOMIAL|PLACEHOLDER"
)
"""Operators that run other code, keep a state, or answer differently each time."""
_HANDING_ON = ("QUANTIZE", "DEQUANTIZE", "RESHAPE")
_ENDINGS = {"SOFTMAX": "softmax", "LOGISTIC": "sigmoid"}


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """Weights in a .tflite file: a constant that an operator computes with.

    Attributes:
        layer: the operator's layer in Keras, or its name and number.
        name: of the tensor.
        shape: of the tensor.
        dtype: float32, float16, bfloat16, int8, int4 (two in a byte), uint8 or int16; of a bias
            also int32.
        start: number of its first byte in the file.
        size: bytes.
        is_bias: whether it is a bias.
        zero_point: integer that stands for 0.
    """

    layer: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    start: int
    size: int
    is_bias: bool
    zero_point: int

    def values(self, content: bytes) -> np.ndarray:
        """Returns the stored numbers; int4 as int8."""
        stored = np.frombuffer(content, np.uint8, self.size, self.start)
        if self.dtype != "int4":
            return stored.view(tf.as_dtype(self.dtype).as_numpy_dtype).reshape(self.shape)
        nibbles = np.stack([stored & 15, stored >> 4], axis=1).ravel()[: math.prod(self.shape)]
        return (nibbles.astype(np.int8) ^ 8).reshape(self.shape) - 8  # two's complement

    def write(self, values: np.ndarray, into: np.ndarray) -> None:
        """Puts numbers as `values` gives them into the bytes of a file."""
        stored = np.ascontiguousarray(values).ravel().view(np.uint8)
        place = into[self.start : self.start + self.size]
        if self.dtype == "int4":
            padding = place[-1:] >> 4 if len(stored) % 2 else place[:0]
            low, high = np.concatenate([stored & 15, padding]).reshape(-1, 2).T
            stored = low | high << 4
        place[:] = stored


@dataclasses.dataclass(frozen=True)
class Parsed:
    """What a .tflite file says of itself, but for the values of its weights.

    Attributes:
        tensors: the weights, in the order of the operators.
        operators: names of the operators, in order.
        input_shape: of the one input, with the batch.
        output_shape: of the one output.
        activation: "softmax" or "sigmoid" where it ends so, else "linear".
        bytes_per_example: that all tensors take together, if they are of 4 bytes.
    """

    tensors: tuple[StoredTensor, ...]
    operators: tuple[str, ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    activation: str
    bytes_per_example: int


def parse(content: bytes) -> Parsed:
    """Parses the bytes of a file.

    Raises:
        RefusedError: it is no .tflite file, is damaged, or asks for what is not served.
    """
    if content[4:8] != b"TFL3":
        raise RefusedError("it is not a .tflite file")
    try:
        return _Parser(content).parsed()
    except RefusedError:
        raise
    except Exception as error:  # whatever reading at wrong places raises
        raise RefusedError(f"the file is damaged ({error})") from None


def _integers(vector: Any) -> tuple[int, ...]:
    """A vector of a flatbuffer, which is 0 where there is none."""
    return () if isinstance(vector, int) else tuple(vector.tolist())


class _Parser:
    def __init__(self, content: bytes) -> None:
        # TensorFlow's own classes for the tables of the file.
        self._schema = importlib.import_module("tensorflow.lite.python.schema_py_generated")
        self._content = content
        self._model = self._schema.Model.GetRootAs(content, 0)
        self._named = 0

    def parsed(self) -> Parsed:
        model = self._model
        if model.ExternalBuffersLength() or model.ExternalBufferGroupsLength():
            raise RefusedError("it keeps weights in other files")
        if model.SubgraphsLength() != 1:
            count = model.SubgraphsLength()
            raise RefusedError(f"it has {count} graphs (loops or branches): one is served")
        graph = model.Subgraphs(0)
        for what, count in (
            ("operators", graph.OperatorsLength()),
            ("tensors", graph.TensorsLength()),
            ("buffers", model.BuffersLength()),
            ("kinds of operators", model.OperatorCodesLength()),
        ):
            if count > _OBJECTS:
                raise RefusedError(f"it has {count:,} {what}, too many")
        kinds = [self._kind(model.OperatorCodes(i)) for i in range(model.OperatorCodesLength())]
        operators = [graph.Operators(i) for i in range(graph.OperatorsLength())]
        if sum(part.InputsLength() + part.OutputsLength() for part in operators) > 10 * _OBJECTS:
            raise RefusedError("its operators have too many inputs")
        self._calls = [
            (kinds[o.OpcodeIndex()], _integers(o.InputsAsNumpy()), _integers(o.OutputsAsNumpy()))
            for o in operators
        ]
        self._tensors = [graph.Tensors(i) for i in range(graph.TensorsLength())]
        self._shapes = [_integers(tensor.ShapeAsNumpy()) for tensor in self._tensors]
        sizes = [math.prod(map(abs, shape)) for shape in self._shapes]
        if max(sizes, default=0) > LARGEST_OUTPUT:
            raise RefusedError(f"it has a tensor of {max(sizes):,} numbers, too many")
        inputs, outputs = map(_integers, (graph.InputsAsNumpy(), graph.OutputsAsNumpy()))
        if len(inputs) != 1 or len(outputs) != 1:
            raise RefusedError(
                f"it has {len(inputs)} inputs and {len(outputs)} outputs: one of each is served"
            )
        return Parsed(
            tensors=self._weights(),
            operators=tuple(name for name, _, _ in self._calls),
            input_shape=self._shapes[inputs[0]],
            output_shape=self._shapes[outputs[0]],
            activation=self._ending(outputs[0]),
            bytes_per_example=4 * sum(sizes),
        )

    def _kind(self, code: Any) -> str:
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())  # as the interpreter does
        known = vars(self._schema.BuiltinOperator).items()
        name = next((name for name, value in known if value == number), f"operator {number}")
        custom = code.CustomCode()
        if custom:
            name = f"the custom operator {custom[:100].decode('utf-8', 'replace')!r}"
        if custom or _REFUSED.search(name) or name.startswith("operator"):
            raise RefusedError(f"it asks for {name}, which is not among the operators served")
        return name

    def _ending(self, output: int) -> str:
        for name, inputs, outputs in reversed(self._calls):
            if output in outputs:
                if name not in _HANDING_ON:
                    return _ENDINGS.get(name, "linear")
                output = inputs[0]
        return "linear"

    def _weights(self) -> tuple[StoredTensor, ...]:
        """The weights; those that several operators use once."""
        types = {number: name for name, number in vars(self._schema.TensorType).items()}
        weights: dict[int, StoredTensor] = {}
        # Weights of float16 are made float32 first: they belong to the operator that takes those.
        sources = {
            outputs[0]: inputs[0] for name, inputs, outputs in self._calls if name == "DEQUANTIZE"
        }
        for number, (name, inputs, _) in enumerate(self._calls):
            for place, index in enumerate(inputs):
                if index < 0 or name == "DEQUANTIZE":  # -1: an optional input that is not given
                    continue
                index = sources.get(index, index)
                tensor = self._tensors[index]
                kind = _TYPES.get(types[tensor.Type()])
                is_bias = place in _BIASES.get(name, ())
                if kind is None or tensor.Buffer() in weights or (kind == "int32" and not is_bias):
                    continue
                start, size = self._place(tensor.Buffer())
                if size:
                    found = self._stored(index, kind, start, size, self._layer(number), is_bias)
                    weights[tensor.Buffer()] = found
        ordered = sorted(weights.values(), key=lambda tensor: tensor.start)
        for first, second in itertools.pairwise(ordered):
            if first.start + first.size > second.start:
                raise RefusedError("the file is damaged (its weights overlap)")
        return tuple(weights.values())

    def _place(self, number: int) -> tuple[int, int]:
        """First byte and number of bytes of a buffer; in a large file it lies behind the tables."""
        if number >= self._model.BuffersLength():
            raise RefusedError(f"the file is damaged (it has no buffer {number})")
        buffer = self._model.Buffers(number)
        data = buffer.DataAsNumpy()
        if buffer.Offset() > 1:
            start, size = buffer.Offset(), buffer.Size()
        elif isinstance(data, int):  # none: the tensor is computed
            return 0, 0
        else:
            start = data.ctypes.data - np.frombuffer(self._content, np.uint8).ctypes.data
            size = len(data)
        if start + size > len(self._content):
            raise RefusedError("the file is damaged (weights lie behind its end)")
        return start, size

    def _stored(
        self, index: int, kind: str, start: int, size: int, layer: str, is_bias: bool
    ) -> StoredTensor:
        tensor, shape, name = self._tensors[index], self._shapes[index], self._name(index)
        if tensor.Sparsity() is not None:
            raise RefusedError(f"tensor {name!r} is sparse, which is not served")
        bits = 4 if kind == "int4" else 8 * tf.as_dtype(kind).size
        if min(shape, default=0) < 0 or size != -(-math.prod(shape) * bits // 8):
            raise RefusedError(
                f"the file is damaged ({kind} tensor {name!r} of shape {shape} has {size:,} bytes)"
            )
        quantization = tensor.Quantization()
        has_one = quantization is not None and quantization.ZeroPointLength() == 1
        zero_point = int(quantization.ZeroPoint(0)) if has_one else 0
        return StoredTensor(layer, name, shape, kind, start, size, is_bias, zero_point)

    def _name(self, index: int) -> str:
        name = self._tensors[index].Name() or b""
        self._named += len(name)
        if self._named > 2 * len(self._content):  # many tensors share one huge name
            raise RefusedError("the file is damaged (its names are longer than the file)")
        text = name.decode("utf-8", "replace")
        return "".join(letter for letter in text if letter.isprintable())[:500]

    def _layer(self, number: int) -> str:
        """The layer of an operator by the name of its output, MODEL/LAYER/OPERATION;... ."""
        name, _, outputs = self._calls[number]
        parts = self._name(outputs[0]).split(";")[0].split("/") if outputs else []
        return parts[-2] if len(parts) > 1 else f"{name.lower()}_{number}"
