"""The verb `import_codes`: an index of codes that any program made."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from modalhash.bridges.contents import Source, open_source
from modalhash.bridges.exporting import ARTIFACT, EXPORT_FORMAT, EXPORT_MANIFEST
from modalhash.bridges.folders import check_output
from modalhash.bridges.item_lines import ITEMS
from modalhash.codes import BitOrder, Codes, read_codes
from modalhash.codes.manifest import CODES_MANIFEST
from modalhash.errors import ArtifactError, DamagedArtifactError, InputError, StorageError
from modalhash.files import map_array, peek_json, read_json, read_regular_text, report_damage
from modalhash.index import HashIndex, Ids, Metadata, build_index, check_kind, open_index
from modalhash.index.manifest import ARTIFACT as INDEX_ARTIFACT
from modalhash.index.new_folders import new_folder
from modalhash.numpy_numbers import takes_numpy_numbers
from modalhash.scoring import open_array

__all__ = ["import_codes"]

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class ImportedItems:
    """What an index is made of.

    Attributes:
        codes: (n, p) uint8.
        n_bits: bits of a code.
        ids: n ids.
        metadata: n mappings, or None.
        model_fingerprint: of the model that made the codes, or "".
    """

    codes: Codes
    n_bits: int
    ids: Ids
    metadata: Sequence[Metadata] | None = None
    model_fingerprint: str = ""


@takes_numpy_numbers
def import_codes(
    source: ArrayLike | Path | str,
    output: Path | str,
    *,
    ids: Ids | Path | str | None = None,
    metadata: Sequence[Metadata] | Path | str | None = None,
    n_bits: int | None = None,
    bit_order: BitOrder | str = BitOrder.LITTLE,
    side: str | None = None,
    kind: str = "auto",
    overwrite: bool = False,
) -> HashIndex:
    """Make an index of codes that any program made.

    It has no model: it is searched with codes, from Python, and exported.

    Args:
        source: an array of codes, or its file: -1 and +1, or 0 and 1, one column a bit, or packed
            bytes, which need `n_bits`; .npy, or .npz, .mat and .h5 with the array's name behind a
            colon where there are several. Or a folder: what `encode` or an export to `npy` wrote,
            which knows its own ids, bits and order.
        output: the new index folder.
        ids: n distinct ids; or a text file of one a line, or a .npy file of integers or texts; by
            default 0, 1, ... or those of the folder.
        metadata: n mappings; or a JSON-lines file of one object a line.
        n_bits: bits of a code.
        bit_order: of packed bytes, "little" or "big".
        side: "images" (the default) or "texts", of what `encode` wrote.
        kind: of the index, a name in `modalhash.index.KINDS`.
        overwrite: take the place of an index of codes that is there.

    Raises:
        ArtifactError: if a folder is damaged, newer or no codes.
        InputError: if a file can't be read, codes have no known form, ids come twice or don't fit,
            or `output` is taken.
        ShapeError: if the numbers of codes, ids and metadata differ.
        StorageError: if the file system refuses; what was there is kept.
        UnknownNameError: if there is no such kind or bit order.
    """
    folder = Path(output)
    check_kind(kind)
    check_output(folder, is_ours=is_code_index, overwrite=overwrite)
    if isinstance(source, Path | str) and Path(source).is_dir():
        arrays = {
            name: value
            for name, value in (("ids", ids), ("metadata", metadata), ("n_bits", n_bits))
            if value is not None
        }
        if arrays:
            raise InputError(
                f"{next(iter(arrays))} is given, but {source} is a folder: it has its own"
            )
        items = items_of_folder(Path(source), side)
    else:
        if side is not None:
            raise InputError(f"side is {side!r}, but the codes aren't from a folder that has sides")
        read = read_codes(open_codes(source), n_bits=n_bits, bit_order=bit_order)
        items = ImportedItems(
            read.codes,
            read.n_bits,
            range(len(read.codes)) if ids is None else read_ids(ids),
            read_metadata(metadata) if isinstance(metadata, Path | str) else metadata,
        )
    with new_folder(folder) as part:
        build_index(
            items.ids,
            items.codes,
            items.n_bits,
            metadata=items.metadata,
            kind=kind,
            model_fingerprint=items.model_fingerprint,
            folder=part,
        ).close()
    return open_index(folder)


def is_code_index(folder: Path) -> bool:
    """Tell whether a folder holds an index of codes, without a model, be it damaged or newer."""
    document = peek_json(folder / MANIFEST)
    return document is not None and document.get("artifact") == INDEX_ARTIFACT


def open_codes(source: ArrayLike | Path | str) -> Any:
    """Open an array or its file; .npy is mapped.

    Raises:
        InputError: if it can't be read.
    """
    if isinstance(source, Path | str) and Path(source).suffix.lower() == ".npy":
        return map_file(Path(source), "codes")
    return open_array(source, "codes")


def map_file(path: Path, name: str) -> Any:
    """Map an array file.

    Raises:
        InputError: if it can't be read.
    """
    try:
        return map_array(path)
    except FileNotFoundError as error:
        raise InputError(f"{name}: there is no file {path}") from error
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{name}: {path} can't be read as .npy: {error}") from error


def items_of_folder(folder: Path, side: str | None) -> ImportedItems:
    """Read what `encode` or an export to npy wrote.

    Raises:
        ArtifactError: if it is neither, damaged or newer.
    """
    if (folder / EXPORT_MANIFEST).is_file():
        return items_of_export(folder)
    if not (folder / CODES_MANIFEST).is_file():
        raise ArtifactError(
            f"{folder} is no folder of codes: give a file of codes, or what `modalhash encode` or "
            "`modalhash export ... npy` wrote"
        )
    source: Source = open_source(folder, side)
    rows: Any = source.items
    metadata = None if rows.owners is None else [{"item": owner} for owner in rows.owners]
    return ImportedItems(rows.codes, rows.n_bits, rows.ids, metadata, rows.model_fingerprint)


def items_of_export(folder: Path) -> ImportedItems:
    """Read an export to npy.

    Raises:
        ArtifactError: if it is one to another target.
        DamagedArtifactError: if its files don't fit each other.
    """
    manifest = read_json(folder / EXPORT_MANIFEST, kind="export", newest_format=EXPORT_FORMAT)
    if manifest.get("artifact") != ARTIFACT or manifest.get("target") != "npy":
        raise ArtifactError(
            f"{folder} is an export to {manifest.get('target')}: only those to npy are read again"
        )
    codes = map_file(folder / "codes.npy", "codes")
    lines = read_json_lines(folder / ITEMS)
    if len(lines) != len(codes):
        raise DamagedArtifactError(
            f"{folder} has {len(codes)} codes and {len(lines)} items in {ITEMS}: export again"
        )
    with report_damage(folder / EXPORT_MANIFEST, "export again"):
        read = read_codes(codes, n_bits=manifest["n_bits"], bit_order=manifest["bit_order"])
        ids, metadata = [line["id"] for line in lines], [line["metadata"] for line in lines]
        fingerprint = str(manifest["model_fingerprint"])
    return ImportedItems(read.codes, read.n_bits, ids, metadata, fingerprint)


def read_ids(ids: Ids | Path | str) -> Ids:
    """Read ids from a sequence or from a file.

    Raises:
        InputError: if the file can't be read.
    """
    if not isinstance(ids, Path | str):
        return ids
    path = Path(ids)
    if path.suffix.lower() == ".npy":
        array = map_file(path, "ids")
        texts: Ids = array.tolist() if array.dtype.kind == "U" else np.asarray(array)
        return texts
    lines = read_text(path, "ids").split("\n")
    return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]


def read_metadata(path: Path | str) -> list[dict[str, Any]]:
    """Read metadata from a file of one JSON object a line.

    Raises:
        InputError: if it can't be read, naming the line.
    """
    return read_json_lines(Path(path))


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of one JSON object a line.

    Raises:
        InputError: if it can't be read, or a line isn't an object, naming it.
    """
    objects = []
    for number, line in enumerate(read_text(path, "metadata").split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}:{number}: expected a JSON object: {error}") from error
        if not isinstance(value, dict):
            raise InputError(f"{path}:{number}: expected a JSON object, got {line[:40]}")
        objects.append(value)
    return objects


def read_text(path: Path, name: str) -> str:
    """Read a text file.

    Raises:
        InputError: if there is no such file, or it isn't UTF-8.
        StorageError: if it can't be read.
    """
    try:
        return read_regular_text(path)
    except FileNotFoundError as error:
        raise InputError(f"{name}: there is no file {path}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: {path} isn't UTF-8: {error}") from error
    except OSError as error:
        raise StorageError(f"can't read {path}: {error.strerror or error}") from error
