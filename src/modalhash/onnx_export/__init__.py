"""Models as ONNX files: hash functions in exact arithmetic, encoders by torch's own exporter."""

from modalhash.onnx_export.exporting import ExportedOnnx, write_onnx_model

__all__ = ["ExportedOnnx", "write_onnx_model"]
