"""Changes of a search index: both its sides with their pictures, or nothing.

A side is an index of its own, whose changes happen wholly or not at all. A change of more than that
is a transaction: `pending.json` is written first. It says where both sides stand, which pictures
are about to come, and which will be outdated. Then the new pictures are written, then the sides
are changed, then the outdated pictures are removed, then the file.

Whoever finds the file and can take the writer's locks knows what a kill left: if both sides reached
their new versions, the change has happened, and the rest is tidied up; if not, both sides are cut
back to where they stood, and the new pictures are removed. An index that can't be cut back, such as
one on a server, gets a file that repeats the change instead, and the change is made again.

Whoever only reads doesn't see a change before it is finished: the marks in the file say up to where
each side is shown. So the old state is shown in the middle of a change, and after the death of its
writer, also where nothing can be written and so nothing can be cut back.
"""

import base64
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from modalhash.codes import Codes, code_width
from modalhash.errors import DamagedArtifactError, ModalhashError, StorageError
from modalhash.files import is_plain_name, read_json, remove_file, sealed, write_json
from modalhash.index import HashIndex, ItemChange, Operation
from modalhash.search.pictures import remove_pictures

__all__ = [
    "PENDING",
    "Changes",
    "change_sides",
    "finish_pending",
    "hide_unfinished_change",
    "writing",
]

logger = logging.getLogger(__name__)

FORMAT = 2
PENDING = "pending.json"
NO_CHANGE: Final[Mapping[str, Any]] = {
    "marks": {},
    "versions": {},
    "repeated": [],
    "new_pictures": [],
    "old_pictures": [],
}
Changes = Mapping[Any, Sequence[ItemChange]]
"""Name of a side to its checked changes, in the order in which they are made."""


@dataclass(frozen=True)
class PendingChange:
    """What `pending.json` says.

    Attributes:
        marks: name of a side to where it stood; empty if the change is repeated instead.
        versions: name of a side to the version that it has after the change.
        repeated: what was to be done, in order, if the sides can't go back.
        new_pictures: names of pictures that come with the change.
        old_pictures: names of pictures that are outdated by it.
    """

    marks: Mapping[str, Mapping[str, Any]]
    versions: Mapping[str, int]
    repeated: Sequence[Mapping[str, Any]]
    new_pictures: Sequence[str]
    old_pictures: Sequence[str]

    def write(self, folder: Path) -> None:
        """Write the file, on disk when this returns."""
        write_json(folder / PENDING, sealed({"format": FORMAT, **vars(self)}))


@contextmanager
def writing(sides: Mapping[Any, HashIndex]) -> Iterator[None]:
    """Hold the writer's locks of all sides.

    Raises:
        IndexLockedError: if somebody else changes one, naming the process.
    """
    with ExitStack() as locks:
        for index in sides.values():
            locks.enter_context(index.writing())
        yield


def change_sides(
    folder: Path,
    sides: Mapping[Any, HashIndex],
    changes: Changes,
    *,
    write_pictures: Callable[[], None] = lambda: None,
    new_pictures: Sequence[str] = (),
    old_pictures: Sequence[str] = (),
) -> None:
    """Make changes of several sides and their pictures; either all happen or none.

    Args:
        folder: of the search index.
        sides: whose locks are held.
        changes: of the sides, at least one each.
        write_pictures: writes the new pictures.
        new_pictures: their names.
        old_pictures: names of pictures to remove once the sides are changed.

    Raises:
        StorageError: if the file system refuses; nothing is changed then, or the next writer takes
            back what is.
    """
    if len(changes) == 1 and not new_pictures and not old_pictures:
        ((side, change),) = changes.items()
        sides[side].apply_changes(change)
        return
    pending = plan_change(sides, changes, new_pictures, old_pictures)
    pending.write(folder)
    n_begun = 0
    try:
        write_pictures()
        for side, change in changes.items():
            n_begun += 1
            sides[side].apply_changes(change)
    except BaseException:
        if pending.marks or n_begun == 0:
            roll_back(folder, sides, pending)
        raise
    try:
        complete(folder, pending)
    except StorageError as error:
        logger.warning("the change is made; the next one tidies up after it: %s", error)


def plan_change(
    sides: Mapping[Any, HashIndex],
    changes: Changes,
    new_pictures: Sequence[str],
    old_pictures: Sequence[str],
) -> PendingChange:
    """Note where the sides stand, or, if one can't go back, what is to be done."""
    marks = {str(side): sides[side].mark() for side in changes}
    versions = {str(side): sides[side].version for side in changes}
    if None in marks.values() or None in versions.values():
        return PendingChange({}, {}, documents_of(changes), new_pictures, old_pictures)
    return PendingChange(
        {side: mark for side, mark in marks.items() if mark is not None},
        {side: (versions[str(side)] or 0) + len(changes[side]) for side in changes},
        (),
        new_pictures,
        old_pictures,
    )


def documents_of(changes: Changes) -> list[dict[str, Any]]:
    """Write changes as JSON, to be repeated."""
    return [
        {
            "side": str(side),
            "operation": str(change.operation),
            "ids": change.ids,
            "codes": base64.b64encode(change.codes.tobytes()).decode(),
            "metadata": None
            if change.documents is None
            else [json.loads(document or "{}") for document in change.documents],
        }
        for side, side_changes in changes.items()
        for change in side_changes
    ]


def roll_back(folder: Path, sides: Mapping[Any, HashIndex], pending: PendingChange) -> None:
    """Cut the sides back to where they stood, remove the new pictures and the file.

    Raises:
        StorageError: if the file system refuses; the file stays, and the next writer tries again.
    """
    for side, mark in pending.marks.items():
        if not sides[side].roll_back(mark):
            logger.warning(
                "%s was changed by itself while a change of both sides wasn't finished: it is left "
                "as it is; `modalhash verify %s` says what the sides lack",
                folder / side,
                folder,
            )
    remove_pictures(folder, pending.new_pictures)
    remove_pending(folder)


def complete(folder: Path, pending: PendingChange) -> None:
    """Remove what a change that is made leaves outdated, and the file.

    Raises:
        StorageError: if the file system refuses; the file stays, and the next writer tries again.
    """
    remove_pictures(folder, pending.old_pictures)
    remove_pending(folder)


def finish_pending(folder: Path, sides: Mapping[Any, HashIndex]) -> bool:
    """Finish or take back a change that a kill broke off; the sides' locks are held.

    Returns:
        Whether there was one.

    Raises:
        DamagedArtifactError: if what was written down isn't whole.
        StorageError: if the file system refuses.
    """
    pending = read_pending(folder, sides)
    if pending is None:
        return False
    if pending.marks and not has_happened(sides, pending):
        roll_back(folder, sides, pending)
        return True
    for document in pending.repeated:
        repeat_change(sides[document["side"]], document)
    complete(folder, pending)
    return True


def has_happened(sides: Mapping[Any, HashIndex], pending: PendingChange) -> bool:
    """Tell whether all sides reached the versions that they have after a change."""
    return all((sides[side].version or 0) >= version for side, version in pending.versions.items())


def read_pending(folder: Path, sides: Mapping[Any, HashIndex]) -> PendingChange | None:
    """Read `pending.json`; None if there is none.

    Format 1 always repeated changes. It noted the version of a side before each change, so those
    that were made are left out.

    Raises:
        DamagedArtifactError: if it isn't what was written.
        StorageError: if it can't be read.
    """
    path = folder / PENDING
    if not path.exists():
        return None
    document = read_json(path, kind="change of an index", newest_format=FORMAT)
    if document["format"] == 1:
        document = {**NO_CHANGE, "repeated": document.get("changes")}
    try:
        pending = PendingChange(**{name: document[name] for name in NO_CHANGE})
        check_pending(pending, sides)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedArtifactError(
            f"{path} is damaged: {error} is missing or of another sort; run "
            f"`modalhash repair {folder}`"
        ) from error
    return pending


def check_pending(pending: PendingChange, sides: Mapping[Any, HashIndex]) -> None:
    """Refuse what can't be a pending change of some sides.

    Raises:
        ValueError: naming what is wrong.
    """
    if not isinstance(pending.marks, dict) or not isinstance(pending.versions, dict):
        raise TypeError("the marks or the versions")
    for names in (pending.new_pictures, pending.old_pictures):
        if not isinstance(names, list) or not all(map(is_plain_name, names)):
            raise ValueError("a picture's name")
    for side, mark in pending.marks.items():
        if side not in sides or not isinstance(mark, dict):
            raise ValueError(f"the side {side!r}")
        if type(pending.versions[side]) is not int:
            raise ValueError("a version")
    if not isinstance(pending.repeated, list):
        raise TypeError("the list of changes")
    for document in pending.repeated:
        checked_change(sides[document["side"]], document)


def checked_change(
    index: HashIndex, document: Mapping[str, Any]
) -> tuple[Operation, list[Any], Codes, list[Any] | None]:
    """Read operation, ids, codes and metadata of a change that is written down.

    Raises:
        KeyError, TypeError, ValueError: if something is missing or of another sort.
    """
    ids, metadata = document["ids"], document["metadata"]
    if not isinstance(ids, list) or not isinstance(metadata, list | None):
        raise TypeError("the ids or the metadata")
    content = base64.b64decode(document["codes"] or "", validate=True)
    codes = np.frombuffer(content, np.uint8).reshape(-1, code_width(index.n_bits))
    return Operation(document["operation"]), ids, codes, metadata


def repeat_change(index: HashIndex, document: Mapping[str, Any]) -> None:
    """Make a change that was perhaps made already; repeating it is harmless."""
    operation, ids, codes, metadata = checked_change(index, document)
    version = document.get("version")
    if version is not None and index.version != version:
        return
    if operation is Operation.DELETE:
        index.delete(ids, missing="ignore")
    else:
        index.upsert(ids, codes, metadata)


def hide_unfinished_change(folder: Path, sides: Mapping[Any, HashIndex]) -> None:
    """Make sides show the state before a change that isn't finished, now and later."""
    marks = PendingMarks(folder, sides)
    for side, index in sides.items():
        index.hide_changes_after(partial(marks.find_mark, str(side)))


class PendingMarks:
    """The marks of the change that isn't finished, for those who only read.

    A change that is whole on both sides when this is made is not hidden, though its file is there.

    Args:
        folder: of the search index.
        sides: the indexes, which show all changes so far.
    """

    def __init__(self, folder: Path, sides: Mapping[Any, HashIndex]) -> None:
        self.folder, self.sides = folder, sides
        self._signature: tuple[int, ...] = ()
        self._marks: Mapping[str, Mapping[str, Any]] = {}
        self._read(ignore_whole=True)

    def find_mark(self, side: str) -> Mapping[str, Any] | None:
        """Look up where a side stood before the change; None if no change is under way."""
        self._read()
        return self._marks.get(side)

    def _read(self, *, ignore_whole: bool = False) -> None:
        """Read the file, unless it is the one that was read last; one that can't be is none."""
        try:
            status = os.stat(self.folder / PENDING)  # noqa: PTH116 - before searches
            signature: tuple[int, ...] = (status.st_ino, status.st_mtime_ns, status.st_size)
            if signature == self._signature:
                return
            pending = read_pending(self.folder, self.sides)
        except (OSError, ModalhashError):
            signature, pending = (), None
        is_whole = pending is not None and ignore_whole and has_happened(self.sides, pending)
        self._marks = {} if pending is None or is_whole else pending.marks
        self._signature = signature


def remove_pending(folder: Path) -> None:
    """Delete the record of the pending change.

    Raises:
        StorageError: if the file system refuses.
    """
    try:
        remove_file(folder, PENDING)
    except OSError as error:
        raise StorageError(f"can't write {folder}: {error.strerror or error}") from error
