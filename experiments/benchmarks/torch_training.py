"""The part of `benchmark peers` that runs in the peer's Python, which has torch and opacus.

python torch_training.py WORK ARCHITECTURE BATCH_SIZE THREADS SECONDS
    prints the examples per second and the number of parameters, as JSON
"""

import json
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

WORKS = ("plain", "ghost", "trades", "trades_bfloat16")
"""plain: SGD; ghost: Opacus's DP-SGD with ghost clipping; trades: TRADES with 10 attack steps and
the natural pass made once, in channels_last; trades_bfloat16: the same under autocast."""

_RATE, _CLIP, _SIGMA = 0.05, 1.0, 1.1
_EPSILON, _STEP_SIZE, _NUM_STEPS, _BETA = 0.031, 0.007, 10, 6.0
_BATCHES, _WARM_UP = 4, 3

_CIFAR10_CONVOLUTIONS = (
    (3, 32, 3, 1), (32, 32, 4, 2), (32, 32, 3, 1), (32, 64, 3, 2), (64, 64, 3, 1),
    (64, 128, 3, 2), (128, 128, 3, 1), (128, 256, 3, 2), (256, 256, 3, 1),
)  # fmt: skip


def network(architecture: str) -> tuple[Any, tuple[int, int, int]]:
    """Returns the network of that name and the shape of its images, channels first."""
    from torch import nn

    if architecture == "fmnist_dnn":
        hidden = [nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU()]
        return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(512, 10)), (1, 28, 28)
    if architecture == "fmnist_cnn_1":
        layers = [nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
        layers += [nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10)]
        return nn.Sequential(*layers), (1, 28, 28)
    if architecture == "cifar10_cnn":
        layers = []
        for inputs, filters, size, stride in _CIFAR10_CONVOLUTIONS:
            layers += [nn.Conv2d(inputs, filters, size, stride, padding=1), nn.ReLU()]
        layers += [nn.Flatten(), nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(512, 10)), (3, 32, 32)
    if architecture == "resnet_8":
        return _resnet_8(), (3, 32, 32)
    raise ValueError(f"architecture={architecture!r}")


def _resnet_8() -> Any:
    from torch import nn

    class Block(nn.Module):
        def __init__(self, inputs: int, filters: int, stride: int) -> None:
            super().__init__()
            self.first = nn.Conv2d(inputs, filters, 3, stride, padding=1)
            self.second = nn.Conv2d(filters, filters, 3, padding=1)
            self.norms = nn.ModuleList(nn.GroupNorm(8, filters) for _ in range(2))
            self.activations = nn.ModuleList(nn.ReLU() for _ in range(2))
            self.shortcut = nn.Identity()
            if inputs != filters:
                self.shortcut = nn.Conv2d(inputs, filters, 1, stride)

        def forward(self, x: Any) -> Any:
            y = self.activations[0](self.norms[0](self.first(x)))
            return self.activations[1](self.norms[1](self.second(y)) + self.shortcut(x))

    stem = [nn.Conv2d(3, 16, 3, padding=1), nn.GroupNorm(8, 16), nn.ReLU()]
    blocks = [Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2)]
    return nn.Sequential(*stem, *blocks, nn.AvgPool2d(8), nn.Flatten(), nn.Linear(64, 10))


def trades_loss(model: Any, x: Any, y: Any) -> Any:
    """Cross-entropy + beta KL(natural, adversarial) after the steps of the attack."""
    import torch
    from torch.nn import functional

    def divergence(moved: Any, natural: Any, reduction: str) -> Any:
        return functional.kl_div(functional.log_softmax(moved, 1), natural, reduction=reduction)

    with torch.no_grad():
        probabilities = functional.softmax(model(x), 1)
    low, high = (x - _EPSILON).clamp(min=0.0), (x + _EPSILON).clamp(max=1.0)
    points = x + 1e-3 * torch.randn_like(x)
    for _ in range(_NUM_STEPS):
        points.requires_grad_()
        (gradient,) = torch.autograd.grad(divergence(model(points), probabilities, "sum"), points)
        points = (points.detach() + _STEP_SIZE * gradient.sign()).clamp(low, high)
    natural, moved = model(torch.cat([x, points])).chunk(2)
    penalty = divergence(moved, functional.softmax(natural, 1), "batchmean")
    return functional.cross_entropy(natural, y) + _BETA * penalty


def stepper(work: str, architecture: str, batch_size: int) -> tuple[Callable[[int], None], int]:
    """Returns a function that takes step number i, and the number of parameters."""
    import torch
    from torch import nn

    model, shape = network(architecture)
    parameters = sum(value.numel() for value in model.parameters())
    x = torch.rand(_BATCHES * batch_size, *shape)
    y = torch.randint(0, 10, (len(x),))
    if work.startswith("trades"):
        model = model.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    optimizer, loss = torch.optim.SGD(model.parameters(), lr=_RATE), nn.CrossEntropyLoss()
    if work == "ghost":
        from opacus import PrivacyEngine

        batches = torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(x, y), batch_size=batch_size
        )
        model, optimizer, loss, _ = PrivacyEngine().make_private(
            module=model, optimizer=optimizer, criterion=loss, data_loader=batches,
            noise_multiplier=_SIGMA, max_grad_norm=_CLIP, poisson_sampling=False,
            grad_sample_mode="ghost",
        )  # fmt: skip

    def step(number: int) -> None:
        start = number % _BATCHES * batch_size
        images, labels = x[start : start + batch_size], y[start : start + batch_size]
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=work.endswith("bfloat16")):
            if work.startswith("trades"):
                value = trades_loss(model, images, labels)
            else:
                value = loss(model(images), labels)
        value.backward()
        optimizer.step()

    return step, parameters


def main(work: str, architecture: str, batch_size: str, threads: str, seconds: str) -> None:
    """Times steps on random images in memory."""
    import torch

    warnings.filterwarnings("ignore")
    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    step, parameters = stepper(work, architecture, int(batch_size))
    for number in range(_WARM_UP):
        step(number)
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < float(seconds):
        step(count)
        count += 1
    rate = count * int(batch_size) / (time.perf_counter() - started)
    print(json.dumps({"examples_per_second": rate, "parameters": parameters}))


if __name__ == "__main__":
    main(*sys.argv[1:])
