"""The kinds that the contract tests of indexes run over: ours, and two of somebody else's.

Another class joins them by its name: put it into `INDEX_CLASSES` and into `INDEX_KINDS`.
"""

from modalhash.index import KINDS
from tests.oracles import plain_index
from tests.oracles.third_party_package.acme_hashing import sorted_scan

__all__ = ["APPROXIMATE", "INDEX_KINDS"]

APPROXIMATE = {"ivf"}
"""Kinds that promise true distances, but neither all hits nor an order among equal distances."""
SORTED_SCAN = f"{sorted_scan.__name__}:SortedScan"
"""Named as a class that nobody registered; importing it here lets folders name it."""
INDEX_KINDS = sorted([*KINDS, plain_index.PlainIndex.kind, SORTED_SCAN])
"""Names of the kinds, each of which `build_index` and `open_index` know."""
