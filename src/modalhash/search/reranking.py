"""The second stage of a search index: what items keep for it, and the scorers that read it.

What an item keeps beside its code lies in its metadata under `FINE` or `FEATURES`, as text, so that
it is added, replaced, deleted, logged and compacted with the item; hits don't show it.

- **finer codes** (`fine`): kept by every index of a model that makes them;
- **features** (`features`): kept with `keep_features`, a byte a number. Only items whose features
  are as wide as the query's can be compared: the same modality, or an encoder such as CLIP;
- **relaxed** (`relaxed`): keeps nothing; the query's relaxed code meets the items' hash codes.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.artifacts import HashModel
from modalhash.codes import Codes
from modalhash.errors import DamagedArtifactError, InputError
from modalhash.index.rerank import (
    ByteFeatures,
    FeatureScorer,
    FineCodes,
    FineScorer,
    RelaxedScorer,
    RerankScore,
    Scorer,
)
from modalhash.modalities import Modality
from modalhash.search.queries import EncodedQuery

__all__ = [
    "FEATURES",
    "FINE",
    "KEPT",
    "KeepFeatures",
    "SecondStage",
    "chosen_stage",
    "kept_features",
    "kept_fine",
    "scorer_of",
]

FINE, FEATURES = "_fine", "_features"
KEPT = (FINE, FEATURES)
"""Names in an item's metadata that are no metadata of the user's."""
SCALE_BYTES = 4


class KeepFeatures(StrEnum):
    """What of their features items keep: nothing, or a byte a number."""

    NONE = "none"
    INT8 = "int8"


class SecondStage(StrEnum):
    """What puts a shortlist in order; see the module's text.

    `auto` is finer codes if the model makes them, else features if the items keep them.
    """

    AUTO = "auto"
    FINE = "fine"
    FEATURES = "features"
    RELAXED = "relaxed"


def kept_fine(fine: FineCodes) -> list[dict[str, str]]:
    """Return what items keep of their finer codes, (n, s) uint8: metadata to add."""
    return [{FINE: base64.b64encode(row.tobytes()).decode()} for row in fine]


def kept_features(features: NDArray[np.floating[Any]]) -> list[dict[str, str]]:
    """Return what items keep of their features, (n, d): metadata to add."""
    stored = ByteFeatures.of(features)
    return [
        {FEATURES: base64.b64encode(scale.astype("<f4").tobytes() + row.tobytes()).decode()}
        for row, scale in zip(stored.values, stored.scales, strict=True)
    ]


def read_kept(documents: Sequence[Mapping[str, Any]], name: str, width: int) -> NDArray[np.uint8]:
    """Return what items keep under a name, (n, width) uint8.

    Raises:
        InputError: if an item keeps nothing there.
        DamagedArtifactError: if it isn't what was written.
    """
    rows = []
    for document in documents:
        if name not in document:
            raise InputError(
                "an item of the index keeps nothing to rerank by: it was added without finer "
                "codes or features; build the index again"
            )
        try:
            row = base64.b64decode(document[name], validate=True)
        except (binascii.Error, TypeError, ValueError):
            row = b""
        if len(row) != width:
            raise DamagedArtifactError(
                f"an item of the index keeps {len(row)} bytes to rerank by, expected {width}: "
                "build the index again"
            )
        rows.append(np.frombuffer(row, np.uint8))
    return np.stack(rows) if rows else np.zeros((0, width), np.uint8)


def read_features(documents: Sequence[Mapping[str, Any]], width: int) -> ByteFeatures:
    """Return the features that items keep; errors as in `read_kept`."""
    rows = read_kept(documents, FEATURES, SCALE_BYTES + width)
    scales = np.ascontiguousarray(rows[:, :SCALE_BYTES]).view("<f4")[:, 0]
    values = np.ascontiguousarray(rows[:, SCALE_BYTES:]).view(np.int8)
    return ByteFeatures(values, scales.astype(np.float32))


def chosen_stage(
    wanted: SecondStage,
    model: HashModel,
    *,
    keeps_features: bool,
    asked: Modality | None,
    target: Modality,
) -> SecondStage:
    """Return what a search is reranked by.

    Args:
        wanted: what was asked for.
        model: of the index.
        keeps_features: whether items keep their features.
        asked: modality of the query; None of a combination or a code, of which only the relaxed
            code is known.
        target: modality of what is searched.

    Raises:
        InputError: if it isn't there, saying what there is.
    """
    if asked is None:
        if wanted in (SecondStage.AUTO, SecondStage.RELAXED):
            return SecondStage.RELAXED
        raise InputError(
            f"a combination or a code can't be reranked by {wanted.value}, which takes a single "
            "text or picture: rerank by relaxed"
        )
    widths = model.tower(asked).width, model.tower(target).width
    if wanted is SecondStage.AUTO:
        if model.has_fine_codes:
            return SecondStage.FINE
        wanted = SecondStage.FEATURES
    if wanted is SecondStage.FINE and not model.has_fine_codes:
        raise InputError(
            "the model of the index makes no finer codes: train one that does, with --method "
            "hugging-hash-plus, or rerank by relaxed"
        )
    if wanted is SecondStage.FEATURES:
        if not keeps_features:
            raise InputError(
                "the index keeps nothing to rerank by: build it with --keep-features int8, or of a "
                "model that makes finer codes (--method hugging-hash-plus), or rerank by relaxed, "
                "which needs nothing"
            )
        if widths[0] != widths[1]:
            raise InputError(
                f"features of {asked}s have {widths[0]} numbers and those of {target}s "
                f"{widths[1]}: they can't be compared; search within one modality, or rerank by "
                "relaxed"
            )
    return wanted


def scorer_of(
    stage: SecondStage,
    model: HashModel,
    query: EncodedQuery,
    *,
    documents: Sequence[Mapping[str, Any]],
    codes: Codes,
    score: RerankScore,
) -> Scorer:
    """Return what scores the shortlist of one query.

    Args:
        stage: not `auto`; all but `relaxed` take the query of a single text or picture.
        model: of the index.
        query: what was asked.
        documents: metadata of the shortlist, with what items keep.
        codes: (n, p) hash codes of the shortlist.
        score: for finer codes, what the score is made of.

    Raises:
        InputError: if an item keeps nothing to rerank by.
        DamagedArtifactError: if what it keeps isn't what was written.
    """
    if stage is SecondStage.RELAXED:
        return RelaxedScorer(query.relaxed, codes, model.n_bits)
    output, modality = query.output, query.modality
    assert output is not None
    assert modality is not None
    if stage is SecondStage.FINE:
        assert output.tokens is not None
        assert output.token_mask is not None
        queries = model.fine_queries(
            output.pooled, modality, tokens=output.tokens, token_mask=output.token_mask
        )
        books = model.fine_books
        fine = read_kept(documents, FINE, books.n_subspaces)
        return FineScorer(books, queries, fine, n_bits=model.n_bits, score=score)
    return FeatureScorer(
        model.rounded(output.pooled, modality), read_features(documents, output.pooled.shape[1])
    )
