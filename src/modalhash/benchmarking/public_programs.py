"""Export a collection's features and division as the input files of a public program.

A user exports, runs a checkout of the program by the exported `run.py`, and imports the codes
(`public_codes.py`); both are then measured on the same items by one evaluator. The formats are in
`modalhash.bridges.public_inputs`; this file knows collections and features.
"""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from modalhash.api.learning import extract_features
from modalhash.api.measuring import default_database, select_evaluation_items
from modalhash.api.opening import open_collection
from modalhash.benchmarking.tasks import usual_encoder, usual_split
from modalhash.bridges import run_checkout
from modalhash.bridges.folders import check_output
from modalhash.bridges.public_inputs import (
    GivenRows,
    PublicInputs,
    WrittenInputs,
    write_public_inputs,
)
from modalhash.data import Collection
from modalhash.data.collection import Positions
from modalhash.errors import InputError
from modalhash.files import write_array, write_json
from modalhash.index.new_folders import new_folder
from modalhash.progress import Progress, automatic

__all__ = ["FORMAT", "KIND", "MANIFEST", "PARTS", "ExportedInputs", "export_inputs"]

MANIFEST, FORMAT, KIND = "inputs.json", 1, "public inputs"
PARTS: Final = ("query", "database")
VALIDATION_SHARE: Final = 10
"""One in so many training items stands in for a validation split that isn't there."""


@dataclass(frozen=True)
class ExportedInputs:
    """A folder of input files.

    Attributes:
        folder: where they are.
        program: that reads them.
        counts: items of each part.
        address: where a checkout of the program comes from.
        command: what `run.py` in the folder starts in a checkout, with N for the number of bits.
        notes: what the program does differently with these sizes.
    """

    folder: Path
    program: str
    address: str
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
    progress: Progress = automatic,
) -> ExportedInputs:
    """Write the input files of a public program, and `run.py`, which runs a checkout of it on them.

    Queries and database are those that `evaluate` and the bench measure by labels, training items
    are the split `train`, and each item has its first text. Rows keep the order of the splits.

    Args:
        program: "cirh", "ucch", "ucmfh" or "dgcpn".
        collection: or what `load_collection` takes; it must have labels.
        output: the new folder.
        layout: one of the program's layouts (`modalhash.bridges.public_inputs.LAYOUTS`); None is
            the usual one.
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
    collection = open_collection(collection, False, progress)
    if collection.labels is None:
        raise InputError(
            f"{collection.name} has no labels: the public programs measure themselves by labels, "
            "and can't be run without"
        )
    split, encoder = usual_split(collection, split), usual_encoder(collection, encoder)
    database = database or default_database(collection)
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
            "n_trained": written.n_trained,
            "image_width": written.image_width,
            "command": written.command,
            "notes": list(written.notes),
        }
        rows = {name: describe_rows(collection, ordered[name], written, name) for name in PARTS}
        head = {"format": FORMAT, "modalhash": version("modalhash"), "artifact": KIND}
        write_json(part / MANIFEST, {**head, **about, "rows": rows})
        shutil.copyfile(run_checkout.__file__, part / run_checkout.SCRIPT)
    address = run_checkout.PROGRAMS[program].address
    return ExportedInputs(folder, program, address, counts, written.command, written.notes)


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
