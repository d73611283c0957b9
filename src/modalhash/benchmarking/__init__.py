"""Methods side by side: many trainings measured alike, public programs, protocols of papers."""

from modalhash.benchmarking.comparing import Comparison, ablate, bench
from modalhash.benchmarking.label_noise import RobustnessRun, RobustnessStudy, robustness
from modalhash.benchmarking.mteb_model import MtebModel
from modalhash.benchmarking.outcomes import Outcome
from modalhash.benchmarking.public_codes import import_public_codes, score_public_codes
from modalhash.benchmarking.public_programs import ExportedInputs, export_inputs
from modalhash.benchmarking.quantizer_rows import QuantizerRow
from modalhash.benchmarking.quantizing import QuantizerBoard, bench_quantizers
from modalhash.benchmarking.reproducing import Line, Reproduction, reproduce
from modalhash.benchmarking.vector_inputs import ArrayInputs

__all__ = [
    "ArrayInputs",
    "Comparison",
    "ExportedInputs",
    "Line",
    "MtebModel",
    "Outcome",
    "QuantizerBoard",
    "QuantizerRow",
    "Reproduction",
    "RobustnessRun",
    "RobustnessStudy",
    "ablate",
    "bench",
    "bench_quantizers",
    "export_inputs",
    "import_public_codes",
    "reproduce",
    "robustness",
    "score_public_codes",
]
