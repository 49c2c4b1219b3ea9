"""Refuses, while a model is armed, whatever would let its faults out of the block.

Faults sit in variables that other models may share: a trainer around the model, a model built from
the same layers. So what is guarded are the variables and the layers that hold them, and Keras's
models as a class look, before they train or save, whether they hold one.
"""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from ft_tf._compat import keras, tf
from ft_tf.errors import ModelError
from ft_tf.faults import forward
from ft_tf.faults.interrupts import interrupts_held

_ACTIONS = ("fit", "train_on_batch", "save", "save_weights", "export")
_OF_LAYERS = ("save_own_variables", "get_config")  # what every format that Keras writes asks for
_CHECKPOINTED = "_trackable_children"  # what tf.train.Checkpoint and SavedModel walk over

_lock = threading.RLock()
_armed: Counter[int] = Counter()  # ids of the variables, which the blocks keep alive
_originals: dict[str, Callable[..., Any]] = {}


@contextlib.contextmanager
def guarded(model: keras.Model) -> Iterator[None]:
    """While the block runs, training and saving are refused: faults must not get out.

    Refused are, for every Keras model that holds one of the model's variables: fit, train_on_batch,
    a call with training=True, save, save_weights and export; for anything at all, a checkpoint or
    SavedModel that reaches one of the variables. A compiled training step of one's own cannot be
    seen from here.
    """
    variables = list({id(v): v for v in model.weights}.values())
    holders = [layer for layer in (model, *forward.leaf_layers(model)) if layer.weights]
    refuse = _refusals(model)
    with contextlib.ExitStack() as stack:
        for layer in holders:
            for name in _OF_LAYERS:
                stack.enter_context(_attribute(layer, name, refuse("save")))
        for variable in variables:
            stack.enter_context(_attribute(variable, _CHECKPOINTED, refuse("write a checkpoint")))
        stack.enter_context(_registered(variables))
        yield


def _refusals(model: keras.Model) -> Callable[[str], Callable[..., Any]]:
    def refusal(action: str) -> Callable[..., Any]:
        def refuse(*args: Any, **kwargs: Any) -> Any:
            raise ModelError(_message(model, action))

        return refuse

    return refusal


def _message(model: keras.Model, action: str) -> str:
    return f"model={model.name!r} is armed with faults: {action} only after leaving the block"


@contextlib.contextmanager
def _attribute(holder: Any, name: str, value: Any) -> Iterator[None]:
    """An instance attribute for the length of a block, past Keras's tracking."""
    before = vars(holder).get(name)
    try:
        vars(holder)[name] = value
        yield
    finally:
        if before is None:
            vars(holder).pop(name, None)
        else:
            vars(holder)[name] = before


@contextlib.contextmanager
def _registered(variables: list[tf.Variable]) -> Iterator[None]:
    """Keras's models look out for the variables; blocks may nest and overlap between threads."""
    numbers = Counter(id(variable) for variable in variables)
    try:
        with _lock:
            if not _armed:
                _look_before_acting()
            _armed.update(numbers)
        yield
    finally:
        with interrupts_held(), _lock:
            _armed.subtract(numbers)
            for number in [number for number, count in _armed.items() if count <= 0]:
                del _armed[number]
            if not _armed:
                for name, original in _originals.items():
                    setattr(keras.Model, name, original)
                _originals.clear()


def _look_before_acting() -> None:
    for name in (*_ACTIONS, "__call__"):
        original = getattr(keras.Model, name)
        _originals[name] = original
        setattr(keras.Model, name, _looking(name, original))


def _looking(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    @tf.autograph.experimental.do_not_convert
    def check(model: keras.Model, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls = name == "__call__"
        acting = not calls or _is_training(args, kwargs)
        if acting and any(id(variable) in _armed for variable in _variables(model)):
            raise ModelError(_message(model, "training=True" if calls else name))

    # AutoGraph may convert this function and, through it, the layers' own `call`, which need it.
    def look(model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        check(model, args, kwargs)
        return original(model, *args, **kwargs)

    return look


def _is_training(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    training = kwargs.get("training", args[1] if len(args) > 1 else None)
    return isinstance(training, bool | int) and bool(training)


def _variables(model: keras.Model) -> list[tf.Variable]:
    try:
        return model.weights
    except ValueError:  # not built yet, though its layers may be
        return [variable for layer in forward.leaf_layers(model) for variable in layer.weights]
