"""The verbs: the same on the command line and in Python (`import modalhash as mh`).

Each takes and returns plain objects of the rooms below; the CLI only parses, calls one of these and
prints.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
from numpy.typing import NDArray

from modalhash.artifacts import (
    HashModel,
    ModelRecord,
    SearchIndex,
    Side,
    SideContent,
    load_model,
    open_search_index,
    save_model,
)
from modalhash.codes import Codes
from modalhash.data import Collection, Modality, load_collection, write_splits
from modalhash.encoders import Encoder, Features, FeatureTable, load_encoder
from modalhash.encoders import extract_features as extract_with
from modalhash.encoders.devices import torch_device
from modalhash.errors import FeatureError, InputError, SettingError
from modalhash.files import read_json, write_array, write_json
from modalhash.methods import method_class
from modalhash.methods.base import Needs
from modalhash.methods.settings import configured_method
from modalhash.metrics import DirectionReport, MeasureChoices, Report, evaluate_direction
from modalhash.progress import Progress, silent
from modalhash.training import TrainingData, TrainingPlan, train_method

__all__ = [
    "CodeFolder",
    "build_index",
    "encode",
    "evaluate",
    "extract_features",
    "load_collection",
    "load_model",
    "open_index",
    "train",
]

logger = logging.getLogger(__name__)
PLAN, PLAN_FORMAT = "plan.json", 1
CODES_MANIFEST, CODES_FORMAT = "codes.json", 1
ENCODE_ROWS = 8192
Rows = NDArray[np.int64]
Captions = Literal["first", "all"]


def extract_features(
    collection: Collection | str | Path,
    encoder: str | Encoder = "offline",
    *,
    split: str = "train",
    with_tokens: bool = False,
    cache: Path | str | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> Features:
    """Make the features of a collection, or open those made before.

    Args:
        collection: or what `load_collection` takes.
        encoder: a name (`modalhash.encoders.ENCODERS`), or an encoder that is loaded.
        split: whose texts an encoder that must be fitted (bag of words) is fitted on.
        with_tokens: also keep content tokens, which some methods need.
        cache: where features are kept; by default the user's cache folder.
        batch_size: items at once; by default what fits.
        device: "auto", "cpu", "cuda", ...
        progress: told of every batch.

    Returns:
        Tables that read features by rows; finished parts of an interrupted run are reused.

    Raises:
        CollectionError: if a picture can't be read, naming it.
        FeatureError: if a feature isn't finite, naming the item.
    """
    collection = opened(collection)
    if isinstance(encoder, str):
        encoder = fitted_encoder(collection, encoder, split=split, device=device)
    return extract_with(
        collection,
        encoder,
        cache_folder=None if cache is None else Path(cache),
        with_tokens=with_tokens,
        batch_size=batch_size,
        progress=progress,
    )


def train(
    collection: Collection | str | Path,
    *,
    output: Path | str | None = None,
    method: str = "cfrh",
    n_bits: int = 64,
    encoder: str = "offline",
    split: str = "train",
    seed: int = 0,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    cache: Path | str | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> HashModel:
    """Learn hash functions from the pairs of a collection.

    Args:
        collection: or what `load_collection` takes.
        output: the run folder: model, card, log, checkpoints, splits. None keeps nothing on disk.
        method: a name in `modalhash.methods.METHODS`.
        n_bits: bits of a code, 16 to 256 as a rule.
        encoder: a name in `modalhash.encoders.ENCODERS`.
        split: which items to learn from.
        seed: decides everything random.
        preset: named settings of the method.
        settings: changes to method and training settings, by name.
        resume: go on with an interrupted run in `output`; a finished one is returned as it is.
        overwrite: start anew where `output` holds a run.
        cache: where features are kept.
        device: "auto", "cpu", "cuda", ...
        progress: told of every step.

    Returns:
        The model, loaded.

    Raises:
        InputError: if `output` holds a run and neither `resume` nor `overwrite` says what to do, or
            holds one of other settings, or the split is too small.
        FeatureError: if the method needs labels or tokens that the collection doesn't have.
        UnknownNameError, SettingError: if a name or a value is wrong.
        TrainingError: if the loss isn't finite; finished epochs are kept.
    """
    the_method, training = configured_method(method_class(method), preset=preset, changes=settings)
    collection = opened(collection)
    items = collection.split(split)
    if Needs.LABELS in the_method.needs and collection.labels is None:
        raise FeatureError(
            f"{the_method.title} learns from labels, but {collection.name} has none: "
            "add labels.tsv, or choose an unsupervised method"
        )
    if n_bits < 1:
        raise SettingError(f"n_bits is {n_bits}, expected a positive number: 16 to 256 are usual")
    loaded = fitted_encoder(collection, encoder, split=split, device=device)
    document: dict[str, Any] = {
        "format": PLAN_FORMAT,
        "modalhash": version("modalhash"),
        "method": method,
        "preset": preset or "",
        "settings": asdict(the_method.settings),
        "training": asdict(training),
        "n_bits": n_bits,
        "seed": seed,
        "encoder": {
            "name": encoder,
            "identity": dict(loaded.identity()),
            "image_state": dict(loaded.image.state()),
            "text_state": dict(loaded.text.state()),
        },
        "trained_on": {
            "collection": collection.name,
            "source": collection.source,
            "fingerprint": collection.fingerprint(),
            "split": split,
            "n_items": len(items),
            "items_sha256": hashlib.sha256(items.tobytes()).hexdigest(),
            "split_note": collection.split_note,
        },
    }
    folder = None if output is None else Path(output)
    if folder is not None and enter_run(folder, document, resume=resume, overwrite=overwrite):
        logger.info("%s holds this run, finished: nothing to do", folder)
        return load_model(folder, device=device)
    with_tokens = Needs.TOKENS in the_method.needs
    features = extract_features(
        collection, loaded, with_tokens=with_tokens, cache=cache, progress=progress
    )
    if folder is not None:
        write_json(folder / PLAN, document)
        write_splits(collection, folder / "splits")
    plan = TrainingPlan(the_method, training, n_bits, seed, torch_device(device), folder)
    data = TrainingData(
        features.image,
        features.text,
        collection.caption_starts,
        items,
        collection.labels if Needs.LABELS in the_method.needs else None,
        with_tokens,
    )
    result = train_method(plan, data, resume=resume, progress=progress)
    last = result.log[-1] if result.log else {}
    record = ModelRecord(
        method=method,
        title=the_method.title,
        n_bits=n_bits,
        settings=document["settings"],
        training=document["training"],
        seed=seed,
        encoder=document["encoder"],
        feature_dtype={"image": features.image.dtype, "text": features.text.dtype},
        trained_on=document["trained_on"],
        towers=result.hasher.spec(),
        preset=preset or "",
        results={
            **({} if result.best_epoch is None else {"best_epoch": result.best_epoch + 1}),
            **{name: value for name, value in last.items() if name not in ("epoch", "seconds")},
        },
    )
    model = HashModel(result.hasher, record, device=device)
    return model if folder is None else save_model(model, folder)


def evaluate(
    model: HashModel | Path | str,
    collection: Collection | str | Path | None = None,
    *,
    split: str = "test",
    database: str = "train",
    captions: Captions = "first",
    cache: Path | str | None = None,
    device: str = "auto",
    progress: Progress = silent,
    **choices: Unpack[MeasureChoices],
) -> Report:
    """Measure a model as the literature does.

    Relevance by labels ranks the items of `database` for the queries of `split`. Relevance by pair
    ranks the items of `split` itself, where each query's partner is.

    Args:
        model: or its run folder.
        collection: or what `load_collection` takes; by default what the model was trained on.
        split: the queries.
        database: the split that is ranked for relevance by labels; "rest" is every item outside
            `split`. Items of `split` are left out of it.
        captions: each item's first text, or all of them.
        cache: where features are kept.
        device: "auto", "cpu", "cuda", ...
        progress: told of every batch.
        **choices: of `modalhash.metrics.MeasureSettings` (`top_k`, `conventions`, `ties`, ...).

    Returns:
        All measures of both directions. Without labels there are pair measures only, and a note.

    Raises:
        UnknownNameError: if there is no such split.
        InputError: if the database is empty, or the collection isn't known any more.
        FeatureError: if the collection's features are of another width.
    """
    model = model if isinstance(model, HashModel) else load_model(model, device=device)
    collection = opened(collection if collection is not None else source_of(model))
    queries = collection.split(split)
    ranked = collection.split("all" if database == "rest" else database)
    ranked = np.setdiff1d(ranked, queries)
    codes = CollectionCodes(model, collection, captions, cache, progress)
    directions: list[DirectionReport] = []
    notes = []
    if collection.labels is None:
        notes.append("the collection has no labels: measures by pair only")
    elif not len(ranked):
        raise InputError(
            f"nothing is left to rank: split {split!r} holds all items of database {database!r}"
        )
    else:
        directions += codes.by_labels(queries, ranked, choices)
    directions += codes.by_pair(queries, choices)
    trained_on = model.record.trained_on
    if trained_on["fingerprint"] == collection.fingerprint() and trained_on["split"] == split:
        notes.append(f"the queries are of {split!r}, which the model was trained on")
    return Report(
        n_bits=model.n_bits,
        split=split,
        database=database,
        counts={
            "queries": len(queries),
            "database": len(ranked) if collection.labels is not None else 0,
            "query_texts": len(codes.texts_of(queries)),
            "database_texts": len(codes.texts_of(ranked)),
        },
        directions=tuple(directions),
        about={
            "method": model.record.method,
            "preset": model.record.preset,
            "seed": model.record.seed,
            "encoder": model.record.encoder["name"],
            "collection": collection.name,
            "captions": captions,
            "model_fingerprint": model.fingerprint,
        },
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class CodeFolder:
    """What `encode` wrote: `image_codes.npy`, `text_codes.npy`, `labels.npy` and `codes.json`.

    Attributes:
        folder: where.
        n_bits: bits of a code.
        n_images: rows of the image codes.
        n_texts: rows of the text codes.
    """

    folder: Path
    n_bits: int
    n_images: int
    n_texts: int


def encode(
    model: HashModel | Path | str,
    collection: Collection | str | Path,
    output: Path | str,
    *,
    split: str = "all",
    cache: Path | str | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> CodeFolder:
    """Write the packed codes of a collection's pictures and texts.

    Args:
        model: or its run folder.
        collection: or what `load_collection` takes.
        output: the folder; files of these names in it are replaced, `codes.json` last.
        split: which items.
        cache: where features are kept.
        device: "auto", "cpu", "cuda", ...
        progress: told of every batch.

    Raises:
        StorageError: if the file system refuses.
    """
    model = model if isinstance(model, HashModel) else load_model(model, device=device)
    collection = opened(collection)
    items = collection.split(split)
    codes = CollectionCodes(model, collection, "all", cache, progress)
    texts, folder = codes.texts_of(items), Path(output)
    arrays: dict[str, NDArray[Any]] = {
        "image_codes": codes.image(items),
        "text_codes": codes.text(texts),
    }
    if collection.labels is not None:
        arrays["labels"] = collection.labels[items]
    for name, array in arrays.items():
        write_array(folder / f"{name}.npy", array)
    new_place = {int(item): place for place, item in enumerate(items)}
    write_json(
        folder / CODES_MANIFEST,
        {
            "format": CODES_FORMAT,
            "modalhash": version("modalhash"),
            "n_bits": model.n_bits,
            "bit_order": "little",
            "model_fingerprint": model.fingerprint,
            "collection": collection.name,
            "split": split,
            "image_ids": [collection.item_ids[item] for item in items],
            "text_ids": [collection.caption_ids[row] for row in texts],
            "text_images": [new_place[int(collection.caption_items[row])] for row in texts],
            "label_names": list(collection.label_names),
        },
    )
    return CodeFolder(folder, model.n_bits, len(items), len(texts))


def build_index(
    model: HashModel | Path | str,
    collection: Collection | str | Path | None = None,
    *,
    output: Path | str,
    split: str = "all",
    kind: str = "flat",
    overwrite: bool = False,
    cache: Path | str | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> SearchIndex:
    """Encode a collection and make it searchable by texts and pictures.

    Args:
        model: or its run folder.
        collection: or what `load_collection` takes; by default what the model was trained on.
        output: the index folder; it holds all that queries need, the model included.
        split: which items.
        kind: a name in `modalhash.index.KINDS`.
        overwrite: take the place of an index that is there.
        cache: where features are kept.
        device: "auto", "cpu", "cuda", ...
        progress: told of every batch.

    Raises:
        InputError: if `output` exists and `overwrite` is False.
        StorageError: if the file system refuses; what was there is kept.
    """
    model = model if isinstance(model, HashModel) else load_model(model, device=device)
    collection = opened(collection if collection is not None else source_of(model))
    items = collection.split(split)
    codes = CollectionCodes(model, collection, "all", cache, progress)
    texts = codes.texts_of(items)
    drawn = {}
    files: dict[int, str | None] = {}
    for item in map(int, items):
        path = None if collection.pictures is None else collection.pictures.path(item)
        if path is None and collection.pictures is not None:
            name = f"{item:07d}.png"
            drawn[name] = collection.pictures.open(item)
            files[item] = f"pictures/{name}"
        else:
            files[item] = None if path is None else str(path.resolve())
    starts, written = collection.caption_starts, collection.captions
    columns = collection.metadata

    def entry(item: int, row: int) -> dict[str, Any]:
        return {
            **{name: values[item] for name, values in columns.items()},
            "caption": written[row] if written is not None else None,
            "image": files[item],
        }

    sides = {
        Side.IMAGES: SideContent(
            [collection.item_ids[item] for item in items],
            codes.image(items),
            [entry(int(item), int(starts[item])) for item in items],
        ),
        Side.TEXTS: SideContent(
            [collection.caption_ids[row] for row in texts],
            codes.text(texts),
            [
                {**entry(item, int(row)), "item": collection.item_ids[item]}
                for row in texts
                for item in (int(collection.caption_items[row]),)
            ],
        ),
    }
    return SearchIndex.build(
        model,
        sides,
        Path(output),
        collection={"name": collection.name, "split": split, "source": collection.source},
        pictures=drawn,
        kind=kind,
        overwrite=overwrite,
    )


def open_index(folder: Path | str, *, device: str = "auto") -> SearchIndex:
    """Open an index folder that `build_index` made; see `SearchIndex`."""
    return open_search_index(folder, device=device)


class CollectionCodes:
    """Codes of a collection's rows, and the measures that need them.

    Args:
        model: makes the codes.
        collection: whose rows.
        captions: which texts of an item take part.
        cache: where features are kept.
        progress: told of extraction.
    """

    def __init__(
        self,
        model: HashModel,
        collection: Collection,
        captions: Captions,
        cache: Path | str | None,
        progress: Progress,
    ) -> None:
        if captions not in ("first", "all"):
            raise InputError(f"captions is {captions!r}, expected first or all")
        self.model, self.collection, self.captions = model, collection, captions
        self.features = extract_features(collection, model.encoder, cache=cache, progress=progress)

    def image(self, items: Rows) -> Codes:
        """Return the image codes of some items."""
        return self.codes(self.features.image, items, "image")

    def text(self, texts: Rows) -> Codes:
        """Return the text codes of some captions."""
        return self.codes(self.features.text, texts, "text")

    def codes(self, table: FeatureTable, rows: Rows, modality: Modality) -> Codes:
        """Return the codes of some rows of a table, (k, p) uint8, block by block."""
        blocks = [
            self.model.encode_features(table.pooled(part), modality) for part in blocks_of(rows)
        ]
        width = -(-self.model.n_bits // 8)
        return np.concatenate(blocks) if blocks else np.zeros((0, width), np.uint8)

    def texts_of(self, items: Rows) -> Rows:
        """Return the caption rows of some items that take part, item by item."""
        starts = self.collection.caption_starts
        if self.captions == "first":
            return starts[items]
        ranges = [np.arange(starts[item], starts[item + 1]) for item in items]
        return np.concatenate(ranges) if ranges else np.zeros(0, np.int64)

    def by_labels(
        self, queries: Rows, ranked: Rows, choices: MeasureChoices
    ) -> list[DirectionReport]:
        """Measure both directions by labels: queries against the database."""
        labels, owner = self.collection.labels, self.collection.caption_items
        assert labels is not None
        query_texts, ranked_texts = self.texts_of(queries), self.texts_of(ranked)
        return [
            evaluate_direction(
                self.image(queries),
                self.text(ranked_texts),
                self.model.n_bits,
                direction="image_to_text",
                query_labels=labels[queries],
                database_labels=labels[owner[ranked_texts]],
                **choices,
            ),
            evaluate_direction(
                self.text(query_texts),
                self.image(ranked),
                self.model.n_bits,
                direction="text_to_image",
                query_labels=labels[owner[query_texts]],
                database_labels=labels[ranked],
                **choices,
            ),
        ]

    def by_pair(self, queries: Rows, choices: MeasureChoices) -> list[DirectionReport]:
        """Measure both directions by pair: the split against itself."""
        texts = self.texts_of(queries)
        place = {int(item): row for row, item in enumerate(queries)}
        owner = np.array([place[int(item)] for item in self.collection.caption_items[texts]])
        counts = np.bincount(owner, minlength=len(queries))
        targets = np.full((len(queries), int(counts.max())), -1, np.int64)
        filled = np.arange(targets.shape[1]) < counts[:, None]
        targets[filled] = np.arange(len(texts))
        image_codes, text_codes = self.image(queries), self.text(texts)
        pair_choices: MeasureChoices = {**choices, "relevances": ("pair",)}
        return [
            evaluate_direction(
                image_codes,
                text_codes,
                self.model.n_bits,
                direction="image_to_text",
                query_targets=targets,
                **pair_choices,
            ),
            evaluate_direction(
                text_codes,
                image_codes,
                self.model.n_bits,
                direction="text_to_image",
                query_targets=owner,
                **pair_choices,
            ),
        ]


def blocks_of(rows: Rows) -> Iterator[Rows]:
    """Yield the rows in blocks."""
    for start in range(0, len(rows), ENCODE_ROWS):
        yield rows[start : start + ENCODE_ROWS]


def opened(collection: Collection | str | Path) -> Collection:
    """Return a collection from itself or its name."""
    return collection if isinstance(collection, Collection) else load_collection(collection)


def source_of(model: HashModel) -> str:
    """Return where the collection a model was trained on is found.

    Raises:
        InputError: if the model doesn't know.
    """
    source = str(model.record.trained_on["source"])
    if not source:
        raise InputError("the model doesn't say where its collection is: name the collection")
    return source


def fitted_encoder(collection: Collection, name: str, *, split: str, device: str) -> Encoder:
    """Return an encoder, its text tower fitted on the texts of a split if it must be fitted."""
    states = {
        f"{modality}_state": {"width": array.shape[1]}
        for modality, array in collection.features.items()
    }
    encoder = load_encoder(name, device=device, **states)
    if collection.captions is None:
        return encoder
    starts, captions = collection.caption_starts, collection.captions
    texts = [
        captions[row]
        for item in collection.split(split)
        for row in range(starts[item], starts[item + 1])
    ]
    return Encoder(encoder.name, encoder.image, encoder.text.fit(texts))


def enter_run(folder: Path, plan: Mapping[str, Any], *, resume: bool, overwrite: bool) -> bool:
    """Make a run folder ready; return whether it holds this very run, finished.

    Raises:
        InputError: if it holds another run, or one that `resume` or `overwrite` should speak for.
    """
    if overwrite:
        for name in ("model.json", PLAN):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)
        return False
    if not (folder / PLAN).exists():
        if folder.is_dir() and any(folder.iterdir()):
            raise InputError(f"{folder} isn't empty and holds no run: choose another folder")
        return False
    if not resume:
        raise InputError(
            f"{folder} holds a run: go on with --resume, start anew with --overwrite, "
            "or choose another folder"
        )
    stored = read_json(folder / PLAN, kind="run", newest_format=PLAN_FORMAT)
    differing = sorted(
        key
        for key in plan
        if key != "modalhash" and stored.get(key) != json.loads(json.dumps(plan[key]))
    )
    if differing:
        raise InputError(
            f"{folder} holds a run of other {' and '.join(differing)}: resume it with the command "
            "it was started with, or choose another folder"
        )
    return (folder / "model.json").exists()
