"""The index inside one process: in memory, or kept in a folder that survives kills.

Items lie in segments, runs of rows that are written once and have a searcher each, and in recent
rows, which are scanned. Deleted rows are bits beside a segment. A search takes the snapshot there
is and asks all its parts; a change makes a new one. So adding an item copies nothing.

An index made by `build` lives in memory. One that `open_index` opened is kept in its folder: a
change is in the folder's write log, on disk, when the call returns. When the log has grown long, a
checkpoint writes the recent rows as a segment. One process at a time may change a folder; it holds
the folder's lock from its first change until it closes the index. Any number of others may search
meanwhile: each search looks whether something was written since, and takes it in.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Self, final

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import BitOrder, Codes, Queries, WeightedQueries, from_little, to_little
from modalhash.index.bit_orders import reorder_blocks
from modalhash.index.checking import check_id_kind, check_known, check_model
from modalhash.index.filter_tree import Filter
from modalhash.index.filters import parse_filter
from modalhash.index.hits import Hits, IdArray, IdKind, Ids, ItemBlock, Metadata, RadiusHits
from modalhash.index.ids import IdColumn, id_column
from modalhash.index.manifest import read_manifest
from modalhash.index.retired_kinds import current_kind
from modalhash.index.search_limits import check_limits, check_top_k
from modalhash.index.searcher_table import check_stated_kind, searcher_class
from modalhash.index.searchers import NO_ROW, Positions, RelaxedSearcher
from modalhash.index.snapshot import Snapshot
from modalhash.index.views import View
from modalhash.index.writing import IndexWriter
from modalhash.numpy_numbers import takes_numpy_numbers

__all__ = ["EmbeddedIndex"]

logger = logging.getLogger(__name__)

RETIRED_KIND: Final = (
    "%s was made with the kind %r, which is no longer built: its codes are scanned, which finds "
    "everything; `modalhash compact` makes it an index of the kind %r"
)
parsed = lru_cache(maxsize=256)(parse_filter)


@final
class EmbeddedIndex(IndexWriter):
    """An index inside one process.

    Args:
        n_bits: bits of a code.
        kind: how it searches, a name in `SEARCHERS`.
        parameters: of the kind; what is left out is chosen.
        model_fingerprint: says which model makes the codes; "" says nothing.

    Attributes:
        folder: where it is kept; None in memory.
        parameters: what was asked of the kind.

    Raises:
        InputError: if `n_bits` is not positive.
        UnknownNameError: if there is no such kind.
    """

    takes_relaxed = True

    # --- making, opening and saving -----------------------------------------------------------

    @classmethod
    def check_parameters(cls, kind: str, parameters: Mapping[str, Any]) -> None:
        """Refuse parameters that the searcher doesn't take; see `HashIndex.check_parameters`."""
        searcher_class(kind).settings.of(kind, parameters)

    @classmethod
    def build(
        cls,
        ids: Ids,
        codes: Codes,
        n_bits: int,
        *,
        kind: str = "flat",
        metadata: Sequence[Metadata] | None = None,
        parameters: Mapping[str, Any] | None = None,
        model_fingerprint: str = "",
        folder: str | Path | None = None,
    ) -> Self:
        """Make an index of some items; see `HashIndex.build`.

        With a folder, the codes are never wholly in memory.
        """
        index = cls(n_bits, kind=kind, parameters=parameters, model_fingerprint=model_fingerprint)
        items = index.check_items(ids, codes, metadata)
        views: list[View] = []
        if items is not None:
            views = [index._bulk_view(items)]
        kind_of_ids = None if items is None else items.column.kind
        snapshot = Snapshot((*views, *index._state.views), len(views), n_bits, kind_of_ids)
        if folder is not None:
            index._write_new(Path(folder), snapshot)
            return cls.open(folder)
        index._state = snapshot
        index._fold_in_memory(0)
        return index

    @classmethod
    def open(cls, folder: str | Path, *, expect_model: str | None = None) -> Self:
        """Open a saved index; codes and ids are mapped, not read.

        Changes are kept in the folder from then on. An index of a kind that is no longer built is
        scanned until `compact`; the log says so.

        Args:
            folder: what `save` wrote.
            expect_model: fingerprint of the model whose codes will be searched for; None asks
                nothing.

        Raises:
            ArtifactError: if the index is of another model than `expect_model`, or of a format
                that is no longer read.
            DamagedArtifactError: if a file is missing, cut short or changed, naming it. Files of
                up to 64 MiB are read and compared with their checksums; of larger ones the size
                is compared, and `verify_index` reads them.
            NewerFormatError: if a newer modalhash wrote it.
            StorageError: if it can't be read.
        """
        folder = Path(folder).resolve()
        manifest = read_manifest(folder)
        check_model(folder, manifest.model_fingerprint, expect_model)
        kind, parameters = current_kind(manifest.kind, manifest.parameters)
        check_stated_kind(folder, kind)
        if kind != manifest.kind:
            logger.warning(RETIRED_KIND, folder, manifest.kind, kind)
        index = cls(
            manifest.n_bits,
            kind=kind,
            parameters=parameters,
            model_fingerprint=manifest.model_fingerprint,
        )
        index.folder, index._manifest = folder, manifest
        index._load()
        return index

    def save(self, folder: str | Path) -> None:
        """Write the index so that the folder holds the new state or the old one, never a mix.

        The index stays where it was: in memory, or in its own folder. Saved to its own folder, it
        makes a checkpoint. A kill at any moment leaves a folder that opens.

        Args:
            folder: made if missing; an index that is there is replaced.

        Raises:
            IndexLockedError: if an index there is being changed by somebody else.
            InputError: if the folder holds the manifest of something else.
            StorageError: if the file system refuses; the old state is kept.
        """
        folder = Path(folder).resolve()
        if folder == self.folder:
            self.checkpoint()
        else:
            self._write_new(folder, self._current())

    # --- searching and reading ----------------------------------------------------------------

    @takes_numpy_numbers
    def search(
        self,
        queries: Queries,
        k: int,
        where: str | None = None,
        *,
        with_metadata: bool = False,
        bit_order: BitOrder | str = BitOrder.LITTLE,
    ) -> Hits:
        """Find the k best items of each query; see `HashIndex.search`."""
        check_top_k(k)
        searched = self.read_queries(queries, bit_order)
        tree, state = tree_of(where), self._current()
        neighbours = state.nearest(searched, k, tree)
        positions, distances, scores = neighbours.positions, neighbours.distances, None
        if isinstance(searched, WeightedQueries):
            scores = searched.scores(distances)
            distances = state.compare_signs(searched.codes[:, None], positions)
        metadata = None
        if with_metadata:
            flat = state.take_metadata(positions.ravel())
            width = positions.shape[1]
            metadata = [flat[row * width : (row + 1) * width] for row in range(len(searched))]
        return Hits(state.take_ids(positions), distances, metadata, scores)

    @takes_numpy_numbers
    def search_radius(
        self,
        queries: Queries,
        radius: int | None = None,
        where: str | None = None,
        *,
        min_score: float | None = None,
        with_metadata: bool = False,
        bit_order: BitOrder | str = BitOrder.LITTLE,
    ) -> RadiusHits:
        """Find all items within a radius, or of a score; see `HashIndex.search_radius`."""
        check_limits(queries, radius, min_score)
        searched = self.read_queries(queries, bit_order)
        tree, state = tree_of(where), self._current()
        scores, reach = None, self.n_bits if radius is None else min(radius, self.n_bits)
        if isinstance(searched, WeightedQueries):
            limits = searched.totals if min_score is None else searched.limits(min_score)
            if radius is None:
                neighbours = state.within(searched, limits, tree)
            else:
                neighbours = state.within_radius(searched, reach, limits, tree)
            query = np.repeat(np.arange(len(searched)), np.diff(neighbours.starts))
            scores = searched.scores(neighbours.distances, query)
            distances = state.compare_signs(searched.codes[query], neighbours.positions)
        else:
            neighbours = state.within(searched, reach, tree)
            distances = neighbours.distances
        ids = state.take_ids(neighbours.positions)
        metadata = state.take_metadata(neighbours.positions) if with_metadata else None
        return RadiusHits(neighbours.starts, ids, distances, metadata, scores)

    def distance_histogram(
        self,
        codes: Codes,
        where: str | None = None,
        *,
        bit_order: BitOrder | str = BitOrder.LITTLE,
    ) -> NDArray[np.int64]:
        """Count the items at each distance; see `HashIndex.distance_histogram`."""
        codes = to_little(codes, bit_order)
        self.check_query_codes(codes)
        return self._current().histogram(codes, tree_of(where))

    def select(self, where: str) -> IdArray:
        """List the ids of the items that pass a filter; see `HashIndex.select`."""
        tree, state = parsed(where), self._current()
        return state.take_ids(state.select(tree))

    def reconstruct(self, ids: Ids, *, bit_order: BitOrder | str = BitOrder.LITTLE) -> Codes:
        """Look up the codes of items; see `HashIndex.reconstruct`."""
        state = self._current()
        return from_little(state.take_codes(self._positions(state, ids)), bit_order)

    def metadata(self, ids: Ids) -> list[dict[str, Any]]:
        """Look up the metadata of items; see `HashIndex.metadata`."""
        state = self._current()
        return state.take_metadata(self._positions(state, ids))

    def blocks(
        self, n_rows: int = 4096, *, bit_order: BitOrder | str = BitOrder.LITTLE
    ) -> Iterator[ItemBlock]:
        """Yield all items as they are now; see `HashIndex.blocks`."""
        return reorder_blocks(self._current().blocks(n_rows), bit_order)

    def _positions(self, state: Snapshot, ids: Ids) -> Positions:
        """Look up the positions of items that must be there."""
        column = id_column(ids)
        if column is None:
            return np.empty(0, np.int64)
        check_id_kind(column, state.id_kind)
        positions = state.find(column)
        check_known(column, positions != NO_ROW)
        return positions

    def __len__(self) -> int:
        return len(self._current())

    def has_each(self, column: IdColumn) -> NDArray[np.bool_]:
        """Look which ids of a column there are; see `HashIndex.contains`."""
        return np.asarray(self._current().find(column) != NO_ROW)

    def contains(self, ids: Ids) -> NDArray[np.bool_]:
        """Look which of some ids there are, (n,) bool."""
        column = id_column(ids)
        if column is None:
            return np.zeros(0, np.bool_)
        if column.kind is not self.id_kind:
            return np.zeros(len(column), np.bool_)
        return self.has_each(column)

    @property
    def version(self) -> int:
        """Number of changes since the index was made; a checkpoint is none."""
        return self._current().version

    @property
    def ids(self) -> IdArray:
        """All ids in the order of insertion."""
        state = self._current()
        return state.take_ids(state.all_positions())

    @property
    def id_kind(self) -> IdKind | None:
        """What the ids are; None until the first item was added."""
        return self._current().id_kind

    @property
    def is_exact(self) -> bool:
        """Whether a search for packed codes misses nothing."""
        return all(
            view.source.searcher(view.n_rows).is_exact
            for view in self._current().views
            if view.n_rows
        )

    @property
    def is_exact_relaxed(self) -> bool:
        """Whether a search for relaxed queries misses nothing."""
        searchers = [
            view.source.searcher(view.n_rows) for view in self._current().views if view.n_rows
        ]
        # Codes of other searchers are scanned for such queries.
        return all(
            searcher.is_exact_relaxed
            for searcher in searchers
            if isinstance(searcher, RelaxedSearcher)
        )

    @property
    def searcher_parameters(self) -> Mapping[str, Any]:
        """What the searcher of the largest part states: what it chose, and the recall measured."""
        view = max(self._current().views, key=lambda view: view.n_rows)
        return view.source.searcher(view.n_rows).parameters if view.n_rows else {}


def tree_of(where: str | None) -> Filter | None:
    """Parse a filter to a tree; None stays None."""
    return None if where is None else parsed(where)
