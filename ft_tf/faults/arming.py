"""Putting faults into a model and taking them out again, whatever happens in between.

Weight faults are written into the model's own variables, so that everything that computes with
the model sees them; unit faults sit in hooks on layer outputs. Leaving the block brings the clean
bytes back, also after an exception or Ctrl-C.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.attacks.search import without_compiled_ascents
from ft_tf.errors import ModelError
from ft_tf.faults import forward
from ft_tf.faults.interrupts import interrupts_held
from ft_tf.faults.plan import Draws, FaultMasks, FaultPlan
from ft_tf.faults.sites import SiteGroup
from ft_tf.keras_layers import variables_of
from ft_tf.metrics import COMPILED_FORWARD

_COMPILED = ("train_function", "test_function", "predict_function", COMPILED_FORWARD)


def silenced_groups(plan: FaultPlan) -> tuple[SiteGroup, ...]:
    """The unit groups whose faults zeros among the weights express exactly: stuck-at-0 units."""
    return tuple(g for g in plan.groups_of("units") if g.silencers and g.fault.zeroes)


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

    def values(self, draws: Draws) -> list[tf.Tensor]:
        """The faulty value of every variable."""
        values = {id(v): clean for v, clean in zip(self._variables, self.clean, strict=True)}
        for group, mask, words in draws.by_group(self._plan, "weights"):
            key = id(group.variable)
            values[key] = self._faulty[key](mask, words)
        for group, mask, _ in draws.by_group(self._plan, "units"):
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


class UnitHooks:
    """Unit faults at layer outputs, with masks in variables so that a traced graph can be re-used.

    Between two armings the masks are false: a graph traced under the hooks computes clean values.
    """

    def __init__(self, plan: FaultPlan, groups: tuple[SiteGroup, ...]) -> None:
        self._plan = plan
        self._groups = groups
        self._draws = Draws.variables(plan)

    def __bool__(self) -> bool:
        return bool(self._groups)

    @contextlib.contextmanager
    def live(self, model: keras.Model, draws: Draws) -> Iterator[None]:
        """Unit faults are live in the block, and in no graph after it."""
        with forward.hooked(model, self._on_output, parts=self._plan.parts):
            try:
                self._draws.assign(draws)
                yield
            finally:
                with interrupts_held():
                    self._draws.clear()

    def _on_output(self, layer: keras.layers.Layer, index: int, inputs: Any, outputs: Any) -> Any:
        for group, mask, words in self._draws.by_group(self._plan, "units"):
            if group in self._groups and group.holds(layer, index):
                outputs = group.fault.apply(outputs, mask, words)
        return outputs


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
    """Arms a model with one set of faults, as often as asked."""

    def __init__(self, model: keras.Model, plan: FaultPlan, masks: FaultMasks) -> None:
        self._model = model
        self._draws = Draws.tensors(masks)
        silenced = silenced_groups(plan)
        self._weights = WeightFaults(model, plan, silenced)
        self._faulty = self._weights.values(self._draws)
        self._hooks = UnitHooks(plan, tuple(set(plan.groups_of("units")) - set(silenced)))

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        """In the block the model computes with the faults, after it without.

        Stuck-at-0 units of the usual layers, and all weights, are faulty for every function that
        computes with the model; other unit faults for those traced in the block.
        """
        with contextlib.ExitStack() as stack:
            self._weights.check_clean()
            stack.enter_context(self._weights.restored_after())
            self._weights.write(self._faulty)
            if self._hooks:
                stack.enter_context(self._hooks.live(self._model, self._draws))
            yield

    def check_untouched(self) -> None:
        """Raises ModelError if a variable of the model was changed in the block."""
        self._weights.check_holding(self._faulty)
        self._weights.check_state()

    @property
    def needs_new_functions(self) -> bool:
        """Whether functions that Keras has compiled before cannot show the faults."""
        return bool(self._hooks)
