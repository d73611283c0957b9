"""What a server may be told: by flags, by the environment and by a file, in this order.

Every setting is a field of `ServiceSettings`. On the command line `body_bytes` is `--body-bytes`,
in the environment `MODALHASH_SERVE_BODY_BYTES`, in the TOML file `body_bytes`. Lists are written
with commas in the environment. The file may also name the indexes::

    port = 8080
    keys = "keys.json"

    [indexes]
    photos = "photos.index"
"""

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from modalhash.errors import SettingError, StorageError, UnknownNameError
from modalhash.files import read_regular_text
from modalhash.service.index_names import split_picture_folder

__all__ = ["PREFIX", "ServiceSettings", "read_settings"]

PREFIX: Final = "MODALHASH_SERVE_"
TRUTHS: Final = {"true": True, "1": True, "false": False, "0": False}
MOST_ENTRIES: Final = 10_000
"""Entries of a list in a request at most, whatever `batch` is."""
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class ServiceSettings:
    """Settings of a server."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    writable: bool = False
    """Let clients add and delete items."""
    keys: str = ""
    """File of API keys that `modalhash key` keeps; "" asks for none."""
    pictures: tuple[str, ...] = ()
    """Where the folders that were indexed lie now: FOLDER of all indexes, or NAME=FOLDER of one."""
    show_paths: bool = False
    """Tell clients where pictures lie on this machine, so that the page can copy their paths."""
    device: str = "auto"
    """Where queries are encoded: auto, cpu, cuda, ..."""
    page: bool = True
    """Whether the search page is served."""
    log: str = "auto"
    """Form of the log: json (one document a line), text, or auto: text in a terminal, else json."""
    hosts: tuple[str, ...] = ()
    """Names that a request's Host header may have; by default those of this machine where it
    listens on a loopback address only, else all."""
    origins: tuple[str, ...] = ()
    """Origins of pages of other sites that may read answers (CORS); none by default."""
    proxies: tuple[str, ...] = ()
    """Addresses of proxies whose X-Forwarded-For is believed; none by default."""
    body_bytes: int = 16 << 20
    """Bytes of a request's body at most."""
    pixels: int = 50_000_000
    """Pixels of an uploaded picture at most."""
    pixels_together: int = 0
    """Pixels of opened pictures of all requests together at most; 0 is twice `pixels`."""
    text_length: int = 2000
    """Characters of a text at most."""
    filter_length: int = 4096
    """Characters of a filter at most."""
    filter_conditions: int = 50
    """Conditions of a filter at most; each may read all metadata."""
    filter_timeout: float = 5.0
    """Seconds that a filter may take."""
    values: int = 100_000
    """Commas, colons and brackets of a JSON body at most: its values take memory."""
    k: int = 1000
    """Hits of a side at most."""
    rerank: int = 5000
    """Items that a second stage puts in order at most."""
    batch: int = 256
    """Queries, texts, pictures or items of one request at most."""
    hits: int = 50_000
    """Hits that one request may ask for, of all its queries and sides together."""
    concurrent: int = 128
    """Requests worked on or waiting at most; more are refused with 503."""
    client_share: float = 0.5
    """Part of `concurrent`, and of the memory for bodies, that one client may take."""
    connections: int = 1024
    """Open connections at most; beyond them, one whose request hasn't come is closed."""
    client_connections: int = 128
    """Open connections of one client at most; those of `proxies` aren't counted."""
    head_bytes: int = 32 << 10
    """Bytes of a request's address and headers at most."""
    head_timeout: float = 10.0
    """Seconds in which a request's address and headers must come."""
    body_timeout: float = 30.0
    """Seconds in which a request's body must come."""
    rate: float = 0.0
    """Requests a second of one key, or of one address where there are no keys; 0 is no limit."""
    burst: int = 0
    """Requests at once above that rate; 0 is twice the rate."""
    timeout: float = 30.0
    """Seconds until a request, once it has come, is given up."""
    grace: float = 30.0
    """Seconds that a shutdown waits for requests that are under way."""
    batch_texts: int = 64
    """Texts of several requests encoded together at most; 1 encodes each alone."""
    batch_wait: float = 2.0
    """Milliseconds that a query waits for others, where others are under way."""
    search_threads: int = 2
    """Threads that search."""
    watch: float = 2.0
    """Seconds between looks whether a folder was built anew, or keys changed; 0 never."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            SettingError: if a setting is out of its range, naming it.
        """
        for name in (
            "body_bytes", "pixels", "text_length", "filter_length", "filter_conditions", "values",
            "k", "rerank", "batch", "hits", "concurrent", "connections", "client_connections",
            "batch_texts", "search_threads",
        ):  # fmt: skip
            self._check(name, at_least=1)
        self._check("head_bytes", at_least=1024)
        self._check("pixels_together", at_least=0)
        for name in ("rate", "burst", "grace", "batch_wait", "watch"):
            self._check(name, at_least=0)
        for name in ("timeout", "filter_timeout", "head_timeout", "body_timeout"):
            if not getattr(self, name) > 0:
                raise SettingError(f"{name} is {getattr(self, name)}, expected more than 0 seconds")
        if not 0.1 <= self.client_share <= 1:
            raise SettingError(f"client_share is {self.client_share}, expected 0.1 to 1")
        if self.batch > MOST_ENTRIES:
            raise SettingError(f"batch is {self.batch}, expected at most {MOST_ENTRIES}")
        if 0 < self.pixels_together < self.pixels:
            raise SettingError(
                f"pixels_together is {self.pixels_together}, expected at least pixels "
                f"({self.pixels}), or 0"
            )
        if not 0 <= self.port < 1 << 16:
            raise SettingError(f"port is {self.port}, expected 0 to 65535")
        if self.log not in ("auto", "json", "text"):
            raise SettingError(f"log is {self.log!r}, expected auto, json or text")
        if "*" in self.origins:
            raise SettingError("origins is *: name the origins that may read answers")

    def _check(self, name: str, *, at_least: int) -> None:
        value = getattr(self, name)
        if not value >= at_least:
            raise SettingError(f"{name} is {value}, expected at least {at_least}")

    @property
    def picture_memory(self) -> int:
        """Pixels of opened pictures of all requests together at most."""
        return self.pixels_together or 2 * self.pixels

    @property
    def is_public(self) -> bool:
        """Whether others than this machine may reach the server."""
        return self.host not in LOOPBACK and not self.host.startswith("127.")

    @property
    def known_hosts(self) -> tuple[str, ...]:
        """Names that a Host header may have; empty where all may be."""
        return self.hosts or (LOOPBACK if self.host in LOOPBACK else ())


def read_settings(
    flags: Mapping[str, Any] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    file: Path | str | None = None,
) -> tuple[ServiceSettings, dict[str, str]]:
    """Put settings together: flags come before the environment, and that before the file.

    Args:
        flags: by name; those that are None weren't given.
        environment: None is the process's own.
        file: in TOML; None is what `MODALHASH_SERVE_CONFIG` names, if anything.

    Returns:
        The settings, and the indexes that the file names.

    Raises:
        SettingError: if a setting has a value of a wrong type or out of its range.
        UnknownNameError: if a setting is unknown, listing those there are.
        StorageError: if the file can't be read.
    """
    environment = os.environ if environment is None else environment
    file = file or environment.get(f"{PREFIX}CONFIG")
    values: dict[str, Any] = {}
    indexes: dict[str, str] = {}
    if file:
        values = read_file(Path(file))
        table = values.pop("indexes", {})
        if not isinstance(table, dict) or not all(
            isinstance(folder, str) for folder in table.values()
        ):
            raise SettingError(f"indexes in {file} isn't a table of names and folders")
        indexes = {name: str(Path(file).parent / folder) for name, folder in table.items()}
        if isinstance(values.get("keys"), str):
            values["keys"] = str(Path(file).parent / values["keys"])
        if "pictures" in values:
            values["pictures"] = locate_beside(Path(file), values["pictures"])
    for variable, text in environment.items():
        if variable.startswith(PREFIX) and variable != f"{PREFIX}CONFIG":
            values[variable.removeprefix(PREFIX).lower()] = text
    values |= {name: value for name, value in (flags or {}).items() if value is not None}
    known = {setting.name: setting.default for setting in fields(ServiceSettings)}
    for name in values:
        if name not in known:
            raise UnknownNameError("setting of the server", name, known)
    read = {name: convert_setting(name, value, known[name]) for name, value in values.items()}
    return ServiceSettings(**read), indexes


def locate_beside(file: Path, pictures: Any) -> Any:
    """Locate the folders of pictures that a file names: relative ones lie beside it."""
    entries = [pictures] if isinstance(pictures, str) else pictures
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        return pictures  # what is wrong with it is said where all settings are read
    located = []
    for entry in entries:
        name, folder = split_picture_folder(entry)
        located.append(f"{name}={file.parent / folder}" if name else str(file.parent / folder))
    return located


def read_file(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        SettingError: if it isn't TOML.
        StorageError: if it can't be read.
    """
    try:
        return tomllib.loads(read_regular_text(path))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} isn't TOML: {error}") from error
    except OSError as error:
        raise StorageError(f"can't read {path}: {error.strerror or error}") from error


def convert_setting(name: str, value: Any, default: Any) -> Any:
    """Convert a setting to the type of its default.

    Raises:
        SettingError: if it can't be, naming the setting and the type.
    """
    read, expected = READERS[type(default)]
    try:
        return read(value)
    except (AttributeError, TypeError, ValueError):
        raise SettingError(f"{name} is {value!r}, expected {expected}") from None


def read_truth(value: Any) -> bool:
    """Read true or false."""
    if isinstance(value, bool):
        return value
    if value.lower() not in TRUTHS:
        raise ValueError
    return TRUTHS[value.lower()]


def read_whole_number(value: Any) -> int:
    """Read a whole number."""
    if isinstance(value, bool | float):
        raise TypeError
    return int(value)


def read_list(value: Any) -> tuple[str, ...]:
    """Read a list of texts, or one text with commas."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return tuple(read_text(entry) for entry in list(value))


def read_text(value: Any) -> str:
    """Read a text."""
    if not isinstance(value, str):
        raise TypeError
    return value


READERS: Final[Mapping[type, tuple[Callable[[Any], Any], str]]] = {
    bool: (read_truth, "true or false"),
    int: (read_whole_number, "a whole number"),
    float: (float, "a number"),
    tuple: (read_list, "a list of texts"),
    str: (read_text, "a text"),
}
"""What reads a setting whose default is of a type, and what it reads."""
