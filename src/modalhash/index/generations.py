"""How an embedded index is written to a folder: generation by generation.

A generation is a manifest and what it names: segments, bits of deleted rows, an empty log. Files of
the last one stay until the new manifest has taken the place of the old.
"""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from modalhash.errors import (
    StorageError,
)
from modalhash.files import write_array
from modalhash.index.changes import (
    pack_dead_rows,
)
from modalhash.index.folder import (
    file_record,
    newest_generation,
    refuse_foreign,
    remove_unlisted,
    write_manifest,
)
from modalhash.index.following import IndexFollower
from modalhash.index.lock import WriterLock
from modalhash.index.log import WriteLog
from modalhash.index.manifest import Manifest, SegmentRecord
from modalhash.index.rows import Segment
from modalhash.index.segments import write_segment
from modalhash.index.snapshot import Snapshot
from modalhash.index.views import View

__all__ = ["GenerationWriter"]


class GenerationWriter(IndexFollower):
    """Writes snapshots of an embedded index to folders."""

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
        kept_views, merged = state.views[:first], state.views[first:]
        segments = [replace(records[segment_name(view)], n_dead=view.n_dead) for view in kept_views]
        try:
            if any(map(len, merged)):
                segment = write_segment(
                    folder,
                    f"{generation:06}",
                    merged,
                    n_bits=self.n_bits,
                    kind=self._kind_of(first),
                    parameters={} if first else self.parameters,
                )
                segments.append(segment)
            dead, bits = None, pack_dead_rows(kept_views)
            if bits is not None:
                tail = np.zeros(
                    sum(-(-record.n_rows // 8) for record in segments[first:]), np.uint8
                )
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
        """Choose the kind of searcher of a segment that begins at a view."""
        return self._scan.kind if first else self.kind


def segment_name(view: View) -> str:
    """Look up the name of a view's segment."""
    assert isinstance(view.source, Segment)
    return view.source.name
