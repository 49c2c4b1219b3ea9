"""`benchmark attacks`: robust accuracy and seconds next to torchattacks, on the same weights.

PyTorch and torchattacks (`pip install torch torchattacks`) belong into an environment of their own,
whose Python --peer_python names: its part runs there, in `torch_attacks.py`.

torchattacks 3.5 finds less by Square alone, up to 3 points on networks of Fashion-MNIST: it draws a
window's place from 0 .. h - s - 1, so that no square reaches the last row and column. With h - s
among them it finds what we find.
"""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks import child, timer, torch_attacks
from ft_tf import attacks, checks
from ft_tf._compat import keras
from ft_tf.attacks.evaluations import apgd_attempts
from ft_tf.attacks.fab import fab_attempts
from ft_tf.attacks.search import Problem, WorstCase, checked_problem
from ft_tf.attacks.square import square_attempts
from ft_tf.errors import ArgumentError, ModelError
from ft_tf.study import trained_models

BATCH = 500


def run(
    *,
    run: list[str] | None = None,
    peer_python: str | None = None,
    images: int = 1000,
    epsilon: float = 0.1,
    distance: str = "l_inf",
    rounds: int = 3,
    threads: int = 2,
    **where: Any,
) -> list[dict[str, Any]]:
    """Attacks each run's model by both libraries, A B A B.

    Args:
        run: directories of finished runs.
        peer_python: the Python that has torch and torchattacks; None measures this library alone.
        images: number of test images, the first ones.
        epsilon: radius of the ball.
        distance: "l_inf" or "l_2".
        rounds: measurements of each attack.
        threads: of either library.
        where: `data_dir` and `download` of the data set.

    Returns:
        For each run and attack the robust accuracies, seconds, and their ratio.
    """
    checks.check_positive_integer(images=images)
    checks.check_radius(distance=distance, epsilon=epsilon)
    if not run:
        raise ArgumentError("--run must name the directories of finished runs")
    rows = []
    for directory in run:
        subject = trained_models.of_run(Path(directory), **where)
        x, y = subject.x[:images], subject.y[:images]
        settings = {"epsilon": epsilon, "norm": distance, "batch_size": BATCH, "threads": threads}
        with tempfile.TemporaryDirectory() as folder:
            if peer_python:
                _save(Path(folder), subject.model, x, y, settings)
            for name in torch_attacks.ATTACKS:
                row = _compared(name, subject.model, x, y, settings, peer_python, folder, rounds)
                rows.append({"run": Path(directory).name, "images": len(x), "attack": name, **row})
    return rows


def _compared(
    name: str,
    model: keras.Model,
    x: np.ndarray,
    y: np.ndarray,
    settings: dict[str, Any],
    peer_python: str | None,
    folder: str,
    rounds: int,
) -> dict[str, Any]:
    accuracy: dict[str, float] = {}

    def ours() -> float:
        def attack() -> None:
            accuracy["ft_tf"] = _robust_accuracy(name, model, x, y, settings)

        return timer.seconds(attack)

    def theirs() -> float:
        found = _peer(peer_python, folder, name)
        accuracy["torchattacks"] = found["robust_accuracy"]
        return found["seconds"]

    contenders: dict[str, Callable[[], float]] = {"ft_tf": ours}
    if peer_python:
        contenders["torchattacks"] = theirs
    samples = timer.in_turn(contenders, rounds)
    row: dict[str, Any] = {f"{peer} accuracy": accuracy[peer] for peer in contenders}
    row |= {f"{peer} s": sample.median for peer, sample in samples.items()}
    if peer_python:
        row |= samples["torchattacks"].ratio_to(samples["ft_tf"])
    return row


def _robust_accuracy(
    name: str, model: keras.Model, x: np.ndarray, y: np.ndarray, settings: dict[str, Any]
) -> float:
    ball = {"epsilon": settings["epsilon"], "seed": 0, "batch_size": BATCH}
    if name == "AutoAttack":
        return attacks.autoattack(model, x, y, norm=settings["norm"], **ball).robust_accuracy
    problem = checked_problem(model, x, y, distance=settings["norm"], bounds=(0.0, 1.0), **ball)
    worst = WorstCase(problem)
    _PARTS[name](problem, worst)
    return float(np.mean(~worst.broken))


_GRADIENT = {"num_steps": torch_attacks.STEPS, "restarts": 1, "targets": torch_attacks.TARGETS}
_PARTS: dict[str, Callable[[Problem, WorstCase], Any]] = {
    "APGD-CE": lambda *task: apgd_attempts(*task, loss="cross_entropy", **_GRADIENT),
    "APGD-T": lambda *task: apgd_attempts(*task, loss="targeted_dlr", **_GRADIENT),
    "FAB-T": lambda *task: fab_attempts(*task, **_GRADIENT),
    "Square": lambda *task: square_attempts(*task, queries=torch_attacks.QUERIES, restarts=1),
}


def _save(
    folder: Path, model: keras.Model, x: np.ndarray, y: np.ndarray, settings: dict[str, Any]
) -> None:
    """Writes the model, images and settings for the peer, and the logits that it must give."""
    arrays = {"x": x, "y": y, "logits": model.predict(x[:BATCH], verbose=0)}
    layers = []
    for number, layer in enumerate(model.layers):
        layers.append(_spec(layer))
        for place, weight in enumerate(layer.get_weights()):
            arrays[f"weight_{number}_{place}"] = weight
    np.savez(folder / "problem.npz", **arrays)
    (folder / "problem.json").write_text(json.dumps({"layers": layers, **settings}))


def _spec(layer: keras.layers.Layer) -> dict[str, Any]:
    kind = type(layer).__name__
    if kind in ("InputLayer", "Flatten", "Dropout"):
        return {"kind": kind}
    if kind == "Rescaling":
        return {"kind": kind, "scale": float(layer.scale), "offset": float(layer.offset)}
    names = {"Dense": (), "Conv2D": ("strides", "padding"),
             "MaxPooling2D": ("pool_size", "strides", "padding")}  # fmt: skip
    activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
    if kind not in names or activation not in ("linear", "relu"):
        raise ModelError(f"layer {layer.name!r}, a {kind} with {activation}: the peer has none")
    return {"kind": kind, "activation": activation} | {n: getattr(layer, n) for n in names[kind]}


def _peer(python: str, folder: str, name: str) -> dict[str, float]:
    command = [python, torch_attacks.__file__, folder, name]
    return json.loads(child.last_line(command, f"peer_python={python} at {name}"))
