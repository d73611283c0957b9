"""What the verb `export_onnx` writes: a model as ONNX files, which need no torch."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from modalhash.artifacts import HashModel
from modalhash.artifacts.model_record import CARD, FORMAT, OPTIONAL, RECORD, compute_sha256
from modalhash.artifacts.model_weights import serialise_weights
from modalhash.artifacts.onnx_files import TORCH_FREE, is_onnx_export, write_onnx_manifest
from modalhash.encoders.loading import split_pair
from modalhash.encoders.onnx_sessions import OnnxSession
from modalhash.errors import InputError
from modalhash.files import sealed, sha256_of_file, write_bytes, write_json, write_text
from modalhash.index.new_folders import new_folder
from modalhash.methods.hasher import HashTower
from modalhash.modalities import MODALITIES, Modality
from modalhash.model_export.encoder_graphs import export_image_tower, export_text_tower
from modalhash.model_export.head_graphs import head_graph

__all__ = ["ExportedOnnx", "write_onnx_model"]

logger = logging.getLogger(__name__)

CHECKED_ROWS: Final = 1000
README: Final = """\
# {title}, {n_bits} bits, as ONNX files

Exported by modalhash {modalhash}. `onnx.json` says what is in the files; `model.json` says of the
model what its run folder says. The fingerprint is `{fingerprint}`:
codes compare only with codes of the same one.

- `image_head.onnx` and `text_head.onnx` take `features`, (n, d) float32 as the encoder
  `{encoder}` makes them, and give `relaxed`, (n, {n_bits}) float32, and `codes`,
  (n, {width}) uint8. Bit j of a code is bit j % 8 of byte j // 8, counted from the low end
  ("little"; NumPy's `packbits` needs `bitorder="little"`); a set bit means a relaxed value of 0 or
  more.
{encoders}
With `pip install "modalhash[onnx]"` this folder is a model like any other, and torch isn't needed:

```python
import modalhash as mh

model = mh.load_model("THIS_FOLDER")
codes = model.encode_texts(["a dog running through snow"])
```
"""
ENCODERS: Final = """\
- `image_encoder.onnx` takes `pixels`, (n, h, w, 3) uint8, prepared as `picture` in `onnx.json`
  says, and `text_encoder.onnx` takes `input_ids` and `attention_mask`, (n, t) int64, made by
  `tokenizer.json`; both give `features`, which go into the heads.
"""


@dataclass(frozen=True)
class ExportedOnnx:
    """What `write_onnx_model` wrote.

    Attributes:
        folder: where.
        n_bits: bits of a code.
        files: names in the folder.
        n_bytes: of all files.
    """

    folder: Path
    n_bits: int
    files: tuple[str, ...]
    n_bytes: int


def write_onnx_model(
    model: HashModel, output: Path | str, *, with_encoder: bool = False, overwrite: bool = False
) -> ExportedOnnx:
    """Write a model as ONNX files: its hash functions, and its encoder on request.

    The hash functions give the same bits as torch's, which is checked on random features before
    the folder appears. Encoders give features that differ in the last bits of a float.

    Args:
        model: computed by torch.
        output: a new folder.
        with_encoder: write the encoder too, so that texts and pictures can be encoded without
            torch.
        overwrite: take the place of an export that is there.

    Raises:
        ArtifactError: if the model is in ONNX files already.
        InputError: if its head or encoder is of a kind that can't be written, or `output` is taken.
        MissingExtraError: if the packages of the extra `onnx-export` aren't installed.
        StorageError: if the file system refuses; what was there is kept.
    """
    folder, hasher = Path(output), model.hasher_in_torch
    check_output(folder, overwrite=overwrite)
    weights_sha256 = compute_sha256(serialise_weights(hasher))
    facts = {
        "modalhash": version("modalhash"),
        "model_fingerprint": model.fingerprint,
        "weights_sha256": weights_sha256,
        "n_bits": model.n_bits,
        "bit_order": "little",
        "method": model.record.method,
        "encoder": model.record.encoder["name"],
    }
    with new_folder(folder) as part:
        heads: dict[str, Any] = {}
        for modality in MODALITIES:
            tower = hasher.image if modality == "image" else hasher.text
            dtype = model.record.feature_dtype[modality]
            metadata = {**facts, "modality": modality, "feature_dtype": dtype}
            content = head_graph(
                tower,
                dtype,
                {f"modalhash.{name}": str(value) for name, value in metadata.items()},
                about=f"hash function of the {modality} side of {model.record.title}",
            )
            name = f"{modality}_head.onnx"
            write_bytes(part / name, content)
            check_bits(part / name, tower, dtype)
            heads[modality] = {"file": name, "width": tower.width, "feature_dtype": dtype}
        encoders = write_encoders(model, part) if with_encoder else {}
        document = asdict(model.record) | {"weights_sha256": weights_sha256}
        for name in OPTIONAL:
            if not document[name]:
                del document[name]
        write_json(part / RECORD, sealed({"format": FORMAT, **document}))
        write_onnx_manifest(part, {**facts, "heads": heads, "encoders": encoders})
        text = README.format(
            title=model.record.title,
            fingerprint=model.fingerprint,
            width=-(-model.n_bits // 8),
            encoders=ENCODERS if set(encoders) == set(MODALITIES) else "",
            **{name: facts[name] for name in ("modalhash", "n_bits", "encoder")},
        )
        write_text(part / CARD, text)
        names = sorted(path.name for path in part.iterdir() if not path.name.startswith("."))
        n_bytes = sum((part / name).stat().st_size for name in names)
    return ExportedOnnx(folder, model.n_bits, tuple(names), n_bytes)


def check_output(folder: Path, *, overwrite: bool) -> None:
    """Refuse a place where something is that must be kept.

    Raises:
        InputError: if it is taken.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not is_onnx_export(folder):
        raise InputError(f"{folder} exists already and holds something else: choose another folder")
    if not overwrite:
        raise InputError(
            f"{folder} exists already: replace it with --overwrite, or choose another folder"
        )


def write_encoders(model: HashModel, folder: Path) -> Mapping[str, Any]:
    """Write the encoder's networks and tokenizer, and return what `onnx.json` says of them.

    Raises:
        InputError: if they are of a kind that can't be written.
    """
    written: dict[str, Any] = {}
    parts: Mapping[Modality, str] = dict(
        zip(MODALITIES, split_pair(str(model.record.encoder["name"])), strict=True)
    )
    for modality, name in parts.items():
        if name.partition(":")[0] in TORCH_FREE:
            continue
        file = f"{modality}_encoder.onnx"
        if modality == "image":
            tower = export_image_tower(model.encoder.image, folder / file)
        else:
            tower = export_text_tower(model.encoder.text, folder / file)
        written[modality] = {"file": file, **tower.about}
        if tower.tokenizer:
            write_text(folder / "tokenizer.json", tower.tokenizer)
            written[modality]["tokenizer"] = "tokenizer.json"
    return written


def check_bits(path: Path, tower: HashTower, feature_dtype: str) -> None:
    """Compare an exported hash function with torch's on random features.

    Raises:
        InputError: if a relaxed code differs in any bit.
    """
    drawn = np.random.default_rng(0).standard_normal((CHECKED_ROWS, tower.width))
    features = drawn.astype(feature_dtype).astype(np.float32)
    (relaxed,) = OnnxSession(path, sha256_of_file(path)).run({"features": features}, "relaxed")
    n_different = int((relaxed != tower.relaxed(features)).sum())
    if n_different:
        raise InputError(
            f"this version of onnxruntime computes {n_different} of {relaxed.size} relaxed values "
            "otherwise than torch: install the one that constraints.txt names"
        )
