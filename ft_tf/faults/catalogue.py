"""Fault models by name, with their options: what a command line or a record can say."""

import contextlib
import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

from ft_tf.checks import check_choice, check_positive
from ft_tf.errors import ArgumentError
from ft_tf.faults.bitflips import BitErrors, BitFlip, BurstErrors, WordErrors
from ft_tf.faults.models import FaultModel, GaussianNoise, SignFlip, StuckAt

_WORDS = ("storage", "bits", "scale")
_MODELS: dict[str, tuple[Callable[..., FaultModel], tuple[str, ...]]] = {
    # name: (what makes it, options)
    "stuck_at_0": (functools.partial(StuckAt, 0.0), ()),
    "stuck_at_1": (functools.partial(StuckAt, 1.0), ()),
    "stuck_at": (StuckAt, ("value",)),
    "sign_flip": (SignFlip, ()),
    "gaussian": (GaussianNoise, ("sigma",)),
    "bit_flip": (BitFlip, (*_WORDS, "flips")),
    "bit_errors": (BitErrors, _WORDS),
    "burst_errors": (BurstErrors, (*_WORDS, "length")),
    "word_errors": (WordErrors, (*_WORDS, "length")),
}
_REQUIRED = ("value", "sigma")


def names() -> tuple[str, ...]:
    """Names of all known fault models."""
    return tuple(_MODELS)


def register(name: str, build: Callable[..., FaultModel], options: tuple[str, ...] = ()) -> None:
    """Makes a fault model known by name to binaries and studies; replaces an earlier one.

    `build` is its class, or a function that makes it, and is called with those of `options`, of
    `named`, that were given. Worker processes see the fault model if the call is at the top of a
    module that they import.

    Raises:
        ArgumentError: it is a fault model itself.
    """
    if not callable(build):
        raise ArgumentError(f"build={build!r} must be a class of fault models, or a function")
    _MODELS[name] = (build, options)


def named(name: str, options: Mapping[str, Any]) -> FaultModel:
    """The fault model of a name.

    Args:
        name: one of `names()`.
        options: value (stuck_at), sigma (gaussian), storage, bits, scale (bit flips and errors),
            flips (bit_flip), length (burst_errors, word_errors); None counts as not given.

    Raises:
        ArgumentError: an option is out of range, missing, or one of another fault model.

    >>> named("bit_flip", {"storage": "int8", "bits": (7, 7)})
    BitFlip(storage='int8', bits=(7, 7), scale=None, flips=1)
    """
    check_choice(_MODELS, fault=name)
    build, possible = _MODELS[name]
    given = {option: value for option, value in options.items() if value is not None}
    for option, value in given.items():
        if option not in possible:
            raise ArgumentError(f"{option}={value!r} is not an option of fault={name!r}")
    for option in possible:
        if option in _REQUIRED and option not in given:
            raise ArgumentError(f"{option}=None must be given with fault={name!r}")
    if "sigma" in given:
        check_positive(sigma=given["sigma"])
        given["scale"] = given.pop("sigma")
    return build(**given)


def bits_of(text: str | None) -> tuple[int, int] | None:
    """The bits of LOWEST-HIGHEST, as a command line has them.

    >>> bits_of("0-6")
    (0, 6)
    """
    if text is None:
        return None
    try:
        lowest, highest = map(int, text.split("-"))
    except ValueError:
        raise ArgumentError(f"bits={text!r} must be LOWEST-HIGHEST, as 0-6") from None
    return lowest, highest


def of_layer(text: str) -> tuple[str, FaultModel]:
    """A pattern of `PerLayer` and its fault model, from PATTERN=NAME[:OPTION=VALUE,...].

    >>> of_layer("conv*=bit_errors:storage=int8,bits=0-6")
    ('conv*', BitErrors(storage='int8', bits=(0, 6), scale=None))
    """
    pattern, _, described = text.partition("=")
    name, _, given = described.partition(":")
    options = dict(item.partition("=")[::2] for item in given.split(",") if item)
    return pattern, named(name, {option: _value(text) for option, text in options.items()})


def _value(text: str) -> Any:
    if re.fullmatch(r"\d+-\d+", text):
        return bits_of(text)
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def label(name: str, options: Mapping[str, Any]) -> str:
    """The name with the options given, for a file name.

    >>> label("bit_flip", {"storage": "int8", "bits": (0, 6), "flips": None})
    'bit_flip-storage_int8-bits_0_6'
    """
    parts = [name]
    for option, value in options.items():
        if value is not None:
            values = value if isinstance(value, tuple) else (value,)
            parts.append(
                "_".join([option, *(v if isinstance(v, str) else f"{v:g}" for v in values)])
            )
    return "-".join(parts).replace(":", "_")


def settings(fault: FaultModel) -> dict[str, Any]:
    """How a table names a fault model: fault, storage, bits and quantization_step, None if not."""
    words = getattr(fault, "storage", None)
    numbers = fault.bit_numbers if words and (fault.bits or words != "as_stored") else ()
    return {
        "fault": fault.name,
        "storage": words,
        "bits": f"{numbers[0]}-{numbers[-1]}" if numbers else None,
        "quantization_step": fault.format.step if words else None,
    }
