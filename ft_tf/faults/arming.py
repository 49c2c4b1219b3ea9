"""Putting faults into a model and taking them out again, whatever happens in between.

Weight faults are written into the model's own variables, so that everything that computes with
the model sees them; unit faults sit in hooks on layer outputs. Leaving the block brings the clean
bytes back, also after an exception or Ctrl-C.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from ft_tf._compat import keras, tf
from ft_tf.errors import ModelError
from ft_tf.faults import forward
from ft_tf.faults.plan import FaultMasks, FaultPlan, split_masks
from ft_tf.metrics import COMPILED_FORWARD

_GUARDED = ("fit", "train_on_batch", "save", "save_weights", "export", "get_config")
_CHECKPOINTED = "_trackable_children"  # what tf.train.Checkpoint and SavedModel walk over
_COMPILED = ("train_function", "test_function", "predict_function", COMPILED_FORWARD)


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Delays Ctrl-C until the block has run, so that a restoration cannot be cut in half."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(
        signal, "pthread_sigmask"
    ):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class WeightFaults:
    """Faulty values in the variables of a plan's weight groups, and the way back."""

    def __init__(self, plan: FaultPlan) -> None:
        self._plan = plan
        self._groups = plan.groups_of("weights")
        # Copies: nothing that happens to a variable reaches them.
        self.clean = [tf.constant(group.variable.numpy()) for group in self._groups]

    def values(self, faulty: tf.Tensor, words: tf.Tensor) -> list[tf.Tensor]:
        """The faulty value of every variable, from flat masks and words."""
        pairs = split_masks(self._groups, self._plan.fault, faulty, words)
        return [
            self._plan.fault.apply(clean, mask, word)
            for clean, (mask, word) in zip(self.clean, pairs, strict=True)
        ]

    def write(self, values: list[tf.Tensor]) -> None:
        """Puts values into the variables."""
        for group, value in zip(self._groups, values, strict=True):
            group.variable.assign(value)

    @contextlib.contextmanager
    def restored_after(self) -> Iterator[None]:
        """Whatever happens in the block, the variables hold the clean bytes after it."""
        try:
            yield
        finally:
            with interrupts_held():
                self.write(self.clean)


class UnitHooks:
    """Unit faults at layer outputs, with masks in variables so that a traced graph can be re-used.

    Between two armings the masks are false: a graph traced under the hooks computes clean values.
    """

    def __init__(self, plan: FaultPlan) -> None:
        self._plan = plan
        self._groups = plan.groups_of("units")
        per_value = plan.fault.sites_per_value
        sizes = sum(group.size for group in self._groups)
        self._faulty = tf.Variable(tf.zeros([sizes * per_value], tf.bool), trainable=False)
        random_sizes = sizes if plan.fault.random else 0
        self._words = tf.Variable(tf.zeros([random_sizes, 2], tf.uint32), trainable=False)

    def set(self, masks: FaultMasks) -> None:
        """Makes the units of `masks` faulty."""
        self._faulty.assign(masks.faulty["units"])
        self._words.assign(masks.words["units"])

    def clear(self) -> None:
        """Makes no unit faulty."""
        self._faulty.assign(tf.zeros_like(self._faulty))

    def on_output(self, layer: keras.layers.Layer, index: int, inputs: Any, outputs: Any) -> Any:
        """The hook for `forward.hooked`."""
        for number, group in enumerate(self._groups):
            if any(layer is point and index == call for point, call in group.points):
                pairs = split_masks(self._groups, self._plan.fault, self._faulty, self._words)
                outputs = self._plan.fault.apply(outputs, *pairs[number])
        return outputs


@contextlib.contextmanager
def guarded(model: keras.Model) -> Iterator[None]:
    """Refuses, while the block runs, to train or to save the model: faults must not get out."""

    def refusal(action: str) -> Callable[..., Any]:
        def refuse(*args: Any, **kwargs: Any) -> Any:
            raise ModelError(
                f"model={model.name!r} is armed with faults: {action} only after leaving inject()"
            )

        return refuse

    names = {name: f"call {name}" for name in _GUARDED} | {_CHECKPOINTED: "write a checkpoint"}
    before = {name: vars(model).get(name) for name in names}
    vars(model).update({name: refusal(action) for name, action in names.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                vars(model).pop(name, None)
            else:
                vars(model)[name] = value


@contextlib.contextmanager
def without_compiled_functions(model: keras.Model) -> Iterator[None]:
    """Hides Keras's compiled functions in the block, so that new ones are traced with the hooks."""
    before = {name: vars(model).get(name) for name in _COMPILED}
    vars(model).update(dict.fromkeys(_COMPILED))
    try:
        yield
    finally:
        vars(model).update(before)


@contextlib.contextmanager
def unit_hooks(model: keras.Model, hooks: UnitHooks, masks: FaultMasks) -> Iterator[None]:
    """Unit faults are live in the block, and in no graph after it."""
    with forward.hooked(model, hooks.on_output):
        try:
            hooks.set(masks)
            yield
        finally:
            with interrupts_held():
                hooks.clear()


class Armament:
    """Arms a model with one set of faults, as often as asked."""

    def __init__(self, model: keras.Model, plan: FaultPlan, masks: FaultMasks) -> None:
        self._model = model
        self._masks = masks
        self._weights = WeightFaults(plan)
        self._faulty = self._weights.values(
            tf.constant(masks.faulty["weights"]), tf.constant(masks.words["weights"])
        )
        self._hooks = UnitHooks(plan) if plan.groups_of("units") else None

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        """In the block the model computes with the faults, after it without.

        Unit faults reach whatever is traced in the block, and what was traced in an earlier one.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._weights.restored_after())
            self._weights.write(self._faulty)
            if self._hooks is not None:
                stack.enter_context(unit_hooks(self._model, self._hooks, self._masks))
            yield
