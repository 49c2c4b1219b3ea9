"""Faults in .tflite files, against flips made with TensorFlow's own classes for the schema."""

import time

import numpy as np
import pytest
import tflite_files
from tensorflow.lite.python import schema_py_generated as schema

from ft_tf import faults, metrics, models
from ft_tf._compat import tf
from ft_tf.errors import ArgumentError, ModelError


@pytest.fixture(scope="module", params=tflite_files.KINDS)
def model(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("tflite") / f"{request.param}.tflite"
    path.write_bytes(tflite_files.converted(request.param))
    return models.load(path)


def by_hand(content, x):
    """Predicted classes, one image after another, as TensorFlow's guide has it."""
    interpreter = tf.lite.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (given,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for image in x:
        if given["dtype"] != np.float32:
            scale, zero_point = given["quantization"]
            image = np.clip(np.round(image / scale + zero_point), -128, 127)
        interpreter.set_tensor(given["index"], image[None].astype(given["dtype"]))
        interpreter.invoke()
        outputs = interpreter.get_tensor(result["index"])[0]
        found.append(-1 if np.isnan(outputs).any() else outputs.argmax())
    return np.array(found)


def test_the_clean_accuracy_is_the_interpreters(model):
    x, y = tflite_files.images()
    expected = np.mean(by_hand(model.content, x) == y)
    assert metrics.accuracy(model, x, y) == expected
    frame = faults.sweep(
        model, x, y, target="weights", rates=[0], trials=1, seed=0,
        fault=faults.BitErrors("as_stored"),
    )  # fmt: skip
    assert frame["accuracy"].tolist() == [expected] == [frame.attrs["clean_accuracy"]]
    assert frame["sdc_rate"].tolist() == [0.0]


def flipped_by_hand(content, masks, sites):
    """Inverts bits through the schema: walks over the buffers of the sites in their order."""
    table = schema.Model.GetRootAs(bytearray(content), 0)
    graph = table.Subgraphs(0)
    tensors = {graph.Tensors(i).Name().decode(): graph.Tensors(i)
               for i in range(graph.TensorsLength())}  # fmt: skip
    start = 0
    for group in sites:
        data = table.Buffers(tensors[group.name].Buffer()).DataAsNumpy()
        bits = np.unpackbits(data, bitorder="little")
        bits ^= masks[start : start + len(bits)]
        data[:] = np.packbits(bits, bitorder="little")
        start += len(bits)
    assert start == len(masks)
    return bytes(table._tab.Bytes)


def test_flips_are_those_made_by_hand(model):
    x, y = tflite_files.images()
    fault, before = faults.BitErrors("as_stored"), bytes(model.content)
    plan = faults.make_plan(model, target="weights", fault=fault)
    options = {"target": "weights", "fault": fault, "seed": 4}
    frame = faults.sweep(model, x, y, rates=[0.0, 0.003, 0.1], trials=3, **options)
    accuracies = set()
    for row in frame.itertuples():
        masks = plan.trial(seed=4, trial=row.trial).masks(row.rate)
        content = flipped_by_hand(before, masks.faulty["weights"].astype(np.uint8), plan.groups)
        assert row.faults == masks.count == round(row.rate * plan.sites)
        assert row.accuracy == np.mean(by_hand(content, x) == y)
        accuracies.add(row.accuracy)
    assert len(accuracies) > 3
    assert model.content == before


def test_words_and_values_are_faulted_too(model):
    x, y = tflite_files.images()
    kernels = faults.Select(parameters="kernels")
    for fault in (faults.BitFlip("as_stored"), faults.StuckAt(0.0)):
        options = {"target": "weights", "fault": fault, "select": kernels, "seed": 1}
        frame = faults.sweep(model, x, y, rates=[0, 1], trials=2, **options)
        values = sum(int(np.prod(tensor.shape)) for tensor in model.tensors if not tensor.is_bias)
        assert frame["faults"].tolist() == [0, 0, values, values]
    # With kernels of 0 each image gets the class of the biases alone.
    assert (frame[frame["rate"] == 1]["accuracy"].isin(np.bincount(y) / len(y))).all()


def test_layers_have_their_names_in_keras(model):
    table = faults.layer_vulnerability(
        model, *tflite_files.images(), target="weights", rate=0.1, trials=2, seed=0,
        fault=faults.BitErrors("as_stored"),
    )  # fmt: skip
    assert table["layer"].tolist()[:3] == ["whole model", "conv_1", "hidden_1"]
    assert table["layer"].tolist()[3:] == ["last_1"]
    sites = table["sites"].tolist()
    assert sites[0] == sum(sites[1:])
    conv = faults.find_sites(model, target="weights", select=faults.Select(layers=("conv_1",)))
    assert {group.layer for group in conv} == {"conv_1"}


def test_weights_are_selected_by_their_type(model):
    for dtype in {tensor.dtype for tensor in model.tensors}:
        groups = faults.find_sites(model, target="weights", select=faults.Select(dtype=dtype))
        stored = [tensor.name for tensor in model.tensors if tensor.dtype == dtype]
        assert [group.name for group in groups] == stored
    in_keras = tflite_files.classifier()
    groups = faults.find_sites(in_keras, target="weights", select=faults.Select(dtype="float32"))
    assert len(groups) == len(in_keras.weights)
    for absent in (in_keras, model):
        with pytest.raises(ModelError, match="weights to fault"):
            faults.find_sites(absent, target="weights", select=faults.Select(dtype="int64"))


def test_what_does_not_fit_is_said_in_a_line(model):
    x, y = tflite_files.images()
    options = {"rates": [0.1], "trials": 1, "seed": 0}
    with pytest.raises(ModelError, match="faults hit its weights, not its units"):
        faults.sweep(model, x, y, target="units", **options)
    with pytest.raises(ModelError, match="layers=convv not in model .* it has conv_1, hidden_1"):
        faults.find_sites(model, target="weights", select=faults.Select(layers=("convv",)))
    with pytest.raises(ArgumentError, match=r"x.shape=\(40, 64\) must be \(n, 8, 8, 1\)"):
        faults.sweep(model, x.reshape(40, 64), y, target="weights", **options)
    for refused in (
        lambda: faults.failure_rate(model, x, y, seed=0),
        lambda: faults.worst_case(model, x, y, target_accuracy=0.5),
        lambda: faults.plan_campaign(model, x, y, seed=0),
        lambda: faults.propagation(model, x, target="weights", rate=0.1, trials=1, seed=0),
    ):
        with pytest.raises(ModelError, match="is not a Keras model"):
            refused()
    with (
        pytest.raises(ModelError, match="is not a Keras model"),
        faults.inject(model, target="weights", rate=0.1, seed=0),
    ):
        pass


def test_int4_words_are_unpacked_and_packed():
    tensor = models.TFLiteModel.__init__.__globals__["StoredTensor"](
        "layer", "name", (3,), "int4", 2, 2, False, 0
    )
    content = bytes([9, 9, 0x8F, 0xA7, 9])  # -1, -8, 7, and padding 0xA
    values = tensor.values(content)
    assert values.tolist() == [-1, -8, 7]
    for new in ([-1, -8, 7], [0, 5, -3]):
        changed = np.frombuffer(content, np.uint8).copy()
        tensor.write(np.array(new, np.int8), changed)
        assert tensor.values(changed.tobytes()).tolist() == new
        assert changed[[0, 1, 4]].tolist() == [9, 9, 9]
        assert changed[3] >> 4 == 0xA


def test_a_trial_takes_an_evaluation_and_a_start(tmp_path):
    path = tmp_path / "int8.tflite"
    path.write_bytes(tflite_files.converted("int8"))
    model = models.load(path)
    x, y = tflite_files.images(20_000)

    def seconds(work):
        times = []
        for _ in range(5):
            begun = time.process_time()  # other processes may be running
            work()
            times.append(time.process_time() - begun)
        return min(times)

    once = seconds(lambda: model.outputs(x))
    fault = faults.BitErrors("as_stored")
    plan = faults.make_plan(model, target="weights", fault=fault)
    campaign = faults.campaign.Campaign(model, plan, x, y)
    masks = plan.trial(seed=0, trial=0).masks(0.01)
    assert seconds(lambda: campaign.logits(masks)) < 1.5 * once + 0.02
