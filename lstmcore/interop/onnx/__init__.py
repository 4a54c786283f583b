"""ONNX files: networks from them, and networks as them. Needs the package `onnx`."""
