from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save
from torch import Tensor
from torch.testing import assert_close

from modalhash.errors import StorageError
from modalhash.machine import forget_peak, peak_mib
from modalhash.training.tensor_files import TYPE_NAMES, write_tensors


def make_tensors() -> dict[str, Tensor]:
    numbers = torch.arange(-6.0, 6.0).reshape(3, 4)
    by_type = {name: numbers.to(dtype) for dtype, name in TYPE_NAMES.items() if name != "U8"}
    return by_type | {
        "U8": torch.arange(5, dtype=torch.uint8),
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "turned": numbers.T,
        "every second": numbers[:, ::2],
        "with gradient": numbers.clone().requires_grad_(),
        "a letter: ä": numbers[0],
    }


def test_the_library_reads_what_was_written(tmp_path: Path) -> None:
    tensors, path = make_tensors(), tmp_path / "all.safetensors"
    write_tensors(path, tensors)
    loaded = load_file(path)
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert_close(loaded[name], tensor.detach(), rtol=0, atol=0)


def test_the_file_is_as_the_library_writes_it(tmp_path: Path) -> None:
    tensors = {"b": torch.rand(2, 3), "a": torch.rand(5), "n": torch.tensor(3)}
    write_tensors(tmp_path / "file", tensors)
    assert (tmp_path / "file").read_bytes() == save(tensors)


def test_writing_takes_no_copy_of_all_tensors(tmp_path: Path) -> None:
    size = 16 << 20
    tensors = {str(n): torch.from_numpy(np.ones(size, np.uint8)) for n in range(6)}
    forget_peak()
    before = peak_mib()
    write_tensors(tmp_path / "file", tensors)
    assert (tmp_path / "file").stat().st_size > 6 * size
    assert peak_mib() - before < 2 * size / 2**20


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(StorageError, match="No space left on device; free some space"):
        write_tensors(tmp_path / "file", {"a": torch.zeros(3)})
    assert list(tmp_path.iterdir()) == []
