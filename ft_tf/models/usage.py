"""Which thread uses a model for what, so that faults in it never mix with another use.

Faults are written into a model's variables, and tracing puts hooks on its layers. A use is for the
length of a block, of a model with all layers and variables, also those that it shares with others:

    "read"    an attack or a measurement: several threads may read at once
    "trace"   hooks on the layers: one thread
    "arm"     faults in the variables: one thread, once; a second set of faults would take the
              values of the first one for clean

A thread that armed a model may read and trace it. What does not fit is refused and never waited
for: a thread could wait for a block that ends after it.
"""

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from ft_tf._compat import keras
from ft_tf.errors import ModelError
from ft_tf.keras_layers import all_layers, leaf_layers, variables_of

_WORK = {"read": "an attack or a measurement", "trace": "faults", "arm": "faults"}


@dataclasses.dataclass(eq=False)
class _Use:
    thread: int
    how: str
    ended: bool = False


_lock = threading.Lock()
_uses: dict[int, list[_Use]] = {}  # by id of a layer or variable, which the block keeps alive


@contextlib.contextmanager
def using(model: keras.Model, how: str) -> Iterator[None]:
    """Uses a model for the length of the block.

    Args:
        model: the model.
        how: "read", "trace" or "arm".

    Raises:
        ModelError: another thread has it, or it is armed already.
    """
    use = _Use(threading.get_ident(), how)
    parts = parts_of(model)
    try:
        with _lock:
            for part in parts:
                for other in _uses.get(id(part), ()):
                    _check(model, use, other)
            for part in parts:
                _uses.setdefault(id(part), []).append(use)
        yield
    finally:
        use.ended = True  # alone enough, should Ctrl-C cut the rest short
        with _lock:
            for part in parts:
                left = [other for other in _uses.pop(id(part), ()) if not other.ended]
                if left:
                    _uses[id(part)] = left


def _check(model: keras.Model, use: _Use, other: _Use) -> None:
    if other.ended:
        return
    if use.thread == other.thread:
        if use.how == other.how == "arm":
            raise ModelError(
                f"model={model.name!r} is armed with faults already: leave that block first"
            )
    elif not use.how == other.how == "read":
        raise ModelError(
            f"model={model.name!r} is in use by another thread ({_WORK[other.how]}): wait until it "
            "has finished, or give each thread a copy (keras.models.clone_model, set_weights)"
        )


Function = TypeVar("Function", bound=Callable[..., Any])


def reads_models(function: Function) -> Function:
    """Decorator: the function reads the models among its arguments until it returns."""

    @functools.wraps(function)
    def reading(*args: Any, **kwargs: Any) -> Any:
        with contextlib.ExitStack() as stack:
            for model in (*args, *kwargs.values()):
                if isinstance(model, keras.Model):
                    stack.enter_context(using(model, "read"))
            return function(*args, **kwargs)

    return reading


def parts_of(model: keras.Model) -> list[Any]:
    """The model, its layers and its variables."""
    return [*all_layers(model), *variables_of(model)]


_STRUCTURE = "_ft_tf_structure"


def version_of(model: keras.Model) -> int:
    """A number that changes when a compiled pass of the model would be stale.

    That is when it has other layers, variables, activations or precisions than at the last call.
    As with Keras's own functions, new Python code in a layer's call is not seen, nor is anything
    of a model that is not Keras's.
    """
    if not isinstance(model, keras.Model):
        return 0
    layers = leaf_layers(model)
    now = [*parts_of(model), *(getattr(layer, "activation", None) for layer in layers)]
    policies = [getattr(layer, "dtype_policy", None) for layer in (model, *layers)]
    policies = [getattr(policy, "name", policy) for policy in policies]
    number, before, policies_before = vars(model).get(_STRUCTURE, (0, [], []))
    same = len(now) == len(before) and all(a is b for a, b in zip(now, before, strict=True))
    if not (same and policies == policies_before):
        number += 1
        # Past Keras's tracking. The objects are kept, so that no other one gets the same identity.
        vars(model)[_STRUCTURE] = (number, now, policies)
    return number
