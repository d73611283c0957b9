"""What a user may ask of an index on Milvus."""

from dataclasses import dataclass
from math import isqrt
from typing import Any, Final

from modalhash.errors import SettingError
from modalhash.index.searcher_settings import SearcherSettings, check_range

__all__ = ["CONSISTENCY_LEVELS", "MILVUS", "MILVUS_MANIFEST", "MilvusSettings"]

MILVUS: Final = "milvus"
"""The kind's name."""
MILVUS_MANIFEST: Final = "milvus.json"
"""What lies in the folder of such an index."""

CONSISTENCY_LEVELS: Final = ("Strong", "Session", "Bounded", "Eventually")
MOST_FLAT: Final = 5_000_000
"""Above so many codes `auto` takes cells."""
MOST_CELLS: Final = 65_536
MOST_LISTED: Final = 16_383
"""Milvus gives at most one more hit a query."""
PROBED_SHARE: Final = 32
TYPES: Final = {"flat": "BIN_FLAT", "ivf": "BIN_IVF_FLAT"}


@dataclass(frozen=True)
class MilvusSettings(SearcherSettings):
    """Settings of an index on Milvus.

    Attributes:
        index: "flat" (exact), "ivf" (cells, approximate), or "auto": flat up to 5 million codes
            at building.
        n_cells: cells of "ivf"; by default 4 times the square root of the number of codes.
        n_probes: cells a search looks into, without a filter; by default every 32nd.
        consistency: how fresh what a search sees must be: "Session" sees what this index object
            wrote, "Strong" what anybody wrote, "Bounded" and "Eventually" may lag behind. What
            must follow a write (is an id there?) is always asked with "Strong".
        partition_field: metadata field by whose value items are put into partitions; a filter
            with `FIELD == value` then looks into its partition only. "" makes none.
        partitions: how many partitions, if there is a field.
        shards: how many parts take writes side by side.
        batch_rows: items a request writes; each request is acknowledged as a whole.
        shortlist: items that are scored for a relaxed query, nearest by Hamming distance; by
            default 500, or 20 for each hit if that is more. The more, the fewer are missed.
        timeout: seconds that one request may take.
        patience: seconds that a request is repeated when the server doesn't answer.
    """

    index: str = "auto"
    n_cells: int | None = None
    n_probes: int | None = None
    consistency: str = "Session"
    partition_field: str = ""
    partitions: int = 64
    shards: int = 1
    batch_rows: int = 2000
    shortlist: int | None = None
    timeout: float = 30.0
    patience: float = 120.0

    def __post_init__(self) -> None:
        if self.index not in {"auto", *TYPES}:
            raise SettingError(f"index is {self.index!r}, expected auto, flat or ivf")
        if self.consistency not in CONSISTENCY_LEVELS:
            raise SettingError(
                f"consistency is {self.consistency!r}, expected {', '.join(CONSISTENCY_LEVELS)}"
            )
        if not isinstance(self.partition_field, str):
            raise SettingError(
                f"partition_field is {self.partition_field!r}, expected the name of a field"
            )
        check_range("n_cells", self.n_cells, 1, MOST_CELLS)
        check_range("n_probes", self.n_probes, 1, MOST_CELLS)
        check_range("partitions", self.partitions, 1, 1024)
        check_range("shards", self.shards, 1, 16)
        check_range("batch_rows", self.batch_rows, 1, 10_000)
        check_range("shortlist", self.shortlist, 1, MOST_LISTED)
        for name, value in (("timeout", self.timeout), ("patience", self.patience)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise SettingError(f"{name} is {value!r}, expected seconds above 0")

    def index_of(self, n_rows: int) -> dict[str, Any]:
        """Choose type and parameters of Milvus's index for so many rows.

        Example:
            >>> MilvusSettings().index_of(1000)
            {'index_type': 'BIN_FLAT', 'params': {}}
            >>> MilvusSettings(index="ivf").index_of(1_000_000)
            {'index_type': 'BIN_IVF_FLAT', 'params': {'nlist': 4000}}
        """
        kind = self.index if self.index != "auto" else ("ivf" if n_rows > MOST_FLAT else "flat")
        if kind == "flat":
            return {"index_type": TYPES[kind], "params": {}}
        n_cells = self.n_cells or min(max(4 * isqrt(n_rows), 16), MOST_CELLS)
        return {"index_type": TYPES[kind], "params": {"nlist": n_cells}}

    def probes(self, n_cells: int, share: float) -> int:
        """Choose how many cells to look into when a share of the items counts.

        A filter is applied inside the cells that are looked into, so the fewer items pass, the
        more cells it takes to find k of them.

        Example:
            >>> MilvusSettings().probes(1024, 1.0), MilvusSettings().probes(1024, 0.1)
            (32, 320)
        """
        n_probes = self.n_probes or max(n_cells // PROBED_SHARE, 1)
        return min(n_cells, max(n_probes, round(n_probes / max(share, 1e-12))))
