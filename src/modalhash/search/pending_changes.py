"""Changes of a search index: both its sides, or neither.

Each side is an index of its own, whose changes happen wholly or not at all. What a change does to
the two is first written down in `pending.json`, on disk; then the sides are changed, then the file
is removed. Who finds the file and can get the writer's locks goes on where a kill broke off: a side
whose version is still the old one hasn't been changed yet. So the sides agree again before anything
else is written. Only a reader that looks in the very middle sees one side changed and the other not
yet.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modalhash.codes import Codes, code_width
from modalhash.errors import DamagedArtifactError, StorageError
from modalhash.files import read_json, sealed, sync_folder, write_json
from modalhash.index import HashIndex

__all__ = ["PENDING", "SideChange", "change_sides", "finish_pending", "writing"]

FORMAT = 1
PENDING = "pending.json"


@dataclass(frozen=True)
class SideChange:
    """What is done to one side.

    Attributes:
        operation: "add", "upsert" or "delete".
        ids: of the items; not empty.
        codes: (n, p) uint8 of added items.
        metadata: n mappings of added items.
    """

    operation: str
    ids: Sequence[Any]
    codes: Codes | None = None
    metadata: Sequence[Mapping[str, Any]] = ()

    def apply(self, index: HashIndex) -> None:
        """Change a side."""
        if self.codes is None:
            index.delete(self.ids)
        elif self.operation == "add":
            index.add(self.ids, self.codes, self.metadata)
        else:
            index.upsert(self.ids, self.codes, self.metadata)

    def repeat(self, index: HashIndex) -> None:
        """Change a side that was perhaps changed already: it comes to the same."""
        if self.codes is None:
            index.delete(self.ids, missing="ignore")
        else:
            index.upsert(self.ids, self.codes, self.metadata)

    def document(self, version: int | None) -> dict[str, Any]:
        """Return the change as JSON.

        Args:
            version: of the side before it; None on a server, which counts no changes.
        """
        codes = None if self.codes is None else base64.b64encode(self.codes.tobytes()).decode()
        return {
            "version": version,
            "operation": self.operation,
            "ids": [value.item() if isinstance(value, np.generic) else value for value in self.ids],
            "codes": codes,
            "metadata": [dict(one) for one in self.metadata],
        }

    @classmethod
    def of(cls, document: Mapping[str, Any], n_bits: int) -> "SideChange":
        """Return the change of a JSON document."""
        codes = None
        if document["codes"] is not None:
            content = base64.b64decode(document["codes"])
            codes = np.frombuffer(content, np.uint8).reshape(-1, code_width(n_bits))
        return cls(document["operation"], document["ids"], codes, document["metadata"])


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
    folder: Path, sides: Mapping[Any, HashIndex], changes: Sequence[tuple[str, SideChange]]
) -> None:
    """Make changes of several sides, one after the other; either all happen or none.

    Args:
        folder: of the search index.
        sides: whose locks are held.
        changes: sides and what is done to them; they were checked, and each changes something.

    Raises:
        StorageError: if the file system refuses. What was begun is finished by the next writer.
    """
    if len(changes) > 1:
        versions: dict[str, int | None] = {
            str(side): index.version for side, index in sides.items()
        }
        documents = []
        for side, change in changes:
            documents.append({"side": str(side), **change.document(versions[str(side)])})
            version = versions[str(side)]
            versions[str(side)] = None if version is None else version + 1
        write_json(folder / PENDING, sealed({"format": FORMAT, "changes": documents}))
    done = 0
    try:
        for side, change in changes:
            change.apply(sides[side])
            done += 1
    finally:
        if not 0 < done < len(changes):
            remove_pending(folder)


def finish_pending(folder: Path, sides: Mapping[Any, HashIndex]) -> bool:
    """Finish a change that a kill broke off; the sides' locks are held.

    Returns:
        Whether there was one.

    Raises:
        DamagedArtifactError: if what was written down isn't whole.
        StorageError: if the file system refuses.
    """
    path = folder / PENDING
    if not path.exists():
        return False
    document = read_json(path, kind="change of an index", newest_format=FORMAT)
    try:
        for change in document["changes"]:
            index = sides[change["side"]]
            if change["version"] is None:
                SideChange.of(change, index.n_bits).repeat(index)
            elif index.version == change["version"]:
                SideChange.of(change, index.n_bits).apply(index)
    except (KeyError, TypeError) as error:
        raise DamagedArtifactError(
            f"{path} is damaged: {error} is missing or of another sort"
        ) from error
    remove_pending(folder)
    return True


def remove_pending(folder: Path) -> None:
    """Say that a change is done, or was never begun."""
    try:
        (folder / PENDING).unlink(missing_ok=True)
        sync_folder(folder)
    except OSError as error:
        raise StorageError(f"can't write {folder}: {error.strerror or error}") from error
