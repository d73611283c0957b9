"""Answers as documents, as the contract says."""

from collections.abc import Sequence
from typing import Any

from modalhash.index.explanation import DistanceProfile
from modalhash.search import EncodedQuery, Explanation, Hit, Side
from modalhash.service.answers import write_code
from modalhash.service.engine import SideResult, Stages
from modalhash.service.hosting import IndexHandle
from modalhash.service.thumbnails import describe_picture
from modalhash.service.videos import describe_moment

__all__ = ["describe_answer", "describe_hit", "describe_profile", "describe_reasons"]


def describe_answer(
    handle: IndexHandle, query: EncodedQuery, results: Sequence[SideResult], stages: Stages
) -> dict[str, Any]:
    """Describe an answer as a document."""
    return {
        "index": handle.name,
        "query": dict(query.stated),
        "code": write_code(query.code),
        "n_bits": handle.index.model.n_bits,
        "unknown": list(query.unknown),
        "results": [describe_result(handle, result) for result in results],
        "timings": stages.milliseconds(),
    }


def describe_result(handle: IndexHandle, result: SideResult) -> dict[str, Any]:
    """Describe one side's hits as a document."""
    answer = result.answer
    explanations: Sequence[Explanation | None] = answer.explanations or [None] * len(answer.hits)
    return {
        "target": str(answer.target),
        "scoring": answer.scoring,
        "relevance_rule": answer.relevance_rule,
        "reranked_by": answer.reranked_by,
        "near_chance": answer.near_chance,
        "hits": [
            describe_hit(handle, answer.target, hit)
            | {"explanation": None if reason is None else describe_reasons(reason)}
            for hit, reason in zip(answer.hits, explanations, strict=True)
        ],
        "explanation": None if answer.profile is None else describe_profile(answer.profile),
    }


def describe_hit(handle: IndexHandle, side: Side, hit: Hit) -> dict[str, Any]:
    """Describe one hit as a document, without the place of its picture."""
    metadata = dict(hit.metadata)
    item = metadata.pop("item", None) if side is Side.TEXTS else None
    return {
        "id": hit.id,
        "item": item,
        "distance": hit.distance,
        "score": hit.score,
        "relevance": hit.relevance,
        "strength": hit.strength,
        "caption": hit.caption,
        "picture": describe_picture(
            handle.name, side, hit.id, hit.image, shown_path=handle.tell_path(hit.image)
        ),
        "metadata": metadata,
        "moment": describe_moment(handle.name, hit),
    }


def describe_reasons(explanation: Explanation) -> dict[str, Any]:
    """Describe why an item is where it is."""
    first, last = explanation.ranks
    return {
        "agreeing_bits": list(explanation.bits.agreeing),
        "differing_bits": list(explanation.bits.differing),
        "rank": {"first": first, "last": last, "of": explanation.profile.n_items},
        "percentile": round(explanation.percentile, 4),
        "chance_of_random": explanation.chance,
        "local_score": explanation.local_score,
        "score": None if explanation.weighed is None else explanation.weighed.score,
        "contributions": None
        if explanation.weighed is None
        else list(explanation.weighed.contributions),
    }


def describe_profile(profile: DistanceProfile) -> dict[str, Any]:
    """Describe how far all items are."""
    return {
        "distances": profile.counts.tolist(),
        "n_items": profile.n_items,
        "mean_distance": round(profile.mean, 4) if profile.n_items else 0.0,
        "expected_distance": profile.expected,
    }
