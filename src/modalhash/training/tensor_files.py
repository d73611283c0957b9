"""Write tensors as a safetensors file, one after another, without a second copy of them all.

The library's own `save` holds three: clones of what shares memory, each tensor's bytes, and the
whole file. Of a checkpoint with the state of Adam that was more than training itself took.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final

import torch
from torch import Tensor

from modalhash.files import write_with

__all__ = ["write_tensors"]

TYPE_NAMES: Final[Mapping[torch.dtype, str]] = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors atomically as a safetensors file, which its library reads.

    Tensors that share memory are written each in full, and those of an accelerator through one
    copy at a time.

    Args:
        path: where the file goes.
        tensors: by name; of the types in `TYPE_NAMES`.

    Raises:
        StorageError: if the file system refuses.
    """
    # Wide types first, so that each tensor begins at a multiple of its own width.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    entries, end = {}, 0
    for name in names:
        tensor = tensors[name]
        start, end = end, end + tensor.numel() * tensor.element_size()
        entries[name] = {
            "dtype": TYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)

    def write(file: IO[bytes]) -> None:
        file.write(len(header).to_bytes(8, "little") + header)
        for name in names:
            numbers = tensors[name].detach().cpu().contiguous().flatten()
            file.write(numbers.view(torch.uint8).numpy().data)

    write_with(path, write)
