"""Write files so that a reader sees all of one or nothing; read JSON that says its format.

Every artifact goes through here: a temporary name in the same folder, flushed to disk, renamed.
A kill or a full disk leaves the old file (or none) and never half of a new one.
"""

import ctypes
import errno
import hashlib
import json
import math
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.errors import (
    DamagedArtifactError,
    ModalhashError,
    NewerFormatError,
    StorageError,
)
from modalhash.folder_hints import explain_wrong_folder
from modalhash.numpy_numbers import json_number

__all__ = [
    "check_regular_file",
    "check_writable",
    "create_part_folder",
    "exchange",
    "file_stamp",
    "is_plain_name",
    "map_array",
    "open_own_file",
    "open_regular_file",
    "own_path",
    "parse_json",
    "peek_json",
    "read_json",
    "read_regular_text",
    "remove_file",
    "report_damage",
    "sealed",
    "sha256_of_file",
    "sync_folder",
    "write_array",
    "write_bytes",
    "write_json",
    "write_text",
    "write_with",
]

LONGEST_NAME: Final = 255
LARGEST_JSON: Final = 1 << 30
"""Bytes of a JSON document of ours at most; a file can state more than the memory holds."""
FORBIDDEN: Final = frozenset('/\\:*?"<>|')
"""What separates names or stands for many, on any system."""


def own_path(folder: Path, name: object) -> Path:
    """Make the path of something in a folder of ours, whose name comes out of a file.

    Every name that a file states goes through here before any path is made of it.

    Args:
        folder: of ours.
        name: as the file states it.

    Raises:
        DamagedArtifactError: if it isn't the plain name of something in the folder, or a link lies
            there.
    """
    if not is_plain_name(name):
        raise DamagedArtifactError(
            f"{folder} is damaged: it names {str(name)[:LONGEST_NAME]!r}, which is no plain name "
            "of a file in it"
        )
    path = folder / str(name)
    if path.is_symlink():
        raise DamagedArtifactError(f"{path} is damaged: it is a link, which no file of ours is")
    return path


def open_own_file(path: Path, flags: int) -> int:
    """Open a file of ours to write to it; a link or anything but a file is refused.

    Args:
        path: of the file.
        flags: as for `os.open`; a new file can be read by all and written by the owner.

    Returns:
        The handle.

    Raises:
        OSError: if it can't be opened, or is a link, another name of some file, a FIFO or a device.
    """
    for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY", "O_CLOEXEC"):
        flags |= getattr(os, flag, 0)
    handle = os.open(path, flags, 0o666)
    try:
        status = os.fstat(handle)
        check_regular_status(status, path)
        if status.st_nlink > 1:
            raise OSError(errno.EMLINK, "another file is the same one, so it isn't written to")
    except BaseException:
        os.close(handle)
        raise
    return handle


def check_regular_file(path: Path) -> None:
    """Check that a path leads to a regular file; links are followed.

    A FIFO, a device or a socket in place of a file can block its reader for ever.

    Raises:
        OSError: if there is nothing, or something else; `strerror` says what.
    """
    check_regular_status(path.stat(), path)


def check_regular_status(status: os.stat_result, path: Path) -> None:
    """Raise the OSError of something that is no regular file."""
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        problem = "is no regular file (a FIFO, a device or a socket), so it isn't read"
        raise OSError(errno.EINVAL, problem, str(path))


def open_regular_file(path: Path) -> BufferedReader:
    """Open a regular file to read its bytes; anything that could block the reader is refused.

    Raises:
        OSError: if it can't be opened, or isn't a regular file; `strerror` says what it is.
    """
    check_regular_file(path)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags)
    try:
        check_regular_status(os.fstat(handle), path)  # it may have been exchanged meanwhile
        return os.fdopen(handle, "rb")
    except BaseException:
        with suppress(OSError):
            os.close(handle)
        raise


def read_regular_text(path: Path, encoding: str = "utf-8-sig") -> str:
    """Read a regular file as text; by default UTF-8, with or without a byte order mark.

    Raises:
        OSError: see `open_regular_file`.
        UnicodeDecodeError: if it isn't encoded so.
    """
    with open_regular_file(path) as file:
        return file.read().decode(encoding)


def map_array(path: Path) -> NDArray[Any]:
    """Map an array of a .npy file into memory; nothing is unpickled, nothing is read yet.

    Raises:
        OSError: see `open_regular_file`.
        ValueError, EOFError: if it is no such file, or shorter than it says.
    """
    check_regular_file(path)
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "Python objects" in str(error):
            raise ValueError("Object arrays cannot be loaded: they would be unpickled") from error
        if "allow_pickle" in str(error):  # NumPy takes whatever isn't an array for a pickle
            raise ValueError("it isn't an array that np.save wrote") from error
        raise
    return array


def file_stamp(path: Path) -> str:
    """Make a text that changes when a file may have changed: of its size and times.

    The time of the last change of its status counts too, which programs that copy files can't set:
    a file that was replaced by one of the same size and time has another stamp.

    Raises:
        OSError: if the file is gone.
    """
    status = path.stat()
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"


def write_with(
    path: Path, write: Callable[[IO[bytes]], object], *, keeps_work: bool = True
) -> None:
    """Let `write` fill a file that appears under `path` only when it is complete.

    Args:
        path: where the file goes; missing parent folders are made.
        write: gets an open binary file.
        keeps_work: whether what was finished before stays where the same command finds it again;
            the message says so.

    Raises:
        StorageError: if the file system refuses (disk full, no permission); `path` is then what
            it was before.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = create_part_file(path)
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
        sync_folder(path.parent)
    except StorageError:
        raise
    except OSError as error:
        promise = ": what was finished is kept" if keeps_work else ""
        raise StorageError(
            f"{describe_refusal(path, error)}, then run the same command again{promise}"
        ) from error


def check_writable(path: Path, *, is_folder: bool = False) -> None:
    """Refuse a file or folder that can't be written, before the work whose results it will hold.

    An empty file is made, and removed, in the folder that will change: the folder itself or the
    file's, or the nearest folder above that exists. Missing folders aren't made.

    Args:
        path: of results.
        is_folder: whether it is a folder.

    Raises:
        StorageError: if the file system refuses.
    """
    folder = path if is_folder else path.parent
    try:
        nearest = next((place for place in (folder, *folder.parents) if place.exists()), folder)
        has_own_name = not is_folder and nearest == folder
        handle, part = create_part_file(path if has_own_name else nearest / "modalhash")
        os.close(handle)
        part.unlink()
    except OSError as error:
        raise StorageError(describe_refusal(path, error)) from error


def describe_refusal(path: Path, error: OSError) -> str:
    """Say what can't be written, why, and what to do about it."""
    advice = "choose another folder"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        advice = f"free some space or {advice}"
    elif error.errno == errno.ENAMETOOLONG:
        advice = "choose a shorter name"
    return f"can't write {path}: {error.strerror or error}; {advice}"


def create_part_file(path: Path) -> tuple[int, Path]:
    """Create an empty file beside `path`, under a name that nothing has, as the umask allows.

    Returns:
        The open file, and its path.

    Raises:
        OSError: if the file system refuses.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    while True:
        part = path.parent / f".{path.name}.{secrets.token_hex(4)}.part"
        with suppress(FileExistsError):
            return os.open(part, flags, 0o666), part


def create_part_folder(path: Path, *, suffix: str = "") -> Path:
    """Create an empty folder beside `path`, under a name that nothing has, as the umask allows.

    Raises:
        OSError: if the file system refuses.
    """
    while True:
        part = path.parent / f".{path.name}.{secrets.token_hex(4)}{suffix}"
        with suppress(FileExistsError):
            part.mkdir()
            return part


def is_plain_name(name: object) -> bool:
    r"""Tell whether a name from a file is the name of a file in one folder, and nothing else.

    Example:
        >>> [is_plain_name(name) for name in ("a.png", "../a.png", "/etc", "", "..", "a\\0")]
        [True, False, False, False, False, False]
    """
    if not isinstance(name, str) or name in {"", ".", ".."} or len(name) > LONGEST_NAME:
        return False
    if any("\ud800" <= character <= "\udfff" for character in name):  # no UTF-8
        return False
    return not any(character in FORBIDDEN or ord(character) < ord(" ") for character in name)


def remove_file(folder: Path, name: str) -> None:
    """Remove a file of ours by its plain name; a file that isn't there is passed over.

    Raises:
        OSError: if the file system refuses.
        ValueError: if the name isn't plain.
    """
    if not is_plain_name(name):
        raise ValueError(f"{name!r} is no plain file name")
    (folder / name).unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a rename survives a power cut (a no-op on Windows)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def exchange(path: Path, other: Path) -> None:
    """Let two folders of one file system change places.

    On Linux in one step. Elsewhere `other` is moved aside first, as `.NAME.old` beside it, and
    comes back when the second step fails; a kill between the two steps leaves it there.

    Raises:
        OSError: if the file system refuses; the folders are then where they were.
    """
    if swap(path, other):
        return
    aside = other.with_name(f".{other.name}.old")
    other.rename(aside)
    try:
        path.rename(other)
    except OSError:
        aside.rename(other)
        raise
    aside.rename(path)


def swap(path: Path, other: Path) -> bool:
    """Let two paths change places in one step; False where the system can't."""
    library = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    rename = getattr(library, "renameat2", None)
    if rename is None:
        return False
    cwd, exchanged = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    done: int = rename(cwd, os.fsencode(path), cwd, os.fsencode(other), exchanged)
    return done == 0


def write_bytes(path: Path, content: bytes, *, keeps_work: bool = True) -> None:
    """Write bytes atomically; see `write_with`."""
    write_with(path, lambda file: file.write(content), keeps_work=keeps_work)


def write_text(path: Path, content: str, *, keeps_work: bool = True) -> None:
    """Write UTF-8 text atomically; see `write_with`."""
    write_bytes(path, content.encode("utf-8"), keeps_work=keeps_work)


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON document atomically, indented, keys in the given order; see `write_with`."""
    write_text(path, json.dumps(document, indent=2, ensure_ascii=False, default=json_number) + "\n")


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array as .npy atomically; see `write_with`.

    Raises:
        ValueError: if the array holds Python objects, which would need a pickle.
        StorageError: if the file system refuses.
    """
    write_with(path, lambda file: np.save(Sink(file), array, allow_pickle=False))


class Sink:
    """A file as far as writing goes.

    NumPy writes into real files by itself and, when the disk is full, says how many bytes it didn't
    write; a sink makes it use Python's `write`, whose errors say why.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.write = file.write


def read_json(path: Path, *, kind: str, newest_format: int) -> dict[str, Any]:
    """Read a JSON document of ours and check its `format` number.

    Args:
        path: the file.
        kind: what the file describes, for messages ("model", "feature store").
        newest_format: the highest `format` this version understands.

    Returns:
        The document.

    Raises:
        DamagedArtifactError: if the file is missing, isn't a JSON object, has no format, or
            doesn't match the checksum that `sealed` put into it.
        NewerFormatError: if its format is higher than `newest_format`.
        StorageError: if it can't be read.
    """
    try:
        own_path(path.parent, path.name)
        document = parse_json(read_json_bytes(path).decode("utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DamagedArtifactError(explain_wrong_folder(path.parent, kind, path.name)) from error
    except OSError as error:
        raise StorageError(f"can't read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DamagedArtifactError(
            f"{path} is damaged: not valid JSON ({error}); make the {kind} again"
        ) from error
    written = document.get("format") if isinstance(document, dict) else None
    if type(written) is not int:
        raise DamagedArtifactError(f"{path} is damaged: it states no format number")
    if written > newest_format:
        version = document.get("modalhash", "a newer version")
        raise NewerFormatError(
            f"{path} has format {written} (written by modalhash {version}); this version reads "
            f"{kind} formats up to {newest_format}: upgrade modalhash"
        )
    if "checksum" in document and sealed(document) != document:
        raise DamagedArtifactError(f"{path} is damaged: it was changed; make the {kind} again")
    return dict(document)


def read_json_bytes(path: Path) -> bytes:
    """Read a file of JSON, unless it is larger than any of ours.

    Raises:
        OSError: see `open_regular_file`.
        ValueError: if it is larger.
    """
    with open_regular_file(path) as file:
        content = file.read(LARGEST_JSON + 1)
    if len(content) > LARGEST_JSON:
        raise ValueError(f"it is larger than {LARGEST_JSON} bytes")
    return content


def peek_json(path: Path) -> dict[str, Any] | None:
    """Read the JSON object in a file, only to tell what it describes; it may be damaged or newer.

    Returns:
        The object, unchecked; None if the file can't be read or holds something else.
    """
    try:
        document = json.loads(read_json_bytes(path).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


@contextmanager
def report_damage(path: Path, advice: str) -> Iterator[None]:
    """Report what Python says of odd values in a file as damage of that file.

    Args:
        path: of the file whose values are used in the block.
        advice: what to do, the end of the message.

    Raises:
        DamagedArtifactError: for a missing entry, or one of another sort. Errors of ours pass.
    """
    try:
        yield
    except ModalhashError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        kind = f"{type(error).__name__}: {str(error)[:LONGEST_NAME]}"
        message = f"{path} is damaged: an entry is missing or of another sort ({kind}); {advice}"
        raise DamagedArtifactError(message) from error


def parse_json(text: str) -> Any:
    """Read JSON as the standard has it: no NaN, no infinity, and no name twice in an object.

    Raises:
        ValueError: if it isn't.
        RecursionError: if it is nested too deep.
    """
    return json.loads(
        text,
        parse_constant=refuse_constant,
        parse_float=finite_number,
        object_pairs_hook=distinct_names,
    )


def refuse_constant(text: str) -> float:
    """Refuse NaN and infinity."""
    raise ValueError(f"{text} is no number of JSON")


def finite_number(text: str) -> float:
    """Read a number; one beyond all floats is refused."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is beyond all numbers")
    return number


def distinct_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Read an object of JSON; one with a name twice is refused."""
    document = dict(pairs)
    if len(document) < len(pairs):
        raise ValueError("an object has a name twice")
    return document


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """Add a checksum of its content to a JSON document, which `read_json` compares.

    The checksum is the entry `checksum`, a SHA-256 that doesn't depend on the file's layout.

    Example:
        >>> sealed({"format": 1}) == sealed(sealed({"format": 1}))
        True
    """
    content = {name: value for name, value in document.items() if name != "checksum"}
    text = json.dumps(content, sort_keys=True, default=json_number)
    return content | {"checksum": hashlib.sha256(text.encode()).hexdigest()}


def sha256_of_file(path: Path) -> str:
    """Compute the SHA-256 of a file's content in hexadecimal.

    Raises:
        StorageError: if the file can't be read.
    """
    try:
        with open_regular_file(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"can't read {path}: {error.strerror or error}") from error
