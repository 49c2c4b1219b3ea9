"""Where errors go: what a fault changes in the output of each layer."""

from typing import Any

import numpy as np
import pandas as pd

from ft_tf._compat import keras, require_keras_model, tf
from ft_tf.checks import check_positive_integer
from ft_tf.examples import check_inputs
from ft_tf.faults import forward
from ft_tf.faults.arming import Armament
from ft_tf.faults.guard import guarded
from ft_tf.faults.models import FaultModel
from ft_tf.faults.plan import make_plan
from ft_tf.faults.sites import Select
from ft_tf.keras_layers import infer, remember_input
from ft_tf.models import check_input_shape


def propagation(
    model: keras.Model,
    x: Any,
    *,
    target: str,
    rate: float,
    trials: int,
    seed: int,
    fault: FaultModel | None = None,
    allocation: str = "model",
    select: Select | None = None,
) -> pd.DataFrame:
    """Follows faults through a model: how much of each layer's output they change, and how far.

    The faults are those of `sweep` at the same seed, trial and rate. All outputs of all layers are
    held in memory at once: give a few hundred images. The arguments are those of `sweep`.

    Returns:
        A row per trial and layer call, in the order of the calls: trial, faults, layer, call
        (number of the call of a shared layer), values (of the output, all images), changed (share
        of them with another value than without faults), non_finite (share that is NaN or
        infinite), relative_size (norm of the difference over the norm of the fault-free values,
        both of the values that are finite; NaN where those are all 0).

    Raises:
        ArgumentError: an argument is out of range.
        ModelError: something asked for cannot be faulted; the model is not one of Keras, such as
            that of a .tflite file.
    """
    check_positive_integer(trials=trials)
    remember_input(require_keras_model(model), x)
    plan = make_plan(model, target=target, fault=fault, allocation=allocation, select=select)
    x = check_inputs(x, model=model)
    check_input_shape(model, x)
    x = tf.nest.map_structure(tf.convert_to_tensor, x)
    masks = [plan.trial(seed=seed, trial=trial).masks(rate) for trial in range(trials)]
    rows = []
    with guarded(model):
        with Armament(model, plan, plan.trial(seed=0, trial=0).masks(0.0)).live():
            clean = _outputs(model, x)  # as the memory holds the weights
        for trial, drawn in enumerate(masks):
            with Armament(model, plan, drawn).live():
                faulty = _outputs(model, x)
            rows += [
                {"trial": trial, "faults": drawn.count, "layer": layer, "call": call}
                | _difference(clean[key], values)
                for key, values in faulty.items()
                for _, layer, call in [key]
            ]
    return pd.DataFrame(rows)


def _outputs(model: keras.Model, x: Any) -> dict[tuple[int, str, int], np.ndarray]:
    """Floating-point outputs of all layer calls, by number, name and call of the layer."""
    found: dict[tuple[int, str, int], np.ndarray] = {}

    def record(layer: keras.layers.Layer, index: int, inputs: Any, outputs: Any) -> Any:
        if tf.is_tensor(outputs) and outputs.dtype.is_floating:
            found[id(layer), layer.name, index] = tf.cast(outputs, tf.float64).numpy()
        return outputs

    with forward.hooked(model, record):
        infer(model, x)
    return found


def _difference(clean: np.ndarray, faulty: np.ndarray) -> dict[str, Any]:
    changed = (clean != faulty) & ~(np.isnan(clean) & np.isnan(faulty))
    finite = np.isfinite(clean) & np.isfinite(faulty)
    size = np.linalg.norm(clean[finite])
    moved = np.linalg.norm(faulty[finite] - clean[finite])
    return {
        "values": clean.size,
        "changed": float(np.mean(changed)),
        "non_finite": float(np.mean(~np.isfinite(faulty))),
        "relative_size": float(moved / size) if size else float("nan"),
    }
