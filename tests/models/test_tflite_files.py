"""Hostile .tflite files: each gets one line, and the process lives on."""

import numpy as np
import pytest
import tflite_files
from tensorflow.lite.python import schema_py_generated as schema

import ft_tf
from ft_tf import models
from ft_tf.errors import ModelError

GOOD = "int8"


def refused(tmp_path, content, match):
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=match) as error:
        ft_tf.load_model(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def operator(model, name):
    """The first operator of a kind."""
    number = getattr(schema.BuiltinOperator, name)
    codes = [code.builtinCode for code in model.operatorCodes]
    return next(o for o in model.subgraphs[0].operators if codes[o.opcodeIndex] == number)


def weights_of(model, name):
    graph = model.subgraphs[0]
    return graph.tensors[operator(model, name).inputs[1]]


def with_code(number, custom=None):
    def change(model):
        code = model.operatorCodes[-1]
        code.builtinCode, code.deprecatedBuiltinCode = number, min(number, 127)
        code.customCode = custom

    return change


def with_second_graph(model):
    model.subgraphs.append(model.subgraphs[0])


def with_external_weights(model):
    part = schema.ExternalBufferT()
    part.id, part.group, part.offset, part.length = 1, 0, 0, 8
    model.externalBuffers = [part]


def with_huge_tensor(model):
    model.subgraphs[0].tensors[-1].shape = [1, 1 << 20, 1 << 20]


def with_cut_weights(model):
    buffer = model.buffers[weights_of(model, "FULLY_CONNECTED").buffer]
    buffer.data = buffer.data[:-1]


def with_negative_shape(model):
    weights_of(model, "FULLY_CONNECTED").shape = [-1, -36]


def with_missing_buffer(model):
    weights_of(model, "CONV_2D").buffer = 1000


def with_missing_tensor(model):
    operator(model, "CONV_2D").inputs[1] = 1000


def with_two_outputs(model):
    model.subgraphs[0].outputs = [*model.subgraphs[0].outputs, 0]


def with_zero_stride(model):
    operator(model, "MAX_POOL_2D").builtinOptions.strideH = 0


def with_other_shape(model):
    tensor = weights_of(model, "CONV_2D")
    tensor.shape = [1, 1, 1, int(np.prod(tensor.shape))]


def with_weights_behind_the_end(model):
    buffer = model.buffers[weights_of(model, "CONV_2D").buffer]
    buffer.data, buffer.offset, buffer.size = None, 1 << 40, 36


CASES = {
    "custom": (with_code(32, "FlexWriteFile"), "custom operator 'FlexWriteFile'.* not among"),
    "custom by another number": (with_code(9, "FlexPyFunc"), "custom operator 'FlexPyFunc'"),
    "variable": (with_code(142), "it asks for VAR_HANDLE"),
    "loop": (with_code(119), "it asks for WHILE"),
    "unknown": (with_code(900), "it asks for operator 900"),
    "graphs": (with_second_graph, "it has 2 graphs"),
    "external": (with_external_weights, "keeps weights in other files"),
    "huge": (with_huge_tensor, "a tensor of 1,099,511,627,776 numbers"),
    "cut": (with_cut_weights, r"int8 tensor .* has 1,151 bytes"),
    "negative": (with_negative_shape, r"of shape \(-1, -36\)"),
    "no buffer": (with_missing_buffer, "no buffer 1000"),
    "no tensor": (with_missing_tensor, "damaged"),
    "outputs": (with_two_outputs, "it has 1 inputs and 2 outputs"),
    "stride": (with_zero_stride, "."),
    "shape": (with_other_shape, "."),
    "behind the end": (with_weights_behind_the_end, "behind its end"),
}


@pytest.mark.parametrize("case", CASES)
def test_files_that_ask_for_what_they_must_not(case, tmp_path):
    change, match = CASES[case]
    content = tflite_files.changed(tflite_files.converted(GOOD), change)
    refused(tmp_path, content, f"cannot be loaded: .*{match}")


def test_files_that_are_none(tmp_path):
    good = tflite_files.converted(GOOD)
    refused(tmp_path, b"", "it is not a .tflite file")
    refused(tmp_path, b"PK\x03\x04" + bytes(100), "it is not a .tflite file")
    refused(tmp_path, good[:4] + b"TFL2" + good[8:], "it is not a .tflite file")
    refused(tmp_path, b"\x00\x00\x00\x10TFL3", "damaged")
    with pytest.raises(ModelError, match="No such file"):
        models.load(tmp_path / "missing.tflite")
    with pytest.raises(ModelError, match="not a regular file"):
        (tmp_path / "directory.tflite").mkdir()
        models.load(tmp_path / "directory.tflite")


def test_overlapping_weights(tmp_path):
    """Two buffers that lie over one another, and one that lies over the tables."""
    good = bytearray(tflite_files.converted(GOOD))
    first, second = models.tflite.parse(bytes(good)).tensors[0:3:2]
    place = good.index(np.uint32(second.size).tobytes(), second.start - 4, second.start)
    table = schema.Model.GetRootAs(good, 0)
    buffers = [table.Buffers(i) for i in range(table.BuffersLength())]
    (conv,) = [b for b in buffers if b.DataLength() == first.size]
    field = conv._tab.Pos + conv._tab.Offset(4)
    for target, match in ((place, "overlap|has 1,152 bytes|damaged"), (40, "damaged|bytes")):
        good[field : field + 4] = np.uint32((target - field) % 2**32).tobytes()
        refused(tmp_path, bytes(good), match)


def test_random_damage_never_ends_the_process(tmp_path, monkeypatch):
    """Each file loads, or is refused in one line; the interpreter may never return."""
    monkeypatch.setattr(models.tflite, "_SECONDS", 5)
    good = np.frombuffer(tflite_files.converted(GOOD), np.uint8)
    generator = np.random.default_rng(0)
    endings = set()
    for number in range(60):
        damaged = good.copy()
        if number % 5 == 0:
            damaged = damaged[: generator.integers(8, len(good))]
        else:
            places = generator.integers(8, len(good), 1 + number % 7)
            damaged[places] = generator.integers(0, 256, len(places))
        path = tmp_path / "damaged.tflite"
        path.write_bytes(damaged.tobytes())
        try:
            model = models.load(path)
        except ModelError as error:
            assert "\n" not in str(error)
            endings.add("refused")
        else:
            assert model.name == "damaged.tflite"
            endings.add("loaded")
    assert endings == {"refused", "loaded"}
