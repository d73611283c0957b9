"""Every exception that modalhash raises, in one tree.

::

    ModalhashError
    ├── InputError (ValueError)          an argument has a wrong value
    │   ├── ShapeError                   ... a wrong shape, width or dtype
    │   ├── SettingError                 ... a setting is unknown or out of range
    │   ├── UnknownNameError             ... no method, encoder, collection, split of that name
    │   ├── FilterError                  ... a filter can't be understood; marks the place
    │   ├── UnknownItemError             ... an index holds no item of an id
    │   ├── UnavailableError             ... an index or its model lacks what a search needs
    │   └── LockedError                  ... a folder that another process is working in
    │       └── IndexLockedError         ... an index that somebody else is changing
    ├── CollectionError (ValueError)     a collection has defects; `.defects` lists them
    ├── FeatureError (ValueError)        features are missing, not finite, or from another encoder
    ├── ArtifactError (ValueError)       a run, index or store folder can't be used
    │   ├── DamagedArtifactError         ... its content doesn't match what it says of itself
    │   └── NewerFormatError             ... it was written by a newer modalhash
    ├── StorageError (OSError)           reading or writing a file failed (disk full, no permission)
    │   └── IndexServerError             ... the server of an index can't be reached or refuses
    ├── ModelUnavailableError (OSError)  weights can't be had (no network, unknown model, bad hash)
    ├── MissingExtraError (ImportError)  an optional dependency isn't installed
    ├── TrainingError (RuntimeError)     training can't go on (non-finite loss)
    ├── SearchStoppedError (TimeoutError) a search took too long, or nobody waits for it
    └── ServiceError (RuntimeError)      a modalhash server refused; `.code` says why
        └── ServiceUnreachableError      ... it can't be reached, or the connection broke

Each message names the argument, what was expected, what came, and the way out.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches

__all__ = [
    "ArtifactError",
    "CollectionError",
    "DamagedArtifactError",
    "Defect",
    "FeatureError",
    "FilterError",
    "IndexLockedError",
    "IndexServerError",
    "InputError",
    "LockedError",
    "MissingExtraError",
    "ModalhashError",
    "ModelUnavailableError",
    "NewerFormatError",
    "SearchStoppedError",
    "ServiceError",
    "ServiceUnreachableError",
    "SettingError",
    "ShapeError",
    "StorageError",
    "TrainingError",
    "UnavailableError",
    "UnknownItemError",
    "UnknownNameError",
]


class ModalhashError(Exception):
    """Base of everything modalhash raises on purpose; catch this to catch them all."""


class InputError(ModalhashError, ValueError):
    """An argument has a value that can't be used."""


class ShapeError(InputError):
    """An array has a wrong shape, width or dtype."""


class SettingError(InputError):
    """A setting is unknown, misspelt or out of its range."""


class UnknownNameError(InputError):
    """A name isn't in the table it was looked up in; the message lists the known ones.

    Args:
        kind: what the name should name, as a reader would say it ("method").
        name: the unknown name.
        known: the names there are.
        advice: what to do, after the known names; or "".

    Example:
        >>> str(UnknownNameError("method", "cfhr", ["cfrh", "random"]))
        "unknown method 'cfhr': did you mean 'cfrh'? Known: cfrh, random"
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], *, advice: str = "") -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        close = " or ".join(map(repr, nearest_names(name, self.known)))
        hint = f": did you mean {close}? Known" if close else "; known"
        listed = ", ".join(self.known) or "none"
        way_out = f"; {advice}" if advice else ""
        super().__init__(f"unknown {kind} {name!r}{hint}: {listed}{way_out}")


def nearest_names(name: str, known: Iterable[str], *, most: int = 3) -> list[str]:
    """List the known names that a misspelt name most likely means; all that are equally near.

    Args:
        name: the misspelt name.
        known: the names there are.
        most: how many at most.

    Example:
        >>> nearest_names("cfhr", ["cfrh", "cmfh", "random"])
        ['cfrh', 'cmfh']
    """
    close = get_close_matches(name, known, n=most)
    ratios = {known_name: SequenceMatcher(None, known_name, name).ratio() for known_name in close}
    best = max(ratios.values(), default=0.0)
    return sorted(known_name for known_name, ratio in ratios.items() if ratio >= best - 1e-9)


class FilterError(InputError):
    """A filter can't be understood; the message marks the place.

    Attributes:
        text: the filter.
        position: where the trouble is, counted from 0.
        problem: what was expected and what came.
    """

    def __init__(self, text: str, position: int, problem: str) -> None:
        self.text, self.position, self.problem = text, position, problem
        start = text.rfind("\n", 0, position) + 1
        line = text[start:].split("\n", 1)[0]
        caret = " " * (position - start) + "^"
        super().__init__(
            f"the filter can't be understood at character {position + 1}: {problem}\n"
            f"  {line}\n  {caret}"
        )


class UnknownItemError(InputError):
    """An index holds no item of an id.

    Attributes:
        identity: the id.
        side: of the index, "images" or "texts".
    """

    def __init__(self, identity: str | int, side: str) -> None:
        self.identity, self.side = identity, side
        super().__init__(f"there is no item {identity!r} among the {side}")


class UnavailableError(InputError):
    """An index, or its model, lacks what a search needs: a side, a calibration, finer codes."""


class LockedError(InputError):
    """Another process is working in a folder."""


class IndexLockedError(LockedError):
    """Another process, or another index object of this one, is changing an index."""


@dataclass(frozen=True)
class Defect:
    """One thing that is wrong with a collection.

    Attributes:
        kind: short stable name of the defect, for programs ("unreadable-picture").
        where: the file, with `:line` where there is a line.
        problem: what was found and what was expected, and the way out.
        items: the ids of the items to leave out in order to go on without them; empty when
            leaving items out doesn't help (a wrong column, say).
    """

    kind: str
    where: str
    problem: str
    items: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"


class CollectionError(ModalhashError, ValueError):
    """A collection has defects.

    Args:
        defects: at least one; the message shows the first and says how many more there are.
        listed: what lists all of them.
        advice: what to do, at the end of the message.
    """

    def __init__(
        self,
        defects: Sequence[Defect],
        *,
        listed: str = "`modalhash data check` lists all",
        advice: str = "",
    ) -> None:
        self.defects = tuple(defects)
        more = len(self.defects) - 1
        tail = f" (and {more} more: {listed})" if more else ""
        super().__init__(f"{self.defects[0]}{tail}{advice}")


class FeatureError(ModalhashError, ValueError):
    """Features are missing, not finite, of a wrong width, or from another encoder."""


class ArtifactError(ModalhashError, ValueError):
    """A run, index or feature folder can't be used."""


class DamagedArtifactError(ArtifactError):
    """A file of an artifact is missing or doesn't match its checksum."""


class NewerFormatError(ArtifactError):
    """An artifact was written in a newer format than this version reads."""


class StorageError(ModalhashError, OSError):
    """The file system refused to read or write; what was finished before is kept."""


class IndexServerError(StorageError):
    """The server that holds an index can't be reached, or refuses what it was asked.

    Attributes:
        n_acknowledged: of a change that needs several requests, how many of its items, from the
            first on, the server has acknowledged; 0 of any other.
    """

    def __init__(self, message: str, *, n_acknowledged: int = 0) -> None:
        self.n_acknowledged = n_acknowledged
        super().__init__(message)


class ModelUnavailableError(ModalhashError, OSError):
    """Model weights can't be had: no network, unknown name, or a hash that differs."""


class MissingExtraError(ModalhashError, ImportError):
    """An optional dependency isn't installed, or is too old.

    Args:
        package: the module that can't be imported.
        extra: the extra of modalhash that brings it.
        feature: what needs it, as a reader would say it.
        versions: the version that is installed and the oldest that does, where it is too old.
    """

    def __init__(
        self, package: str, extra: str, feature: str, *, versions: tuple[str, str] | None = None
    ) -> None:
        self.package, self.extra = package, extra
        if versions is None:
            need, command = f"the package {package!r}", "pip install"
        else:
            need = f"{package} {versions[1]} or newer, and {versions[0]} is installed"
            command = "pip install -U"
        super().__init__(f"{feature} needs {need}: {command} 'modalhash[{extra}]'")


class TrainingError(ModalhashError, RuntimeError):
    """Training can't go on; the message says where the last good checkpoint lies."""


class SearchStoppedError(ModalhashError, TimeoutError):
    """A search was stopped: its time was over, or nobody waits for its answer."""


class ServiceError(ModalhashError, RuntimeError):
    """A modalhash server refused a request, or answered something that isn't an answer.

    Attributes:
        code: stable, for programs, such as `invalid_filter`; `docs/service.md` lists them.
        status: of HTTP; 0 if there was no answer.
        request_id: by which the server's log knows the request.
        retry_after: seconds after which another try makes sense, if the server said so.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        status: int = 0,
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        self.code, self.status = code, status
        self.request_id, self.retry_after = request_id, retry_after
        super().__init__(message)


class ServiceUnreachableError(ServiceError):
    """A modalhash server can't be reached, doesn't answer in time, or the connection broke."""
