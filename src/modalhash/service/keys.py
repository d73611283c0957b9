"""API keys: random tokens with a role, of which only hashes are kept.

A token is 256 random bits, so a plain SHA-256 of it can't be guessed back, and slow hashes, which
protect passwords that people choose, would only slow every request down.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from modalhash.errors import DamagedArtifactError, InputError, UnknownNameError
from modalhash.files import read_json, sealed, write_json

__all__ = ["ApiKey", "KeyFile", "Role"]

FORMAT = 1
TOKEN_BYTES = 32
TOKEN = re.compile(r"mh_[A-Za-z0-9_-]{43}")


class Role(StrEnum):
    """What a key allows: `write` includes `read`."""

    READ = "read"
    WRITE = "write"

    def allows(self, needed: "Role") -> bool:
        """Tell whether this role is enough."""
        return self is Role.WRITE or needed is Role.READ


@dataclass(frozen=True)
class ApiKey:
    """One key as it is kept.

    Attributes:
        name: which people know it by; distinct.
        role: what it allows.
        sha256: of its token, in hexadecimal.
        created: when, in UTC.
    """

    name: str
    role: Role
    sha256: str
    created: str


@dataclass(frozen=True)
class KeyFile:
    """The keys of a file.

    Attributes:
        path: of the file.
        keys: in the order they were made.
    """

    path: Path
    keys: tuple[ApiKey, ...] = ()

    @classmethod
    def read(cls, path: Path | str, *, is_needed: bool = True) -> "KeyFile":
        """Read a file of keys.

        Args:
            path: of the file.
            is_needed: if False, no file is the same as one without keys.

        Raises:
            InputError: if there is none and it is needed.
            DamagedArtifactError: if it isn't what was written.
            NewerFormatError: if a newer modalhash wrote it.
        """
        path = Path(path)
        if not path.exists():
            if is_needed:
                raise InputError(
                    f"there is no file of keys {path}: make one with "
                    f"`modalhash key new NAME --keys {path}`"
                )
            return cls(path)
        document = read_json(path, kind="keys", newest_format=FORMAT)
        try:
            keys = tuple(
                ApiKey(
                    str(entry["name"]), Role(entry["role"]), str(entry["sha256"]), entry["created"]
                )
                for entry in document["keys"]
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedArtifactError(f"{path} is no file of keys: {error!r}") from error
        return cls(path, keys)

    def add_key(self, name: str, role: Role | str) -> tuple["KeyFile", str]:
        """Add a key; give the keys with it, and its token, which is kept nowhere.

        Raises:
            InputError: if the name is empty, not printable, or taken.
            UnknownNameError: if there is no such role.
        """
        if role not in list(Role):
            raise UnknownNameError("role", str(role), Role)
        if not name.strip() or not name.isprintable() or len(name) > 100:
            raise InputError(f"name is {name!r}, expected up to 100 printable characters")
        if any(key.name == name for key in self.keys):
            raise InputError(f"there is a key named {name!r}: choose another name, or revoke it")
        token = f"mh_{secrets.token_urlsafe(TOKEN_BYTES)}"
        created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        key = ApiKey(name, Role(role), hash_token(token), created)
        return KeyFile(self.path, (*self.keys, key)), token

    def remove_key(self, name: str) -> "KeyFile":
        """Remove a key; give the keys without it.

        Raises:
            UnknownNameError: if there is none of that name.
        """
        left = tuple(key for key in self.keys if key.name != name)
        if len(left) == len(self.keys):
            raise UnknownNameError("key", name, [key.name for key in self.keys])
        return KeyFile(self.path, left)

    def write(self) -> None:
        """Write the file, for its owner's eyes only.

        Raises:
            StorageError: if the file system refuses.
        """
        document = {"format": FORMAT, "keys": [asdict(key) for key in self.keys]}
        write_json(self.path, sealed(document))
        self.path.chmod(0o600)

    def find(self, token: str) -> ApiKey | None:
        """Find the key of a token; None if it is unknown."""
        if not TOKEN.fullmatch(token):
            return None
        return find_key(self.keys, hash_token(token))


def hash_token(token: str) -> str:
    """Compute the SHA-256 of a token in hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()


def find_key(keys: Sequence[ApiKey], sha256: str) -> ApiKey | None:
    """Find the key of a hash; the time it takes tells nothing of which bytes agree."""
    match = None
    for key in keys:
        if hmac.compare_digest(key.sha256, sha256):
            match = key
    return match
