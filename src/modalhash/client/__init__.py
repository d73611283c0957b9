"""Ask a modalhash server from Python: search, encode, add and delete over HTTP.

::

    with mh.Client("http://127.0.0.1:8000") as client:
        for hit in client.search("a dog in the snow", k=5).hits:
            print(hit.id, hit.distance, hit.caption)
"""

from modalhash.client.answers import (
    AddedItems,
    Explained,
    ExplanationAnswer,
    Facet,
    FacetList,
    FacetValue,
    FieldFacts,
    HitRank,
    HitReasons,
    IndexFacts,
    ItemFacts,
    Limits,
    ModelFacts,
    PictureLink,
    Profile,
    Queries,
    SearchAnswer,
    ServedHit,
    ServedMoment,
    ServiceFacts,
    SideFacts,
    SideResult,
)
from modalhash.client.asynchronous import AsyncClient
from modalhash.client.queries import NewItem, NewText
from modalhash.client.retrying import Retries
from modalhash.client.synchronous import Client
from modalhash.search_request import SearchRequest

Query = SearchRequest
"""A search of a batch: the name that clients have for a `SearchRequest`."""

__all__ = [
    "AddedItems",
    "AsyncClient",
    "Client",
    "Explained",
    "ExplanationAnswer",
    "Facet",
    "FacetList",
    "FacetValue",
    "FieldFacts",
    "HitRank",
    "HitReasons",
    "IndexFacts",
    "ItemFacts",
    "Limits",
    "ModelFacts",
    "NewItem",
    "NewText",
    "PictureLink",
    "Profile",
    "Queries",
    "Query",
    "Retries",
    "SearchAnswer",
    "SearchRequest",
    "ServedHit",
    "ServedMoment",
    "ServiceFacts",
    "SideFacts",
    "SideResult",
]
