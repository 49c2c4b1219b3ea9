"""Refuses, while a model is armed, whatever would let its faults out of the block, or others in.

Faults sit in variables that other models may share: a trainer around the model, a model built from
the same layers. So what is guarded are the variables and the layers that hold them, and Keras's
models as a class look, before they train or save, whether they hold one. Other threads may not
evaluate it either, and one that does so already keeps the model from being armed.
"""

import contextlib
import functools
import inspect
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from ft_tf._compat import keras, tf
from ft_tf.errors import ModelError
from ft_tf.keras_layers import all_layers, attribute, variables_of
from ft_tf.models.usage import using

_ACTIONS = ("fit", "train_on_batch", "save", "save_weights", "export")
_LOOPS = ("evaluate", "predict", "test_on_batch", "predict_on_batch")  # for other threads
_LOOP_CODES = {
    inspect.unwrap(getattr(keras.Model, name)).__code__: name for name in (*_ACTIONS[:2], *_LOOPS)
}
_OF_LAYERS = ("save_own_variables", "get_config")  # what every format that Keras writes asks for
_CHECKPOINTED = "_trackable_children"  # what tf.train.Checkpoint and SavedModel walk over

_lock = threading.RLock()
_armed: dict[int, int] = {}  # variable, which its block keeps alive, to thread
_originals: dict[str, Callable[..., Any] | None] = {}


@contextlib.contextmanager
def guarded(model: keras.Model) -> Iterator[None]:
    """The model is this block's alone, to put faults in: they must not get out.

    Refused are, for every Keras model that holds one of the model's variables: fit, train_on_batch,
    a call with training=True, save, save_weights and export; for anything at all, a checkpoint or
    SavedModel that reaches one of the variables. Refused in other threads are also evaluate,
    predict, attacks, measurements and other faults. A compiled training step of one's own cannot
    be seen from here, nor a plain call of the model in another thread.

    Raises:
        ModelError: the model is armed already, or another thread computes with it.
    """
    variables = variables_of(model)
    with contextlib.ExitStack() as stack:
        stack.enter_context(using(model, "arm"))
        stack.enter_context(_registered(variables))
        _check_no_loop_elsewhere(model, variables)
        for layer in all_layers(model):
            for name in _OF_LAYERS if layer.weights else ():
                refuse = functools.partial(_refuse, model, "save")
                stack.enter_context(attribute(layer, name, refuse))
        for holder in [part for variable in variables for part in (variable, variable.value)]:
            refuse = functools.partial(_refuse, model, "write a checkpoint")
            stack.enter_context(attribute(holder, _CHECKPOINTED, refuse))
        yield


def _refuse(model: keras.Model, action: str, /, *args: Any, **kwargs: Any) -> None:
    raise ModelError(
        f"model={model.name!r} is armed with faults: {action} only after leaving the block"
    )


@contextlib.contextmanager
def _registered(variables: list[keras.Variable]) -> Iterator[None]:
    """Keras's models look out for the variables; those of other models may be armed besides."""
    thread = threading.get_ident()
    try:
        with _lock:
            for name in () if _armed else (*_ACTIONS, *_LOOPS, "__call__"):
                _originals[name] = vars(keras.Model).get(name)  # None: a base class has it
                setattr(keras.Model, name, _looking(name, getattr(keras.Model, name)))
            _armed.update({id(variable): thread for variable in variables})
        yield
    finally:
        with interrupts_held(), _lock:
            for variable in variables:
                _armed.pop(id(variable), None)
            if not _armed:
                for name, original in _originals.items():
                    if original is None:
                        delattr(keras.Model, name)
                    else:
                        setattr(keras.Model, name, original)
                _originals.clear()


def _looking(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    @tf.autograph.experimental.do_not_convert
    def check(model: keras.Model, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if name == "__call__" and not _is_training(args, kwargs):
            return
        threads = {_armed.get(id(variable)) for variable in variables_of(model)} - {None}
        if name in _LOOPS:
            threads -= {threading.get_ident()}
        if threads:
            _refuse(model, "training=True" if name == "__call__" else name)

    # AutoGraph may convert this function and, through it, the layers' own `call`, which need it.
    def look(model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        check(model, args, kwargs)
        return original(model, *args, **kwargs)

    return look


def _is_training(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    training = kwargs.get("training", args[1] if len(args) > 1 else None)
    return isinstance(training, bool | int) and bool(training)


def _check_no_loop_elsewhere(model: keras.Model, variables: list[keras.Variable]) -> None:
    """Raises ModelError if another thread is inside one of Keras's loops over these variables.

    Keras does not say that it trains: its loops are looked for on the stacks of other threads.
    """
    numbers = {id(variable) for variable in variables}
    for thread, frame in sys._current_frames().items():
        while frame is not None and thread != threading.get_ident():
            name = _LOOP_CODES.get(frame.f_code)
            other = frame.f_locals.get("self") if name else None
            if other is not None and any(id(v) in numbers for v in variables_of(other)):
                raise ModelError(
                    f"model={model.name!r} is in use by another thread ({name}): wait until it has "
                    "finished, or give each thread a copy"
                )
            frame = frame.f_back


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Delays Ctrl-C until the block has run, so that a restoration cannot be cut in half.

    Python raises KeyboardInterrupt in the main thread whichever thread the signal reached, and
    TensorFlow has threads of its own: a signal mask of the main thread would hold nothing back. So
    a handler that only remembers takes the place of the usual one for the length of the block; it
    is called again after it. Other threads are never interrupted, and need nothing.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is None  # set outside Python: it could not come back
    ):
        yield
        return
    waiting: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: waiting.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if waiting:
            signal.raise_signal(signal.SIGINT)
