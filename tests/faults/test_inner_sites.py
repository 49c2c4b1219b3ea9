"""Faults inside attention and recurrent layers and on tensors of the graph, against NumPy."""

import numpy as np
import pytest

from ft_tf import faults, metrics
from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError, ModelError
from ft_tf.faults.campaign import Campaign

layers = keras.layers
DRAW = np.random.default_rng(1)
X = DRAW.normal(size=(12, 5, 8)).astype(np.float32)
Y = DRAW.integers(0, 3, 12)
FLIP = faults.SignFlip()


def built(make):
    """A classifier around a layer of sequences, its weights random."""
    start = keras.Input((5, 8))
    values = make(start)
    values = values if len(values.shape) == 2 else layers.GlobalAveragePooling1D()(values)
    model = keras.Model(start, layers.Dense(3, name="end")(values))
    model.set_weights([DRAW.normal(size=w.shape, scale=0.7).astype(np.float32)
                       for w in model.get_weights()])  # fmt: skip
    return model


def check(model, name, forward, *, units="channels", x=X):
    """Logits under sign flips equal `forward(signs)` in NumPy; the clean ones are the model's."""
    select = faults.Select(layers=(name,), units=units)
    plan = faults.make_plan(model, target="units", fault=FLIP, select=select)
    campaign = Campaign(model, plan, x, Y)
    clean = metrics.predict_logits(model, x)
    masks = plan.trial(seed=2, trial=0).masks(0.5)
    (group,) = plan.groups
    mask = masks.faulty["units"].reshape(group.shape)
    expected = forward(np.where(mask, -1.0, 1.0))
    assert np.abs(expected - clean).max() > 1e-3
    with campaign.armed():
        np.testing.assert_allclose(campaign.logits(masks), expected, rtol=0, atol=2e-4)
    np.testing.assert_allclose(campaign.measures.clean_logits, clean, rtol=0, atol=2e-5)
    options = {"target": "units", "fault": FLIP, "select": select, "seed": 2}
    with faults.inject(model, rate=0.5, **options) as injection:
        found = metrics.predict_logits(model, x)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-4)
    assert injection.faults == np.count_nonzero(mask)
    np.testing.assert_array_equal(metrics.predict_logits(model, x), clean)
    return group.shape


def attention_by_hand(model, part, sign, heads=2, size=4):
    layer = model.get_layer("attention")
    weights = dict(zip([v.path.split("attention/")[1] for v in layer.weights],
                       layer.get_weights(), strict=True))  # fmt: skip
    signs = dict.fromkeys(("query", "key", "value", "scores", "heads"), 1.0) | {part: sign}
    projected = {
        name: (np.einsum("btd,dnh->btnh", X, weights[f"{name}/kernel"]) + weights[f"{name}/bias"])
        * signs[name]
        for name in ("query", "key", "value")
    }
    scores = np.einsum("btnh,bsnh->bnts", projected["query"], projected["key"]) / np.sqrt(size)
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    scores = scores / scores.sum(-1, keepdims=True) * signs["scores"]
    given = np.einsum("bnts,bsnh->btnh", scores, projected["value"]) * signs["heads"]
    output = np.einsum("btnh,nhd->btd", given, weights["attention_output/kernel"])
    output = (output + weights["attention_output/bias"]).mean(axis=1)
    kernel, bias = model.get_layer("end").get_weights()
    return output @ kernel + bias


@pytest.mark.parametrize(
    ("part", "channels", "positions"),
    [
        ("query", (2, 4), (5, 2, 4)), ("key", (2, 4), (5, 2, 4)), ("value", (2, 4), (5, 2, 4)),
        ("scores", (2, 1, 1), (2, 5, 5)), ("heads", (2, 1), (5, 2, 4)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["MultiHeadAttention", "GroupQueryAttention"])
def test_attention(kind, part, channels, positions):
    if kind == "MultiHeadAttention":
        layer = layers.MultiHeadAttention(2, 4, name="attention")
    else:
        layer = layers.GroupQueryAttention(4, 2, 2, name="attention")
    model = built(lambda x: layer(x, x))

    def by_hand(sign):
        return attention_by_hand(model, part, sign)

    assert check(model, f"attention/{part}", by_hand) == channels
    assert check(model, f"attention/{part}", by_hand, units="positions") == positions


@pytest.mark.parametrize("order", [("scores", "heads"), ("heads", "scores")])
def test_scores_and_heads_at_once(order):
    layer = layers.MultiHeadAttention(2, 4, name="attention")
    model = built(lambda x: layer(x, x))
    select = faults.Select(layers=tuple(f"attention/{part}" for part in order))
    fault = {"*/scores": faults.StuckAt(0.5), "*/heads": faults.StuckAt(0.0)}
    options = {"target": "units", "fault": fault, "select": select}
    plan = faults.make_plan(model, allocation="layer", **options)
    assert plan.trial(seed=0, trial=0).masks(0.5).count == 2  # of four: they are of one layer
    with faults.inject(model, rate=1, seed=0, **options):
        found = metrics.predict_logits(model, X)
    output = dict(zip([v.path for v in layer.weights], layer.get_weights(), strict=True))
    (bias,) = [value for path, value in output.items() if path.endswith("attention_output/bias")]
    kernel, end = model.get_layer("end").get_weights()
    np.testing.assert_allclose(found, np.tile(bias @ kernel + end, (12, 1)), rtol=0, atol=1e-5)
    with faults.inject(model, rate=1, seed=0, target="units", fault=faults.StuckAt(0.5),
                       select=faults.Select(layers=("attention/scores",))):  # fmt: skip
        halves = metrics.predict_logits(model, X)
    assert np.abs(halves - found).max() > 1e-3


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def recurrent_by_hand(kind, weights, part, sign, x):
    """Outputs of all steps."""
    kernel, recurrent, bias = weights
    signs = dict.fromkeys(
        ("input_gate", "forget_gate", "output_gate", "candidate", "state", "carry", "update_gate",
         "reset_gate"), 1.0
    ) | {part: sign}  # fmt: skip
    units = recurrent.shape[0]
    h = c = np.zeros((len(x), units))
    steps = []
    for t in range(x.shape[1]):
        if kind == "LSTM":
            i, f, g, o = np.split(x[:, t] @ kernel + h @ recurrent + bias, 4, axis=1)
            i, f = sigmoid(i) * signs["input_gate"], sigmoid(f) * signs["forget_gate"]
            c = (f * c + i * np.tanh(g) * signs["candidate"]) * signs["carry"]
            h = sigmoid(o) * signs["output_gate"] * np.tanh(c) * signs["state"]
        elif kind == "GRU":
            inner = x[:, t] @ kernel + bias[0]
            outer = h @ recurrent + bias[1]
            z, r, g = (slice(k * units, (k + 1) * units) for k in range(3))
            update = sigmoid(inner[:, z] + outer[:, z]) * signs["update_gate"]
            reset = sigmoid(inner[:, r] + outer[:, r]) * signs["reset_gate"]
            candidate = np.tanh(inner[:, g] + reset * outer[:, g]) * signs["candidate"]
            h = (update * h + (1 - update) * candidate) * signs["state"]
        else:
            h = np.tanh(x[:, t] @ kernel + h @ recurrent + bias) * signs["state"]
        steps.append(h)
    return np.stack(steps, axis=1)


PARTS = [
    *(("LSTM", part) for part in ("input_gate", "forget_gate", "output_gate", "candidate", "state",
                                  "carry")),
    *(("GRU", part) for part in ("update_gate", "reset_gate", "candidate", "state")),
    ("SimpleRNN", "state"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "part"), PARTS)
def test_gates_and_states_of_every_step(kind, part):
    sequences = part in ("forget_gate", "reset_gate")
    layer = getattr(layers, kind)(6, return_sequences=sequences, unroll=part == "carry", name="rnn")
    model = built(lambda x: layer(x))

    def by_hand(sign):
        steps = recurrent_by_hand(kind, layer.get_weights(), part, sign, X)
        kernel, bias = model.get_layer("end").get_weights()
        return (steps.mean(axis=1) if sequences else steps[:, -1]) @ kernel + bias

    assert check(model, f"rnn/{part}", by_hand) == (6,)


@pytest.mark.parametrize("implementation", [1, 2])
def test_a_stuck_carry_is_read_in_its_step(implementation):
    layer = layers.LSTM(6, implementation=implementation, name="rnn")
    model = built(lambda x: layer(x[:, :1]))
    parts = {"rnn/carry": faults.StuckAt(0.3), "rnn/candidate": faults.StuckAt(9.0)}
    kernel, _, bias = layer.get_weights()
    gate = sigmoid(X[:, 0] @ kernel + bias)[:, 18:]
    end = model.get_layer("end").get_weights()
    select = faults.Select(layers=tuple(parts))
    with faults.inject(model, target="units", rate=1, seed=0, fault=parts, select=select):
        found = metrics.predict_logits(model, X)
    np.testing.assert_allclose(found, gate * np.tanh(0.3) @ end[0] + end[1], rtol=0, atol=1e-5)


def test_a_layer_within_a_wrapper():
    both = layers.Bidirectional(layers.LSTM(6, name="lstm"), name="both")
    model = built(lambda x: both(x))

    def by_hand(sign):
        forward, back = np.split(np.array(both.get_weights(), object), 2)
        there = recurrent_by_hand("LSTM", forward, "forget_gate", sign, X)[:, -1]
        again = recurrent_by_hand("LSTM", back, None, 1.0, X[:, ::-1])[:, -1]
        kernel, bias = model.get_layer("end").get_weights()
        return np.concatenate([there, again], axis=1) @ kernel + bias

    check(model, "forward_lstm/forget_gate", by_hand)


def functional():
    start = keras.Input((5, 8))
    one = layers.Dense(8, name="one")(start)
    total = keras.ops.tanh(one) + start
    _, state, _ = layers.LSTM(6, return_state=True, name="lstm")(total)
    normal = layers.LayerNormalization(name="norm")(state)
    model = keras.Model(start, layers.Dense(3, name="end")(normal))
    model.set_weights([DRAW.normal(size=w.shape, scale=0.7).astype(np.float32)
                       for w in model.get_weights()])  # fmt: skip
    names = {op.name for op in model.operations if not isinstance(op, layers.Layer)}
    return model, names, (total.name, state.name)


def test_tensors_of_the_graph_and_normalizations():
    model, names, (total, state) = functional()
    (add,) = [name for name in names if name.startswith("add")]
    one = model.get_layer("one").get_weights()
    kernel, bias = model.get_layer("end").get_weights()
    gamma, beta = model.get_layer("norm").get_weights()

    def by_hand(place):
        def forward(sign):
            signs = {"add": 1.0, "state": 1.0, "norm": 1.0} | {place: sign}
            inner = (np.tanh(X @ one[0] + one[1]) + X) * signs["add"]
            weights = model.get_layer("lstm").get_weights()
            h = recurrent_by_hand("LSTM", weights, None, 1.0, inner)[:, -1] * signs["state"]
            h = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-3)
            return (h * gamma + beta) * signs["norm"] @ kernel + bias

        return forward

    assert check(model, add, by_hand("add")) == (8,)
    assert check(model, total, by_hand("add"), units="positions") == (5, 8)
    assert check(model, state, by_hand("state")) == (6,)
    assert check(model, "norm", by_hand("norm")) == (6,)


def test_faults_of_each_image_reach_every_step():
    layer = layers.LSTM(6, name="rnn")
    model = built(lambda x: layer(x))
    select = faults.Select(layers=("rnn/input_gate",))
    options = {"target": "units", "fault": FLIP, "select": select}
    plan = faults.make_plan(model, **options)
    sign = np.stack([
        np.where(plan.trial(seed=0, trial=0, draw=image).masks(0.5).faulty["units"], -1.0, 1.0)
        for image in range(12)
    ])  # fmt: skip
    steps = recurrent_by_hand("LSTM", layer.get_weights(), "input_gate", sign, X)
    kernel, bias = model.get_layer("end").get_weights()
    frame = faults.sweep(
        model, X, Y, rates=[0.5], trials=1, seed=0, persistence="image", batch_size=5, **options
    )
    expected = np.mean((steps[:, -1] @ kernel + bias).argmax(axis=1) == Y)
    assert frame["accuracy"].tolist() == [expected]


def test_several_parts_and_layers_at_once():
    layer = layers.LSTM(6, name="rnn")
    model = built(lambda x: layer(x))
    select = faults.Select(layers=("end", "rnn/state", "rnn/forget_gate"))
    fault = {"end": faults.StuckAt(1.0), "rnn/*": FLIP}
    plan = faults.make_plan(model, target="units", fault=fault, select=select, allocation="layer")
    assert [(g.layer, g.fault) for g in plan.groups] == [
        ("end", faults.StuckAt(1.0)), ("rnn/state", FLIP), ("rnn/forget_gate", FLIP),
    ]  # fmt: skip
    assert plan.trial(seed=0, trial=0).masks(0.5).count == round(0.5 * 3) + 6
    table = faults.layer_vulnerability(
        model, X, Y, target="units", rate=0.5, trials=2, seed=0, select=select, fault=fault
    )
    assert table["layer"].tolist() == ["whole model", "end", "rnn/state", "rnn/forget_gate"]


def test_what_is_no_site_is_named_before_work_starts():
    model, _, (total, _) = functional()

    def find(target, *names, **select):
        faults.find_sites(model, target=target, select=faults.Select(layers=names, **select))

    with pytest.raises(ModelError, match="layers=lstm/gate, nothing not in .*lstm/forget_gate"):
        find("units", "lstm/gate", "one", "nothing")
    with pytest.raises(
        ModelError, match=f"{total} has no parameters; lstm/state has no parameters"
    ):
        find("weights", total, "lstm/state")
    select = faults.Select(layers=("lstm/state",))
    with pytest.raises(ModelError, match="lstm/state is no layer to wrap"):
        faults.wrap(model, target="units", rate=0.1, select=select)
    with pytest.raises(ArgumentError, match="layers=lstm/state: the prediction is for whole"):
        faults.first_order(model, X, target="units", select=select)
    free = keras.Sequential([keras.Input((None, 8)), layers.LSTM(4, name="rnn"), layers.Dense(3)])
    (group,) = faults.find_sites(
        free, target="units", select=faults.Select(layers=("rnn/state",), units="positions")
    )
    assert group.shape == (4,)
    numbers = keras.Sequential(
        [keras.Input((5,), dtype="int32"), layers.Lambda(lambda x: x + 1, name="next"),
         layers.Embedding(9, 4), layers.Flatten(), layers.Dense(3)]
    )  # fmt: skip
    with pytest.raises(ModelError, match="layer next .* has no units"):
        faults.find_sites(numbers, target="units", select=faults.Select(layers=("next",)))
    assert tf.executing_eagerly()
