"""The verb that lists the pairs of a collection that are most likely wrong."""

import csv
import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Unpack

import torch

from modalhash.api.opening import fit_encoder, open_collection, require_texts
from modalhash.data import Collection
from modalhash.encoders import Encoder, EncoderFactory, extract_features
from modalhash.errors import InputError
from modalhash.layers import ScalingRule
from modalhash.layers.feature_scaling import FeatureScaling
from modalhash.methods.base import CaptionChoice
from modalhash.methods.item_blocks import item_blocks
from modalhash.methods.pair_agreement import PairAgreement, agree_without_own_pair
from modalhash.numpy_numbers import takes_numpy_numbers
from modalhash.options import FeatureChoices, FeatureOptions, change_options
from modalhash.training import TrainingData
from modalhash.training.loop import seeded
from modalhash.training.pairs import Pairs

__all__ = ["Suspect", "SuspectList", "measure_pairs", "suspects"]

FORMAT = 1
FEWEST_ITEMS = 50
"""Items below which a pair can't be compared with others."""
BLOCK = 2048
"""Pairs read at a time."""
HEADS = ["id", "score", "probability", "text", "path"]


@dataclass(frozen=True)
class Suspect:
    """An item whose picture and texts may not belong together.

    Attributes:
        id: of the item.
        score: how well both sides agree, less how well each agrees with its nearest others; the
            smaller, the more suspect.
        probability: estimated, that the pair is wrong.
        text: the item's first text; "" in a collection of features.
        path: file of the picture; "" if it isn't a file.
    """

    id: str
    score: float
    probability: float
    text: str
    path: str


@dataclass(frozen=True)
class SuspectList:
    """The pairs of a collection, the most suspect first.

    Attributes:
        collection: its name.
        n_items: pairs that were compared.
        wrong_share: estimated share of them that is wrong.
        is_clear: whether right pairs agree so well that wrong ones can be told from them at all.
        suspects: all of them, or the first so many.
    """

    collection: str
    n_items: int
    wrong_share: float
    is_clear: bool
    suspects: tuple[Suspect, ...]

    def to_json(self) -> dict[str, Any]:
        """Describe the list as the document that `data suspects --json` gives."""
        return {"format": FORMAT, **asdict(self)}

    def to_csv(self) -> str:
        """Format the suspects as CSV with a line of headings."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(HEADS)
        for suspect in self.suspects:
            score, probability = f"{suspect.score:.4f}", f"{suspect.probability:.3f}"
            writer.writerow([suspect.id, score, probability, suspect.text, suspect.path])
        return text.getvalue()


@takes_numpy_numbers
def suspects(
    collection: Collection | str | Path,
    *,
    k: int | None = None,
    encoder: str | type[EncoderFactory] | Encoder = "auto",
    split: str = "all",
    options: FeatureOptions | None = None,
    **choices: Unpack[FeatureChoices],
) -> SuspectList:
    """List the items whose picture and texts most likely don't belong together.

    Nothing is trained: two kernel regressions predict what makes items alike, one from pictures and
    one from texts, each item's without its own pair. Both predictions of a right pair agree better
    than those of two items at random. Then everything is done once more with less weight on pairs
    that look wrong. An item's texts are judged together, by their mean.

    Args:
        collection: or what `load_collection` takes.
        k: suspects that are listed, at most; None lists all items, the most suspect first.
        encoder: as `train` takes it; "auto" is `offline`, or `precomputed` for features only.
        split: whose items are compared with each other; "all" is every item. Items without a text
            are left out.
        options: frames of videos, cache and device.
        **choices: fields of `modalhash.options.FeatureOptions`, which change `options`.

    Raises:
        InputError: if there are no texts, fewer than 50 items with one, or `k` isn't positive.
        UnknownNameError: if there is no such split or encoder.
    """
    options = change_options(FeatureOptions, options, choices)
    if k is not None and k < 1:
        raise InputError(f"k is {k}, expected at least 1")
    collection = open_collection(collection, options.skip_bad, options.progress)
    require_texts(collection, "suspects compares pictures with their texts")
    starts = collection.caption_starts
    items = collection.split(split)
    items = items[starts[items] < starts[items + 1]]
    if len(items) < FEWEST_ITEMS:
        raise InputError(
            f"split {split!r} of {collection.name} has {len(items)} items with texts: at least "
            f"{FEWEST_ITEMS} are needed to tell which pairs are unlike the others"
        )
    if encoder == "auto":
        encoder = "precomputed" if collection.pictures is None else "offline"
    loaded = fit_encoder(
        collection,
        encoder,
        split=split,
        device=options.device,
        frames=options.frames,
        frame_grid=options.frame_grid,
    )
    features = extract_features(
        collection, loaded, cache_folder=options.cache_folder, progress=options.progress
    )
    agreement = measure_pairs(TrainingData(features.image, features.text, starts, items))
    order = agreement.scores.argsort(stable=True)[:k].tolist()
    return SuspectList(
        collection.name,
        len(items),
        agreement.wrong_share,
        agreement.is_clear,
        tuple(
            Suspect(
                collection.item_ids[items[place]],
                float(agreement.scores[place]),
                float(agreement.probabilities[place]),
                collection.captions[starts[items[place]]] if collection.captions else "",
                find_path(collection, int(items[place])),
            )
            for place in order
        ),
    )


def find_path(collection: Collection, item: int) -> str:
    """Find the file of an item's picture; "" if it isn't a file."""
    path = None if collection.pictures is None else collection.pictures.path(item)
    return "" if path is None else str(path)


def measure_pairs(data: TrainingData) -> PairAgreement:
    """Measure how well pictures and mean texts of items agree, in the order of `data.items`."""
    cpu, choice = torch.device("cpu"), CaptionChoice.ALL
    unscaled = Pairs(
        data,
        choice,
        FeatureScaling(ScalingRule.NONE, data.image.width),
        FeatureScaling(ScalingRule.NONE, data.text.width),
        cpu,
    )
    image_scaling = FeatureScaling(ScalingRule.CENTRED_UNIT, data.image.width)
    image_scaling.fit(unscaled.pooled_images(BLOCK))
    text_scaling = FeatureScaling(ScalingRule.CENTRED_UNIT, data.text.width)
    text_scaling.fit(unscaled.pooled_texts(BLOCK))
    blocks = [*item_blocks(Pairs(data, choice, image_scaling, text_scaling, cpu).batches(BLOCK))]
    with seeded(0, cpu), torch.no_grad():
        return agree_without_own_pair(
            torch.cat([block.image for block in blocks]),
            torch.cat([block.mean_text for block in blocks]),
        )
