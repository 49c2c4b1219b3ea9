"""AutoAttack: APGD-CE, APGD-T, FAB-T and Square, each on what the ones before left standing.

Croce and Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks". Steps, restarts, targets and queries default to those of the original.
"""

import dataclasses
import hashlib
import os
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ft_tf._compat import keras
from ft_tf.attacks import fab, square
from ft_tf.attacks.evaluations import SECOND_LOSSES, apgd_attempts
from ft_tf.attacks.result import AttackResult, result_of
from ft_tf.attacks.search import Problem, WorstCase, checked_problem
from ft_tf.checks import check_choice, check_path, check_positive_integer
from ft_tf.errors import ArgumentError, RunError
from ft_tf.records import check_writable

VERSIONS = ("standard", "rand")
NORMS = {"l_inf": "l_inf", "Linf": "l_inf", "l_2": "l_2", "L2": "l_2"}
STEPS = 100
DRAWS = 20
"""Passes per gradient in the version "rand"."""

Stage = tuple[str, Callable[[Problem, WorstCase], dict[str, Any]]]


def autoattack(
    model: keras.Model,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    epsilon: float,
    norm: str = "l_inf",
    version: str = "standard",
    num_steps: int = STEPS,
    queries: int = square.QUERIES,
    targets: int = fab.TARGETS,
    restarts: int = 1,
    seed: int = 0,
    bounds: tuple[float, float] = (0.0, 1.0),
    batch_size: int = 500,
    progress: Callable[[str], None] | None = None,
    resume: str | os.PathLike | None = None,
) -> AttackResult:
    """Robust accuracy under AutoAttack.

    An example counts as robust if it is right on x and survives every attack. With 3 classes
    APGD-T is the untargeted DLR, with 2 the margin, because the targeted DLR needs 4 classes.

    Args:
        model: a Keras classifier that gives logits.
        x: inputs [n, ...] inside the bounds.
        y: integer labels [n].
        epsilon: radius of the ball, in units of x.
        norm: "l_inf" or "l_2" (also "Linf", "L2").
        version: "standard", or "rand" for a model that answers at random: APGD-CE and APGD-DLR
            with the loss averaged over 20 passes.
        num_steps: gradient steps of each run of APGD and FAB.
        queries: passes of Square per example.
        targets: classes that APGD-T and FAB-T drive each example to, likeliest first.
        restarts: of every attack.
        seed: of random starts and of Square.
        bounds: lowest and highest input.
        batch_size: examples attacked at a time.
        progress: receives one line when an attack ends.
        resume: a file (.npz) that keeps what the finished attacks found; a later call with the
            same model, inputs and arguments continues after them. It is deleted at the end.

    Returns:
        The result; `parameters["stages"]` has the accuracy after each attack and its seconds.

    Raises:
        ArgumentError: bad input, or `resume` is a file of another problem or cannot be written.
        ModelError: the model does not give logits.
    """
    check_choice(tuple(NORMS), norm=norm)
    check_choice(VERSIONS, version=version)
    if resume is not None:
        _check_resume(resume)
    check_positive_integer(num_steps=num_steps, queries=queries, targets=targets, restarts=restarts)
    problem = checked_problem(model, x, y, epsilon, NORMS[norm], bounds, seed, batch_size)
    settings = {"version": version, "num_steps": num_steps, "restarts": restarts}
    if version == "standard":
        settings |= {"queries": queries, "targets": min(targets, problem.classes - 1)}
    worst = WorstCase(problem)
    kept = None if resume is None else _Kept(Path(resume), _fingerprint(problem, settings))
    stages = kept.restore(worst) if kept else []
    for name, run in _stages(problem, settings)[len(stages) :]:
        started = time.monotonic()
        run(problem, worst)
        stages.append(
            {
                "attack": name,
                "accuracy": float(np.mean(~worst.broken)),
                "seconds": round(time.monotonic() - started, 1),
            }
        )
        if kept:
            kept.save(worst, stages)
        if progress:
            progress(f"{name}: accuracy {stages[-1]['accuracy']:.2%} ({stages[-1]['seconds']} s)")
    result = result_of("autoattack", problem, worst, **settings, stages=stages)
    if kept:
        kept.path.unlink(missing_ok=True)
    return dataclasses.replace(result, warnings=result.warnings + _masking_warning(stages, result))


def _check_resume(resume: str | os.PathLike) -> None:
    check_path(resume=resume)
    try:
        check_writable(Path(resume))
    except RunError as error:
        raise ArgumentError(f"resume={error}: name another file") from None


def _stages(problem: Problem, settings: dict[str, Any]) -> list[Stage]:
    restarts, targets = settings["restarts"], settings.get("targets", 1)
    options = {"num_steps": settings["num_steps"], "restarts": restarts, "targets": targets}
    apgd = partial(apgd_attempts, **options)
    if settings["version"] == "rand":
        second = "margin" if problem.classes == 2 else "dlr"
        return [
            ("APGD-CE", partial(apgd, loss="cross_entropy", draws=DRAWS)),
            (f"APGD-{second.upper()}", partial(apgd, loss=second, draws=DRAWS)),
        ]
    second = SECOND_LOSSES.get(problem.classes, "targeted_dlr")
    return [
        ("APGD-CE", partial(apgd, loss="cross_entropy")),
        (
            "APGD-T" if second == "targeted_dlr" else f"APGD-{second.upper()}",
            partial(apgd, loss=second),
        ),
        ("FAB-T", partial(fab.fab_attempts, **options)),
        (
            "Square",
            partial(square.square_attempts, queries=settings["queries"], restarts=restarts),
        ),
    ]


def _masking_warning(stages: list[dict[str, Any]], result: AttackResult) -> tuple[str, ...]:
    """Square, which sees no gradient, must not find what every gradient attack missed."""
    if stages[-1]["attack"] != "Square":
        return ()
    before = stages[-2]["accuracy"]
    broken = round((before - result.robust_accuracy) * len(result.success))
    if broken <= max(1, 0.01 * len(result.success)):
        return ()
    return (
        f"Square, which uses no gradients, broke {broken} images that all gradient attacks left "
        f"(accuracy {before:.1%} before, {result.robust_accuracy:.1%} after): gradients are masked",
    )


def _fingerprint(problem: Problem, settings: dict[str, Any]) -> str:
    ball = (problem.epsilon, problem.distance, problem.bounds, problem.seed)
    digest = hashlib.sha256(repr((*ball, sorted(settings.items()))).encode())
    for array in (problem.x, problem.y, problem.clean_logits):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class _Kept:
    """What finished attacks found, in one .npz file."""

    _arrays = ("point", "broken", "stuck", "attacked")

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path = path
        self._fingerprint = fingerprint

    def restore(self, worst: WorstCase) -> list[dict[str, Any]]:
        """Fills `worst` and returns the finished stages; none where there is no file.

        Raises:
            ArgumentError: the file is damaged or belongs to another problem.
        """
        if not self.path.exists():
            return []
        try:
            with np.load(self.path, allow_pickle=False) as found:
                if str(found["fingerprint"]) != self._fingerprint:
                    raise ArgumentError(
                        f"resume={str(self.path)!r} is of another model, other images or other "
                        "settings: delete it or name another file"
                    )
                for name in self._arrays:
                    setattr(worst, name, found[name])
                columns = [found[name].tolist() for name in ("names", "accuracy", "seconds")]
        # The file of a single array, which np.load also reads, raises AttributeError or TypeError.
        except (
            OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError, AttributeError, TypeError
        ) as error:  # fmt: skip
            if isinstance(error, ArgumentError):
                raise
            raise ArgumentError(
                f"resume={str(self.path)!r} cannot be read ({error}): delete it to start again"
            ) from None
        stages = zip(*columns, strict=True)
        return [dict(zip(("attack", "accuracy", "seconds"), s, strict=True)) for s in stages]

    def save(self, worst: WorstCase, stages: list[dict[str, Any]]) -> None:
        """Replaces the file in one step."""
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.npz")
        np.savez(
            temporary,
            fingerprint=self._fingerprint,
            **{name: getattr(worst, name) for name in self._arrays},
            names=[stage["attack"] for stage in stages],
            accuracy=[stage["accuracy"] for stage in stages],
            seconds=[stage["seconds"] for stage in stages],
        )
        os.replace(temporary, self.path)
