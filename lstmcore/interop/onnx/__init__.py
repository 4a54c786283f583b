"""ONNX files: networks from them, and networks as them. Needs the package `onnx`."""

from ._read import RecurrentNode, from_onnx, recurrent_nodes

__all__ = ["RecurrentNode", "from_onnx", "recurrent_nodes"]
