"""From a model's configuration to its layers, one after the other, as far as they are a chain."""

from dataclasses import dataclass, field
from typing import Any

from .._common import refuse_more_layers

__all__ = ["Node", "chain", "class_of"]

_MASK_OPERATIONS = ("NotEqual", "Any")  # by which Keras 3 says in a graph what it masks
_MASKING = ("Masking", "Embedding")


@dataclass
class Node:
    """One layer of a configuration.

    Attributes
    ----------
    name, kind : str
        Its own name and its class's.
    options : dict
        What its configuration holds.
    sources : list of str
        The layers whose outputs it takes.
    masks : list of str
        Those that say which steps it is to leave out.
    arguments : list
        What else it was called with.
    trouble : str or None
        Why it is no part of a chain.
    """

    name: str
    kind: str
    options: dict[str, Any]
    sources: list[str] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    arguments: list[Any] = field(default_factory=list)
    trouble: str | None = None


def chain(config):
    """The layers of a model.

    Parameters
    ----------
    config : dict
        Of a Sequential or a functional model.

    Returns
    -------
    nodes : list of Node
        The chain from input to output.
    everything : list of Node
        All that there are, in the order of the configuration.
    problems : list of (Node, str)
        Those that are no part of a chain, and why.
    """
    kind, model = config.get("class_name"), config.get("config")
    if kind == "Sequential":
        layers = model if isinstance(model, list) else model["layers"]  # a list before Keras 2.2.3
        refuse_more_layers(len(layers))
        nodes = [_node(layer) for layer in layers]
        return nodes, nodes, []
    if kind not in ("Functional", "Model"):
        raise ValueError(
            f"a model of the class {kind!r}, and only Sequential and functional models say in "
            "their configuration what they compute"
        )
    layers = model["layers"]
    refuse_more_layers(len(layers))
    everything = [_connected(layer) for layer in layers]
    by_name = {node.name: node for node in everything}
    if len(by_name) != len(everything):
        raise ValueError("two layers with one name")
    inputs, outputs = (_references(model[key]) for key in ("input_layers", "output_layers"))
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(f"a model of {len(inputs)} inputs and {len(outputs)} outputs, not of one")
    nodes = _walk_back(by_name, outputs[0])
    return nodes, everything, _apart(nodes, everything, by_name)


def class_of(layer):
    """The name of a layer's class, with what it is registered under if it is somebody's own."""
    kind, registered = layer["class_name"], layer.get("registered_name")
    module = layer.get("module")
    if not isinstance(kind, str):
        raise ValueError("a layer whose class is no text")
    if isinstance(registered, str) and ">" in registered:
        return registered
    if isinstance(module, str) and module.partition(".")[0] not in ("keras", "tf_keras"):
        return f"{module}.{kind}"
    return kind


def _node(layer):
    kind, options = class_of(layer), layer["config"]
    if not isinstance(options, dict):
        raise ValueError("a layer without config")
    name = options.get("name", layer.get("name", kind))
    return Node(str(name), kind, options)


def _connected(layer):
    """A layer of a functional model, with what it takes."""
    node, calls = _node(layer), layer["inbound_nodes"]
    node.name = layer["name"]
    if not isinstance(node.name, str):
        raise ValueError("a layer whose name is no text")
    if node.kind == "InputLayer":
        return node
    if len(calls) != 1:
        node.trouble = f"it is called {len(calls)} times"
    if not calls:
        return node
    call = calls[0]
    if isinstance(call, dict):  # Keras 3
        for argument in call["args"]:
            found = _tensors(argument)
            node.sources += found
            if not found:
                node.arguments.append(argument)
        for name, value in call["kwargs"].items():
            if name == "mask":
                node.masks += _tensors(value)
            elif _tensors(value):
                node.trouble = node.trouble or f"it is called with {name}="
    else:
        call = [call] if isinstance(call[0], str) else call
        for name, _, tensor, *rest in call:
            _check_first(name, tensor)
            node.sources.append(name)
            keywords = dict(rest[0]) if rest else {}
            if _is_index(node):
                node.kind = "GetItem"
                node.arguments.append(keywords.pop("slice_spec"))
            given = [k for k, v in keywords.items() if v is not None and k != "training"]
            if given:
                node.trouble = node.trouble or f"it is called with {given[0]}="
    return node


def _is_index(node):
    """Whether a layer is x[...] of tf.keras; Keras 3 has GetItem."""
    name = "__operators__.getitem"
    return node.kind == "SlicingOpLambda" and node.options.get("function") == name


def _tensors(value):
    """The names of the layers whose outputs stand in an argument of Keras 3."""
    if isinstance(value, (list, tuple)):
        return [name for item in value for name in _tensors(item)]
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        name, _, tensor = value["config"]["keras_history"]
        _check_first(name, tensor)
        return [name]
    return []


def _check_first(name, tensor):
    if not isinstance(name, str) or tensor != 0:
        raise ValueError(f"output {tensor!r} of the layer {name!r}, which is not its first")


def _references(value):
    """The names in input_layers or output_layers: one [name, 0, 0] or a list of them."""
    if isinstance(value, dict):
        value = list(value.values())
    references = [value] if value and isinstance(value[0], str) else value
    for name, _, tensor in references:
        _check_first(name, tensor)
    return [name for name, _, _ in references]


def _walk_back(by_name, name):
    """The chain that ends with the layer `name`."""
    nodes, seen = [], set()
    while name is not None:
        if name not in by_name or name in seen:
            raise ValueError(f"a graph that does not lead back to an input, at {name!r}")
        seen.add(name)
        nodes.append(by_name[name])
        sources = nodes[-1].sources
        if len(sources) > 1 and nodes[-1].trouble is None:
            nodes[-1].trouble = f"it takes {len(sources)} inputs"
        name = sources[0] if sources else None
    return nodes[::-1]


def _apart(nodes, everything, by_name):
    """(layer, why) of the layers beside a chain, but for those that only compute its masks."""
    inside = {node.name for node in nodes}
    # what Masking and Embedding read, of which Keras computes their mask
    masked = {name for node in nodes if node.kind in _MASKING for name in node.sources}
    of_masks, problems = set(), []
    for node in nodes:
        for name in node.masks:
            own = set()
            while name in by_name and name not in inside and name not in own:
                own.add(name)
                operation = by_name[name]
                is_single = operation.kind in _MASK_OPERATIONS and len(operation.sources) == 1
                name = operation.sources[0] if is_single else None
            if name in masked:
                of_masks |= own
            elif node.trouble is None:
                node.trouble = "it is called with a mask that is not that of its inputs"
    for node in everything:
        if node.name not in inside and node.name not in of_masks:
            problems.append((node, "it stands beside the chain from the input to the output"))
    return problems
