"""The indexes of a server: opened, shared, opened anew while requests go on.

Who works with an index holds it (`Hosted.hold`). When it is opened anew, requests that come later
get the new opening, those that hold the old one end with it, and the last of them closes it. An
encoder that several indexes use is in memory once.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from PIL import Image

from modalhash.artifacts import HashModel
from modalhash.errors import InputError
from modalhash.search import SearchIndex, open_search_index
from modalhash.service.facts import collect_index_facts, list_query_kinds

__all__ = ["Host", "Hosted", "IndexHandle"]

MANIFEST: Final = "manifest.json"
Signature = tuple[int, int, int] | None


@dataclass(eq=False)
class IndexHandle:
    """One opening of an index.

    Attributes:
        name: of the index.
        index: the index.
        encodes: whether its model encodes texts and pictures.
        signature: of the folder's manifest when it was handle.
        opened_at: when.
        users: requests that hold it.
        is_retired: whether another opening has taken its place.
        known: facts, and the versions of the sides that they are of.
    """

    name: str
    index: SearchIndex
    encodes: Mapping[str, bool]
    signature: Signature
    opened_at: str
    users: int = 0
    is_retired: bool = False
    known: tuple[Any, dict[str, Any]] | None = field(default=None, repr=False)

    @property
    def folder(self) -> Path:
        """Where the index lies."""
        return self.index.folder

    def facts(self) -> dict[str, Any]:
        """Collect what the index states of itself; looked up anew where it has changed."""
        versions = [(side.version, len(side)) for side in self.index.sides.values()]
        if self.known is None or self.known[0] != versions:
            self.known = versions, collect_index_facts(self.index)
        return self.known[1] | {"name": self.name, "opened_at": self.opened_at}

    def close_if_unused(self) -> None:
        """Let go of files, if another opening has taken its place and nobody holds it."""
        if self.is_retired and not self.users:
            self.index.close()


@dataclass(eq=False)
class Hosted:
    """An index by its name.

    Attributes:
        name: in addresses.
        current: the opening that new requests get.
    """

    name: str
    current: IndexHandle

    @contextmanager
    def hold(self) -> Iterator[IndexHandle]:
        """Yield the current opening, which isn't closed meanwhile."""
        handle = self.current
        handle.users += 1
        try:
            yield handle
        finally:
            handle.users -= 1
            handle.close_if_unused()

    def change_to(self, handle: IndexHandle) -> None:
        """Give new requests another opening; the old one is closed when nobody holds it."""
        before, self.current = self.current, handle
        before.is_retired = True
        before.close_if_unused()


class Host:
    """All indexes of a server.

    Args:
        folders: by name; at least one.
        device: where queries are encoded.

    Raises:
        InputError: if there is none.
        ModalhashError: if one can't be handle, or its encoder can't be had.
    """

    def __init__(self, folders: Mapping[str, Path], *, device: str = "auto") -> None:
        if not folders:
            raise InputError("there is no index to serve: name at least one folder")
        self.device = device
        self.folders = {name: Path(folder).absolute() for name, folder in folders.items()}
        self.models: dict[str, HashModel] = {}
        self.hosted: dict[str, Hosted] = {}
        for name in folders:
            self.hosted[name] = Hosted(name, self.open(name))

    def open(self, name: str) -> IndexHandle:
        """Open an index anew, beside its current opening; its encoder is made ready."""
        folder = self.folders[name]
        signature = read_signature(folder)
        index = open_search_index(folder, device=self.device, models=self.models)
        try:
            model = self.models.get(index.model.fingerprint)
            if model is None:
                model = self.with_shared_encoder(index.model)
                warm_up(model)
                self.models[model.fingerprint] = model
            index.model = model
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            return IndexHandle(name, index, list_query_kinds(model), signature, now)
        except BaseException:
            index.close()
            raise

    def with_shared_encoder(self, model: HashModel) -> HashModel:
        """Give a model the encoder of another one, if that is the same."""
        for other in self.models.values():
            is_same = identify_encoder(model) == identify_encoder(other) and not model.tuned_folders
            if is_same:
                return HashModel(
                    model.hasher,
                    model.record,
                    device=model.device,
                    folder=model.folder,
                    encoder=other.encoder,
                )
        return model

    def forget_unused_models(self) -> None:
        """Let go of models that no index has any more."""
        used = {hosted.current.index.model.fingerprint for hosted in self.hosted.values()}
        self.models = {name: model for name, model in self.models.items() if name in used}

    def replaced(self) -> list[str]:
        """List the indexes whose folder holds another index than the one that is open."""
        return [
            name
            for name, hosted in self.hosted.items()
            if read_signature(self.folders[name]) not in (None, hosted.current.signature)
        ]

    def sizes(self) -> dict[tuple[str, str], int]:
        """Count the codes by index and side."""
        return {
            (name, str(side)): len(index)
            for name, hosted in self.hosted.items()
            for side, index in hosted.current.index.sides.items()
        }

    def close(self) -> None:
        """Let go of all files."""
        for hosted in self.hosted.values():
            hosted.current.index.close()


def read_signature(folder: Path) -> Signature:
    """Read what changes when an index is built anew; None if it can't be told."""
    try:
        status = (folder / MANIFEST).stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def identify_encoder(model: HashModel) -> str:
    """Compute what is equal for models that read the same features."""
    return json.dumps(dict(model.record.encoder), sort_keys=True, default=str)


def warm_up(model: HashModel) -> None:
    """Encode something of each modality, so that the first to ask don't wait for it."""
    encodes = list_query_kinds(model)
    if encodes["text"]:
        model.text_output("ready")
    if encodes["picture"]:
        model.image_output(Image.new("RGB", (8, 8)))
