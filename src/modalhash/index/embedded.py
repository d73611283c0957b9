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
import os
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Self, final

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, code_width
from modalhash.errors import (
    ArtifactError,
    DamagedArtifactError,
    InputError,
    StorageError,
)
from modalhash.files import write_array
from modalhash.index.base import HashIndex, check_radius, check_top_k
from modalhash.index.changes import (
    DEAD_SHARE,
    applied,
    first_merged,
    load_snapshot,
    packed_dead,
    replayed,
    scan_of,
    without,
)
from modalhash.index.checking import check_id_kind, check_known, check_model
from modalhash.index.filters import Filter, parse_filter
from modalhash.index.folder import (
    MANIFEST,
    Manifest,
    SegmentRecord,
    file_record,
    newest_generation,
    read_manifest,
    refuse_foreign,
    remove_unlisted,
    write_manifest,
)
from modalhash.index.forking import renew_in_children
from modalhash.index.hits import Hits, IdArray, IdKind, Ids, ItemBlock, Metadata, RadiusHits
from modalhash.index.ids import IdColumn, id_column
from modalhash.index.item_changes import ItemChange
from modalhash.index.items import ItemStore
from modalhash.index.lock import WriterLock
from modalhash.index.log import HEADER_BYTES, Change, WriteLog
from modalhash.index.rows import RecentRows, Segment, documented
from modalhash.index.searchers import NO_ROW, Positions, check_stated_kind, searcher_class
from modalhash.index.segments import merged_segment, open_segment, write_segment
from modalhash.index.snapshot import Snapshot, View
from modalhash.numpy_numbers import takes_numpy_numbers

__all__ = ["EmbeddedIndex"]

logger = logging.getLogger(__name__)

OPENING_TRIES: Final = 5
OPENING_PAUSE: Final = 0.02
CHECKPOINT_ROWS: Final = 1 << 16
"""So many recent rows are written as a segment."""
CHECKPOINT_BYTES: Final = 32 << 20
"""A log of so many bytes is folded in."""
BULK_ROWS: Final = 1 << 14
"""So many items at once are written as a segment and not to the log first."""
FEW_DEAD: Final = 4096

parsed = lru_cache(maxsize=256)(parse_filter)
Signature = tuple[int, ...]


@final
class EmbeddedIndex(HashIndex):
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

    @takes_numpy_numbers
    def __init__(
        self,
        n_bits: int,
        *,
        kind: str = "flat",
        parameters: Mapping[str, Any] | None = None,
        model_fingerprint: str = "",
    ) -> None:
        code_width(n_bits)
        searcher_class(kind)
        self.n_bits, self.kind, self.model_fingerprint = n_bits, kind, model_fingerprint
        self.parameters = dict(parameters or {})
        self.folder: Path | None = None
        self._scan = scan_of(kind)
        self._recent = RecentRows(n_bits, self._scan)
        self._state = Snapshot((self._view(self._recent, 0),), 0, n_bits, None)
        self._writing, self._refreshing = threading.RLock(), threading.Lock()
        self._manifest: Manifest | None = None
        self._log: WriteLog | None = None
        self._log_end = 0
        self._n_blocks, self._has_mark = 0, False
        self._lock: WriterLock | None = None
        self._signature: Signature = ()
        self._is_replaced = self._is_closed = self._is_forked = False
        renew_in_children(self)

    def _view(self, source: RecentRows | Segment, n_rows: int) -> View:
        """Return the view of a source's first rows, none of them deleted."""
        return View(source, n_rows, self._scan, self.n_bits)

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
        given = Snapshot((*views, *index._state.views), len(views), n_bits, kind_of_ids)
        if folder is not None:
            index._write_new(Path(folder), given)
            return cls.open(folder)
        index._state = given
        index._fold_in_memory(0)
        return index

    @classmethod
    def open(cls, folder: str | Path, *, expect_model: str | None = None) -> Self:
        """Open a saved index; codes and ids are mapped, not read.

        Changes are kept in the folder from then on.

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
        check_stated_kind(folder, manifest.kind)
        index = cls(
            manifest.n_bits,
            kind=manifest.kind,
            parameters=manifest.parameters,
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

    def _write_new(self, folder: Path, state: Snapshot) -> None:
        """Write a snapshot as a new index."""
        refuse_foreign(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"can't write {folder}: {error.strerror or error}") from error
        lock = WriterLock(folder)
        try:
            self.write_generation(folder, state, 0, uid=secrets.token_hex(16), records={}).close()
        finally:
            lock.release()

    def write_generation(
        self,
        folder: Path,
        state: Snapshot,
        first: int,
        *,
        uid: str,
        records: Mapping[str, SegmentRecord],
    ) -> WriteLog:
        """Write views from `first` on as one segment, and a manifest that names it.

        Args:
            folder: whose lock is held.
            state: what the folder shall hold.
            first: views before it are segments that lie there.
            uid: of the index.
            records: of these segments by name.

        Returns:
            The new, empty log.
        """
        generation = newest_generation(folder) + 1
        kept, merged = state.views[:first], state.views[first:]
        segments = [replace(records[segment_name(view)], n_dead=view.n_dead) for view in kept]
        try:
            if any(map(len, merged)):
                made = write_segment(
                    folder,
                    f"{generation:06}",
                    merged,
                    n_bits=self.n_bits,
                    kind=self._kind_of(first),
                    parameters={} if first else self.parameters,
                )
                segments.append(made)
            dead, bits = None, packed_dead(kept)
            if bits is not None:
                tail = np.zeros(sum(-(-one.n_rows // 8) for one in segments[first:]), np.uint8)
                name = f"dead.{generation:06}.npy"
                write_array(folder / name, np.concatenate([bits, tail]))
                dead = file_record(folder, name)
            log = WriteLog.create(folder / f"log.{generation:06}", uid)
        except BaseException:
            remove_unlisted(folder)
            raise
        manifest = Manifest(
            uid=uid,
            generation=generation,
            version=state.version,
            kind=self.kind,
            parameters=self.parameters,
            n_bits=self.n_bits,
            n_items=len(state),
            id_kind=state.id_kind,
            model_fingerprint=self.model_fingerprint,
            segments=segments,
            dead=dead,
            log=log.path.name,
        )
        try:
            write_manifest(folder, manifest)
        except BaseException:
            log.close()
            raise
        return log

    def _kind_of(self, first: int) -> str:
        """Return the kind of searcher of a segment that begins at a view."""
        return self._scan.kind if first else self.kind

    def _load(self) -> None:
        """Open what the folder holds now."""
        assert self.folder is not None
        for tries_left in reversed(range(OPENING_TRIES)):
            signature, manifest = self._signed(), self._manifest
            assert manifest is not None
            known = self._state if self._signature else None
            try:
                loaded = load_snapshot(self.folder, manifest, known)
            except (DamagedArtifactError, StorageError):
                # A checkpoint in another process may have removed what we were reading.
                self._manifest = self._read_own_manifest()
                if self._manifest == manifest or not tries_left:
                    raise
                continue
            self._state, self._recent, self._log_end = loaded
            self._signature = signature
            return

    def _read_own_manifest(self) -> Manifest:
        """Read the folder's manifest.

        Raises:
            ArtifactError: if the folder holds another index by now.
        """
        assert self.folder is not None
        manifest = read_manifest(self.folder)
        if self._manifest is not None and self._signature and manifest.uid != self._manifest.uid:
            raise ReplacedError(
                f"{self.folder} holds another index than when it was opened: open it again"
            )
        return manifest

    # --- following a writer in another process ------------------------------------------------

    def _signed(self) -> Signature:
        """Return what changes when somebody writes to the folder; () if it can't be told."""
        assert self.folder is not None
        assert self._manifest is not None
        try:
            manifest = os.stat(self.folder / MANIFEST)  # noqa: PTH116 - before every search
            log = os.stat(self.folder / self._manifest.log)  # noqa: PTH116
        except OSError:
            return ()
        return (manifest.st_ino, manifest.st_mtime_ns, manifest.st_size, log.st_size)

    def _current(self) -> Snapshot:
        """Return the newest snapshot there is."""
        if self._is_closed:
            raise InputError("the index is closed: open it again")
        if self._is_forked:
            self._renew()
        if self.folder is None or self._is_writer or self._is_replaced:
            return self._state
        signature = self._signed()
        if signature != self._signature:
            with self._refreshing:
                try:
                    self._follow()
                except ReplacedError as error:
                    self._is_replaced = True
                    logger.warning("%s; it still answers from what it was", error)
                except FileNotFoundError:
                    self._is_replaced = True
        return self._state

    def _follow(self) -> None:
        """Take in what was written since the last look."""
        assert self.folder is not None
        assert self._manifest is not None
        for tries_left in reversed(range(OPENING_TRIES)):
            signature = self._signed()
            if signature and signature == self._signature:
                return
            manifest = self._read_own_manifest()
            if manifest != self._manifest or not signature or signature[3] < self._log_end:
                self._manifest = manifest
                self._load()
                return
            try:
                self._state, self._log_end = replayed(
                    self.folder, manifest, self._state, self._recent, self._log_end
                )
            except (DamagedArtifactError, StorageError):
                # Perhaps a record was being written, or a checkpoint has replaced the log.
                if not tries_left:
                    raise
                self._recent.take_back(self._state.views[-1].n_rows)
                time.sleep(OPENING_PAUSE)
                continue
            self._signature = signature
            return

    def after_fork(self) -> None:
        """Leave to the parent what it has open: its locks and its log; see `_renew`."""
        self._writing, self._refreshing = threading.RLock(), threading.Lock()
        if self._log is not None:
            self._log.close()
        self._log = self._lock = None
        self._n_blocks, self._has_mark = 0, False
        self._is_forked = True

    def _renew(self) -> None:
        """Open in a forked child what can't be used on both sides, once it is asked for."""
        with self._refreshing:
            if not self._is_forked:
                return
            if self.folder is None:
                for view in self._state.views:
                    view.source.renew()
            else:
                self._signature = ()
                try:
                    self._manifest = self._read_own_manifest()
                    self._load()
                except (ReplacedError, FileNotFoundError):
                    self._is_replaced = True
            self._is_forked = False

    # --- changing -----------------------------------------------------------------------------

    @property
    def _is_writer(self) -> bool:
        """Whether changes of the folder come from here only."""
        return self._lock is not None and self._lock.is_mine

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the writer's lock of the folder; see `HashIndex.writing`."""
        with self._writing:
            self._for_writing()
            self._n_blocks += 1
            try:
                yield
                if self._n_blocks == 1 and self._has_mark:
                    self._has_mark = False
                    self._fold_if_long()
            finally:
                self._n_blocks -= 1
                if not self._n_blocks:
                    self._has_mark = False
                    self._end_writing()

    def _end_writing(self) -> None:
        """Let others change the folder; the next change takes the lock again."""
        with self._refreshing:
            if self._log is None or self._lock is None:
                return
            self._log_end, self._signature = self._log.end, self._signed()
            self._log.close()
            self._lock.release()
            self._log = self._lock = None

    def _for_writing(self) -> Snapshot:
        """Become the folder's writer, unless it is, and return the newest snapshot."""
        if self._is_closed:
            raise InputError("the index is closed: open it again")
        if self._is_forked:
            self._renew()
        if self.folder is None or self._is_writer:
            return self._state
        lock = WriterLock(self.folder)
        try:
            with self._refreshing:
                self._follow()
            assert self._manifest is not None
            self._log = WriteLog(self.folder / self._manifest.log, self._log_end)
        except BaseException:
            lock.release()
            raise
        self._lock = lock
        return self._state

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the folder's lock, which is kept until `close`; see `HashIndex.changing`."""
        with self._writing:
            self._for_writing()
            yield

    def apply_changes(self, changes: Sequence[ItemChange]) -> None:
        """Carry out checked changes; see `HashIndex.apply_changes`."""
        if len(changes) == 1 and changes[0].n_added >= BULK_ROWS and not self._has_mark:
            self._put_segment(changes[0])
            return
        first = self._state.version + 1
        self._append([Change.of(change, version) for version, change in enumerate(changes, first)])
        if not self._has_mark:
            self._fold_if_long()

    def _append(self, changes: Sequence[Change]) -> None:
        """Make changes: in memory, then in the log, then for all to see."""
        state, n_recent = self._state, self._state.views[-1].n_rows
        try:
            for change in changes:
                state = applied(state, self._recent, change)
            if self._log is not None:
                self._log.append(changes)
        except BaseException:
            self._recent.take_back(n_recent)
            raise
        self._state = state

    def mark(self) -> Mapping[str, Any] | None:
        """Return the present end of the log, to which `roll_back` cuts it; see `HashIndex.mark`.

        Until the block `writing` ends, changes stay in the log, however many they are.
        """
        if self._log is None or self._manifest is None:
            return None
        self._has_mark = True
        return {
            "uid": self._manifest.uid,
            "generation": self._manifest.generation,
            "end": self._log.end,
            "version": self._state.version,
        }

    def roll_back(self, mark: Mapping[str, Any]) -> bool:
        """Cut the log where it ended at a mark; see `HashIndex.roll_back`.

        The manifest gets a new generation, by which other processes notice that the log isn't just
        a longer one.
        """
        with self.changing():
            manifest, log = self._manifest, self._log
            if self.folder is None or manifest is None or log is None:
                return False
            if not is_mark_of(mark, manifest, log.end):
                return False
            log.cut(mark["end"])
            try:
                generation = newest_generation(self.folder) + 1
                write_manifest(self.folder, replace(manifest, generation=generation))
            except BaseException:
                log.is_broken = True
                raise
            finally:
                self._manifest = self._read_own_manifest()
                self._load()
        return True

    def _fold_if_long(self) -> None:
        """Make a checkpoint if one is due; without room on the disk, the log stays as it is."""
        if not self._is_long(self._state):
            return
        try:
            self._fold(first_merged(self._state.views))
        except StorageError as error:
            logger.warning("the change is kept, but no checkpoint could be made: %s", error)

    def _is_long(self, state: Snapshot) -> bool:
        """Return whether a checkpoint is due."""
        if state.views[-1].n_rows >= CHECKPOINT_ROWS:
            return True
        if self._log is not None and self._log.end >= CHECKPOINT_BYTES:
            return True
        return any(view.n_dead > max(FEW_DEAD, DEAD_SHARE * view.n_rows) for view in state.views)

    def _bulk_view(self, change: ItemChange) -> View:
        """Return many items as a view that scans them where they are."""
        items = ItemStore.empty()
        if change.documents is not None:
            items.append(documented(0, change.ids, change.documents))
        codes = np.ascontiguousarray(change.codes)
        searcher = scan_of("exact").build(codes, self.n_bits, parameters={})
        segment = Segment(codes, change.column, change.lookup, items, searcher)
        return self._view(segment, len(codes))

    def _put_segment(self, change: ItemChange) -> None:
        """Add many items at once: they and the recent rows become a segment, without the log."""
        state, added = self._state, self._bulk_view(change)
        found = state.find(change.column)
        views = without(state, np.unique(found[found != NO_ROW]))
        first = first_merged([*views[:-1], added])
        self._fold(first, state.changed([*views, added], id_kind=change.column.kind))

    def _fold(self, first: int, state: Snapshot | None = None) -> None:
        """Write views from `first` on as one segment, and begin with no recent rows.

        Args:
            first: number of views to keep as they are.
            state: the snapshot to make; None is the present one.
        """
        state = self._state if state is None else state
        if self.folder is None:
            self._fold_in_memory(first, state)
            return
        assert self._manifest is not None
        assert self._log is not None
        old = self._manifest
        try:
            log = self.write_generation(
                self.folder,
                state,
                first,
                uid=old.uid,
                records={record.name: record for record in old.segments},
            )
        except BaseException:
            # A manifest that was renamed but not flushed names another log than ours.
            if read_manifest(self.folder).generation != old.generation:
                self._log.is_broken = True
            raise
        self._log.close()
        manifest = read_manifest(self.folder)
        kept = list(state.views[:first])
        for record in manifest.segments[first:]:
            assert state.id_kind is not None
            segment = open_segment(self.folder, record, self.n_bits, state.id_kind)
            kept.append(self._view(segment, record.n_rows))
        self._manifest, self._log, self._log_end = manifest, log, log.end
        self._begin(kept, state)

    def _fold_in_memory(self, first: int, state: Snapshot | None = None) -> None:
        """Merge views from `first` on into one segment in memory."""
        state = self._state if state is None else state
        kept, merged = list(state.views[:first]), state.views[first:]
        if any(map(len, merged)):
            parameters = {} if first else self.parameters
            segment = merged_segment(merged, self.n_bits, self._kind_of(first), parameters)
            kept.append(self._view(segment, len(segment)))
        self._begin(kept, state)

    def _begin(self, segments: list[View], state: Snapshot) -> None:
        """Show the snapshot of some segments and no recent rows."""
        self._recent = RecentRows(self.n_bits, self._scan)
        views = (*segments, self._view(self._recent, 0))
        self._state = Snapshot(views, state.version, self.n_bits, state.id_kind)

    def checkpoint(self) -> None:
        """Fold the write log in: recent rows become a segment. Searches go on meanwhile.

        Does itself when the log is long.

        Raises:
            IndexLockedError: if somebody else changes the folder.
            StorageError: if the file system refuses; nothing is lost then.
        """
        with self._writing:
            state = self._for_writing()
            changed_since = 0 if self._manifest is None else self._manifest.version
            if state.version != changed_since:
                self._fold(first_merged(state.views))

    def compact(self) -> None:
        """Make one segment of all items, with a new searcher; deleted items are gone for good.

        Searches go on meanwhile. Takes as long as building the index.

        Raises:
            IndexLockedError: if somebody else changes the folder.
            StorageError: if the file system refuses; nothing is lost then.
        """
        with self._writing:
            state = self._for_writing()
            is_compact = not state.views[-1].n_rows and len(state.views) <= 2
            if not is_compact or any(view.n_dead for view in state.views):
                self._fold(0)

    def close(self) -> None:
        """Let go of files and of the lock; the index can't be used afterwards."""
        with self._writing:
            self._is_closed = True
            if self._log is not None:
                self._log.close()
            if self._lock is not None:
                self._lock.release()
            for view in self._state.views:
                view.source.items.close()

    # --- asking -------------------------------------------------------------------------------

    @takes_numpy_numbers
    def search(
        self, codes: Codes, k: int, where: str | None = None, *, with_metadata: bool = False
    ) -> Hits:
        """Find the k nearest items of each query; see `HashIndex.search`."""
        check_top_k(k)
        self.check_query_codes(codes)
        tree, state = tree_of(where), self._current()
        found = state.nearest(np.ascontiguousarray(codes), k, tree)
        metadata = None
        if with_metadata:
            flat = state.take_metadata(found.positions.ravel())
            width = found.positions.shape[1]
            metadata = [flat[row * width : (row + 1) * width] for row in range(len(codes))]
        return Hits(state.take_ids(found.positions), found.distances, metadata)

    @takes_numpy_numbers
    def search_radius(
        self, codes: Codes, radius: int, where: str | None = None, *, with_metadata: bool = False
    ) -> RadiusHits:
        """Find all items within a radius of each query; see `HashIndex.search_radius`."""
        check_radius(radius)
        self.check_query_codes(codes)
        tree, state = tree_of(where), self._current()
        found = state.within(np.ascontiguousarray(codes), radius, tree)
        metadata = state.take_metadata(found.positions) if with_metadata else None
        return RadiusHits(found.starts, state.take_ids(found.positions), found.distances, metadata)

    def distance_histogram(self, codes: Codes, where: str | None = None) -> NDArray[np.int64]:
        """Count the items at each distance; see `HashIndex.distance_histogram`."""
        self.check_query_codes(codes)
        return self._current().histogram(codes, tree_of(where))

    def select(self, where: str) -> IdArray:
        """Return the ids of the items that pass a filter; see `HashIndex.select`."""
        tree, state = parsed(where), self._current()
        return state.take_ids(state.select(tree))

    def reconstruct(self, ids: Ids) -> Codes:
        """Return the codes of items; see `HashIndex.reconstruct`."""
        state = self._current()
        return state.take_codes(self._positions(state, ids))

    def metadata(self, ids: Ids) -> list[dict[str, Any]]:
        """Return the metadata of items; see `HashIndex.metadata`."""
        state = self._current()
        return state.take_metadata(self._positions(state, ids))

    def blocks(self, n_rows: int = 4096) -> Iterator[ItemBlock]:
        """Yield all items as they are now; see `HashIndex.blocks`."""
        return self._current().blocks(n_rows)

    def _positions(self, state: Snapshot, ids: Ids) -> Positions:
        """Return the positions of items that must be there."""
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
        """Return which of some ids there are, (n,) bool."""
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
        """Whether a search misses nothing."""
        return all(
            view.source.searcher(view.n_rows).is_exact
            for view in self._current().views
            if view.n_rows
        )

    @property
    def searcher_parameters(self) -> Mapping[str, Any]:
        """What the searcher of the largest part states: what it chose, and the recall measured."""
        view = max(self._current().views, key=lambda view: view.n_rows)
        return view.source.searcher(view.n_rows).parameters if view.n_rows else {}


class ReplacedError(ArtifactError):
    """A folder holds another index than when it was opened."""


def tree_of(where: str | None) -> Filter | None:
    """Return a filter as a tree."""
    return None if where is None else parsed(where)


def is_mark_of(mark: Mapping[str, Any], manifest: Manifest, log_end: int) -> bool:
    """Return whether a log that belongs to a manifest can be cut at a mark."""
    end = mark.get("end")
    if not isinstance(end, int) or not HEADER_BYTES <= end <= log_end:
        return False
    return bool((mark.get("uid"), mark.get("generation")) == (manifest.uid, manifest.generation))


def segment_name(view: View) -> str:
    """Return the name of a view's segment."""
    assert isinstance(view.source, Segment)
    return view.source.name
