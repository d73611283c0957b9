"""Verify a search index, and keep what is whole of a damaged one."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from modalhash.artifacts import load_model, read_calibration
from modalhash.codes import code_width
from modalhash.errors import ArtifactError, DamagedArtifactError, InputError, ModalhashError
from modalhash.files import own_path, remove_file
from modalhash.index import HashIndex, build_index, find_damage, open_index, repair_index
from modalhash.index.manifest import read_manifest as read_manifest_of_side
from modalhash.modalities import Side
from modalhash.search.folder import read_manifest
from modalhash.search.pending_changes import PENDING, finish_pending, writing
from modalhash.search.pictures import PICTURES, list_kept_pictures, picture_names, remove_pictures

__all__ = [
    "IndexRepair",
    "IndexReport",
    "repair_search_index",
    "verify_search_index",
]


@dataclass(frozen=True)
class IndexReport:
    """What a verification found.

    Attributes:
        n_items: items by side, as far as they can be read.
        problems: what is damaged or missing, one sentence each.
        is_repairable: whether the manifests of all sides can be read, which a repair goes by.
    """

    n_items: dict[str, int]
    problems: tuple[str, ...]
    is_repairable: bool = True


@dataclass(frozen=True)
class IndexRepair:
    """What a repair did.

    Attributes:
        n_items: items by side that the index has now.
        losses: what was lost, one sentence each; none if nothing was damaged.
    """

    n_items: dict[str, int]
    losses: tuple[str, ...]


def verify_search_index(folder: Path | str) -> IndexReport:
    """Read every byte of an index: the model, codes, rows and pictures. Changes nothing.

    Args:
        folder: of a search index, or of an index of codes.

    Raises:
        DamagedArtifactError: if the manifest of the search index can't be read.
        StorageError: if the folder can't be read.
    """
    folder = Path(folder).resolve()
    sides = side_folders(folder)
    problems = [problem for place in sides.values() for problem in find_damage(place)]
    counts = {}
    if not problems:
        for name, place in sides.items():
            with open_index(place) as index:
                counts[name] = len(index)
    if "" not in sides:
        problems += [*problems_of_model(folder), *problems_of_pictures(folder, sides)]
        if (folder / PENDING).exists():
            problems.append(
                f"a change of {folder} isn't finished: the next change or opening finishes it"
            )
    return IndexReport(counts, tuple(problems), all(map(has_readable_manifest, sides.values())))


def has_readable_manifest(place: Path) -> bool:
    """Tell whether the manifest of a side can be read; a folder that is gone is made anew."""
    try:
        read_manifest_of_side(place)
    except ArtifactError:
        return not place.exists()
    return True


def side_folders(folder: Path) -> dict[str, Path]:
    """List the index folders in an index by side; an index of codes itself stands under ""."""
    try:
        names = read_manifest(folder)["sides"]
    except DamagedArtifactError:
        if any((folder / side).is_dir() for side in Side):
            raise
        return {"": folder}
    return {name: own_path(folder, name) for name in names}


def problems_of_model(folder: Path) -> Iterator[str]:
    """Yield what is damaged of the model and its calibration."""
    try:
        model = load_model(folder / "model", device="cpu")
        if not model.searches_codes_of(read_manifest(folder)["model_fingerprint"]):
            yield f"{folder / 'model'} isn't the model that the index was made with"
        read_calibration(folder / "model", model.fingerprint)
    except (ArtifactError, InputError) as error:
        yield str(error)


def problems_of_pictures(folder: Path, sides: dict[str, Path]) -> Iterator[str]:
    """Yield which kept pictures are missing, damaged, or of no item."""
    lying, named = set(picture_names(folder)), set[str]()
    for name, place in sides.items():
        with suppress(ModalhashError), open_index(place) as index:
            for picture, identity in pictures_of(index):
                if picture in named:
                    continue
                named.add(picture)
                problem = problem_of_picture(folder / PICTURES / picture)
                if problem is not None:
                    yield f"the picture of {identity!r} ({name}) {problem}"
    if unnamed := sorted(lying - named):
        yield f"{len(unnamed)} pictures are of no item: `modalhash compact` removes them"


def pictures_of(index: HashIndex) -> Iterator[tuple[str, str | int]]:
    """Yield the kept pictures of an index, each with an id."""
    for block in index.blocks():
        for identity, metadata in zip(block.ids.tolist(), block.metadata, strict=True):
            for picture in list_kept_pictures([metadata]):
                yield picture, identity


def problem_of_picture(path: Path) -> str | None:
    """Describe what is wrong with a picture file."""
    if path.is_symlink() or not path.is_file():
        return f"is missing: {path}"
    try:
        with Image.open(path) as picture:
            picture.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return f"can't be read: {path} ({error})"
    return None


def repair_search_index(folder: Path | str) -> IndexRepair:
    """Keep what is whole of an index, and say what was lost.

    Codes and rows are repaired side by side; a side whose folder is gone becomes empty. Nothing is
    written if nothing is damaged. Pictures of no item are removed, unless items were lost: they may
    be all that is left of these then. Pictures that are missing, and a damaged model, can't be made
    again: they are named.

    Args:
        folder: of a search index, or of an index of codes.

    Raises:
        DamagedArtifactError: if a manifest can't be read: nothing says then what was whole.
        IndexLockedError: if somebody changes the index.
        StorageError: if the file system refuses.
    """
    folder = Path(folder).resolve()
    sides = side_folders(folder)
    losses = []
    if "" not in sides:
        losses += replace_missing_sides(folder, sides)
        losses += settle_pending(folder, sides)
    counts = {}
    for name, place in sides.items():
        repair = repair_index(place)
        counts[name] = repair.n_items
        losses += repair.losses
    if "" not in sides:
        if not losses:
            remove_unnamed_pictures(folder, sides)
        losses += [*problems_of_model(folder), *problems_of_pictures(folder, sides)]
    return IndexRepair(counts, tuple(losses))


def replace_missing_sides(folder: Path, sides: dict[str, Path]) -> list[str]:
    """Put an empty side where a side's folder is gone, and say what was lost."""
    missing = [place for place in sides.values() if not place.exists()]
    if not missing:
        return []
    model = load_model(folder / "model", device="cpu")
    for place in missing:
        no_codes = np.zeros((0, code_width(model.n_bits)), np.uint8)
        build_index(
            [], no_codes, model.n_bits, kind="auto", model_fingerprint=model.fingerprint,
            folder=place,
        ).close()  # fmt: skip
    return [f"{place} was gone: all its items are lost" for place in missing]


def settle_pending(folder: Path, sides: dict[str, Path]) -> list[str]:
    """Finish a change that was cut off; if that can't be, leave it and say so."""
    if not (folder / PENDING).exists():
        return []
    try:
        opened = {name: open_index(place) for name, place in sides.items()}
        try:
            with writing(opened):
                finish_pending(folder, opened)
        finally:
            for index in opened.values():
                index.close()
    except DamagedArtifactError as error:
        remove_file(folder, PENDING)
        return [f"a change wasn't finished, and can't be ({error}): the sides may differ by it"]
    return []


def remove_unnamed_pictures(folder: Path, sides: dict[str, Path]) -> None:
    """Remove kept pictures that no item names."""
    named: set[str] = set()
    for place in sides.values():
        with open_index(place) as index:
            named.update(picture for picture, _ in pictures_of(index))
    remove_pictures(folder, [name for name in picture_names(folder) if name not in named])
