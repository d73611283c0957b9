"""The verbs: the same on the command line and in Python (`import modalhash as mh`).

Each takes and returns plain objects of the rooms below; the CLI only parses, calls one of these and
prints.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modalhash.artifacts import (
    CaptionUse,
    CollectionCodes,
    HashModel,
    ModelRecord,
    RunFolder,
    SearchIndex,
    Side,
    SideContent,
    load_model,
    open_search_index,
    save_model,
)
from modalhash.artifacts.search_index import PICTURES, check_target
from modalhash.codes import Codes
from modalhash.data import Collection, load_collection, read_split_file, write_splits
from modalhash.data.collection import Positions
from modalhash.encoders import Encoder, Features, load_encoder
from modalhash.encoders import extract_features as extract_with
from modalhash.encoders.devices import torch_device
from modalhash.encoders.precomputed import PrecomputedImageTower, PrecomputedTextTower
from modalhash.errors import FeatureError, InputError
from modalhash.files import write_array, write_json
from modalhash.methods import method_class
from modalhash.methods.base import Needs
from modalhash.methods.settings import configured_method
from modalhash.metrics import (
    Direction,
    DirectionReport,
    MeasureChoices,
    MeasureSettings,
    Report,
    evaluate_direction,
    match_items,
)
from modalhash.metrics.options import read_choice
from modalhash.progress import Progress, silent
from modalhash.scoring import CODES_FORMAT, CODES_MANIFEST, score
from modalhash.training import TrainingData, TrainingPlan, TrainingResult, train_method

__all__ = [
    "CodeFolder",
    "build_index",
    "encode",
    "evaluate",
    "extract_features",
    "load_collection",
    "load_model",
    "open_index",
    "score",
    "train",
]

logger = logging.getLogger(__name__)
CROSS_MODAL = (Direction.IMAGE_TO_TEXT, Direction.TEXT_TO_IMAGE)


def extract_features(
    collection: Collection | str | Path,
    encoder: str | Encoder = "offline",
    *,
    split: str = "train",
    with_tokens: bool = False,
    cache: Path | str | None = None,
    batch_size: int | None = None,
    skip_bad: bool = False,
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
        skip_bad: leave out items with defects; the log says how many.
        device: "auto", "cpu", "cuda", ...
        progress: told of every batch.

    Returns:
        Tables that read features by rows; finished parts of an interrupted run are reused.

    Raises:
        CollectionError: if a picture can't be read, naming it.
        FeatureError: if a feature isn't finite, naming the item.
    """
    collection = opened(collection, skip_bad, progress)
    if isinstance(encoder, str):
        encoder = fitted_encoder(collection, encoder, split=split, device=device)
    return extract_with(
        collection,
        encoder,
        cache_folder=cache_folder(cache),
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
    skip_bad: bool = False,
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
        overwrite: start anew where `output` holds a run; it is kept until features are ready.
        skip_bad: leave out items with defects; the log says how many.
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
    folder = None if output is None else Path(output)
    plan = TrainingPlan(the_method, training, n_bits, seed, torch_device(device), folder)
    collection = opened(collection, skip_bad, progress)
    items = collection.split(split)
    if len(items) < 2:
        raise InputError(
            f"split {split!r} of {collection.name} has {len(items)} items: at least 2 are needed"
        )
    if Needs.LABELS in the_method.needs and collection.labels is None:
        raise FeatureError(
            f"{the_method.title} learns from labels, but {collection.name} has none: "
            "add labels.tsv, or choose an unsupervised method"
        )
    loaded = fitted_encoder(collection, encoder, split=split, device=device)
    document: dict[str, Any] = {
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
    run = None if folder is None else RunFolder(folder, document)
    if run is not None:
        run.check(resume=resume, overwrite=overwrite)
        if resume and run.is_finished:
            logger.info("%s holds this run, finished: nothing to do", folder)
            return load_model(run.folder, device=device)
    with_tokens = Needs.TOKENS in the_method.needs
    features = extract_features(
        collection, loaded, with_tokens=with_tokens, cache=cache, progress=progress
    )
    if run is not None:
        run.begin(resume=resume)
        write_splits(collection, run.splits)
    data = TrainingData(
        features.image,
        features.text,
        collection.caption_starts,
        items,
        collection.labels if Needs.LABELS in the_method.needs else None,
        with_tokens,
    )
    result = train_method(plan, data, resume=resume, progress=progress)
    record = ModelRecord(
        title=the_method.title,
        feature_dtype={"image": features.image.dtype, "text": features.text.dtype},
        towers=result.hasher.spec(),
        results=results_of(result),
        **document,
    )
    model = HashModel(result.hasher, record, device=device)
    return model if folder is None else save_model(model, folder)


def results_of(result: TrainingResult) -> dict[str, Any]:
    """Return what a model's record says of its training: the best epoch and the last losses."""
    best = {} if result.best_epoch is None else {"best_epoch": result.best_epoch + 1}
    last = result.log[-1] if result.log else {}
    return best | {name: last[name] for name in last if name not in ("epoch", "seconds")}


def evaluate(
    model: HashModel | Path | str,
    collection: Collection | str | Path | None = None,
    *,
    split: str = "test",
    database: str | None = None,
    captions: CaptionUse = "first",
    directions: Sequence[str] = CROSS_MODAL,
    skip_bad: bool = False,
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
            `split`. Items of `split` are left out of it. By default the split "database" if there
            is one, else "train".
        captions: each item's first text, or all of them.
        directions: of `modalhash.metrics.Direction`; within one modality there are no pairs, so
            those are measured by labels only.
        skip_bad: leave out items with defects; the log says how many.
        cache: where features are kept.
        device: "auto", "cpu", "cuda", ...
        progress: told of every batch.
        **choices: of `modalhash.metrics.MeasureSettings` (`top_k`, `conventions`, `ties`, ...).

    Returns:
        All measures of the directions. Without labels there are pair measures only, and a note.

    Raises:
        UnknownNameError: if there is no such split, or a choice isn't known.
        InputError: if there are no queries or the database is empty, relevance by labels is asked
            for and there are none, or the collection isn't known any more.
        FeatureError: if the collection doesn't have what the model reads.
    """
    settings = MeasureSettings.read(choices)
    rules = settings.relevances
    label_rules = None if rules is None else [rule for rule in rules if rule != "pair"]
    wanted = [read_choice("direction", Direction, one) for one in dict.fromkeys(directions)]
    run, model = model, opened_model(model, device)
    collection = opened_for(run, model, collection, skip_bad, progress)
    if database is None:
        database = "database" if "database" in collection.splits else "train"
    ranked = np.zeros(0, np.int64)
    notes = []
    if label_rules == [] or (label_rules is None and collection.labels is None):
        queries = query_items(collection, split)
        if label_rules is None:
            notes.append("the collection has no labels: measures by pair only")
    elif collection.labels is None:
        raise InputError(
            f"relevance by {' and '.join(label_rules or ())} needs labels, but {collection.name} "
            "has none"
        )
    else:
        queries, ranked = evaluation_items(collection, split, database)
    codes = CollectionCodes(
        model,
        collection,
        captions=captions,
        cache_folder=cache_folder(cache),
        progress=progress,
    )
    measured: list[DirectionReport] = []
    if len(ranked):
        by_labels: MeasureChoices = {**choices, "relevances": label_rules}
        measured += measured_by_labels(codes, queries, ranked, wanted, by_labels)
    if rules is None or "pair" in rules:
        by_pair: MeasureChoices = {**choices, "relevances": ("pair",)}
        measured += measured_by_pair(codes, queries, wanted, by_pair)
    if not measured:
        raise InputError(
            f"nothing can be measured of {', '.join(wanted)} without labels: pairs are of two "
            "modalities"
        )
    if n_seen := n_training_items(model, collection, queries):
        notes.append(
            f"the model was trained on {n_seen} of the {len(queries)} queries: their numbers say "
            "little about new pairs"
        )
    return Report(
        n_bits=model.n_bits,
        split=split,
        database=database if len(ranked) else None,
        counts={
            "queries": len(queries),
            "database": len(ranked),
            "query_texts": len(codes.texts_of(queries)),
            "database_texts": len(codes.texts_of(ranked)),
        },
        directions=tuple(measured),
        about={
            "method": model.record.method,
            "title": model.record.title,
            "preset": model.record.preset,
            "seed": model.record.seed,
            "encoder": model.record.encoder["name"],
            "collection": collection.name,
            "collection_fingerprint": collection.fingerprint(),
            "captions": captions,
            "model_fingerprint": model.fingerprint,
            "intervals": settings.intervals(),
        },
        notes=tuple(notes),
    )


def query_items(collection: Collection, split: str) -> Positions:
    """Return the items that ask.

    Raises:
        InputError: if there are none.
        UnknownNameError: if there is no such split.
    """
    queries = collection.split(split)
    if not len(queries):
        raise InputError(f"split {split!r} of {collection.name} has no items to ask for")
    return queries


def evaluation_items(
    collection: Collection, split: str, database: str
) -> tuple[Positions, Positions]:
    """Return the items that ask and the items that are ranked for them by labels.

    Args:
        collection: whose.
        split: the queries.
        database: what is ranked, a split or "rest"; never a query.

    Raises:
        InputError: if there are none of either.
        UnknownNameError: if there is no such split.
    """
    queries = query_items(collection, split)
    ranked = np.setdiff1d(collection.split("all" if database == "rest" else database), queries)
    if not len(ranked):
        raise InputError(
            f"nothing is left to rank: split {split!r} holds all items of database "
            f"{database!r}; name another database"
        )
    return queries, ranked


def coded_rows(codes: CollectionCodes, modality: str, items: Positions) -> tuple[Codes, Positions]:
    """Return the codes of one modality of some items, and the item behind each."""
    if modality == "image":
        return codes.image(items), items
    texts = codes.texts_of(items)
    return codes.text(texts), codes.collection.caption_items[texts]


def measured_by_labels(
    codes: CollectionCodes,
    queries: Positions,
    ranked: Positions,
    directions: Iterable[Direction],
    choices: MeasureChoices,
) -> Iterator[DirectionReport]:
    """Yield directions measured by labels: queries against the database."""
    labels = codes.collection.labels
    assert labels is not None
    for direction in directions:
        asked, _, answers = direction.partition("_to_")
        query_codes, query_owners = coded_rows(codes, asked, queries)
        ranked_codes, ranked_owners = coded_rows(codes, answers, ranked)
        yield evaluate_direction(
            query_codes,
            ranked_codes,
            codes.model.n_bits,
            direction=direction,
            query_labels=labels[query_owners],
            database_labels=labels[ranked_owners],
            **choices,
        )


def measured_by_pair(
    codes: CollectionCodes,
    queries: Positions,
    directions: Iterable[Direction],
    choices: MeasureChoices,
) -> Iterator[DirectionReport]:
    """Yield the directions between modalities measured by pair: the split against itself."""
    for direction in directions:
        if direction not in CROSS_MODAL:
            continue
        asked, _, answers = direction.partition("_to_")
        query_codes, query_owners = coded_rows(codes, asked, queries)
        ranked_codes, ranked_owners = coded_rows(codes, answers, queries)
        yield evaluate_direction(
            query_codes,
            ranked_codes,
            codes.model.n_bits,
            direction=direction,
            query_targets=match_items(query_owners, ranked_owners),
            **choices,
        )


def n_training_items(model: HashModel, collection: Collection, items: Positions) -> int:
    """Return how many of some items the model was trained on, as far as that is known."""
    trained_on = model.record.trained_on
    learned_from = np.zeros(0, np.int64)
    if trained_on["fingerprint"] == collection.fingerprint():
        split = trained_on["split"]
        if split == "all" or split in collection.splits:
            learned_from = collection.split(split)
    return len(np.intersect1d(items, learned_from))


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
    skip_bad: bool = False,
    cache: Path | str | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> CodeFolder:
    """Write the packed codes of a collection's pictures and texts.

    Args:
        model: or its run folder.
        collection: or what `load_collection` takes.
        output: the folder; files of these names in it are replaced. `codes.json` is removed first
            and written last, so that it never describes other arrays.
        split: which items.
        skip_bad: leave out items with defects; the log says how many.
        cache: where features are kept.
        device: "auto", "cpu", "cuda", ...
        progress: told of every batch.

    Raises:
        UnknownNameError: if there is no such split.
        FeatureError: if the collection doesn't have what the model reads.
        StorageError: if the file system refuses.
    """
    model = opened_model(model, device)
    collection = opened(collection, skip_bad, progress)
    items = collection.split(split)
    codes = CollectionCodes(model, collection, cache_folder=cache_folder(cache), progress=progress)
    texts, folder = codes.texts_of(items), Path(output)
    arrays: dict[str, NDArray[Any]] = {
        "image_codes": codes.image(items),
        "text_codes": codes.text(texts),
    }
    if collection.labels is not None:
        arrays["labels"] = collection.labels[items]
    for name in (CODES_MANIFEST, "labels.npy"):
        (folder / name).unlink(missing_ok=True)
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
    skip_bad: bool = False,
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
        skip_bad: leave out items with defects; the log says how many.
        cache: where features are kept.
        device: "auto", "cpu", "cuda", ...
        progress: told of every batch.

    Raises:
        InputError: if `output` exists and isn't a search index, or `overwrite` is False, or the
            split is empty.
        UnknownNameError: if there is no such split or kind.
        FeatureError: if the collection doesn't have what the model reads.
        StorageError: if the file system refuses; what was there is kept.
    """
    check_target(Path(output), kind=kind, overwrite=overwrite)
    run, model = model, opened_model(model, device)
    collection = opened_for(run, model, collection, skip_bad, progress)
    items = collection.split(split)
    if not len(items):
        raise InputError(f"split {split!r} of {collection.name} has no items to index")
    codes = CollectionCodes(model, collection, cache_folder=cache_folder(cache), progress=progress)
    texts = codes.texts_of(items)
    files, drawn = picture_files(collection, items)
    captions, starts = collection.captions, collection.caption_starts
    owner = collection.caption_items

    def entry(item: int, row: int) -> dict[str, Any]:
        return {
            **{name: values[item] for name, values in collection.metadata.items()},
            "caption": None if captions is None else captions[row],
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
                entry(int(owner[row]), int(row)) | {"item": collection.item_ids[owner[row]]}
                for row in texts
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


def picture_files(
    collection: Collection, items: Positions
) -> tuple[dict[int, str | None], Iterator[tuple[str, Image.Image]]]:
    """Return where the pictures of some items lie, and those that must be written there.

    Returns:
        Item to file: an absolute path, a path inside the index folder for a picture without a file
        of its own, or None without pictures; and name and picture of each of the second sort, to
        be opened one by one.
    """
    pictures = collection.pictures
    if pictures is None:
        return dict.fromkeys(items.tolist()), iter(())
    paths = {item: pictures.path(item) for item in items.tolist()}
    names = {item: f"{item:07d}.png" for item, path in paths.items() if path is None}
    files = {
        item: f"{PICTURES}/{names[item]}" if path is None else str(path.resolve())
        for item, path in paths.items()
    }
    return dict(files), ((name, pictures.open(item)) for item, name in names.items())


def open_index(folder: Path | str, *, device: str = "auto") -> SearchIndex:
    """Open an index folder that `build_index` made; see `SearchIndex`."""
    return open_search_index(folder, device=device)


def opened(collection: Collection | str | Path, skip_bad: bool, progress: Progress) -> Collection:
    """Return a collection from itself or its name."""
    if isinstance(collection, Collection):
        return collection
    return load_collection(collection, skip_bad=skip_bad, progress=progress)


def opened_model(model: HashModel | Path | str, device: str) -> HashModel:
    """Return a model from itself or its folder."""
    return model if isinstance(model, HashModel) else load_model(model, device=device)


def cache_folder(cache: Path | str | None) -> Path | None:
    """Return where features are kept; None is the user's cache folder."""
    return None if cache is None else Path(cache)


def opened_for(
    run: HashModel | Path | str,
    model: HashModel,
    collection: Collection | str | Path | None,
    skip_bad: bool,
    progress: Progress,
) -> Collection:
    """Return the collection that is named, or else the one a model was trained on, divided as then.

    Args:
        run: the model or its folder, as it was given.
        model: what that is.
        collection: what was named, if anything was.
        skip_bad: leave out items with defects.
        progress: is told of the check that this makes.

    Raises:
        InputError: if the model doesn't know it, or it is divided otherwise now and the run folder,
            which holds the splits, isn't given.
    """
    if collection is not None:
        return opened(collection, skip_bad, progress)
    found = opened(source_of(model), skip_bad, progress)
    trained_on = model.record.trained_on
    if trained_on["fingerprint"] != found.fingerprint():
        logger.warning("%s has changed since the model was trained on it", found.name)
        return found
    if not isinstance(run, HashModel) and RunFolder(Path(run), {}).splits.is_dir():
        divided = read_split_file(found, RunFolder(Path(run), {}).splits)
        return replace(divided, split_note=str(trained_on["split_note"]))
    split = str(trained_on["split"])
    items = found.splits.get(split) if split != "all" else found.split(split)
    if items is None or hashlib.sha256(items.tobytes()).hexdigest() != trained_on["items_sha256"]:
        raise InputError(
            f"{found.name} was divided otherwise when the model was trained "
            f"({trained_on['split_note']}): give the run folder, which holds the splits, or the "
            "collection divided as it was"
        )
    return found


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
    """Return an encoder as a collection needs it.

    Its text tower is fitted on the texts of a split if it must be; towers of `precomputed` know
    the width of the collection's arrays.
    """
    encoder = load_encoder(name, device=device)
    image, text, brought = encoder.image, encoder.text, collection.features
    if isinstance(image, PrecomputedImageTower) and "image" in brought:
        image = PrecomputedImageTower(brought["image"].shape[1])
    if isinstance(text, PrecomputedTextTower) and "text" in brought:
        text = PrecomputedTextTower(brought["text"].shape[1])
    if collection.captions is not None:
        is_wanted = np.isin(collection.caption_items, collection.split(split))
        text = text.fit([collection.captions[row] for row in np.flatnonzero(is_wanted)])
    return Encoder(encoder.name, image, text)
