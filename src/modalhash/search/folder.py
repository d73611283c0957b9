"""A search index as a folder on disk: build it, recognise it, open it.

::

    manifest.json     format, model fingerprint, collection, what each side holds
    model/            the model, so that queries are encoded offline, and its calibration
    images/           index of image codes; ids are item ids
    texts/            index of text codes; ids are caption ids
    pictures/         copies of pictures that have no file of their own (drawn ones)
    pending.json      a change of both sides that isn't finished
"""

import logging
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL import Image

from modalhash.artifacts import (
    HashModel,
    ModelCalibration,
    load_model,
    read_calibration,
    save_model,
    write_calibration,
)
from modalhash.errors import (
    ArtifactError,
    DamagedArtifactError,
    IndexLockedError,
    InputError,
    NewerFormatError,
    StorageError,
)
from modalhash.files import own_path, peek_json, read_json, sealed, write_json
from modalhash.index import HashIndex, build_index, check_kind, check_model, open_index
from modalhash.index.kinds import discard_folders
from modalhash.index.new_folders import new_folder
from modalhash.modalities import Side
from modalhash.search.contents import SideContent
from modalhash.search.pending_changes import (
    PENDING,
    finish_pending,
    hide_unfinished_change,
    writing,
)
from modalhash.search.pictures import PICTURES, write_picture
from modalhash.search.search_index import SearchIndex

__all__ = ["build_search_index", "check_target", "is_search_index", "open_search_index"]

logger = logging.getLogger(__name__)

FORMAT = 1
MANIFEST = "manifest.json"
ARTIFACT = "modalhash search index"


def build_search_index(
    model: HashModel,
    sides: Mapping[Side, SideContent],
    folder: Path,
    *,
    collection: Mapping[str, Any],
    pictures: Iterable[tuple[str, Image.Image]] = (),
    kind: str = "auto",
    parameters: Mapping[str, Any] | None = None,
    calibration: ModelCalibration | None = None,
    overwrite: bool = False,
) -> SearchIndex:
    """Make an index folder; it appears when it is complete.

    Args:
        model: whose codes these are.
        sides: what each side holds.
        folder: where it goes.
        collection: name and counts, for people.
        pictures: file names (.png) and pictures, for pictures without a file; metadata name
            them as `pictures/NAME`.
        kind: of the indexes, a name in `modalhash.index.KINDS`.
        parameters: of the kind, by name; what is left out is chosen.
        calibration: what distances of this model are worth.
        overwrite: take the place of an index that is there.

    Raises:
        InputError: see `check_target`.
        StorageError: if the file system refuses; what was there is kept.
    """
    check_target(folder, kind=kind, parameters=parameters, overwrite=overwrite)
    with new_folder(folder, discard=discard_sides) as part:
        save_model(model, part / "model")
        if calibration is not None:
            write_calibration(calibration, part / "model")
        for side, content in sides.items():
            build_index(
                content.ids,
                content.codes,
                model.n_bits,
                metadata=content.metadata,
                kind=kind,
                parameters=parameters,
                model_fingerprint=model.fingerprint,
                folder=part / side,
            ).close()
        for name, picture in pictures:
            write_picture(part / PICTURES / name, picture)
        document = {
            "format": FORMAT,
            "artifact": ARTIFACT,
            "modalhash": version("modalhash"),
            "model_fingerprint": model.fingerprint,
            "method": model.record.method,
            "n_bits": model.n_bits,
            "encoder": model.record.encoder["name"],
            "kind": kind,
            "collection": dict(collection),
            "sides": [str(side) for side in sides],
        }
        write_json(part / MANIFEST, sealed(document))
    return open_search_index(folder, device=model.device)


def discard_sides(folder: Path) -> None:
    """Remove what the sides of an index that goes keep elsewhere: codes may lie on a server."""
    discard_folders([folder / side for side in Side])


def check_target(
    folder: Path, *, kind: str, parameters: Mapping[str, Any] | None = None, overwrite: bool
) -> None:
    """Refuse a folder or a kind that an index can't be built in or of; costs nothing.

    Raises:
        InputError: if the folder exists and isn't a search index, or `overwrite` is False.
        SettingError: if the kind doesn't take a parameter, or it is out of its range.
        UnknownNameError: if there is no such kind of index.
    """
    check_kind(kind, parameters)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not is_search_index(folder):
        raise InputError(f"{folder} exists already and is no search index: choose another folder")
    if not overwrite:
        raise InputError(
            f"{folder} exists already: replace it with --overwrite, or choose another folder"
        )


def is_search_index(folder: Path) -> bool:
    """Tell whether a folder holds a search index, be it damaged or newer."""
    manifest = peek_json(folder / MANIFEST)
    return manifest is not None and {"model_fingerprint", "sides"} <= manifest.keys()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and check the manifest of a search index.

    Raises:
        DamagedArtifactError: if there is none, or it isn't what was written.
        NewerFormatError: if a newer modalhash wrote it.
        StorageError: if it can't be read.
    """
    path = folder / MANIFEST
    try:
        manifest = read_json(path, kind="index", newest_format=FORMAT)
    except NewerFormatError:
        if is_search_index(folder):
            raise
        manifest = {}  # of something else, whose formats are counted apart
    match manifest:
        case {"model_fingerprint": str(), "collection": dict(), "sides": [_, *_] as names} if all(
            name in list(Side) for name in names
        ):
            return manifest
    raise DamagedArtifactError(
        f"{folder} is no search index: its {MANIFEST} is of another sort; give the folder that "
        "`modalhash index` made"
    )


def open_side(folder: Path, model: HashModel) -> HashIndex:
    """Open one side; its codes are of the model, or of a former one that it is compatible with.

    Raises:
        ArtifactError: if they are of another model, or the side is damaged or newer.
    """
    index = open_index(folder)
    if not model.searches_codes_of(index.model_fingerprint):
        index.close()
        check_model(folder, index.model_fingerprint, model.fingerprint)
    return index


def open_search_index(
    folder: Path | str,
    *,
    device: str = "auto",
    models: Mapping[str, HashModel] = MappingProxyType({}),
) -> SearchIndex:
    """Open an index folder.

    Args:
        folder: what `build_search_index` made.
        device: where queries are encoded.
        models: by fingerprint, that are in memory already: one of these isn't loaded again.

    Raises:
        ArtifactError: if the folder is no index, is damaged or newer, or its parts are of
            different models.
        StorageError: if it can't be read.
    """
    folder = Path(folder).resolve()
    manifest = read_manifest(folder)
    model = models.get(manifest["model_fingerprint"]) or load_model(folder / "model", device=device)
    if not model.searches_codes_of(manifest["model_fingerprint"]):
        raise ArtifactError(
            f"{folder / 'model'} isn't the model this index was made with: make the index again"
        )
    sides = {Side(name): open_side(own_path(folder, name), model) for name in manifest["sides"]}
    if (folder / PENDING).exists():
        try:
            with writing(sides):
                finish_pending(folder, sides)
        except (IndexLockedError, StorageError) as error:
            logger.info("a change of %s isn't finished yet: %s", folder, error)
    hide_unfinished_change(folder, sides)
    calibration = read_calibration(folder / "model", model.fingerprint)
    return SearchIndex(model, sides, manifest["collection"], folder, calibration)
