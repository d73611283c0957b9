"""What a change does to a snapshot, be it new or read from the log."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from modalhash.errors import DamagedArtifactError, InputError
from modalhash.index.folder import check_file, read_array
from modalhash.index.hits import IdKind
from modalhash.index.ids import id_column
from modalhash.index.item_changes import Operation
from modalhash.index.log import HEADER_BYTES, Change, read_log
from modalhash.index.manifest import FileRecord, Manifest, SegmentRecord
from modalhash.index.rows import RecentRows, Segment
from modalhash.index.searcher_table import searcher_class
from modalhash.index.searchers import NO_ROW, Positions, Searcher
from modalhash.index.segments import open_segment
from modalhash.index.snapshot import Snapshot
from modalhash.index.views import DeadRows, View

__all__ = [
    "apply_change",
    "check_change",
    "choose_first_merged",
    "load_dead",
    "load_snapshot",
    "pack_dead_rows",
    "replay_log",
    "scan_class",
    "without",
]

DEAD_SHARE: Final = 0.25
"""A segment of which more is deleted is written again at the next checkpoint."""


def scan_class(kind: str) -> type[Searcher]:
    """Load the class that scans the rows of an index that no searcher was built for."""
    return searcher_class("exact" if kind == "exact" else "flat")


def without(snapshot: Snapshot, positions: Positions) -> list[View]:
    """Delete some positions, which are there and distinct, from the views of a snapshot."""
    views = list(snapshot.views)
    for number, (start, view) in enumerate(zip(snapshot.starts(), snapshot.views, strict=False)):
        is_own = (positions >= start) & (positions < start + view.n_rows)
        views[number] = view.without(positions[is_own] - start)
    return views


def apply_change(snapshot: Snapshot, recent: RecentRows, change: Change) -> Snapshot:
    """Apply a change to a snapshot; added rows are appended to the recent ones.

    Args:
        snapshot: before; its last view is of `recent`.
        recent: the rows since the last checkpoint, as many as that view has.
        change: a valid one: ids to add aren't there.
    """
    column = id_column(change.ids)
    if column is None:
        return snapshot.changed(snapshot.views)
    views = list(snapshot.views)
    if change.operation is not Operation.ADD:
        positions = snapshot.find(column)
        views = without(snapshot, np.unique(positions[positions != NO_ROW]))
    if change.operation is not Operation.DELETE:
        recent.append(change.ids, change.codes, change.documents)
        views[-1] = views[-1].extended(len(recent))
    return snapshot.changed(views, id_kind=column.kind)


def choose_first_merged(views: Sequence[View]) -> int:
    """Choose the view from which on a checkpoint merges rows into one segment.

    As with a binary counter, segments of like size are merged, so that there are few of them and
    each row is written again a few times only; and what is largely deleted is written again.

    Args:
        views: of the segments, and last of the recent rows.
    """
    first = len(views) - 1
    gathered = len(views[first])
    while first and len(views[first - 1]) <= gathered:
        first -= 1
        gathered += len(views[first])
    for number, view in enumerate(views[:first]):
        if view.n_dead > DEAD_SHARE * view.n_rows:
            return number
    return first


def pack_dead_rows(views: Sequence[View]) -> DeadRows | None:
    """Join the bits of the deleted rows of segments, one after the other; None without any."""
    if not any(view.n_dead for view in views):
        return None
    return np.concatenate(
        [
            np.zeros(-(-view.n_rows // 8), np.uint8) if view.dead is None else view.dead
            for view in views
        ]
    )


def load_dead(
    folder: Path, record: FileRecord | None, segments: Sequence[SegmentRecord]
) -> list[DeadRows | None]:
    """Read the bits of deleted rows, segment by segment.

    Raises:
        DamagedArtifactError: if they don't fit the segments.
        StorageError: if they can't be read.
    """
    if record is None:
        return [None] * len(segments)
    path = check_file(folder, record)
    bits: NDArray[np.uint8] = np.array(read_array(path))
    ends = np.cumsum([0, *(-(-segment.n_rows // 8) for segment in segments)]).tolist()
    parts = [bits[start:end] for start, end in pairwise(ends)]
    counts = [int(np.bitwise_count(part).sum()) for part in parts]
    if len(bits) != ends[-1] or counts != [segment.n_dead for segment in segments]:
        raise DamagedArtifactError(f"{path} is damaged: it doesn't fit the manifest")
    return [part if count else None for part, count in zip(parts, counts, strict=True)]


def load_snapshot(
    folder: Path, manifest: Manifest, known: Snapshot | None = None, *, stop: int | None = None
) -> tuple[Snapshot, RecentRows, int]:
    """Open what a manifest describes, and the changes in its log.

    Args:
        folder: of the index.
        manifest: of the folder.
        known: an earlier snapshot of the same index, whose segments are used again.
        stop: where in the log to end; None is its end.

    Returns:
        The snapshot, its recent rows, and where the log's last whole record ends.

    Raises:
        DamagedArtifactError: if a file is missing or damaged, naming it.
        StorageError: if one can't be read.
    """
    scan, n_bits = scan_class(manifest.kind), manifest.n_bits
    id_kind = None if manifest.id_kind is None else IdKind(manifest.id_kind)
    opened = {
        view.source.name: view.source
        for view in (() if known is None else known.views)
        if isinstance(view.source, Segment)
    }
    views = []
    dead = load_dead(folder, manifest.dead, manifest.segments)
    for record, bits in zip(manifest.segments, dead, strict=True):
        assert id_kind is not None
        segment = opened.get(record.name) or open_segment(folder, record, n_bits, id_kind)
        views.append(View(segment, record.n_rows, scan, n_bits, bits, record.n_dead))
    if sum(map(len, views)) != manifest.n_items:
        raise DamagedArtifactError(
            f"{folder} is damaged: its segments hold {sum(map(len, views))} items, its manifest "
            f"states {manifest.n_items}"
        )
    recent = RecentRows(n_bits, scan)
    views.append(View(recent, 0, scan, n_bits))
    snapshot = Snapshot(tuple(views), manifest.version, n_bits, id_kind)
    snapshot, end = replay_log(folder, manifest, snapshot, recent, stop=stop)
    return snapshot, recent, end


def replay_log(
    folder: Path,
    manifest: Manifest,
    snapshot: Snapshot,
    recent: RecentRows,
    start: int = 0,
    *,
    stop: int | None = None,
) -> tuple[Snapshot, int]:
    """Apply the changes in a log.

    Args:
        folder: of the index.
        manifest: of the folder.
        snapshot: before the changes.
        recent: its recent rows.
        start: where to begin in the log; 0 is its beginning.
        stop: where to end; records that end later are left out.

    Returns:
        The snapshot after them, and where the last whole record ends.
    """
    path, end = folder / manifest.log, start or HEADER_BYTES
    for change, place in read_log(
        path, manifest.uid, manifest.n_bits, start=start, version=snapshot.version
    ):
        if stop is not None and place > stop:
            break
        check_change(path, snapshot, change)
        snapshot, end = apply_change(snapshot, recent, change), place
    return snapshot, end


def check_change(path: Path, snapshot: Snapshot, change: Change) -> None:
    """Refuse a change from a log that no writer makes.

    Raises:
        DamagedArtifactError: if its ids are of no kind or of another one, come twice, or are added
            although they are there.
    """
    try:
        column = id_column(change.ids)
    except InputError as error:
        raise DamagedArtifactError(f"{path} is damaged: {error}") from error
    if column is None:
        return
    is_known_kind = snapshot.id_kind in {None, column.kind}
    is_added_twice = change.operation is Operation.ADD and (snapshot.find(column) != NO_ROW).any()
    if not is_known_kind or len(set(column)) < len(column) or is_added_twice:
        raise DamagedArtifactError(
            f"{path} is damaged: change {change.version} has ids that no writer gives it"
        )
