"""The indexes of a server: opened, shared, opened anew while requests go on.

Who works with an index holds it (`Hosted.hold`). When it is opened anew, requests that come later
get the new opening, those that hold the old one end with it, and the last of them closes it. An
encoder that several indexes use is in memory once.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from PIL import Image

from modalhash.artifacts import HashModel
from modalhash.errors import InputError, UnknownNameError
from modalhash.search import SearchIndex, open_search_index
from modalhash.service.facets import FacetCache
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
        facets: those that were counted last.
        shows_paths: whether clients learn where pictures lie on this machine.
    """

    name: str
    index: SearchIndex
    encodes: Mapping[str, bool]
    signature: Signature
    opened_at: str
    users: int = 0
    is_retired: bool = False
    known: tuple[Any, dict[str, Any]] | None = field(default=None, repr=False)
    facets: FacetCache = field(default_factory=FacetCache, repr=False)
    shows_paths: bool = False

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

    def tell_path(self, image: str | None) -> str | None:
        """Tell what clients may know of the place of a picture.

        Returns:
            The path below the folder that was indexed, or the whole one where paths are shown; None
            if the picture lies elsewhere, or there is none.
        """
        if image is None or self.shows_paths:
            return image
        root = str(self.index.pictures or self.index.collection.get("source") or "")
        prefix = root.rstrip(os.sep) + os.sep
        if not root or not image.startswith(prefix):
            return None
        return image.removeprefix(prefix).replace(os.sep, "/")

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
        pictures: by name of an index, where the folder that it was made of lies now; "" is of all
            indexes that aren't named.
        shows_paths: whether clients learn where pictures lie on this machine.

    Raises:
        InputError: if there is no index, or no folder of pictures where one was named.
        UnknownNameError: if pictures of an index are named that isn't served.
        ModalhashError: if one can't be handle, or its encoder can't be had.
    """

    def __init__(
        self,
        folders: Mapping[str, Path],
        *,
        device: str = "auto",
        pictures: Mapping[str, Path] = MappingProxyType({}),
        shows_paths: bool = False,
    ) -> None:
        if not folders:
            raise InputError("there is no index to serve: name at least one folder")
        self.pictures = check_picture_folders(pictures, folders)
        self.device, self.shows_paths = device, shows_paths
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
            index.pictures = self.pictures.get(name, self.pictures.get(""))
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            kinds = list_query_kinds(model)
            return IndexHandle(name, index, kinds, signature, now, shows_paths=self.shows_paths)
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


def check_picture_folders(pictures: Mapping[str, Path], indexes: Iterable[str]) -> dict[str, Path]:
    """Check the folders of pictures that were named, by index; "" is of all others.

    Raises:
        InputError: if there is no such folder.
        UnknownNameError: if there is no such index.
    """
    known = list(indexes)
    for name, folder in pictures.items():
        if name and name not in known:
            raise UnknownNameError("index", name, known)
        if not folder.is_dir():
            raise InputError(f"there is no folder {folder}: name where the pictures lie now")
    return {name: folder.resolve() for name, folder in pictures.items()}


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
