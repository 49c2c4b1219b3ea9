"""The part of `benchmark attacks` that runs in the peer's Python, which has torch and torchattacks.

python torch_attacks.py FOLDER ATTACK    prints the robust accuracy and the seconds, as JSON
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ATTACKS = ("APGD-CE", "APGD-T", "FAB-T", "Square", "AutoAttack")
STEPS, TARGETS, QUERIES = 100, 9, 5000
"""Of the original AutoAttack; torchattacks takes 10 steps unless told."""


def classifier(layers: list[dict[str, Any]], arrays: dict[str, np.ndarray]) -> Any:
    """Returns the model as a torch module from images [n, channels, height, width] to logits."""
    import torch
    from torch.nn import functional

    def padded(x: Any, size: tuple, strides: tuple, value: float) -> Any:
        """Keras's padding "same": the odd row or column of it comes last."""
        margins = []
        for length, kernel, step in zip(x.shape[:1:-1], size[::-1], strides[::-1], strict=True):
            total = max((-(-length // step) - 1) * step + kernel - length, 0)
            margins += [total // 2, total - total // 2]
        return functional.pad(x, margins, value=value)

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = torch.nn.ParameterDict()
            for name, array in arrays.items():
                if name.startswith("weight_"):
                    if array.ndim == 4:
                        array = np.ascontiguousarray(array.transpose(3, 2, 0, 1))
                    self.weights[name] = torch.nn.Parameter(torch.from_numpy(array))

        def forward(self, x: Any) -> Any:
            for number, layer in enumerate(layers):
                x = self.layer(number, layer, x)
            return x

        def layer(self, number: int, layer: dict[str, Any], x: Any) -> Any:
            kind = layer["kind"]
            if kind == "Flatten":
                return x.permute(0, 2, 3, 1).flatten(1) if x.ndim == 4 else x.flatten(1)
            if kind == "Rescaling":
                return x * layer["scale"] + layer["offset"]
            if kind == "MaxPooling2D":
                if layer["padding"] == "same":
                    x = padded(x, layer["pool_size"], layer["strides"], -float("inf"))
                return functional.max_pool2d(x, layer["pool_size"], layer["strides"])
            if kind not in ("Dense", "Conv2D"):
                return x
            kernel = self.weights[f"weight_{number}_0"]
            bias = dict(self.weights.items()).get(f"weight_{number}_1")
            if kind == "Dense":
                x = functional.linear(x, kernel.T, bias)
            else:
                if layer["padding"] == "same":
                    x = padded(x, tuple(kernel.shape[2:]), layer["strides"], 0.0)
                x = functional.conv2d(x, kernel, bias, layer["strides"])
            return functional.relu(x) if layer["activation"] == "relu" else x

    model = Classifier().eval()
    return model.requires_grad_(False)


def made(name: str, model: Any, epsilon: float, norm: str) -> Any:
    """Returns the attack with the settings of the original AutoAttack."""
    import torchattacks as peers

    ball = {"eps": epsilon, "norm": {"l_inf": "Linf", "l_2": "L2"}[norm], "seed": 0}
    parts = {
        "APGD-CE": lambda: peers.APGD(model, steps=STEPS, loss="ce", **ball),
        "APGD-T": lambda: peers.APGDT(model, steps=STEPS, n_classes=TARGETS + 1, **ball),
        "FAB-T": lambda: peers.FAB(
            model, steps=STEPS, multi_targeted=True, n_classes=TARGETS + 1, **ball
        ),
        "Square": lambda: peers.Square(model, n_queries=QUERIES, **ball),
    }
    if name == "AutoAttack":
        return peers.MultiAttack([make() for make in parts.values()])
    return parts[name]()


def main(folder: str, name: str) -> None:
    """Attacks the images of a folder that `benchmark attacks` wrote."""
    import torch

    settings = json.loads((Path(folder) / "problem.json").read_text())
    with np.load(Path(folder) / "problem.npz") as found:
        arrays = dict(found)
    torch.set_num_threads(settings["threads"])
    model = classifier(settings["layers"], arrays)
    x = torch.from_numpy(np.ascontiguousarray(arrays["x"].transpose(0, 3, 1, 2)))
    y = torch.from_numpy(arrays["y"].astype(np.int64))
    ours, theirs = arrays["logits"], model(x[: len(arrays["logits"])]).numpy()
    if not np.allclose(ours, theirs, rtol=1e-3, atol=1e-3):
        sys.exit(f"the logits of the two models differ by {np.abs(ours - theirs).max():.3g}")
    epsilon, broken, started = settings["epsilon"], 0, time.perf_counter()
    for images, labels in zip(
        x.split(settings["batch_size"]), y.split(settings["batch_size"]), strict=True
    ):
        right = model(images).argmax(1) == labels
        attack = made(name, model, epsilon, settings["norm"])
        moved = attack(images[right], labels[right])
        order = float("inf") if settings["norm"] == "l_inf" else 2
        length = torch.linalg.vector_norm((moved - images[right]).flatten(1), order, dim=1)
        inside = (length <= epsilon * (1 + 1e-4)) & (moved.amin((1, 2, 3)) >= 0)
        wrong = model(moved).argmax(1) != labels[right]
        broken += int((~right).sum() + (wrong & inside).sum())
    seconds = time.perf_counter() - started
    print(json.dumps({"robust_accuracy": 1 - broken / len(x), "seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
