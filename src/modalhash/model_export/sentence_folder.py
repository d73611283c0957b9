"""A model's text side as a model of sentence-transformers, made of its built-in modules."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from modalhash.artifacts import HashModel
from modalhash.encoders import TextTower
from modalhash.encoders.bert import BertTextTower
from modalhash.encoders.class_names import make_captions
from modalhash.encoders.offline_shared import OfflineSharedTextTower
from modalhash.encoders.offline_text import LONGEST, OfflineTextTower, find_text_model
from modalhash.encoders.transformer_models import quiet
from modalhash.errors import InputError
from modalhash.extras import import_optional
from modalhash.files import peek_json, sealed, write_json, write_text
from modalhash.index.new_folders import new_folder
from modalhash.model_export.dense_layers import DenseLayers, add_tower, describe_layers

__all__ = ["SENTENCE_MANIFEST", "ExportedSentenceModel", "write_sentence_model"]

SENTENCE_MANIFEST, SENTENCE_FORMAT = "codes_export.json", 1
ARTIFACT: Final = "modalhash sentence-transformers export"
EXTRA: Final = "sentence-transformers"
N_CAPTIONS: Final = 200
"""Made captions whose codes are compared."""
FEATURE: Final = "the export for sentence-transformers"
README: Final = """\
---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags:
- sentence-transformers
- cross-modal hashing
- modalhash
---

# {title}, {n_bits} bits: the text side

Exported by modalhash {modalhash} from the model with the fingerprint `{fingerprint}`.
The signs of its vectors are hash codes, which compare with codes of pictures and texts of that
model.

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("THIS_FOLDER")
codes = model.encode(["a dog running through snow"], precision="ubinary")
```
{prefixes}
sentence-transformers packs bits from the high end of a byte (`bit_order` "big"); modalhash packs
them from the low end. `np.packbits(np.unpackbits(codes, axis=1), axis=1, bitorder="little")` turns
one into the other, and `bit_order="big"` tells modalhash's own calls. A value of exactly 0 is a set
bit there and none here.

Of {n_compared:,} bits of made captions, {n_different:,} differ from modalhash's own, which rounds
features to {dtype} and computes exactly.
"""
PREFIXES: Final = """
`truncate_dim=` {lengths} gives the shorter codes that the model learned together with this one.
"""


@dataclass(frozen=True)
class ExportedSentenceModel:
    """What `write_sentence_model` wrote.

    Attributes:
        folder: where.
        n_bits: bits of a code.
        n_compared: bits of made captions that were compared with the model's own.
        n_different: how many of them differ.
    """

    folder: Path
    n_bits: int
    n_compared: int
    n_different: int


def write_sentence_model(
    model: HashModel, output: Path | str, *, overwrite: bool = False
) -> ExportedSentenceModel:
    """Write the text side of a model for sentence-transformers.

    Args:
        model: computed by torch; its text encoder is `offline`, `offline-shared` or `bert`.
        output: a new folder.
        overwrite: take the place of such an export that is there.

    Raises:
        ArtifactError: if the model is in ONNX files.
        InputError: if its head or encoder is of a kind that can't be written, or `output` is taken.
        MissingExtraError: if sentence-transformers isn't installed.
        StorageError: if the file system refuses; what was there is kept.
    """
    folder, tower = Path(output), model.hasher_in_torch.text
    check_place(folder, overwrite=overwrite)
    library = import_optional("sentence_transformers", extra=EXTRA, feature=FEATURE)
    text = model.encoder.text
    layers = DenseLayers(tower.width)
    if isinstance(text, OfflineSharedTextTower):
        layers.shift(torch.from_numpy(-text.mean))
        layers.normalise()
    add_tower(layers, tower)
    modules = [*encoder_modules(text), *layers.modules]
    sentence_model = library.SentenceTransformer(modules=modules, device="cpu")
    captions = make_captions()[:N_CAPTIONS]
    differing = count_differences(model, sentence_model, captions)
    compared = {"texts": len(captions), "bits": len(captions) * model.n_bits, **differing}
    document = {
        "format": SENTENCE_FORMAT,
        "artifact": ARTIFACT,
        "modalhash": version("modalhash"),
        "sentence_transformers": version("sentence-transformers"),
        "model_fingerprint": model.fingerprint,
        "compatible_with": list(model.compatible_fingerprints),
        "n_bits": model.n_bits,
        "code_lengths": model.code_lengths,
        "bit_order": "big",
        "method": model.record.method,
        "encoder": model.record.encoder["name"],
        "layers": describe_layers(layers.modules),
        "compared": compared,
    }
    shorter = model.code_lengths[:-1]
    card = README.format(
        title=model.record.title,
        n_bits=model.n_bits,
        modalhash=version("modalhash"),
        fingerprint=model.fingerprint,
        prefixes=PREFIXES.format(lengths=" or ".join(map(str, shorter))) if shorter else "",
        n_compared=compared["bits"],
        n_different=compared["bits_different"],
        dtype=model.record.feature_dtype["text"],
    )
    with new_folder(folder) as part:
        with quiet():
            sentence_model.save(str(part), create_model_card=False)
        for path in part.rglob("*.safetensors"):
            path.chmod(0o644)  # they are written for their owner alone
        write_text(part / "README.md", card)
        write_json(part / SENTENCE_MANIFEST, sealed(document))
    return ExportedSentenceModel(folder, model.n_bits, compared["bits"], compared["bits_different"])


def check_place(folder: Path, *, overwrite: bool) -> None:
    """Refuse a place where something is that must be kept.

    Raises:
        InputError: if it is taken.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    document = peek_json(folder / SENTENCE_MANIFEST)
    if document is None or document.get("artifact") != ARTIFACT:
        raise InputError(f"{folder} exists already and holds something else: choose another folder")
    if not overwrite:
        raise InputError(
            f"{folder} exists already: replace it with --overwrite, or choose another folder"
        )


def encoder_modules(tower: TextTower) -> list[nn.Module]:
    """Make the modules of a text encoder.

    Raises:
        InputError: if it is of a kind that can't be written.
    """
    library: Any = import_optional(
        "sentence_transformers.sentence_transformer.modules", extra=EXTRA, feature=FEATURE
    )
    with quiet():
        if isinstance(tower, OfflineTextTower | OfflineSharedTextTower):
            network = library.Transformer(str(find_text_model()), max_seq_length=LONGEST)
            return [network, library.Pooling(tower.width, "mean"), library.Normalize()]
        if isinstance(tower, BertTextTower):
            network = library.Transformer(tower.model.source, max_seq_length=tower.longest)
            return [network, library.Pooling(tower.width, "cls")]
    raise InputError(
        f"the export for sentence-transformers can't write an encoder of the class "
        f"{type(tower).__name__}: it writes offline, offline-shared and bert"
    )


def count_differences(model: HashModel, sentence_model: Any, captions: list[str]) -> dict[str, Any]:
    """Compare the codes of captions with the model's own."""
    vectors: NDArray[np.float32] = sentence_model.encode(captions, show_progress_bar=False)
    own = model.relaxed_features(model.encoder.text.encode(captions).pooled, "text")
    return {
        "bits_different": int(((vectors > 0) != (own >= 0)).sum()),
        "largest_difference": float(np.abs(vectors - own).max()),
        "largest_value": float(np.abs(own).max()),
    }
