"""Models as files that other programs run: ONNX Runtime and sentence-transformers."""

from modalhash.model_export.onnx_folder import ExportedOnnx, write_onnx_model
from modalhash.model_export.sentence_folder import ExportedSentenceModel, write_sentence_model

__all__ = ["ExportedOnnx", "ExportedSentenceModel", "write_onnx_model", "write_sentence_model"]
