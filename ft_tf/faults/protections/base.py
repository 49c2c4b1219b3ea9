"""What every protection says of itself, and the registry of protections."""

from collections.abc import Callable
from typing import Any, ClassVar

from ft_tf._compat import keras
from ft_tf.checks import check_choice
from ft_tf.errors import ArgumentError
from ft_tf.faults.models import FaultModel
from ft_tf.faults.plan import FaultPlan
from ft_tf.models import check_built


class Protection:
    """Base of all protections; a subclass is a frozen dataclass, and changes model or fault.

    Attributes:
        arithmetic: what it adds to an inference, as text.
    """

    arithmetic: ClassVar[str] = "none"

    def on_model(self, model: keras.Model, x_train: Any = None) -> keras.Model:
        """Returns the protected model: by default the model itself."""
        return model

    def on_fault(self, fault: FaultModel) -> FaultModel:
        """Returns what a fault does where the protection is: by default the fault itself."""
        return fault

    def extra_bits(self, model: keras.Model, plan: FaultPlan) -> int:
        """Bits of memory that it adds to the protected model with the weights of `plan`."""
        return 0


_PROTECTIONS: dict[str, Callable[..., Protection]] = {}


def register_protection(name: str, make: Callable[..., Protection]) -> None:
    """Gives a protection a name without ":", under which `protection_of` and command lines find it.

    `make` is its class, and is called with the text after NAME: if there is one.
    """
    _PROTECTIONS[name] = make


def protection_names() -> list[str]:
    """Names of all registered protections."""
    return list(_PROTECTIONS)


def protection_of(given: str | Protection) -> Protection:
    """Returns the protection of a name, or of NAME:OPTION; a protection as it is.

    Raises:
        ArgumentError: no protection has the name.

    >>> protection_of("triplication:conv2d+dense_1").layers
    ('conv2d', 'dense_1')
    """
    if isinstance(given, Protection):
        return given
    stem, *option = str(given).split(":", 1)
    check_choice(_PROTECTIONS, protection=stem)
    return _PROTECTIONS[stem](*option)


def protect(model: keras.Model, protection: str | Protection, x_train: Any = None) -> keras.Model:
    """Returns a copy of a Keras model with a protection in it; it can be trained, saved and loaded.

    Args:
        model: a functional or Sequential model.
        protection: its name or the protection, such as "range_restriction" or `WeightClipping()`.
        x_train: inputs that ranges are recorded on, where the protection needs them.

    Raises:
        ArgumentError: the protection is one of the memory, or needs x_train.
        ModelError: the model cannot be copied.
    """
    check_built(model)
    protection = protection_of(protection)
    protected = protection.on_model(model, x_train)
    if protected is model:
        raise ArgumentError(
            f"protection={protection} is one of the memory, not of the model: give sweep its fault "
            "as fault=Protected(FAULT, PROTECTION)"
        )
    return protected
