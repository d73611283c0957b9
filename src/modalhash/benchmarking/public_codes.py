"""Import the codes that a public program made of exported inputs, and measure them."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Unpack

import numpy as np
from numpy.typing import NDArray

from modalhash.api import score
from modalhash.benchmarking.public_programs import FORMAT, KIND, MANIFEST, PARTS
from modalhash.bridges.folders import check_output
from modalhash.bridges.public_inputs import GivenRows
from modalhash.codes import BitOrder, ReadCodes, read_codes
from modalhash.codes.manifest import CODES_FORMAT, CODES_MANIFEST, read_codes_manifest
from modalhash.data.arrays import read_arrays
from modalhash.errors import CollectionError, DamagedArtifactError, InputError, ShapeError
from modalhash.files import map_array, read_json, write_array, write_json
from modalhash.index.new_folders import new_folder
from modalhash.metrics import MeasureChoices, Report
from modalhash.options import CROSS_MODAL

__all__ = ["import_public_codes", "score_public_codes"]

ROW_KEYS: Final = ("n_rows", "n_items", "text_start")
ARRAYS: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("image", "query"): ("qu_BI", "query_imgs"),
    ("text", "query"): ("qu_BT", "query_txts"),
    ("image", "database"): ("re_BI", "retrieval_imgs"),
    ("text", "database"): ("re_BT", "retrieval_txts"),
}
"""Modality and part to what the programs call those codes."""


def import_public_codes(
    inputs: Path | str,
    codes: Path | str,
    output: Path | str,
    *,
    n_bits: int | None = None,
    bit_order: BitOrder | str = BitOrder.LITTLE,
    overwrite: bool = False,
    **choices: Unpack[MeasureChoices],
) -> Report:
    """Read the codes that a program made of exported inputs, and measure them.

    Args:
        inputs: the folder that `export_inputs` wrote.
        codes: a .npz, .mat or .h5 file, or a folder of .npy files, with four arrays of one row an
            item: `qu_BI`, `qu_BT`, `re_BI` and `re_BT` (or `query_imgs`, `query_txts`,
            `retrieval_imgs` and `retrieval_txts`), of -1 and +1; a 0, which a sign may give,
            counts as +1.
        output: the new folder: `query` and `database`, each as `modalhash encode` writes it.
        n_bits: bits of a code; must be given for packed codes, else it is checked.
        bit_order: of packed codes.
        overwrite: take the place of imported codes that are there.
        **choices: of `modalhash.metrics.MeasureSettings` (`top_k`, `conventions`, `ties`, ...).

    Returns:
        The measures, by labels and by pair, in both directions, as of `evaluate`.

    Raises:
        ArtifactError: if `inputs` isn't a folder of inputs, or is damaged or newer.
        InputError: if the codes can't be read, an array is missing, or `output` is taken.
        ShapeError: if an array has another number of rows than the program was given, or the
            arrays differ in bits.
        StorageError: if the file system refuses.
    """
    source, folder = Path(inputs), Path(output)
    manifest = read_manifest(source)
    check_output(folder, is_ours=is_imported, overwrite=overwrite)
    arrays = read_named_arrays(Path(codes))
    notes: list[str] = []
    read = {
        (modality, part): select_own_codes(
            array, GivenRows(*(manifest["rows"][part][key] for key in ROW_KEYS)), modality,
            name=f"{part} {modality} codes", n_bits=n_bits, bit_order=bit_order, notes=notes,
        )
        for (modality, part), array in arrays.items()
    }  # fmt: skip
    lengths = {side_codes.n_bits for side_codes in read.values()}
    if len(lengths) > 1:
        lengths_text = ", ".join(
            f"{part} {side} {side_codes.n_bits}" for (side, part), side_codes in read.items()
        )
        raise ShapeError(
            f"{codes} holds codes of several lengths ({lengths_text} bits): import one model"
        )
    digest = hashlib.sha256(manifest["program"].encode())
    for side_codes in read.values():
        digest.update(side_codes.codes.tobytes())
    with new_folder(folder) as part_folder:
        for part in PARTS:
            both = read["image", part], read["text", part]
            labels = read_labels(source / f"{part}_labels.npy", manifest["rows"][part]["n_items"])
            about = describe_codes(manifest, part, both[0].n_bits, digest.hexdigest())
            write_codes(part_folder / part, both, labels, about)
    report = score_public_codes(folder, **choices)
    return replace(report, notes=(*notes, *report.notes))


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read what an export says of itself.

    Raises:
        DamagedArtifactError, NewerFormatError: if it isn't a folder of inputs.
    """
    manifest = read_json(folder / MANIFEST, kind=KIND, newest_format=FORMAT)
    if manifest.get("artifact") != KIND:
        raise DamagedArtifactError(f"{folder} is no folder of {KIND}: export again")
    return manifest


def is_imported(folder: Path) -> bool:
    """Tell whether a folder holds imported codes."""
    return all((folder / part / CODES_MANIFEST).is_file() for part in PARTS)


def read_named_arrays(path: Path) -> dict[tuple[str, str], NDArray[Any]]:
    """Read the four arrays of codes.

    Raises:
        InputError: if the file can't be read or one is missing.
    """
    try:
        stored = read_arrays(path)
    except CollectionError as error:
        raise InputError(f"codes: {error.defects[0]}") from error
    arrays = {}
    for key, names in ARRAYS.items():
        name = next((name for name in names if name in stored), None)
        if name is None:
            raise InputError(
                f"{path} has no array {' or '.join(names)} ({' '.join(key)} codes); it has "
                f"{', '.join(stored) or 'nothing'}"
            )
        arrays[key] = stored[name]
    return arrays


def select_own_codes(
    array: NDArray[Any],
    rows: GivenRows,
    modality: str,
    *,
    name: str,
    n_bits: int | None,
    bit_order: BitOrder | str,
    notes: list[str],
) -> ReadCodes:
    """Select the codes of the items, without rows that only filled a batch.

    Raises:
        ShapeError: if there are more or fewer rows than the program was given.
        InputError: if they aren't codes.
    """
    if len(array) != rows.n_rows:
        raise ShapeError(
            f"{name} has {len(array)} rows, the program was given {rows.n_rows}: are they of this "
            "export, and of the whole part?"
        )
    start = rows.text_start if modality == "text" else 0
    own = np.asarray(array[start : start + rows.n_items])
    is_zero = own == 0
    if own.dtype.kind in "if" and is_zero.any() and (own == -1).any():
        notes.append(f"{name}: {int(is_zero.sum())} zeros, as a sign may give, count as +1")
        own = np.where(is_zero, 1, own)
    return read_codes(own, n_bits=n_bits, bit_order=bit_order, name=name)


def read_labels(path: Path, n_items: int) -> NDArray[Any]:
    """Read the labels that an export kept.

    Raises:
        DamagedArtifactError: if they can't be read or don't fit its rows.
    """
    try:
        labels = np.array(map_array(path))
    except (OSError, ValueError, EOFError) as error:
        raise DamagedArtifactError(f"{path} can't be read: {error}; export again") from error
    if len(labels) != n_items:
        raise DamagedArtifactError(
            f"{path} has {len(labels)} rows, expected {n_items}: export again"
        )
    return labels


def describe_codes(
    manifest: Mapping[str, Any], part: str, n_bits: int, fingerprint: str
) -> dict[str, Any]:
    """Describe one part's codes, as `modalhash encode` does."""
    rows = manifest["rows"][part]
    return {
        "format": CODES_FORMAT,
        "modalhash": version("modalhash"),
        "n_bits": n_bits,
        "bit_order": "little",
        "model_fingerprint": fingerprint,
        "program": manifest["program"],
        "collection": manifest["collection"],
        "split": manifest["split"] if part == "query" else manifest["database"],
        "image_ids": rows["image_ids"],
        "text_ids": rows["text_ids"],
        "text_images": list(range(rows["n_items"])),
        "label_names": [],
    }


def write_codes(
    folder: Path, codes: tuple[ReadCodes, ReadCodes], labels: NDArray[Any], about: dict[str, Any]
) -> None:
    """Write one part's image and text codes with its labels, as `modalhash encode` does."""
    for modality, side_codes in zip(("image", "text"), codes, strict=True):
        write_array(folder / f"{modality}_codes.npy", side_codes.codes)
    write_array(folder / "labels.npy", labels)
    write_json(folder / CODES_MANIFEST, about)


def score_public_codes(folder: Path | str, **choices: Unpack[MeasureChoices]) -> Report:
    """Measure imported codes as `evaluate` measures a model.

    Relevance by labels ranks the database for the queries, relevance by pair the queries' own
    partners among all queries.

    Args:
        folder: that `import_public_codes` wrote.
        **choices: of `modalhash.metrics.MeasureSettings` (`top_k`, `conventions`, `ties`, ...).

    Raises:
        ArtifactError: if it holds no imported codes.
    """
    query, database = (Path(folder) / part for part in PARTS)
    manifest = [read_codes_manifest(path) for path in (query, database)]
    by_pair: MeasureChoices = {**choices, "relevances": ("pair",)}
    reports = [
        *(score(query, database, direction=direction, **choices) for direction in CROSS_MODAL),
        *(
            score(query, query, pairs=True, direction=direction, **by_pair)
            for direction in CROSS_MODAL
        ),
    ]
    return replace(
        reports[0],
        split=manifest[0]["split"],
        database=manifest[1]["split"],
        directions=tuple(direction for report in reports for direction in report.directions),
        about={
            **reports[0].about,
            "method": f"{manifest[0]['program'].upper()} (public program)",
            "collection": manifest[0]["collection"],
        },
        notes=(),
    )
