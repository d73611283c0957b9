"""What answers texts and pictures: queries, requests, answers, and the indexes behind them."""

from modalhash.modalities import Side
from modalhash.search.answers import Answer, Hit
from modalhash.search.contents import SideContent
from modalhash.search.explaining import Explanation, explain_items
from modalhash.search.folder import (
    build_search_index,
    check_target,
    is_search_index,
    open_search_index,
)
from modalhash.search.items import NewItem, NewText, contents_of_items
from modalhash.search.parts import IndexParts
from modalhash.search.queries import (
    EncodedQuery,
    combined_query,
    encoded_query,
    query_of_code,
)
from modalhash.search.search_index import SearchIndex
from modalhash.search.searching import (
    SearchPlan,
    find_nearest,
    find_nearest_of_all,
    make_answer,
    make_hit,
    plan_search,
)

__all__ = [
    "Answer",
    "EncodedQuery",
    "Explanation",
    "Hit",
    "IndexParts",
    "NewItem",
    "NewText",
    "SearchIndex",
    "SearchPlan",
    "Side",
    "SideContent",
    "build_search_index",
    "check_target",
    "combined_query",
    "contents_of_items",
    "encoded_query",
    "explain_items",
    "find_nearest",
    "find_nearest_of_all",
    "is_search_index",
    "make_answer",
    "make_hit",
    "open_search_index",
    "plan_search",
    "query_of_code",
]
