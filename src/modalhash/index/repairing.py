"""Find all damage of an index folder, and keep what is whole.

`verify_index` stops at the first damage. Here every file is looked at, and `repair_index` writes a
new generation of what can still be read: segments whose codes and ids are whole (without metadata,
if only those are damaged), and every whole record of the write log.
"""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modalhash.codes import code_width
from modalhash.errors import ModalhashError
from modalhash.files import open_regular_file, own_path
from modalhash.index.changes import apply_change, check_change, load_dead, scan_class
from modalhash.index.embedded import EmbeddedIndex
from modalhash.index.folder import check_file, read_array
from modalhash.index.hits import IdKind
from modalhash.index.ids import IdColumn, IdLookup, id_column
from modalhash.index.item_changes import Operation
from modalhash.index.items import ItemStore
from modalhash.index.kinds import class_of_folder
from modalhash.index.lock import WriterLock
from modalhash.index.log import (
    HEADER_BYTES,
    RECORD,
    Change,
    decode_change,
    has_header_of,
    read_log,
    record_end,
)
from modalhash.index.manifest import REPAIR_ADVICE, Manifest, SegmentRecord, read_manifest
from modalhash.index.retired_kinds import current_kind
from modalhash.index.rows import RecentRows, Segment
from modalhash.index.searchers import NO_ROW
from modalhash.index.segments import ID_PARTS, ITEMS, check_ids, open_segment
from modalhash.index.snapshot import Snapshot
from modalhash.index.views import DeadRows, View

__all__ = ["Repair", "find_damage", "repair_index"]


@dataclass(frozen=True)
class Repair:
    """What a repair did.

    Attributes:
        n_items: items that the index has now.
        losses: what was lost, one sentence each; none if nothing was damaged.
    """

    n_items: int
    losses: tuple[str, ...]


def find_damage(folder: Path | str) -> list[str]:
    """Read every byte of an index and return what is damaged, one sentence each.

    Raises:
        StorageError: if the folder can't be read.
    """
    folder = Path(folder)
    if not issubclass(class_of_folder(folder), EmbeddedIndex):
        return [problem for problem in (problem_of_opening(folder),) if problem is not None]
    try:
        manifest = read_manifest(folder)
    except ModalhashError as error:
        return [str(error)]
    problems = [*problems_of_files(folder, manifest)]
    if not problems and (problem := problem_of_opening(folder)) is not None:
        problems.append(problem)
    return problems


def problems_of_files(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Yield what is damaged of the files that a manifest names."""
    for segment in manifest.segments:
        for record in segment.files:
            try:
                check_file(own_path(folder, segment.name), record, read_all=True)
            except ModalhashError as error:
                yield str(error)
    try:
        if manifest.dead is not None:
            check_file(folder, manifest.dead, read_all=True)
    except ModalhashError as error:
        yield str(error)
    try:
        path = folder / manifest.log
        for _ in read_log(path, manifest.uid, manifest.n_bits, version=manifest.version):
            pass
    except ModalhashError as error:
        yield str(error)


def problem_of_opening(folder: Path) -> str | None:
    """Open an index and read all its items; return what goes wrong."""
    try:
        with class_of_folder(folder).open(folder) as index:
            n_items = sum(len(block) for block in index.blocks())
            if n_items != len(index):
                return f"{folder} has {len(index)} items, of which {n_items} can be read"
    except ModalhashError as error:
        return str(error)
    return None


def repair_index(folder: Path | str) -> Repair:
    """Keep what is whole of an index, and say what was lost.

    Nothing is written if nothing is damaged. Readers that have the index open go on with what they
    have.

    Args:
        folder: of an embedded index.

    Raises:
        DamagedArtifactError: if the manifest can't be read: nothing says then what was whole.
        IndexLockedError: if somebody changes the index.
        StorageError: if the file system refuses; the folder is then what it was before.
    """
    folder = Path(folder).resolve()
    manifest = read_manifest(folder)
    lock = WriterLock(folder)
    try:
        losses: list[str] = []
        state = salvage(folder, manifest, losses)
        if losses:
            write_state(folder, manifest, state)
        return Repair(len(state), tuple(losses))
    finally:
        lock.release()


def write_state(folder: Path, manifest: Manifest, state: Snapshot) -> None:
    """Write a snapshot as a new generation of an index, whose lock is held."""
    kind, parameters = current_kind(manifest.kind, manifest.parameters)
    index = EmbeddedIndex(
        manifest.n_bits,
        kind=kind,
        parameters=parameters,
        model_fingerprint=manifest.model_fingerprint,
    )
    uid = secrets.token_hex(16)
    index.write_generation(folder, state, 0, uid=uid, records={}).close()


def salvage(folder: Path, manifest: Manifest, losses: list[str]) -> Snapshot:
    """Keep what is whole of an index; `losses` is told of what isn't."""
    scan = scan_class(manifest.kind)
    dead = salvage_dead_rows(folder, manifest, losses)
    views = []
    for record, bits in zip(manifest.segments, dead or [], strict=bool(dead)):
        segment = salvage_segment(folder, manifest, record, losses)
        if segment is not None:
            n_dead = 0 if bits is None else int(np.bitwise_count(bits).sum())
            views.append(View(segment, len(segment), scan, manifest.n_bits, bits, n_dead))
    if dead is None:
        segments = [
            salvage_segment(folder, manifest, record, losses) for record in manifest.segments
        ]
        views = [
            View(segment, len(segment), scan, manifest.n_bits)
            for segment in segments
            if segment is not None
        ]
        views = remove_replaced_rows(views)
    recent = RecentRows(manifest.n_bits, scan)
    views.append(View(recent, 0, scan, manifest.n_bits))
    id_kind = None if manifest.id_kind is None else IdKind(manifest.id_kind)
    state = Snapshot(tuple(views), manifest.version, manifest.n_bits, id_kind)
    return apply_log(folder, manifest, state, recent, losses)


def salvage_dead_rows(
    folder: Path, manifest: Manifest, losses: list[str]
) -> list[DeadRows | None] | None:
    """Read which rows are deleted; None if that isn't known any more."""
    try:
        return load_dead(folder, manifest.dead, manifest.segments)
    except ModalhashError as error:
        n_dead = sum(segment.n_dead for segment in manifest.segments)
        losses.append(f"{error}. Up to {n_dead} deleted items are back")
        return None


def remove_replaced_rows(views: Sequence[View]) -> list[View]:
    """Leave out the rows of views whose ids come again in a later one."""
    kept_views = list(views)
    for place, view in enumerate(views):
        assert isinstance(view.source, Segment)
        for later in views[place + 1 :]:
            assert isinstance(later.source, Segment)
            rows = view.source.find(later.source.ids, len(view.source))
            rows = np.unique(rows[rows != NO_ROW])
            rows = rows[~kept_views[place].is_dead(rows)]
            kept_views[place] = kept_views[place].without(rows)
    return kept_views


def salvage_segment(
    folder: Path, manifest: Manifest, record: SegmentRecord, losses: list[str]
) -> Segment | None:
    """Open a segment, if need be without its searcher and metadata; None if it is lost."""
    assert manifest.id_kind is not None
    kind = IdKind(manifest.id_kind)
    damaged: dict[str, str] = {}
    for file in record.files:
        try:
            check_file(own_path(folder, record.name), file, read_all=True)
        except ModalhashError as error:
            damaged[file.name] = str(error).removesuffix(f"; {REPAIR_ADVICE}")
    try:
        if not damaged:
            return open_segment(folder, record, manifest.n_bits, kind)
    except ModalhashError as error:
        damaged["searcher"] = str(error).removesuffix(f"; {REPAIR_ADVICE}")
    needed = ["codes.npy", *(f"{part}.npy" for part in ID_PARTS[kind][1])]
    try:
        if not damaged.keys() & set(needed):
            return open_by_parts(folder, manifest, record, damaged, losses)
    except ModalhashError as error:
        damaged[str(error)] = str(error)
    losses.append(f"{'; '.join(damaged.values())}. {record.n_rows} items are lost")
    return None


def open_by_parts(
    folder: Path,
    manifest: Manifest,
    record: SegmentRecord,
    damaged: dict[str, str],
    losses: list[str],
) -> Segment:
    """Open a segment whose codes and ids are whole.

    Raises:
        DamagedArtifactError: if they don't fit together.
    """
    place = own_path(folder, record.name)
    assert manifest.id_kind is not None
    column, parts = ID_PARTS[IdKind(manifest.id_kind)]
    ids: IdColumn = column(*(read_array(place / f"{part}.npy") for part in parts))
    check_ids(place, ids, None)
    codes = read_array(place / "codes.npy")
    if codes.shape != (len(ids), code_width(manifest.n_bits)) or codes.dtype != np.uint8:
        check_ids(place, ids, np.array([len(ids)]))
    if ITEMS in damaged:
        losses.append(f"{damaged[ITEMS]}. The metadata of {len(ids)} items are lost")
    else:
        losses.append(f"{'; '.join(damaged.values())}. Its searcher is built anew")
    items = ItemStore.empty() if ITEMS in damaged else ItemStore.open(place / ITEMS)
    searcher = scan_class(manifest.kind).build(codes, manifest.n_bits, parameters={})
    return Segment(codes, ids, IdLookup.of(ids), items, searcher, name=record.name)


def apply_log(
    folder: Path, manifest: Manifest, state: Snapshot, recent: RecentRows, losses: list[str]
) -> Snapshot:
    """Apply every whole record of the write log."""
    path = folder / manifest.log
    try:
        own_path(folder, manifest.log)
        with open_regular_file(path) as file:
            content = file.read()
    except (OSError, ModalhashError) as error:
        losses.append(f"{path} can't be read ({error}). The changes in it are lost")
        return state
    if not has_header_of(content, manifest.uid):
        losses.append(f"{path} doesn't begin as this index's log")
    n_applied, n_skipped, place = 0, 0, HEADER_BYTES
    while place < len(content):
        change, end = whole_record(content, place, manifest.n_bits)
        if change is not None and is_usable(path, state, change):
            state = apply_change(state, recent, change)
            n_applied += 1
        else:
            n_skipped += end - place
        place = end
    if n_skipped and not is_torn_end(content, manifest):
        losses.append(
            f"{n_skipped} bytes of {path} can't be read: the changes in them are lost; "
            f"{n_applied} others are kept"
        )
    return state


def whole_record(content: bytes, place: int, n_bits: int) -> tuple[Change | None, int]:
    """Read a record; None, and where to go on, if there is no whole one."""
    try:
        record = decode_change(content, place, n_bits)
    except ValueError:
        record = None
    if record is not None:
        change, end = record
        if change.operation is Operation.ADD:  # what it replaced is perhaps there again
            change = Change(
                change.version, Operation.UPSERT, change.ids, change.codes, change.documents
            )
        return change, end
    end = record_end(content, place) or 0
    following = content.find(RECORD, end if place < end <= len(content) else place + 1)
    return None, len(content) if following < 0 else following


def is_usable(path: Path, state: Snapshot, change: Change) -> bool:
    """Tell whether a change has ids that a writer gives it."""
    try:
        check_change(path, state, change)
    except ModalhashError:
        return False
    return id_column(change.ids) is not None


def is_torn_end(content: bytes, manifest: Manifest) -> bool:
    """Tell whether all that can't be read is a last record that was cut off."""
    place = HEADER_BYTES
    while True:
        change, end = whole_record(content, place, manifest.n_bits)
        if change is None:
            return end == len(content) and has_header_of(content, manifest.uid)
        place = end
