"""Indexes on a hub, as data sets: sent whole, and fetched to this machine."""

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from modalhash.artifacts.hub_models import check_licence, hub_cache
from modalhash.errors import InputError
from modalhash.hub import download_files, is_hub_name, read_hub_name, upload_files
from modalhash.index.milvus_settings import MILVUS_MANIFEST
from modalhash.search.folder import open_search_index
from modalhash.search.pending_changes import writing

__all__ = ["find_index_folder", "push_index", "write_hub_files"]

LEFT_OUT: Final = ("*.lock", ".*")
CARD: Final = """\
---
{head}
---

# An index of {name}: {n_bits} bits

{counts}. Made by modalhash; the model that encodes queries is in `model/`, fingerprint
`{fingerprint}`. Pictures themselves aren't here, but for those that have no file of their own.

```python
import modalhash as mh

index = mh.open_index("hf://datasets/{repository}")
index.search(text="a dog in the snow")
```
"""


def find_index_folder(source: Path | str) -> Path:
    """Find the folder of an index; one on a hub, `hf://datasets/OWNER/NAME`, is fetched.

    Raises:
        InputError: if it is no name of a data set.
        MissingExtraError: if the hub's client isn't installed.
        ModelUnavailableError: if it can't be had.
    """
    if not is_hub_name(source):
        return Path(source)
    name = read_hub_name(source, kind="dataset")
    return download_files(name, hub_cache(), is_wanted=is_index_file)


def is_index_file(path: str) -> bool:
    """Tell whether a file of a repository is fetched; an address of a server isn't."""
    return path.rpartition("/")[2] != MILVUS_MANIFEST


def push_index(
    folder: Path | str,
    repository: str,
    *,
    license: str,  # noqa: A002 - the hub's word
    private: bool = False,
    token: str | None = None,
) -> str:
    """Send an index to a hub, as a data set; the repository is made if it isn't there.

    Its codes, ids, captions and metadata are sent, its model, and pictures that have no file of
    their own. `mh.open_index("hf://datasets/OWNER/NAME")` opens it elsewhere.

    Args:
        folder: of the index.
        repository: `OWNER/NAME`.
        license: of the data, as hubs write it ("cc-by-4.0", "other").
        private: whether a new repository is private.
        token: of the user; by default the one that the hub's client keeps.

    Returns:
        The address of the commit.

    Raises:
        ArtifactError: if the folder is no index, or is damaged.
        InputError: if it is no name of a repository, the licence is no identifier, or the index
            lies on a server.
        LockedError: if another process changes the index at the moment.
        MissingExtraError: if the hub's client isn't installed.
        ModelUnavailableError: if the hub refuses, or can't be reached.
    """
    name = read_hub_name(repository, kind="dataset")
    with TemporaryDirectory(prefix="modalhash-push-") as place:
        copy = Path(place) / "index"
        message = write_hub_files(folder, copy, repository, license=license)
        return upload_files(copy, name, message=message, private=private, token=token)


def write_hub_files(
    folder: Path | str,
    copy: Path,
    repository: str,
    *,
    license: str,  # noqa: A002 - the hub's word
) -> str:
    """Write the files that `push_index` sends, its card among them.

    Args:
        folder: of the index.
        copy: a new folder.
        repository: `OWNER/NAME`.
        license: of the data.

    Returns:
        The message of the commit.

    Raises:
        ArtifactError: if the folder is no index, or is damaged.
        InputError: if it is no name of a repository, the licence is no identifier, or the index
            lies on a server.
        LockedError: if another process changes the index at the moment.
    """
    name = read_hub_name(repository, kind="dataset")
    check_licence(license, "the texts and pictures")
    folder = Path(folder).resolve()
    if any(folder.glob(f"*/{MILVUS_MANIFEST}")):
        raise InputError(f"{folder} has its codes on a server: an index of files can be pushed")
    with open_search_index(folder) as index:
        with writing(index.sides):
            shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
        counts = ", ".join(f"{len(part):,} {side}" for side, part in index.sides.items())
        head: dict[str, Any] = {
            "license": license,
            "tags": ["modalhash", "cross-modal-hashing", "image-text-retrieval"],
        }
        card = CARD.format(
            head="\n".join(f"{key}: {json.dumps(value)}" for key, value in head.items()),
            name=index.collection.get("name", folder.name),
            n_bits=index.model.n_bits,
            counts=counts,
            fingerprint=index.model.fingerprint,
            repository=name.repository,
        )
    (copy / "README.md").write_text(card, encoding="utf-8")
    return f"An index of {counts}"
