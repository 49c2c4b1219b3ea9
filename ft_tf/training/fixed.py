"""Settings that a compiled step has read, and that must not change afterwards."""

from typing import Any

from ft_tf.errors import ArgumentError


class Fixed:
    """An attribute that is set once, in `__init__`; later assignments are refused.

    A training step is traced into a graph with the values at that time: a new value would be shown
    and not used.

    >>> class Trainer:
    ...     beta = Fixed()
    ...     def __init__(self, beta):
    ...         self.beta = beta
    >>> trainer = Trainer(6.0)
    >>> trainer.beta
    6.0
    >>> trainer.beta = 1.0
    Traceback (most recent call last):
        ...
    ft_tf.errors.ArgumentError: beta=1.0 cannot be set: the compiled step keeps beta=6.0; make a new
    Trainer
    """

    def __init__(self, *, of: str | None = None) -> None:
        """Makes an attribute, or a view of the same attribute of the object in attribute `of`."""
        self._of = of

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        if self._of is not None:
            return getattr(getattr(instance, self._of), self._name)
        try:
            return vars(instance)[self._name]
        except KeyError:
            raise AttributeError(f"{type(instance).__name__} has no {self._name} yet") from None

    def __set__(self, instance: Any, value: Any) -> None:
        if self._of is not None or self._name in vars(instance):
            raise ArgumentError(
                f"{self._name}={value!r} cannot be set: the compiled step keeps "
                f"{self._name}={getattr(instance, self._name)!r}; make a new "
                f"{type(instance).__name__}"
            )
        vars(instance)[self._name] = value
