"""How an embedded index changes: the lock, the log, checkpoints and going back.

A change is made in memory, then appended to the log, then shown to searches. When the log has grown
long, a checkpoint writes the recent rows as a segment.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import numpy as np

from modalhash.errors import (
    InputError,
    StorageError,
)
from modalhash.index.changes import (
    DEAD_SHARE,
    apply_change,
    choose_first_merged,
    scan_class,
    without,
)
from modalhash.index.folder import newest_generation, write_manifest
from modalhash.index.following import is_mark_of
from modalhash.index.generations import GenerationWriter
from modalhash.index.item_changes import ItemChange
from modalhash.index.items import ItemStore
from modalhash.index.lock import WriterLock
from modalhash.index.log import Change, WriteLog
from modalhash.index.manifest import read_manifest
from modalhash.index.rows import RecentRows, Segment, documented
from modalhash.index.searchers import NO_ROW
from modalhash.index.segments import merge_segments, open_segment
from modalhash.index.snapshot import Snapshot
from modalhash.index.views import View

__all__ = ["IndexWriter"]

logger = logging.getLogger(__name__)

CHECKPOINT_ROWS: Final = 1 << 16
"""So many recent rows are written as a segment."""
CHECKPOINT_BYTES: Final = 32 << 20
"""A log of so many bytes is folded in."""
BULK_ROWS: Final = 1 << 14
"""So many items at once are written as a segment and not to the log first."""
FEW_DEAD: Final = 4096


class IndexWriter(GenerationWriter):
    """Changes an embedded index, in memory or in its folder."""

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
                self._lock = lock  # a writer sees all changes, also those hidden from readers
                self._follow()
            assert self._manifest is not None
            self._log = WriteLog(self.folder / self._manifest.log, self._log_end)
        except BaseException:
            self._lock = None
            lock.release()
            raise
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
                state = apply_change(state, self._recent, change)
            if self._log is not None:
                self._log.append(changes)
        except BaseException:
            self._recent.take_back(n_recent)
            raise
        self._state = state

    def mark(self) -> Mapping[str, Any] | None:
        """Give the present end of the log, to which `roll_back` cuts it; see `HashIndex.mark`.

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
            self._fold(choose_first_merged(self._state.views))
        except StorageError as error:
            logger.warning("the change is kept, but no checkpoint could be made: %s", error)

    def _is_long(self, state: Snapshot) -> bool:
        """Tell whether a checkpoint is due."""
        if state.views[-1].n_rows >= CHECKPOINT_ROWS:
            return True
        if self._log is not None and self._log.end >= CHECKPOINT_BYTES:
            return True
        return any(view.n_dead > max(FEW_DEAD, DEAD_SHARE * view.n_rows) for view in state.views)

    def _bulk_view(self, change: ItemChange) -> View:
        """Make a view of many items that scans them where they are."""
        items = ItemStore.empty()
        if change.documents is not None:
            items.append(documented(0, change.ids, change.documents))
        codes = np.ascontiguousarray(change.codes)
        searcher = scan_class("exact").build(codes, self.n_bits, parameters={})
        segment = Segment(codes, change.column, change.lookup, items, searcher)
        return self._view(segment, len(codes))

    def _put_segment(self, change: ItemChange) -> None:
        """Add many items at once: they and the recent rows become a segment, without the log."""
        state, added = self._state, self._bulk_view(change)
        positions = state.find(change.column)
        views = without(state, np.unique(positions[positions != NO_ROW]))
        first = choose_first_merged([*views[:-1], added])
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
        kept_views = list(state.views[:first])
        for record in manifest.segments[first:]:
            assert state.id_kind is not None
            segment = open_segment(self.folder, record, self.n_bits, state.id_kind)
            kept_views.append(self._view(segment, record.n_rows))
        self._manifest, self._log, self._log_end = manifest, log, log.end
        self._begin(kept_views, state)

    def _fold_in_memory(self, first: int, state: Snapshot | None = None) -> None:
        """Merge views from `first` on into one segment in memory."""
        state = self._state if state is None else state
        kept_views, merged = list(state.views[:first]), state.views[first:]
        if any(map(len, merged)):
            parameters = {} if first else self.parameters
            segment = merge_segments(merged, self.n_bits, self._kind_of(first), parameters)
            kept_views.append(self._view(segment, len(segment)))
        self._begin(kept_views, state)

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
                self._fold(choose_first_merged(state.views))

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
            is_of_kind = self._manifest is None or all(
                record.searcher == self.kind for record in self._manifest.segments
            )
            if not is_compact or not is_of_kind or any(view.n_dead for view in state.views):
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
