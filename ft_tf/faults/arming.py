"""Putting faults into a model and taking them out again, whatever happens in between.

Weight faults are written into the model's own variables, so that everything that computes with
the model sees them; unit faults sit in hooks on layer outputs. Leaving the block brings the clean
bytes back, also after an exception or Ctrl-C.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from ft_tf._compat import keras, require_keras_model, tf
from ft_tf.attacks.search import without_compiled_ascents
from ft_tf.errors import ModelError
from ft_tf.faults import forward
from ft_tf.faults.guard import guarded, interrupts_held
from ft_tf.faults.models import FaultModel
from ft_tf.faults.plan import FaultMasks, FaultPlan, make_plan
from ft_tf.faults.sites import Select, SiteGroup
from ft_tf.keras_layers import variables_of
from ft_tf.metrics import COMPILED_FORWARD

_COMPILED = ("train_function", "test_function", "predict_function", COMPILED_FORWARD)


def silenced_groups(plan: FaultPlan) -> tuple[SiteGroup, ...]:
    """The unit groups whose faults zeros among the weights express exactly: stuck-at-0 units.

    There are none where weights, or units in another way, are faulty too: an infinity that these
    make in an earlier layer times 0 is NaN, and a unit stuck at 0 must deliver 0.
    """
    if not all(group.target == "units" and group.fault.zeroes for group in plan.groups):
        return ()
    return tuple(group for group in plan.groups if group.silencers)


def values_of(model: keras.Model) -> dict[int, np.ndarray]:
    """Copies of the values of a model's variables, by id."""
    return {id(variable): variable.numpy().copy() for variable in variables_of(model)}


class WeightFaults:
    """Faulty values in a model's variables, and the way back.

    Make one inside `guarded(model)`: what the variables hold then is taken for clean.

    Args:
        model: the model.
        plan: weight groups are all served.
        silenced: the unit groups to be served by zeros among the weights.
        values: the clean values of all variables by id; by default those that they hold.
    """

    def __init__(
        self,
        model: keras.Model,
        plan: FaultPlan,
        silenced: tuple[SiteGroup, ...],
        values: dict[int, np.ndarray] | None = None,
    ) -> None:
        values = values_of(model) if values is None else values
        self._model_name = model.name
        self._plan = plan
        self._silenced = silenced
        faults = {id(group.variable): group.fault for group in plan.groups_of("weights")}
        faulted = [group.variable for group in plan.groups_of("weights")]
        extra = [variable for group in silenced for variable in group.silencers]
        self._variables = list({id(v): v for v in [*faulted, *extra]}.values())
        self.clean = [tf.constant(values[id(variable)]) for variable in self._variables]
        numbers = {id(variable) for variable in self._variables}
        self._others = [v for v in variables_of(model) if id(v) not in numbers]
        self._other_values = [values[id(variable)] for variable in self._others]
        self._faulty = {
            id(v): faults[id(v)].prepared(clean)
            for v, clean in zip(self._variables, self.clean, strict=True)
            if id(v) in faults
        }

    def values(self, faulty: dict[str, Any], words: dict[str, Any]) -> list[tf.Tensor]:
        """The faulty value of every variable, for masks and words as in `FaultMasks`."""
        values = {id(v): clean for v, clean in zip(self._variables, self.clean, strict=True)}
        for group, mask, drawn in self._plan.by_group("weights", faulty, words):
            key = id(group.variable)
            values[key] = self._faulty[key](mask, drawn)
        for group, mask, _ in self._plan.by_group("units", faulty, words):
            if group in self._silenced:
                for variable in group.silencers:
                    value = values[id(variable)]
                    dead = tf.reshape(mask, [-1])
                    values[id(variable)] = tf.where(dead, tf.zeros_like(value), value)
        return list(values.values())

    def write(self, values: list[tf.Tensor]) -> None:
        """Puts values into the variables."""
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)

    def check_holding(self, values: list[tf.Tensor]) -> None:
        """Raises ModelError unless the variables still hold what was written, to the bit."""
        changed = _changed(self._variables, values)
        if changed:
            raise ModelError(
                f"{_names(changed)} changed while armed with faults: the clean values came "
                "back, so that the change is lost; train or assign after leaving the block"
            )

    def check_state(self) -> None:
        """Raises ModelError if a pass in inference mode has changed variables without faults."""
        changed = _changed(self._others, self._other_values)
        if changed:
            raise ModelError(
                f"model={self._model_name!r} changes {_names(changed)} when it is called: its "
                "answers depend on what was asked before, so that no fault can be measured; the "
                "values came back"
            )

    def check_clean(self) -> None:
        """Raises ModelError if the variables no longer hold what was taken for clean."""
        stale = _changed(self._variables, self.clean)
        stale += _changed(self._others, self._other_values)
        if stale:
            raise ModelError(
                f"model={self._model_name!r} has other values in {_names(stale)} than when its "
                "faults were prepared: prepare them again"
            )

    @contextlib.contextmanager
    def restored_after(self) -> Iterator[None]:
        """After the block, however it ends, all variables of the model hold the clean bytes."""
        try:
            yield
        finally:
            with interrupts_held():
                self.write(self.clean)
                for variable, value in _changed(self._others, self._other_values):
                    variable.assign(value)


def _changed(
    variables: list[keras.Variable], values: list[Any]
) -> list[tuple[keras.Variable, Any]]:
    """The variables that hold other bytes than their values, with these."""
    return [
        (variable, value)
        for variable, value in zip(variables, values, strict=True)
        if variable.numpy().tobytes() != np.asarray(value).tobytes()
    ]


def _names(changed: list[tuple[keras.Variable, Any]]) -> str:
    return ", ".join(variable.path for variable, _ in changed)


@contextlib.contextmanager
def without_compiled_functions(model: keras.Model) -> Iterator[None]:
    """Hides what was compiled of the model before, so that it is traced anew with the hooks.

    That are Keras's own functions, the pass of `metrics.predict_logits`, and the attacks.
    """
    before = {name: vars(model).get(name) for name in _COMPILED}
    try:
        vars(model).update(dict.fromkeys(_COMPILED))
        with without_compiled_ascents(model):
            yield
    finally:
        with interrupts_held():
            vars(model).update(before)


class Armament:
    """Arms a model with one set of faults, as often as asked.

    Faults of units that no zeros among the weights express are hooks on layer outputs, with masks
    in variables: between two armings these are false, so that a graph traced under the hooks
    computes clean values.
    """

    def __init__(self, model: keras.Model, plan: FaultPlan, masks: FaultMasks) -> None:
        self._model, self._plan = model, plan
        self._drawn = (masks.faulty, masks.words)
        silenced = silenced_groups(plan)
        self._weights = WeightFaults(model, plan, silenced)
        self._faulty = self._weights.values(*self._drawn)
        self._hooked = [g for g in plan.groups_of("units") if g not in silenced]
        self._held = tf.nest.map_structure(
            lambda array: tf.Variable(tf.zeros_like(array), trainable=False), self._drawn
        )

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        """In the block the model computes with the faults (see `inject`), after it without."""
        with contextlib.ExitStack() as stack:
            self._weights.check_clean()
            stack.enter_context(self._weights.restored_after())
            self._weights.write(self._faulty)
            if self._hooked:
                hooks = forward.hooked(self._model, self._on_output, parts=self._plan.parts)
                stack.enter_context(hooks)
                stack.callback(self._clear)
                tf.nest.map_structure(lambda v, array: v.assign(array), self._held, self._drawn)
            yield

    def _clear(self) -> None:
        with interrupts_held():
            for variable in self._held[0].values():
                variable.assign(tf.zeros_like(variable))

    def _on_output(self, layer: keras.layers.Layer, index: int, inputs: Any, outputs: Any) -> Any:
        for group, mask, words in self._plan.by_group("units", *self._held):
            if group in self._hooked and group.holds(layer, index):
                outputs = group.fault.apply(outputs, mask, words)
        return outputs

    def check_untouched(self) -> None:
        """Raises ModelError if a variable of the model was changed in the block."""
        self._weights.check_holding(self._faulty)
        self._weights.check_state()

    @property
    def needs_new_functions(self) -> bool:
        """Whether functions that Keras has compiled before cannot show the faults."""
        return bool(self._hooked)


@dataclasses.dataclass(frozen=True)
class Injection:
    """What was injected: `faults` of `sites` are faulty, at the rate, seed and trial asked for."""

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

    Weight faults, and stuck-at-0 units of the usual layers if these are the only faults, are seen
    by everything that computes with the model. Other unit faults (another fault model, an
    activation with f(0) != 0, single positions, weight faults too) are seen by Keras's evaluate and
    predict of this model, by `metrics.predict_logits` and attacks on it, and by what is called or
    traced in the block; not by any other tf.function that was traced before it, such as one of a
    model around this one.

    Arguments are those of `sweep`, with one rate, and the number of one trial.

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
