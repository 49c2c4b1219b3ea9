"""The graph of a functional or Sequential model: which call produces which tensor."""

from typing import Any

from ft_tf._compat import keras


def functional_of(model: Any) -> Any:
    """The functional model that a model is, or that a Sequential one keeps; None for another.

    The graph of a subclass with another `call` says nothing of what that computes.
    """
    if isinstance(model, keras.Sequential):
        # Sequential has no `inputs` before it is built, and raises where Model gives None.
        return model._functional if type(model).call is keras.Sequential.call else None
    own = hasattr(model, "_inputs_struct") and hasattr(model, "_operations_by_depth")
    return model if own and type(model).call.__module__ == "keras.src.models.functional" else None


def inputs_of(model: Any) -> list[Any]:
    """The symbolic inputs of a model; empty for one without a graph."""
    graph = functional_of(model)
    return [] if graph is None else list(graph.inputs)


def input_of(model: Any) -> Any:
    """The model's symbolic inputs in their structure; None without a graph."""
    graph = functional_of(model)
    return None if graph is None else graph._inputs_struct


def output_of(model: Any) -> Any:
    """The model's symbolic output, several in their structure; None without a graph."""
    graph = functional_of(model)
    outputs = None if graph is None else graph._outputs_struct
    # Keras gives a list of one output as that output.
    return outputs[0] if isinstance(outputs, list | tuple) and len(outputs) == 1 else outputs


def has_graph(model: Any) -> bool:
    """Returns True if a model has one output whose producing layers are known."""
    return hasattr(output_of(model), "_keras_history")


def producer(tensor: Any) -> tuple[Any, Any]:
    """The layer or operation that a symbolic tensor comes from, and the node of that call."""
    history = tensor._keras_history
    return history.operation, history.operation._inbound_nodes[history.node_index]


def chain_of(model: Any) -> list[tuple[Any, tuple[int | None, ...], tuple[int | None, ...]]]:
    """The layers of a Sequential model in order, each with the shapes of its input and output.

    Empty for any other model, for one that is not built, and where a layer takes or gives several
    tensors.
    """
    if type(model) is not keras.Sequential or model._functional is None:
        return []
    calls: list[Any] = []
    tensor = output_of(model)
    while hasattr(tensor, "_keras_history"):
        layer, node = producer(tensor)
        if not node.input_tensors:
            return calls[::-1]
        if len(node.input_tensors) > 1:
            return []
        calls.append((layer, node.input_tensors[0].shape, tensor.shape))
        tensor = node.input_tensors[0]
    return []


def output_shape_of(model: Any) -> Any:
    """Shape of the output by the model's graph, a list of them of several; None without a graph."""
    graph = functional_of(model)
    return None if graph is None else graph.output_shape
