"""What answers texts and pictures: queries, plans, answers, changes, and the folder of an index."""

from modalhash.modalities import Side
from modalhash.search.answers import Answer, Explanation, Hit, ItemCounts
from modalhash.search.contents import SideContent
from modalhash.search.explaining import explain_items
from modalhash.search.folder import build_search_index, is_search_index, open_search_index
from modalhash.search.items import NewItem, NewText, contents_of_items
from modalhash.search.planning import SearchPlan, plan_search
from modalhash.search.queries import (
    EncodedQuery,
    combine_queries,
    encode_output,
    encode_part,
    encode_request,
    encode_text,
    has_item,
    is_bits_only,
    query_modality,
    read_code,
)
from modalhash.search.repairing import (
    IndexRepair,
    IndexReport,
    repair_search_index,
    verify_search_index,
)
from modalhash.search.search_index import SearchIndex
from modalhash.search.searching import (
    explain_hits,
    find_nearest_of_all,
    make_answer,
    make_hit,
)
from modalhash.search.strength import Strength
from modalhash.search_request import SearchRequest

__all__ = [
    "Answer",
    "EncodedQuery",
    "Explanation",
    "Hit",
    "IndexRepair",
    "IndexReport",
    "ItemCounts",
    "NewItem",
    "NewText",
    "SearchIndex",
    "SearchPlan",
    "SearchRequest",
    "Side",
    "SideContent",
    "Strength",
    "build_search_index",
    "combine_queries",
    "contents_of_items",
    "encode_output",
    "encode_part",
    "encode_request",
    "encode_text",
    "explain_hits",
    "explain_items",
    "find_nearest_of_all",
    "has_item",
    "is_bits_only",
    "is_search_index",
    "make_answer",
    "make_hit",
    "open_search_index",
    "plan_search",
    "query_modality",
    "read_code",
    "repair_search_index",
    "verify_search_index",
]
