"""To ONNX, written operation by operation from the canonical graph."""
