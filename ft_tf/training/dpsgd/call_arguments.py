"""The arguments of one call of a layer: what has a row per example, and what all examples share.

A mask, a second input or an initial state belongs to an example as much as the first input does:
whoever calls the layer on one example must give it that example's rows of each.
"""

import dataclasses
from typing import Any

from ft_tf._compat import tf

_MASK = "_keras_mask"  # where Keras keeps the mask of a tensor, besides the argument `mask`


@dataclasses.dataclass(frozen=True)
class CallArguments:
    """Arguments of one call of a layer.

    Tensors with a row per example are those whose first dimension is that of the first input. With
    an open batch size no constant of another first dimension can be taken for one.

    Attributes:
        arguments: (inputs, args, kwargs), as `call` got them.
    """

    arguments: tuple[Any, tuple[Any, ...], dict[str, Any]]

    def problem(self) -> str | None:
        """Why the arguments cannot be cut into examples, if so."""
        for leaf in tf.nest.flatten(self.arguments):
            if isinstance(leaf, tf.RaggedTensor | tf.SparseTensor):
                return f"is called on a {type(leaf).__name__}, which cannot be cut into examples"
            if _is_plain_tensor(leaf) and leaf.shape.rank is None:
                return "is called on a tensor of unknown rank, which cannot be cut into examples"
        if not self.examples():
            return "is called on no tensor with a row per example"
        return None

    def examples(self) -> list[tf.Tensor]:
        """The tensors [batch, ...] among the arguments, in order, and their masks."""
        found = []
        for leaf in self._rows():
            found.append(leaf)
            if (mask := getattr(leaf, _MASK, None)) is not None:
                found.append(mask)
        return found

    def with_examples(self, examples: list[tf.Tensor]) -> tuple[Any, tuple[Any, ...], Any]:
        """The arguments with other tensors, each an object of its own, in place of `examples()`."""
        rest = iter(examples)
        new = []
        own = {id(leaf) for leaf in self._rows()}
        for leaf in tf.nest.flatten(self.arguments):
            if id(leaf) not in own:
                new.append(leaf)
                continue
            tensor = next(rest)
            if getattr(leaf, _MASK, None) is not None:
                setattr(tensor, _MASK, next(rest))
            new.append(tensor)
        return tf.nest.pack_sequence_as(self.arguments, new)

    def _rows(self) -> list[tf.Tensor]:
        first = next(filter(_is_plain_tensor, tf.nest.flatten(self.arguments[0])), None)
        if first is None or not first.shape.rank:
            return []
        return [
            leaf
            for leaf in tf.nest.flatten(self.arguments)
            if _is_plain_tensor(leaf) and leaf.shape.rank and leaf.shape[0] == first.shape[0]
        ]


def _is_plain_tensor(leaf: Any) -> bool:
    return isinstance(leaf, tf.Tensor)
