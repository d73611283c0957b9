"""The kinds that the contract tests of indexes run over: ours, and one of somebody else's.

Another class joins them by its name: put it into `INDEX_CLASSES` and into `INDEX_KINDS`.
"""

from modalhash.index import KINDS
from tests.oracles import plain_index

__all__ = ["APPROXIMATE", "INDEX_KINDS"]

APPROXIMATE = {"hnsw", "ivf"}
"""Kinds that promise true distances, but neither all hits nor an order among equal distances."""
INDEX_KINDS = sorted([*KINDS, plain_index.PlainIndex.kind])
"""Names of the kinds, each of which `build_index` and `open_index` know."""
