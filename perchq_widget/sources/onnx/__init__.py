"""ONNX models: the protobuf walked in place, who uses a tensor, and what is quantized."""
