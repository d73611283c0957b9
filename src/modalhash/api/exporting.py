"""The verbs `export_onnx`, `export_sentence_model` and `export_site`: for other programs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modalhash.api.opening import open_model
from modalhash.artifacts import HashModel
from modalhash.artifacts.onnx_files import ONNX_FOLDER
from modalhash.artifacts.ready_model import read_ready_name, ready_onnx_folder
from modalhash.choices import read_choice
from modalhash.errors import InputError
from modalhash.progress import Progress, automatic
from modalhash.search import SearchIndex, is_search_index, open_search_index

if TYPE_CHECKING:
    from modalhash.model_export import ExportedOnnx, ExportedSentenceModel
    from modalhash.static_site import ExportedSite

__all__ = ["export_onnx", "export_sentence_model", "export_site"]

MODEL: str = "model"
"""Folder of an index that holds its model."""


def export_onnx(
    source: HashModel | Path | str,
    output: Path | str | None = None,
    *,
    with_encoder: bool = False,
    overwrite: bool = False,
) -> "ExportedOnnx":
    """Write a model as ONNX files, which ONNX Runtime computes without torch.

    The hash functions give the same bits as torch's, which is checked on random features before
    the folder appears. Encoders give features that differ in the last bits of a float. The folder
    is a model for every verb that takes one; beside a run's weights, or in an index, it is used
    wherever torch isn't installed.

    Args:
        source: a model, its run folder, an index folder, or the name of a ready model.
        output: a new folder; by default where searching without torch looks for it: `onnx` in the
            run folder or in the index's `model`, or the user's cache for a ready model.
        with_encoder: write the encoder too, so that texts and pictures can be encoded.
        overwrite: take the place of an export that is there.

    Raises:
        ArtifactError: if the model is damaged, or in ONNX files already.
        InputError: if its hash head or its encoder is of a kind that can't be written, `output` is
            taken, or it must be named.
        MissingExtraError: if the packages of the extra `onnx-export` aren't installed.
        StorageError: if the file system refuses; what was there is kept.
    """
    model, usual = find_exported(source)
    place = output if output is not None else usual
    if place is None:
        raise InputError("the model has no folder: name an output folder")
    from modalhash.model_export import write_onnx_model

    return write_onnx_model(model, place, with_encoder=with_encoder, overwrite=overwrite)


def export_sentence_model(
    source: HashModel | Path | str, output: Path | str, *, overwrite: bool = False
) -> "ExportedSentenceModel":
    """Write the text side of a model for sentence-transformers, of its built-in modules.

    `SentenceTransformer(FOLDER).encode(texts, precision="ubinary")` gives the codes, packed from
    the high end of a byte (`bit_order` "big"); `truncate_dim` gives the shorter codes of nested
    ones. No code of ours is needed there. Nothing is approximated but by rounding: the codes of
    made captions are compared, and the folder says how many bits differ.

    Args:
        source: a model, its run folder, an index folder, or the name of a ready model. Its text
            encoder is `offline`, `offline-shared` or `bert`.
        output: a new folder.
        overwrite: take the place of such an export that is there.

    Raises:
        ArtifactError: if the model is damaged, or in ONNX files.
        InputError: if its hash head or its encoder is of a kind that can't be written, or `output`
            is taken.
        MissingExtraError: if sentence-transformers isn't installed.
        StorageError: if the file system refuses; what was there is kept.
    """
    model, _ = find_exported(source)
    from modalhash.model_export import write_sentence_model

    return write_sentence_model(model, output, overwrite=overwrite)


def export_site(
    source: SearchIndex | Path | str,
    output: Path | str,
    *,
    runtime: Path | str | None = None,
    thumbnails: int = 256,
    links: str | None = None,
    fields: Sequence[str] = (),
    weights: str = "float32",
    name: str = "",
    overwrite: bool = False,
    progress: Progress = automatic,
) -> "ExportedSite":
    """Write an index as a static web page, which searches in the browser without a server.

    The folder holds the page, codes, ids, captions, small pictures, and the text side of the model
    as ONNX files, which onnxruntime-web computes. Any web server can host it, below any path. What
    is found, and in which order, is what a server finds, but for scores that differ in their last
    digits.

    Args:
        source: an index, or its folder.
        output: a new folder.
        runtime: the folder of the npm package onnxruntime-web; by default `node_modules` of the
            working folder is looked in. "npm" has npm fetch it. "none" makes a site that is
            searched from its own items, without words.
        thumbnails: longer side of small pictures in pixels; 0 for none.
        links: what stands before a picture's name in links to whole pictures, an address or a path.
        fields: names of metadata that go along; captions and ids always do, paths never.
        weights: how the text encoder's weights are kept: float32 gives the bits that a server
            gives; float16 is half as large and int8 a quarter, and some bits differ.
        name: of the site; by default the folder's.
        overwrite: take the place of a site that is there.
        progress: told of the items.

    Raises:
        ArtifactError: if the index is damaged, or its model is in ONNX files alone.
        InputError: if the index is empty; if onnxruntime-web isn't there, with the command that
            installs it; if the encoder or hash function is of a kind that can't be written; if an
            option is out of its range, a field is none, or `output` is taken.
        MissingExtraError: if the packages of the extra `onnx-export` aren't installed.
        StorageError: if the file system refuses; what was there is kept.
        UnknownNameError: if `weights` is none.
    """
    from modalhash.static_site import SiteOptions, Weights, find_runtime, write_site

    precision = read_choice("weights", Weights, weights)
    options = SiteOptions(thumbnails, links, tuple(fields), precision, name)
    engine = find_runtime(runtime)
    if isinstance(source, SearchIndex):
        return write_site(source, output, engine, options, overwrite=overwrite, progress=progress)
    with open_search_index(source, device="cpu") as index:
        return write_site(index, output, engine, options, overwrite=overwrite, progress=progress)


def find_exported(source: HashModel | Path | str) -> tuple[HashModel, Path | None]:
    """Find a model to export, and where its export is looked for; None if it has no folder."""
    if not isinstance(source, HashModel) and is_search_index(Path(source)):
        source = Path(source) / MODEL
    model = open_model(source, "cpu")
    if model.folder is not None:
        return model, model.folder / ONNX_FOLDER
    n_bits = read_ready_name(source) if isinstance(source, str) else None
    return model, None if n_bits is None else ready_onnx_folder(n_bits)
