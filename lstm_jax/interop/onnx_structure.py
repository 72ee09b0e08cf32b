"""Two ONNX graphs, node by node: the same structure, whatever the weights are."""

from collections.abc import Collection
from typing import Any

import numpy as np

from lstm_jax.errors import InputError
from lstm_jax.interop.weights import Arrays

_SHOWN = 120  # characters of what differs


def check_structure(wanted: Any, found: Any, weights: Collection[str]) -> None:  # noqa: ANN401
    """Refuse a model that is not the other one but for the numbers of weights.

    Names of nodes, texts for people and the order of what does not depend on each other
    do not count; everything else does, also the constants that are no weights.

    Args:
        wanted: an `onnx.ModelProto`.
        found: another.
        weights: names of constants of which type and shape have to agree, no more.

    Raises:
        InputError: naming the first difference.
    """
    mine, theirs = (_parts(model, weights) for model in (wanted, found))
    for name in [*mine, *theirs]:
        one, other = mine.get(name, "nothing"), theirs.get(name, "nothing")
        if one != other:
            raise InputError(
                f"{name}: expected {one:.{_SHOWN}}, found {other:.{_SHOWN}}: the graph "
                "is not that of the network in its metadata"
            )


def _parts(model: Any, weights: Collection[str]) -> dict[str, str]:  # noqa: ANN401
    """Everything that a model consists of, in words, by what it is."""
    graph = model.graph
    found = {
        "operators": ", ".join(
            sorted(f"{o.domain}{o.version}" for o in model.opset_import)
        )
    }
    for kind, values in (("input", graph.input), ("output", graph.output)):
        found |= {f"{kind} {each.name}": _info(each) for each in values}
    for number, node in enumerate(graph.node):
        place = node.output[0] if node.output else str(number)
        found[f"node {place}"] = _node(node)
    for name, array in constants_of(model).items():
        kind, shape = array.dtype.name, list(array.shape)
        numbers = "" if name in weights else f" of {array.tolist()}"
        found[f"constant {name}"] = f"{kind} {shape}{numbers}"
    others = (model.functions, model.training_info, graph.sparse_initializer)
    found["other parts"] = str(sum(map(len, others)))
    return found


def constants_of(model: Any) -> Arrays:  # noqa: ANN401
    """The constants of a graph by name.

    Raises:
        InputError: two of one name.
    """
    from onnx import numpy_helper

    arrays = {
        each.name: numpy_helper.to_array(each) for each in model.graph.initializer
    }
    if len(arrays) != len(model.graph.initializer):
        raise InputError("expected constants of different names, found two of one")
    return {name: np.asarray(array) for name, array in arrays.items()}


def _info(value: Any) -> str:  # noqa: ANN401
    """The type and shape of an input or output."""
    kind = value.type.tensor_type
    sizes = [d.dim_param or str(d.dim_value) for d in kind.shape.dim]
    return f"type {kind.elem_type} [{', '.join(sizes)}]"


def _node(node: Any) -> str:  # noqa: ANN401
    """What a node computes, of what."""
    from onnx import helper

    attributes = sorted(
        f"{each.name} {helper.get_attribute_value(each)!r}" for each in node.attribute
    )
    more = "".join(f", {each}" for each in attributes)
    name = f"{node.domain}{node.op_type}"
    return f"{name}({', '.join(node.input)}{more}) to {', '.join(node.output)}"
