"""The second stage of a search: which scorer puts a shortlist in order, and that scorer.

- **finer codes** (`fine`): of a model that makes them;
- **features** (`features`): only items whose features are as wide as the query's can be compared:
  the same modality, or an encoder such as CLIP;
- **relaxed** (`relaxed`): the query's relaxed code meets the items' hash codes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from modalhash.artifacts import HashModel
from modalhash.codes import Codes
from modalhash.errors import UnavailableError
from modalhash.index.rerank import FeatureScorer, FineScorer, RelaxedScorer, Scorer
from modalhash.modalities import Modality, Side
from modalhash.search.kept_features import FINE, read_features, read_kept_bytes
from modalhash.search.parts import IndexParts
from modalhash.search.queries import EncodedQuery
from modalhash.search_request import RerankBy, RerankScore

__all__ = ["choose_reranking", "make_scorer"]


def choose_reranking(
    index: IndexParts, rerank_by: RerankBy, modality: Modality | None, side: Side
) -> RerankBy:
    """Choose what a search is reranked by.

    Args:
        index: that is searched.
        rerank_by: `auto` takes finer codes if the model makes them, else features.
        modality: of a single text or picture that the encoder gets; None of a combination, an item
            or a code, of which only the relaxed code is known.
        side: what is searched.

    Raises:
        UnavailableError: if it isn't there, saying what there is.
    """
    if modality is None:
        if rerank_by in (RerankBy.AUTO, RerankBy.RELAXED):
            return RerankBy.RELAXED
        raise UnavailableError(
            f"a combination or a code can't be reranked by {rerank_by.value}, which takes a single "
            "text or picture: rerank by relaxed"
        )
    model = index.model
    if rerank_by is RerankBy.AUTO:
        rerank_by = RerankBy.FINE if model.has_fine_codes else RerankBy.FEATURES
    if rerank_by is RerankBy.FINE and not model.has_fine_codes:
        raise UnavailableError(
            "the model of the index makes no finer codes: train one that does, with --method "
            "hugging-hash-plus, or rerank by relaxed"
        )
    if rerank_by is RerankBy.FEATURES:
        check_features_fit(index, modality, side)
    return rerank_by


def check_features_fit(index: IndexParts, modality: Modality, side: Side) -> None:
    """Refuse to compare features that the items don't keep, or that have another width.

    Raises:
        UnavailableError: saying which.
    """
    if not index.keeps_features:
        raise UnavailableError(
            "the index keeps nothing to rerank by: build it with --keep-features int8, or of a "
            "model that makes finer codes (--method hugging-hash-plus), or rerank by relaxed, "
            "which needs nothing"
        )
    query_width, item_width = (index.model.tower(name).width for name in (modality, side.modality))
    if query_width != item_width:
        raise UnavailableError(
            f"features of {modality}s have {query_width} numbers and those of {side} "
            f"{item_width}: they can't be compared; search within one modality, or rerank by "
            "relaxed"
        )


def make_scorer(
    rerank_by: RerankBy,
    model: HashModel,
    query: EncodedQuery,
    *,
    documents: Sequence[Mapping[str, Any]],
    codes: Codes,
    score: RerankScore,
) -> Scorer:
    """Make what scores the shortlist of one query.

    Args:
        rerank_by: not `auto`; all but `relaxed` take the query of a single text or picture.
        model: of the index.
        query: that was encoded.
        documents: metadata of the shortlist, with what items keep.
        codes: (n, p) hash codes of the shortlist.
        score: for finer codes, what the score is made of.

    Raises:
        InputError: if an item keeps nothing to rerank by.
        DamagedArtifactError: if what it keeps isn't what was written.
    """
    if rerank_by is RerankBy.RELAXED:
        return RelaxedScorer(query.relaxed, codes, model.n_bits)
    output, modality = query.output, query.modality
    assert output is not None
    assert modality is not None
    if rerank_by is RerankBy.FINE:
        assert output.tokens is not None
        assert output.token_mask is not None
        queries = model.fine_queries(
            output.pooled, modality, tokens=output.tokens, token_mask=output.token_mask
        )
        fine = read_kept_bytes(documents, FINE, model.fine_books.n_subspaces)
        return FineScorer(model.fine_books, queries, fine, n_bits=model.n_bits, score=score)
    return FeatureScorer(
        model.round_features(output.pooled, modality),
        read_features(documents, output.pooled.shape[1]),
    )
