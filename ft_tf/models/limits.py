"""Bounds on the memory that building a model may take: weights and tensors are counted as made."""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

from ft_tf._compat import keras, tf

_SLACK = 1 << 20
"""Numbers beyond the stored ones: random states and the like, which not every format keeps."""
MOST_TENSORS = 100_000
"""Symbolic tensors, of 1 kB each, that building may make: 10,000 layers make some 20,000."""
LARGEST_OUTPUT = 1 << 28
_OPEN_DIMENSION = 32


class TooLargeError(Exception):
    """Building the model would take more memory than its file accounts for."""


@contextlib.contextmanager
def at_most(stored: int) -> Iterator[None]:
    """Refuses, while models are built, weights that go beyond `stored` numbers, and many tensors.

    A weight is counted by its shape before it is allocated.

    Raises:
        TooLargeError: the weights or the layers' outputs are too many.
    """
    total, tensors, refused = 0, 0, None
    make_tensor = keras.KerasTensor.__init__

    def count_tensor(tensor: keras.KerasTensor, *args: Any, **options: Any) -> None:
        nonlocal tensors, refused
        tensors += 1
        if tensors > MOST_TENSORS and not is_built:
            refused = TooLargeError(f"its layers have more than {MOST_TENSORS:,} outputs")
            raise refused
        make_tensor(tensor, *args, **options)

    def create(create_next: Callable[..., Any], **options: Any) -> Any:
        nonlocal total, refused
        shape = options.get("shape")
        value = options.get("initial_value")
        if shape is None and callable(value):
            with tf.Graph().as_default():  # Keras 3 gives no shape: traced, nothing is computed
                value = tf.convert_to_tensor(value())
        shape = tf.TensorShape(getattr(value, "shape", ()) if shape is None else shape)
        total += math.prod(size or 1 for size in shape.as_list()) if shape.rank else 1
        if total > stored + _SLACK:
            refused = TooLargeError(
                f"its layers have more weights than the {stored:,} that the file holds "
                f"(one has the shape {tuple(shape)})"
            )
            raise refused
        return create_next(**options)

    is_built = False
    keras.KerasTensor.__init__ = count_tensor
    with tf.variable_creator_scope(create):
        try:
            yield
        except Exception:
            if refused is not None:  # Keras may have wrapped it
                raise refused from None
            raise
        finally:
            keras.KerasTensor.__init__ = make_tensor
            is_built = True  # another thread may have taken `count_tensor` for Keras's own


def check_outputs(model: Any) -> None:
    """Refuses a model in which one example's output of a layer is huge.

    Raises:
        TooLargeError: it is.
    """
    for layer in _all_layers(model):
        for node in getattr(layer, "_inbound_nodes", ()):
            outputs = node.outputs if hasattr(node, "outputs") else node.output_tensors
            for output in tf.nest.flatten(outputs):
                shape = getattr(output, "shape", None)
                sizes = [_OPEN_DIMENSION if size is None else size for size in (shape or ())]
                if math.prod(sizes[1:]) > LARGEST_OUTPUT:
                    raise TooLargeError(
                        f"layer {layer.name!r} ({type(layer).__name__}) gives {tuple(shape)}, more "
                        f"than {LARGEST_OUTPUT:,} numbers an example"
                    )


def _all_layers(model: Any) -> Iterator[Any]:
    for layer in getattr(model, "operations", None) or model.layers:
        yield layer
        if hasattr(layer, "layers"):
            yield from _all_layers(layer)
