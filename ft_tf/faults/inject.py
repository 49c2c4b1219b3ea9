"""Faults for the length of a `with` block."""

import contextlib
import dataclasses
from collections.abc import Iterator

from ft_tf._compat import keras, require_keras_model
from ft_tf.faults.arming import Armament, without_compiled_functions
from ft_tf.faults.guard import guarded
from ft_tf.faults.models import FaultModel
from ft_tf.faults.plan import make_plan
from ft_tf.faults.sites import Select


@dataclasses.dataclass(frozen=True)
class Injection:
    """What was injected.

    Attributes:
        target: "weights", "units" or "both".
        rate: the rate asked for.
        seed: seed of the faults.
        trial: number of the trial.
        faults: how many sites are faulty.
        sites: how many could be.
    """

    target: str
    rate: float
    seed: int
    trial: int
    faults: int
    sites: int


@contextlib.contextmanager
def inject(
    model: keras.Model,
    *,
    target: str,
    rate: float,
    seed: int,
    trial: int = 0,
    fault: FaultModel | None = None,
    allocation: str = "model",
    select: Select | None = None,
) -> Iterator[Injection]:
    """Makes the model faulty while the block runs; its clean weights come back to the byte.

    Inside the block the model can be called, evaluated and predicted with. To train or save it is
    refused, also through another model that shares its variables (see `guard.guarded`). The faults
    are those of `sweep` at the same seed, trial and rate.

    Weight faults, and stuck-at-0 units of the usual layers, are seen by everything that computes
    with the model. Other unit faults (another fault model, an activation with f(0) != 0, single
    positions) are seen by Keras's evaluate and predict of this model, by `metrics.predict_logits`
    and attacks on it, and by what is called or traced in the block; not by any other tf.function
    that was traced before it, such as one of a model around this one.

    Args:
        model: any built Keras model.
        target: "weights" (any parameter), "units" (see `find_sites`) or "both".
        rate: share of faulty sites, in [0, 1].
        seed: fixes the faults, together with `trial`.
        trial: number of the trial.
        fault: what a faulty value becomes; stuck at 0 by default.
        allocation: "model", "layer" or "bernoulli"; see `FaultPlan`.
        select: which part of the model; all but the output layer's units by default.

    Yields:
        An `Injection`, with the realised number of faults.

    Raises:
        ArgumentError: an argument is out of range.
        ModelError: something asked for cannot be faulted; or, on leaving the block, a faulty
            variable was changed in it (by a compiled training step, say), which is lost; or the
            model is armed already, or another thread computes with it.
    """
    require_keras_model(model)
    plan = make_plan(model, target=target, fault=fault, allocation=allocation, select=select)
    masks = plan.trial(seed=seed, trial=trial).masks(rate)
    with contextlib.ExitStack() as stack:
        stack.enter_context(guarded(model))
        armament = Armament(model, plan, masks)
        if armament.needs_new_functions:
            stack.enter_context(without_compiled_functions(model))
        stack.enter_context(armament.live())
        yield Injection(target, rate, seed, trial, masks.count, plan.sites)
        armament.check_untouched()
