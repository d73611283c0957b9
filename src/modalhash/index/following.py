"""What an embedded index holds, and how it follows a writer in another process.

Each search looks whether the manifest or the log has changed since the last look, and takes in what
was written: new records of the log, or a new generation as a whole.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from modalhash.codes import code_width
from modalhash.errors import (
    ArtifactError,
    DamagedArtifactError,
    InputError,
    StorageError,
)
from modalhash.index.base import FindMark, HashIndex
from modalhash.index.changes import (
    load_snapshot,
    replay_log,
    scan_class,
)
from modalhash.index.forking import renew_in_children
from modalhash.index.lock import WriterLock
from modalhash.index.log import HEADER_BYTES, WriteLog
from modalhash.index.manifest import MANIFEST, Manifest, read_manifest
from modalhash.index.rows import RecentRows, Segment
from modalhash.index.searcher_table import searcher_class
from modalhash.index.snapshot import Snapshot
from modalhash.index.views import View
from modalhash.numpy_numbers import takes_numpy_numbers

__all__ = ["IndexFollower", "ReplacedError", "is_mark_of"]

logger = logging.getLogger(__name__)

OPENING_TRIES: Final = 5
OPENING_PAUSE: Final = 0.02
Signature = tuple[int, ...]


class IndexFollower(HashIndex):
    """The state of an embedded index, as new as its folder is.

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
        self._scan = scan_class(kind)
        self._recent = RecentRows(n_bits, self._scan)
        self._state = Snapshot((self._view(self._recent, 0),), 0, n_bits, None)
        self._writing, self._refreshing = threading.RLock(), threading.Lock()
        self._manifest: Manifest | None = None
        self._log: WriteLog | None = None
        self._log_end = 0
        self._n_blocks, self._has_mark = 0, False
        self._lock: WriterLock | None = None
        self._signature: Signature = ()
        self._find_mark: FindMark = find_no_mark
        self._is_replaced = self._is_closed = self._is_forked = False
        renew_in_children(self)

    def _view(self, source: RecentRows | Segment, n_rows: int) -> View:
        """Make the view of a source's first rows, none of them deleted."""
        return View(source, n_rows, self._scan, self.n_bits)

    def _load(self) -> None:
        """Open what the folder holds now."""
        assert self.folder is not None
        for tries_left in reversed(range(OPENING_TRIES)):
            signature, manifest = self._signed(), self._manifest
            assert manifest is not None
            known = self._state if self._signature else None
            stop = self._find_stop(manifest, signature)
            try:
                loaded = load_snapshot(self.folder, manifest, known, stop=stop)
            except (DamagedArtifactError, StorageError):
                # A checkpoint in another process may have removed what we were reading.
                self._manifest = self._read_own_manifest()
                if self._manifest == manifest or not tries_left:
                    raise
                continue
            self._state, self._recent, self._log_end = loaded
            self._signature = (*signature[:3], stop) if signature else ()
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

    def _signed(self) -> Signature:
        """Read what changes when somebody writes to the folder; () if it can't be told."""
        assert self.folder is not None
        assert self._manifest is not None
        try:
            # Before every search: to join paths would take longer than to look at the files.
            manifest = os.stat(f"{self.folder}/{MANIFEST}")  # noqa: PTH116
            log = os.stat(f"{self.folder}/{self._manifest.log}")  # noqa: PTH116
        except OSError:
            return ()
        return (manifest.st_ino, manifest.st_mtime_ns, manifest.st_size, log.st_size)

    def hide_changes_after(self, find_mark: FindMark) -> None:
        """Show no change after a mark, as long as there is one; see `HashIndex`."""
        with self._refreshing:
            self._find_mark = find_mark
            if self.folder is not None and find_mark() is not None:
                self._load()

    def _find_stop(self, manifest: Manifest, signature: Signature) -> int:
        """Find where the part of the log ends that is shown.

        The length of the log is older than the look for a mark. So a change that is in this part
        and has no mark is finished.

        Args:
            manifest: of the folder.
            signature: ends with the length of the log; () if that isn't known.
        """
        length = signature[3] if signature else sys.maxsize
        mark = None if self._is_writer else self._find_mark()
        if mark is None or not is_mark_of(mark, manifest, length):
            return length
        return int(mark["end"])

    def _current(self) -> Snapshot:
        """Take in what was written since, and give the newest snapshot."""
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
            stop = self._find_stop(manifest, signature)
            try:
                if stop > self._log_end:
                    self._state, self._log_end = replay_log(
                        self.folder, manifest, self._state, self._recent, self._log_end, stop=stop
                    )
            except (DamagedArtifactError, StorageError):
                # Perhaps a record was being written, or a checkpoint has replaced the log.
                if not tries_left:
                    raise
                self._recent.take_back(self._state.views[-1].n_rows)
                time.sleep(OPENING_PAUSE)
                continue
            self._signature = (*signature[:3], stop)
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

    @property
    def _is_writer(self) -> bool:
        """Whether changes of the folder come from here only."""
        return self._lock is not None and self._lock.is_mine


def find_no_mark() -> None:
    """Find no mark: all changes are shown."""


def is_mark_of(mark: Mapping[str, Any], manifest: Manifest, log_end: int) -> bool:
    """Tell whether a mark stands in the log that belongs to a manifest."""
    end = mark.get("end")
    if not isinstance(end, int) or not HEADER_BYTES <= end <= log_end:
        return False
    return bool((mark.get("uid"), mark.get("generation")) == (manifest.uid, manifest.generation))


class ReplacedError(ArtifactError):
    """A folder holds another index than when it was opened."""
