"""Networks in ONNX files, run by onnxruntime."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from modalhash.errors import DamagedArtifactError
from modalhash.extras import import_optional
from modalhash.files import open_regular_file
from modalhash.machine import usable_cores

__all__ = ["OnnxSession"]

QUIET: Final = 3
"""Errors only, as onnxruntime counts."""


class OnnxSession:
    """An ONNX file that is loaded when it first computes.

    A forked child loads it anew, since it has none of its parent's threads.

    Args:
        path: of the file.
        sha256: of its content, in hexadecimal.
    """

    def __init__(self, path: Path, sha256: str) -> None:
        self.path, self.sha256 = path, sha256
        self._session: Any = None
        self._process = 0

    def __reduce__(self) -> tuple[type["OnnxSession"], tuple[Path, str]]:
        """Copy as what isn't loaded yet."""
        return OnnxSession, (self.path, self.sha256)

    def run(self, inputs: Mapping[str, NDArray[Any]], *outputs: str) -> list[NDArray[Any]]:
        """Compute some outputs.

        Args:
            inputs: name to values.
            outputs: names.

        Raises:
            DamagedArtifactError: if the file isn't the one that was written, or doesn't take these.
            MissingExtraError: if onnxruntime isn't installed.
        """
        session = self.load()
        try:
            results: list[NDArray[Any]] = session.run(list(outputs), dict(inputs))
        except runtime_errors() as error:
            raise DamagedArtifactError(
                f"{self.path} can't be run ({first_line(error)}): export the model again"
            ) from error
        return results

    def load(self) -> Any:
        """Load the file, if it isn't loaded in this process; errors as in `run`."""
        if self._session is None or self._process != os.getpid():
            self._session, self._process = open_session(self.path, self.sha256), os.getpid()
        return self._session

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs that the file takes."""
        return [str(entry.name) for entry in self.load().get_inputs()]

    def check_output(self, name: str, width: int) -> None:
        """Refuse a file one of whose outputs isn't (n, `width`).

        Raises:
            DamagedArtifactError: naming what it has.
        """
        shapes = {output.name: output.shape for output in self.load().get_outputs()}
        shape = shapes.get(name)
        if shape is None or len(shape) != 2 or shape[1] != width:
            raise DamagedArtifactError(
                f"{self.path} gives {name} of shape {shape}, expected (n, {width}): it isn't of "
                "this model; export the model again"
            )


def open_session(path: Path, sha256: str) -> Any:
    """Open an ONNX file, from its bytes alone: it may name no other file."""
    onnxruntime = import_optional("onnxruntime", extra="onnx", feature="a model in ONNX files")
    try:
        with open_regular_file(path) as file:
            content = file.read()
    except OSError as error:
        raise DamagedArtifactError(
            f"can't read {path}: {error.strerror or error}; export the model again"
        ) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DamagedArtifactError(
            f"{path} is damaged: its checksum isn't the one in onnx.json; export the model again"
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    options.intra_op_num_threads = count_threads()
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except runtime_errors() as error:
        raise DamagedArtifactError(
            f"{path} can't be opened by onnxruntime {onnxruntime.__version__} "
            f"({first_line(error)}): upgrade onnxruntime, or export the model again"
        ) from error


def runtime_errors() -> tuple[type[Exception], ...]:
    """List the classes of errors that onnxruntime raises; its own have no common base."""
    state = import_optional(
        "onnxruntime.capi.onnxruntime_pybind11_state",
        extra="onnx",
        feature="a model in ONNX files",
    )
    classes = [value for value in vars(state).values() if isinstance(value, type)]
    return (ValueError, *(value for value in classes if issubclass(value, Exception)))


def count_threads() -> int:
    """Count the threads to compute with: the cores, or fewer by OMP_NUM_THREADS, as torch does."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(usable_cores(), int(limit)) if limit.isdigit() and int(limit) else usable_cores()


def first_line(error: Exception) -> str:
    """Take the first line of an error's text, shortened."""
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__
