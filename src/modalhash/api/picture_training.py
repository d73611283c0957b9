"""Learn codes of a shared space from pictures alone, for `train` on pictures without texts.

The encoder has brought pictures and texts into one space already, as CLIP does. The principal
directions of the pictures, rotated so that signs lose least (ITQ), give the bits of both
modalities. Texts are centred by the mean of made captions, as encoders put pictures and texts on
two sides of their space.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from modalhash.api.run_records import describe_encoder, describe_items
from modalhash.artifacts import HashModel, ModelRecord, RunFolder, load_model, save_model
from modalhash.artifacts.shared_hasher import make_shared_hasher
from modalhash.data import Collection, write_splits
from modalhash.encoders import Encoder, extract_features
from modalhash.encoders.class_names import make_captions
from modalhash.errors import InputError, SettingError
from modalhash.layers import ScalingRule
from modalhash.methods.picture_directions import rotated_directions
from modalhash.options import TrainingOptions

__all__ = ["PictureTraining"]

logger = logging.getLogger(__name__)
MOST_PICTURES = 20_000
"""Pictures that directions are learned from, at most; evenly spaced."""
CAPTIONS_AT_ONCE = 100
FEATURE_DTYPE = "float16"


@dataclass(frozen=True)
class PictureTraining:
    """One learning from pictures alone.

    Attributes:
        collection: of pictures without texts.
        encoder: of a shared space.
        n_bits: bits of a code.
        split: which pictures to learn from.
        seed: draws the rotation that ITQ starts from.
        folder: of the run; None keeps nothing on disk.
        options: of the verb.
    """

    collection: Collection
    encoder: Encoder
    n_bits: int
    split: str
    seed: int
    folder: Path | None
    options: TrainingOptions

    def run(self, settings: Mapping[str, Any]) -> HashModel:
        """Learn and save the model; a finished run is returned as it is if it is to be resumed.

        Args:
            settings: of the method that were asked for; there are none.

        Raises:
            SettingError: if there are settings, or more bits than the features are wide.
            InputError: if the split has fewer than two pictures, or the folder holds another run.
        """
        self.check(settings)
        document = self.describe()
        if self.folder is None:
            return self.learn(document)
        run, options = RunFolder(self.folder, document), self.options
        run.check(resume=options.resume, overwrite=options.overwrite)
        with run.training():
            run.check(resume=options.resume, overwrite=options.overwrite)
            if options.resume and run.is_finished:
                return load_model(run.folder, device=options.device)
            model = self.learn(document)
            run.begin(resume=options.resume)
            write_splits(self.collection, run.splits)
            return save_model(model, run.folder)

    def check(self, settings: Mapping[str, Any]) -> None:
        """Refuse what can't be learned; see `run`."""
        if settings or self.options.hug is not None:
            raise SettingError(
                "codes that are learned from pictures alone have no settings: leave --set, --hug "
                "and --tune-encoder out, or give captions"
            )
        width, n_pictures = self.encoder.image.width, len(self.collection.split(self.split))
        if not 0 < self.n_bits <= width:
            raise SettingError(
                f"n_bits is {self.n_bits}, expected 1 to {width}, the width of the features"
            )
        if n_pictures < 2:
            raise InputError(
                f"split {self.split!r} of {self.collection.name} has {n_pictures} pictures: at "
                "least 2 are needed"
            )

    def describe(self) -> dict[str, Any]:
        """Describe the run: all that decides its result, as JSON."""
        return {
            "modalhash": version("modalhash"),
            "method": "shared-space",
            "preset": "",
            "settings": {},
            "training": {},
            "n_bits": self.n_bits,
            "seed": self.seed,
            "encoder": describe_encoder(self.encoder),
            "trained_on": describe_items(self.collection, self.split),
        }

    def learn(self, document: Mapping[str, Any]) -> HashModel:
        """Find the directions, and make the model of them."""
        logger.info(
            "there are no texts: codes are learned from pictures alone, in the space of %s",
            self.encoder.name,
        )
        image_mean, directions = rotated_directions(self.read_pictures(), self.n_bits, self.seed)
        hasher = make_shared_hasher(directions, image_mean, self.find_text_mean(), ScalingRule.UNIT)
        record = ModelRecord(
            title="Shared space",
            feature_dtype={"image": FEATURE_DTYPE, "text": FEATURE_DTYPE},
            towers=hasher.spec(),
            **document,
        )
        return HashModel(hasher, record, device=self.options.device, encoder=self.encoder)

    def read_pictures(self) -> Tensor:
        """Read the features of the pictures, (n, d) float64 of length 1."""
        options = self.options
        features = extract_features(
            self.collection,
            self.encoder,
            cache_folder=options.cache_folder,
            progress=options.progress,
        )
        items = np.sort(self.collection.split(self.split))
        pooled = features.image.pooled(items[:: -(-len(items) // MOST_PICTURES)])
        return functional.normalize(torch.from_numpy(pooled).double(), dim=1)

    def find_text_mean(self) -> Tensor:
        """Find the mean of made captions of length 1, (d,) float64."""
        captions, encode = make_captions(), self.encoder.text.encode
        starts = range(0, len(captions), CAPTIONS_AT_ONCE)
        parts = [encode(captions[start : start + CAPTIONS_AT_ONCE]).pooled for start in starts]
        pooled = torch.from_numpy(np.concatenate(parts)).double()
        return functional.normalize(pooled, dim=1).mean(dim=0)
