"""Engines of TensorRT: what is built of an ONNX file, kept beside it, and run on a GPU."""
