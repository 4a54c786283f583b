"""Networks from other libraries' files, and back: PyTorch, ONNX, Keras."""
