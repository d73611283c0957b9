"""The verbs that make features and models."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch

from modalhash.api.former_models import (
    describe_former,
    make_former_tables,
    open_former_model,
)
from modalhash.api.method_choice import (
    AUTO,
    choose_method,
    choose_preset,
    configure_method,
    find_training_items,
)
from modalhash.api.opening import fit_encoder, open_collection, require_texts
from modalhash.api.picture_training import PictureTraining
from modalhash.api.run_records import (
    describe_encoder,
    describe_items,
    describe_tuning,
    summarize_training,
)
from modalhash.artifacts import (
    HashModel,
    ModelRecord,
    RunFolder,
    load_model,
    save_model,
)
from modalhash.data import Collection, Modality, Positions, write_splits
from modalhash.encoders import Encoder, EncoderFactory, Features, encoder_name
from modalhash.encoders import extract_features as extract_with
from modalhash.encoders.devices import torch_device
from modalhash.encoders.frames import FrameTower
from modalhash.encoders.loading import has_shared_space
from modalhash.encoders.network_towers import NetworkImageTower, NetworkTextTower
from modalhash.encoders.tuning import tunable_towers
from modalhash.errors import FeatureError, InputError
from modalhash.methods import REGISTRY, method_class, method_name
from modalhash.methods.base import Method, Needs, TrainingSettings
from modalhash.methods.compatibility import check_compatible_method
from modalhash.numpy_numbers import takes_numpy_numbers
from modalhash.options import (
    FeatureChoices,
    FeatureOptions,
    TrainingChoices,
    TrainingOptions,
    change_options,
)
from modalhash.seeds import check_seed
from modalhash.training import TrainingData, TrainingPlan, train_method
from modalhash.training.former import FormerTables
from modalhash.training.live_features import LivePictures, LiveSide, LiveTexts

__all__ = ["extract_features", "train", "train_on_exchanged_texts"]

logger = logging.getLogger(__name__)
FEWEST_BITS = 8


@takes_numpy_numbers
def extract_features(
    collection: Collection | str | Path,
    encoder: str | type[EncoderFactory] | Encoder = "offline",
    *,
    split: str = "train",
    with_tokens: bool = False,
    batch_size: int | None = None,
    options: FeatureOptions | None = None,
    **choices: Unpack[FeatureChoices],
) -> Features:
    """Make the features of a collection, or open those made before.

    Args:
        collection: or what `load_collection` takes.
        encoder: as `train` takes it.
        split: whose texts an encoder that must be fitted (bag of words) is fitted on.
        with_tokens: also keep content tokens, which some methods need.
        batch_size: items at once; by default what fits.
        options: frames of videos, cache and device.
        **choices: fields of `modalhash.options.FeatureOptions`, which change `options`.

    Returns:
        Tables that read features by rows; finished parts of an interrupted run are reused.

    Raises:
        CollectionError: if a picture can't be read, naming it.
        FeatureError: if a feature isn't finite, naming the item.
    """
    options = change_options(FeatureOptions, options, choices)
    collection = open_collection(collection, options.skip_bad, options.progress)
    if not isinstance(encoder, Encoder):
        encoder = load_fitted_encoder(collection, encoder, split, options)
    return extract_with(
        collection,
        encoder,
        cache_folder=options.cache_folder,
        with_tokens=with_tokens,
        batch_size=batch_size,
        progress=options.progress,
    )


@takes_numpy_numbers
def train(
    collection: Collection | str | Path,
    *,
    output: Path | str | None = None,
    method: str | type[Method] | Method = AUTO,
    n_bits: int = 64,
    encoder: str | type[EncoderFactory] | Encoder = "offline",
    split: str = "train",
    seed: int = 0,
    preset: str | None = "auto",
    settings: Mapping[str, Any] | None = None,
    options: TrainingOptions | None = None,
    **choices: Unpack[TrainingChoices],
) -> HashModel:
    """Learn hash functions from the pairs of a collection.

    Args:
        collection: or what `load_collection` takes.
        output: the run folder: model, card, log, checkpoints, splits. None keeps nothing on disk.
        method: a name in `modalhash.methods.METHODS` or one that an installed package registers,
            `MODULE:CLASS`, a class, or a method object, whose settings `settings` changes; "auto"
            chooses `nested-labelled` where the items to learn from have labels, else `nested`, and
            logs its choice. Where there are no texts and the encoder has one space for both (clip,
            offline-shared), "auto" learns from the pictures alone.
        n_bits: bits of a code, 16 to 256 as a rule.
        encoder: a name in `modalhash.encoders.ENCODERS` or one that an installed package registers,
            `MODULE:CLASS`, a class, or an encoder that is loaded.
        split: which items to learn from.
        seed: decides everything random.
        preset: named settings of the method; "auto" takes what suits the features and logs it, None
            takes the defaults.
        settings: changes to method, training and hug settings, by name.
        options: resuming, overwriting, tuning the encoder, frames of videos, cache and device.
        **choices: fields of `modalhash.options.TrainingOptions`, which change `options`.

    Returns:
        The model, loaded.

    Raises:
        InputError: if `output` holds a run and neither `resume` nor `overwrite` is set, or it holds
            a run of other settings, or the split is too small; or if the model to be compatible
            with has another number of bits.
        FeatureError: if the method needs labels or tokens that the collection doesn't have.
        UnknownNameError, SettingError: if a name or a value is wrong.
        TrainingError: if the loss isn't finite; finished epochs are kept.
    """
    options = change_options(TrainingOptions, options, choices)
    check_seed(seed)
    tuning = {"tune_encoder": True} if options.tune_encoder else {}
    changes = dict(settings or {}) | tuning
    if method == AUTO:
        collection = open_collection(collection, options.skip_bad, options.progress)
        if not collection.has_texts and has_shared_space(name_of_encoder(encoder)):
            if options.compatible_with is not None:
                raise InputError(
                    "compatible_with is given, but codes of pictures alone can't learn against "
                    f"another model's, and {collection.name} has no texts: leave it out"
                )
            loaded = load_fitted_encoder(collection, encoder, split, options)
            folder = None if output is None else Path(output)
            return PictureTraining(collection, loaded, n_bits, split, seed, folder, options).run(
                changes
            )
        method = choose_method(collection, split, hug=options.hug, settings=changes)
    job = make_job(
        collection,
        output=output,
        method=method,
        n_bits=n_bits,
        encoder=encoder,
        split=split,
        seed=seed,
        preset=preset,
        changes=changes,
        options=options,
    )
    return job.run()


@takes_numpy_numbers
def train_on_exchanged_texts(
    collection: Collection,
    text_owners: Positions,
    *,
    method: str,
    n_bits: int,
    encoder: str,
    split: str,
    seed: int,
    preset: str | None,
    settings: Mapping[str, Any] | None = None,
    **choices: Unpack[TrainingChoices],
) -> HashModel:
    """Train as `train` does, but let items learn with the texts of others: for studies.

    Args:
        collection: stays as it is, and so do the features in the cache.
        text_owners: (n,) int64, for each item the one whose texts it learns with; each comes once.
        method: a name, not "auto".
        n_bits: as `train` takes it, and so what follows.
        encoder: a name.
        split: which items to learn from.
        seed: decides everything random.
        preset: named settings of the method.
        settings: changes to them.
        **choices: fields of `modalhash.options.TrainingOptions`.

    Raises:
        InputError: if the encoder is to be tuned, which reads the texts themselves.
    """
    job = make_job(
        collection,
        output=None,
        method=method,
        n_bits=n_bits,
        encoder=encoder,
        split=split,
        seed=seed,
        preset=preset,
        changes=settings or {},
        options=change_options(TrainingOptions, None, choices),
    )
    if job.settings.tune_encoder:
        raise InputError(
            "texts are exchanged among features, which a tuned encoder doesn't read: leave out "
            "tune_encoder"
        )
    return replace(job, text_owners=text_owners).run()


def make_job(
    collection: Collection | str | Path,
    *,
    output: Path | str | None,
    method: str | type[Method] | Method,
    n_bits: int,
    encoder: str | type[EncoderFactory] | Encoder,
    split: str,
    seed: int,
    preset: str | None,
    changes: Mapping[str, Any],
    options: TrainingOptions,
) -> "TrainingJob":
    """Check everything that `train` takes, and plan the training; the method is no longer "auto".

    Raises:
        As `train` does.
    """
    if isinstance(method, Method) and preset == "auto":
        preset = None
    named_preset = None if preset == "auto" else preset
    the_method, training = configure_method(method, options.hug, named_preset, changes)
    folder = None if output is None else Path(output)
    plan = TrainingPlan(the_method, training, n_bits, seed, torch_device(options.device), folder)
    warn_of_short_codes(n_bits)
    former = None
    if options.compatible_with is not None:
        check_compatible_method(the_method)
        former = open_former_model(options.compatible_with, n_bits, options.device)
    collection = open_collection(collection, options.skip_bad, options.progress)
    check_items(collection, split, the_method)
    loaded = load_fitted_encoder(collection, encoder, split, options)
    if preset == "auto":
        preset = choose_preset(
            method_class(method), collection, loaded, tunes=training.tune_encoder
        )
        the_method, training = configure_method(method, options.hug, preset, changes)
        plan = replace(plan, method=the_method, settings=training)
    document: dict[str, Any] = {
        "modalhash": version("modalhash"),
        "method": method_name(method),
        "preset": preset or "",
        "settings": the_method.record(),
        "training": asdict(training),
        "n_bits": n_bits,
        "seed": seed,
        "encoder": describe_encoder(loaded),
        "trained_on": describe_items(collection, split),
    }
    if former is not None:
        document["compatible_with"] = describe_former(former)
    is_given = isinstance(encoder, Encoder)
    return TrainingJob(plan, collection, split, loaded, document, options, is_given, former)


def name_of_encoder(encoder: str | type[EncoderFactory] | Encoder) -> str:
    """Name an encoder, loaded or not."""
    return encoder.name if isinstance(encoder, Encoder) else encoder_name(encoder)


def warn_of_short_codes(n_bits: int) -> None:
    """Warn of codes so short that they hardly tell items apart."""
    if 0 < n_bits < FEWEST_BITS:
        logger.warning(
            "codes of %d bits tell at most %d items apart: lengths from %d up are useful, 64 is a "
            "good start",
            n_bits,
            2**n_bits,
            FEWEST_BITS,
        )


def check_items(collection: Collection, split: str, method: Method) -> None:
    """Check that a split has enough items, and the labels that the method reads.

    Raises:
        InputError: if there are too few items.
        FeatureError: if there are no labels.
        UnknownNameError: if there is no such split.
    """
    items = find_training_items(collection, split)
    require_texts(collection, f"{method.title} learns from pictures with texts")
    if len(items) < 2:
        raise InputError(
            f"split {split!r} of {collection.name} has {len(items)} items: at least 2 are needed"
        )
    starts = collection.caption_starts
    n_silent = int(np.count_nonzero(starts[items] == starts[items + 1]))
    if n_silent:
        raise FeatureError(
            f"{n_silent} of the {len(items)} items of split {split!r} have no text, and "
            f"{method.title} learns from pairs: choose the split train, which holds moments with "
            "subtitles only"
        )
    if Needs.LABELS in method.needs and collection.labels is None:
        raise FeatureError(
            f"{method.title} learns from labels, but {collection.name} has none: "
            "add labels.tsv, or choose an unsupervised method"
        )


def load_fitted_encoder(
    collection: Collection,
    encoder: str | type[EncoderFactory] | Encoder,
    split: str,
    options: FeatureOptions,
) -> Encoder:
    """Load an encoder and fit it to a collection, as `fit_encoder` does."""
    return fit_encoder(
        collection,
        encoder,
        split=split,
        device=options.device,
        frames=options.frames,
        frame_grid=options.frame_grid,
    )


@dataclass(frozen=True)
class TrainingJob:
    """One training, with everything that decides it.

    Attributes:
        plan: method, settings, bits, seed, device and folder.
        collection: whose items are learned from.
        split: which items.
        encoder: makes the features.
        document: what the run's record says of all that.
        options: of the verb.
        is_encoder_given: whether the encoder came as an object, which no name loads again.
        former: the model to be compatible with, if there is one.
        text_owners: (n,) int64, the item whose texts each item learns with; None: its own.
    """

    plan: TrainingPlan
    collection: Collection
    split: str
    encoder: Encoder
    document: Mapping[str, Any]
    options: TrainingOptions
    is_encoder_given: bool = False
    former: HashModel | None = None
    text_owners: Positions | None = None

    @property
    def settings(self) -> TrainingSettings:
        """The settings of training."""
        return self.plan.settings

    def run(self) -> HashModel:
        """Train and save the model; return a finished run as it is if it is to be resumed."""
        options, folder = self.options, self.plan.run_folder
        if folder is None:
            return self.learn(None)
        run = RunFolder(folder, self.document)
        run.check(resume=options.resume, overwrite=options.overwrite)
        with run.training():
            run.check(resume=options.resume, overwrite=options.overwrite)
            if options.resume and run.is_finished:
                logger.info("%s holds this run, finished: nothing to do", folder)
                return load_model(run.folder, device=options.device)
            return self.learn(run)

    def learn(self, run: RunFolder | None) -> HashModel:
        """Train, and save the model in the folder of a run if there is one."""
        options, folder = self.options, self.plan.run_folder
        live = self.collect_live_sides() if self.settings.tune_encoder else {}
        features = self.extract_features(live)
        if run is not None:
            run.begin(resume=options.resume)
            write_splits(self.collection, run.splits)
        data = self.prepare_data(features, live)
        result = train_method(self.plan, data, resume=options.resume, progress=options.progress)
        document = dict(self.document)
        if live:
            document["encoder"] = document["encoder"] | describe_tuning(self.encoder)
        record = ModelRecord(
            title=self.plan.method.title,
            feature_dtype={"image": features.image.dtype, "text": features.text.dtype},
            towers=result.hasher.spec(),
            results=summarize_training(result),
            method_package=REGISTRY.package_of_name(document["method"]),
            **document,
        )
        encoder = self.encoder if live or self.is_encoder_given else None
        model = HashModel(result.hasher, record, device=options.device, encoder=encoder)
        return model if folder is None else save_model(model, folder)

    def extract_features(self, live: Mapping[Modality, LiveSide]) -> Features:
        """Extract the features, with content tokens where the method reads stored ones."""
        needs_tokens = Needs.TOKENS in self.plan.method.needs
        return extract_features(
            self.collection,
            self.encoder,
            with_tokens=needs_tokens and len(live) < 2,
            cache=self.options.cache,
            progress=self.options.progress,
        )

    def prepare_data(self, features: Features, live: Mapping[Modality, LiveSide]) -> TrainingData:
        """Put together what the training loop reads."""
        collection, needs = self.collection, self.plan.method.needs
        data = TrainingData(
            features.image,
            features.text,
            collection.caption_starts,
            collection.split(self.split),
            collection.labels if Needs.LABELS in needs else None,
            Needs.TOKENS in needs,
            live.get("image"),
            live.get("text"),
            self.make_former_tables(),
        )
        return data if self.text_owners is None else data.exchange_texts(self.text_owners)

    def make_former_tables(self) -> FormerTables | None:
        """Compute what the former model says of the items to learn from, if there is one."""
        if self.former is None:
            return None
        return make_former_tables(
            self.former,
            self.collection,
            self.collection.split(self.split),
            cache=self.options.cache_folder,
            progress=self.options.progress,
        )

    def collect_live_sides(self) -> dict[Modality, LiveSide]:
        """Collect the sides of the collection whose towers can be tuned, by modality.

        Raises:
            SettingError: if no tower of the encoder can be tuned.
        """
        towers, sides = tunable_towers(self.encoder), dict[Modality, LiveSide]()
        image, text, collection = towers.get("image"), towers.get("text"), self.collection
        if isinstance(image, NetworkImageTower) and collection.pictures is not None:
            videos = self.encoder.image if isinstance(self.encoder.image, FrameTower) else None
            sides["image"] = LivePictures(image, collection.pictures, collection.n_items, videos)
        if isinstance(text, NetworkTextTower) and collection.captions is not None:
            sides["text"] = LiveTexts(text, collection.captions)
        warn_of_slow_tuning(self.plan.device)
        return sides


def warn_of_slow_tuning(device: torch.device) -> None:
    """Warn where an encoder is tuned on the CPU."""
    if device.type == "cpu":
        logger.warning(
            "the encoder is tuned on the CPU, which is slow: an epoch takes several times as long "
            "as extracting the features; give --device cuda where there is one"
        )
