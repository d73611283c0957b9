"""Names of repositories on a hub."""

import re
from dataclasses import dataclass
from typing import Final

from modalhash.errors import InputError

__all__ = ["HubName", "is_hub_name", "read_hub_name"]

SCHEME: Final = "hf:"
PATTERN: Final = re.compile(
    r"(?:hf://?)?(?P<datasets>datasets/)?(?P<owner>[\w][\w.-]*)/(?P<name>[\w][\w.-]*)"
    r"(?:@(?P<revision>[\w][\w./-]*))?",
    re.ASCII,
)


@dataclass(frozen=True)
class HubName:
    """A repository on a hub.

    Attributes:
        repository: `OWNER/NAME`.
        kind: "model" or "dataset".
        revision: a branch, a tag or a commit; None is the newest.
    """

    repository: str
    kind: str = "model"
    revision: str | None = None

    @property
    def noun(self) -> str:
        """What it is, in a sentence."""
        return "data set" if self.kind == "dataset" else self.kind

    def __str__(self) -> str:
        folder = "datasets/" if self.kind == "dataset" else ""
        end = "" if self.revision is None else f"@{self.revision}"
        return f"hf://{folder}{self.repository}{end}"


def is_hub_name(name: object) -> bool:
    """Tell whether a name is one of a hub: it begins with `hf:`.

    Example:
        >>> is_hub_name("hf://anna/photos"), is_hub_name("anna/photos")
        (True, False)
    """
    return str(name).startswith(SCHEME)


def read_hub_name(name: object, *, kind: str = "model") -> HubName:
    """Read the name of a repository, with or without `hf://`.

    Args:
        name: as a user writes it; a `Path` made of it has one slash less.
        kind: "model" or "dataset", what is expected.

    Raises:
        InputError: if it is no such name, or names the other kind.

    Example:
        >>> read_hub_name("hf://anna/photos@v2")
        HubName(repository='anna/photos', kind='model', revision='v2')
        >>> str(read_hub_name("hf://datasets/anna/photos-index", kind="dataset"))
        'hf://datasets/anna/photos-index'
    """
    example = "hf://datasets/OWNER/NAME" if kind == "dataset" else "hf://OWNER/NAME"
    match = PATTERN.fullmatch(str(name))
    if match is None:
        raise InputError(f"{str(name)!r} is no name of a repository on a hub: write {example}")
    is_dataset = bool(match["datasets"]) or (kind == "dataset" and not is_hub_name(name))
    if is_dataset != (kind == "dataset"):
        other = "data set" if is_dataset else "model"
        raise InputError(f"{str(name)!r} names a {other}: write {example}")
    return HubName(f"{match['owner']}/{match['name']}", kind, match["revision"])
