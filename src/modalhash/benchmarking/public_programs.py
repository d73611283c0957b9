"""Compare with public programs: the input files they read, and their codes read back.

A user exports one collection's features and division, runs a checkout of the program, and imports
the codes; both are then measured on the same items by one evaluator. The formats are in
`modalhash.bridges.public_inputs`; this file knows collections, features and codes.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Unpack

import numpy as np
from numpy.typing import NDArray

from modalhash.api import score
from modalhash.api.learning import extract_features
from modalhash.api.measuring import select_evaluation_items
from modalhash.api.opening import opened
from modalhash.benchmarking.tasks import usual_encoder, usual_split
from modalhash.bridges.folders import check_output, new_folder
from modalhash.bridges.public_inputs import (
    GivenRows,
    PublicInputs,
    WrittenInputs,
    write_public_inputs,
)
from modalhash.codes import BitOrder, ReadCodes, read_codes
from modalhash.data import Collection
from modalhash.data.arrays import read_arrays
from modalhash.data.collection import Positions
from modalhash.errors import CollectionError, DamagedArtifactError, InputError, ShapeError
from modalhash.files import read_json, write_array, write_json
from modalhash.metrics import MeasureChoices, Report
from modalhash.options import CROSS_MODAL
from modalhash.progress import Progress, silent
from modalhash.scoring import CODES_FORMAT, CODES_MANIFEST

__all__ = ["ExportedInputs", "export_inputs", "import_public_codes", "score_public_codes"]

MANIFEST, FORMAT, KIND = "inputs.json", 1, "public inputs"
PARTS: Final = ("query", "database")
ROW_KEYS: Final = ("n_rows", "n_items", "text_start")
VALIDATION_SHARE: Final = 10
"""One in so many training items stands in for a validation split that isn't there."""
ARRAYS: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("image", "query"): ("qu_BI", "query_imgs"),
    ("text", "query"): ("qu_BT", "query_txts"),
    ("image", "database"): ("re_BI", "retrieval_imgs"),
    ("text", "database"): ("re_BT", "retrieval_txts"),
}
"""Modality and part to what the programs call those codes."""


@dataclass(frozen=True)
class ExportedInputs:
    """A folder of input files.

    Attributes:
        folder: where they are.
        program: that reads them.
        counts: items of each part.
        command: what starts the program, with N for the number of bits.
        notes: what to know, and lines to change in the program.
    """

    folder: Path
    program: str
    counts: Mapping[str, int]
    command: str
    notes: tuple[str, ...]


def export_inputs(
    program: str,
    collection: Collection | str | Path,
    output: Path | str,
    *,
    layout: str | None = None,
    encoder: str = "auto",
    split: str = "auto",
    database: str | None = None,
    overwrite: bool = False,
    cache: Path | str | None = None,
    progress: Progress = silent,
) -> ExportedInputs:
    """Write the input files of a public program, from a collection's features and division.

    Queries and database are those that `evaluate` and the bench measure by labels, training items
    are the split `train`, and each item has its first text. Rows keep the order of the splits.

    Args:
        program: "cirh", "ucch", "ucmfh" or "dgcpn".
        collection: or what `load_collection` takes; it must have labels.
        output: the new folder.
        layout: one of the program's layouts (`modalhash.bridges.LAYOUTS`); None is the usual one.
        encoder: makes the features; "auto" is `offline`, or `precomputed` for features only.
        split: the queries; "auto" is `test` if there is such a split, else `dev`.
        database: what is searched; by default the split "database", else "train".
        overwrite: take the place of input files that are there.
        cache: where features are kept.
        progress: told of every batch.

    Raises:
        UnknownNameError: if there is no such program, layout or split.
        InputError: if the collection has no labels, a query is a training item, the program can't
            run on so few items, or `output` is taken.
        MissingExtraError: if a file format needs a package that isn't installed.
        StorageError: if the file system refuses; what was there is kept.
    """
    folder = Path(output)
    check_output(folder, is_ours=lambda path: (path / MANIFEST).is_file(), overwrite=overwrite)
    collection = opened(collection, False, progress)
    if collection.labels is None:
        raise InputError(
            f"{collection.name} has no labels: the public programs measure themselves by labels, "
            "and can't be run without"
        )
    split, encoder = usual_split(collection, split), usual_encoder(collection, encoder)
    if database is None:
        database = "database" if "database" in collection.splits else "train"
    query, ranked = select_evaluation_items(collection, split, database)
    ranked = order_items(collection.split("all" if database == "rest" else database), ranked)
    items = {"train": collection.split("train"), "query": query, "database": ranked}
    if n_seen := len(np.intersect1d(items["train"], query)):
        raise InputError(
            f"{n_seen} of {len(query)} queries of split {split!r} are training items: name another "
            "split"
        )
    items["validation"] = choose_validation_items(collection, items["train"], query)
    features = extract_features(collection, encoder, cache=cache, progress=progress)
    chosen = np.unique(np.concatenate(list(items.values())))
    inputs = PublicInputs(
        features.image.pooled(chosen),
        features.text.pooled(collection.caption_starts[chosen]),
        collection.labels[chosen],
        **{name: np.searchsorted(chosen, own) for name, own in items.items()},
    )
    counts = {name: len(items[name]) for name in ("train", *PARTS)}
    with new_folder(folder) as part:
        written = write_public_inputs(program, layout, part, inputs)
        ordered = {"query": query, "database": ranked[written.database_order]}
        for name, own in ordered.items():
            write_array(part / f"{name}_labels.npy", collection.labels[own])
        about = {
            "program": program,
            "layout": layout,
            "collection": collection.name,
            "source": collection.source,
            "fingerprint": collection.fingerprint(),
            "encoder": encoder,
            "split": split,
            "database": database,
            "split_note": collection.split_note,
            "counts": counts,
            "command": written.command,
            "notes": list(written.notes),
        }
        rows = {name: describe_rows(collection, ordered[name], written, name) for name in PARTS}
        head = {"format": FORMAT, "modalhash": version("modalhash"), "artifact": KIND}
        write_json(part / MANIFEST, {**head, **about, "rows": rows})
    return ExportedInputs(folder, program, counts, written.command, written.notes)


def order_items(split: Positions, chosen: Positions) -> Positions:
    """Sort the chosen items in the order that they have in a split."""
    return split[np.isin(split, chosen)]


def choose_validation_items(
    collection: Collection, train: Positions, query: Positions
) -> Positions:
    """Choose items for a program that stops early: the split `dev`, or every tenth training item.

    Queries are never among them.
    """
    validation = collection.splits.get("dev", np.zeros(0, np.int64))
    validation = validation[~np.isin(validation, query)]
    return validation if len(validation) else train[::VALIDATION_SHARE]


def describe_rows(
    collection: Collection, items: Positions, written: WrittenInputs, part: str
) -> dict[str, Any]:
    """Describe the rows of a part in the manifest."""
    rows: GivenRows = getattr(written, part)
    texts = collection.caption_starts[items]
    return {
        **asdict(rows),
        "image_ids": [collection.item_ids[item] for item in items],
        "text_ids": [collection.caption_ids[text] for text in texts],
    }


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
        labels = np.asarray(np.load(path, allow_pickle=False))
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
    manifest = [
        read_json(path / CODES_MANIFEST, kind="imported codes", newest_format=CODES_FORMAT)
        for path in (query, database)
    ]
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
