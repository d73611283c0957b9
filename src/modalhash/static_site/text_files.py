"""The text side of a model as files that a page computes: networks, word vectors, tokenizer."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.artifacts import HashModel
from modalhash.codes import binarise
from modalhash.encoders.class_names import make_captions
from modalhash.encoders.onnx_sessions import OnnxSession
from modalhash.extras import import_optional
from modalhash.files import sha256_of_file, write_bytes, write_text
from modalhash.model_export.encoder_graphs import ExportedTower, export_text_tower
from modalhash.model_export.head_graphs import head_graph
from modalhash.static_site.runtime import Runtime
from modalhash.static_site.small_weights import (
    WORD_VECTORS,
    Compared,
    VectorTable,
    Weights,
    round_rows,
    shrink_text_network,
    write_vectors,
)
from modalhash.static_site.word_rules import read_word_rules

__all__ = ["write_text_side"]

N_CAPTIONS: Final = 100
"""Made captions whose codes are compared."""
FOLDER: Final = "text"
VECTORS: Final = f"{FOLDER}/vectors"
RUNTIME: Final = "runtime"
FEATURE: Final = "the export of a site"


def write_text_side(
    model: HashModel, site: Path, runtime: Runtime, weights: Weights
) -> tuple[dict[str, Any], Compared]:
    """Write the text encoder and hash function of a model into a site.

    Args:
        model: computed by torch.
        site: folder of the site.
        runtime: onnxruntime-web, whose files are copied.
        weights: how the encoder's weights are kept.

    Returns:
        What `site.json` says of them, and how their codes compare with the model's.

    Raises:
        ArtifactError: if the model is in ONNX files.
        InputError: if its encoder, tokenizer or hash function is of a kind that can't be written.
        MissingExtraError: if the packages of the extra `onnx-export` aren't installed.
    """
    folder = site / FOLDER
    folder.mkdir()
    hasher = model.hasher_in_torch.text
    head = head_graph(
        hasher,
        model.record.feature_dtype["text"],
        {"model_fingerprint": model.fingerprint},
        about=f"hash function of the text side of {model.record.title}",
    )
    write_bytes(folder / "head.onnx", head)
    tower = export_text_tower(model.encoder.text, folder / "encoder.onnx")
    about = tower.about
    rules = read_word_rules(tower.tokenizer, longest=about["longest"], known=about["known"])
    write_text(folder / "tokenizer.json", json.dumps(rules, separators=(",", ":")))
    table = shrink_text_network(folder / "encoder.onnx", weights)
    n_rows, _ = write_vectors(table, site / VECTORS, weights)
    (site / RUNTIME).mkdir()
    for name, path in runtime.files.items():
        shutil.copyfile(path, site / RUNTIME / name)
    vectors = {"files": f"{VECTORS}/", "rows": n_rows, "width": table.width, "kind": weights.value}
    compared = compare_codes(model, folder, tower, table, weights)
    loaded = [folder / "encoder.onnx", folder / "head.onnx", *(site / RUNTIME).iterdir()]
    document = {
        "bytes": sum(path.stat().st_size for path in loaded),
        "encoder": f"{FOLDER}/encoder.onnx",
        "head": f"{FOLDER}/head.onnx",
        "tokenizer": f"{FOLDER}/tokenizer.json",
        "vectors": vectors,
        "fill": about["fill"],
        "pad_to": about["pad_to"],
        "weights": weights.value,
        "compared": asdict(compared),
        "runtime": {
            "package": "onnxruntime-web",
            "version": runtime.version,
            "module": f"{RUNTIME}/{runtime.module}",
            "wasm": f"{RUNTIME}/{runtime.wasm}",
        },
    }
    return document, compared


def compare_codes(
    model: HashModel, folder: Path, tower: ExportedTower, table: VectorTable, weights: Weights
) -> Compared:
    """Compare the bits of made captions, as the page's network gives them, with the model's own."""
    captions = make_captions()[:N_CAPTIONS]
    own = model.relaxed_features(model.encoder.text.encode(captions).pooled, "text")
    path = folder / "encoder.onnx"
    encoder, rows = OnnxSession(path, sha256_of_file(path)), round_rows(table, weights)
    tokenizers: Any = import_optional("tokenizers", extra="onnx", feature=FEATURE)
    tokenizer = tokenizers.Tokenizer.from_str(tower.tokenizer)
    tokenizer.no_padding()
    tokenizer.enable_truncation(tower.about["longest"])
    features = np.concatenate(
        [
            run_network(encoder, rows, encoding.ids, tower.about)
            for encoding in tokenizer.encode_batch(captions)
        ]
    )
    other = model.relaxed_features(features, "text")
    return Compared(own.size, int((binarise(own) != binarise(other)).sum()))


def run_network(
    encoder: OnnxSession,
    rows: NDArray[np.float32],
    numbers: Sequence[int],
    about: Mapping[str, Any],
) -> NDArray[np.float32]:
    """Compute the features of one text, (1, d), as the page does."""
    length = max(len(numbers), about["pad_to"])
    padded = np.full((1, length), about["fill"], np.int64)
    padded[0, : len(numbers)] = numbers
    mask = (np.arange(length) < len(numbers)).astype(np.int64)[None]
    inputs = {WORD_VECTORS: rows[padded], "input_ids": padded, "attention_mask": mask}
    (features,) = encoder.run({name: inputs[name] for name in encoder.input_names}, "features")
    return features
