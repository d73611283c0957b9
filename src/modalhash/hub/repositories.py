"""Files of a repository on a hub: fetched to this machine, and sent from it."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from modalhash.errors import InputError, ModelUnavailableError, StorageError
from modalhash.extras import import_optional
from modalhash.files import create_part_folder, is_plain_name
from modalhash.hub.names import HubName

__all__ = ["download_files", "upload_files"]

logger = logging.getLogger(__name__)

EXTRA: Final = "hub"
CLIENT_FOLDER: Final = ".cache"
"""Where the client keeps its notes, in a folder that it fetches to."""
WAY_OUT: Final = "check the name, the network, and that `hf auth login` was run if it is private"


def open_client(token: str | None) -> Any:
    """Make the client of the hub that `HF_ENDPOINT` names.

    Raises:
        MissingExtraError: if `huggingface_hub` isn't installed.
    """
    library = import_optional("huggingface_hub", extra=EXTRA, feature="a repository on a hub")
    return library.HfApi(
        endpoint=os.environ.get("HF_ENDPOINT") or None,
        token=token,
        library_name="modalhash",
        library_version=version("modalhash"),
    )


def download_files(
    name: HubName, cache: Path, *, is_wanted: Callable[[str], bool], token: str | None = None
) -> Path:
    """Fetch the files of a repository at one commit; what is there already isn't fetched again.

    Without a network, what was fetched last of this name is taken, with a warning.

    Args:
        name: of the repository.
        cache: folder that keeps what was fetched.
        is_wanted: tells of a file's path whether it is fetched.
        token: of the user; by default the one that the client keeps.

    Returns:
        A folder with these files, none of them a link.

    Raises:
        MissingExtraError: if `huggingface_hub` isn't installed.
        ModelUnavailableError: if the repository can't be had.
        StorageError: if the file system refuses.
    """
    own = cache / f"{name.kind}s--{name.repository.replace('/', '--')}"
    client = open_client(token)
    try:
        with report_hub_errors(name, "be fetched"):
            facts = client.repo_info(name.repository, revision=name.revision, repo_type=name.kind)
    except ModelUnavailableError as error:
        refused = isinstance(error.__cause__, load_errors().HfHubHTTPError)
        earlier_copy = None if refused else find_newest_copy(own, name.revision)
        if earlier_copy is None:
            raise
        logger.warning("%s; the copy that was fetched before is taken", error)
        return earlier_copy
    commit = str(facts.sha)
    place = own / commit
    if is_plain_name(commit) and place.is_dir():
        return place
    paths = [str(entry.rfilename) for entry in facts.siblings or []]
    file_paths = [path for path in paths if is_inside(path) and is_wanted(path)]
    if not is_plain_name(commit) or not file_paths:
        raise ModelUnavailableError(
            f"{name} holds no files of modalhash: it is no {name.noun} that modalhash wrote"
        )
    with report_storage(own):
        own.mkdir(parents=True, exist_ok=True)
        part = create_part_folder(place)
    try:
        with report_hub_errors(name, "be fetched"), quiet_bars():
            for path in file_paths:
                client.hf_hub_download(
                    name.repository, path, revision=commit, repo_type=name.kind, local_dir=part
                )
        with report_storage(own):
            shutil.rmtree(part / CLIENT_FOLDER, ignore_errors=True)
            if not place.is_dir():
                part.rename(place)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return place


def upload_files(
    folder: Path,
    name: HubName,
    *,
    message: str,
    private: bool = False,
    token: str | None = None,
) -> str:
    """Send all files of a folder to a repository, which is made if it isn't there, as one commit.

    Args:
        folder: whose files are sent.
        name: of the repository; its revision is the branch.
        message: of the commit.
        private: whether a new repository is private.
        token: of the user; by default the one that the client keeps.

    Returns:
        The address of the commit.

    Raises:
        MissingExtraError: if `huggingface_hub` isn't installed.
        ModelUnavailableError: if the hub refuses, or can't be reached.
    """
    client = open_client(token)
    with report_hub_errors(name, "be written"), quiet_bars():
        client.create_repo(
            name.repository, repo_type=name.kind, private=private or None, exist_ok=True
        )
        answer = client.upload_folder(
            repo_id=name.repository,
            folder_path=folder,
            repo_type=name.kind,
            revision=name.revision,
            commit_message=message,
        )
    return str(answer.commit_url)


def is_inside(path: str) -> bool:
    """Tell whether a path that a hub states is one of plain names, all inside the repository."""
    return all(is_plain_name(part) and not part.startswith(".") for part in path.split("/"))


def find_newest_copy(own: Path, revision: str | None) -> Path | None:
    """Find what was fetched last of a repository; of a commit, that commit alone."""
    if not own.is_dir():
        return None
    copies = [place for place in own.iterdir() if place.is_dir() and place.name[0] != "."]
    if revision is not None:
        copies = [place for place in copies if place.name == revision]
    return max(copies, key=lambda place: place.stat().st_mtime, default=None)


def load_errors() -> Any:
    """Import the client's errors."""
    return import_optional("huggingface_hub.errors", extra=EXTRA, feature="a repository on a hub")


@contextmanager
def report_hub_errors(name: HubName, action: str) -> Iterator[None]:
    """Report what the client says of failures in one line.

    Raises:
        ModelUnavailableError: naming the repository and the way out.
    """
    errors = load_errors()
    try:
        yield
    except (InputError, StorageError, ModelUnavailableError):
        raise
    except errors.GatedRepoError as error:
        raise ModelUnavailableError(
            f"{name} can't {action}: access to it must be asked for on its page"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelUnavailableError(
            f"{name} can't {action}: it has no revision {name.revision!r}"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelUnavailableError(
            f"{name} can't {action}: there is no such {name.noun}, or you may not see it; {WAY_OUT}"
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise ModelUnavailableError(
            f"{name} can't {action}: HF_HUB_OFFLINE is set, which keeps off the network"
        ) from error
    except errors.HfHubHTTPError as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            reason = f"the hub gives no permission (status {status}); run `hf auth login`"
        else:
            reason = f"the hub answered with status {status}; {WAY_OUT}"
        raise ModelUnavailableError(f"{name} can't {action}: {reason}") from error
    except (OSError, ValueError, RuntimeError, errors.HTTPError) as error:
        reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        raise ModelUnavailableError(f"{name} can't {action} ({reason}): {WAY_OUT}") from error


@contextmanager
def report_storage(place: Path) -> Iterator[None]:
    """Report what the file system refuses.

    Raises:
        StorageError: naming the folder.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"can't write {place}: {error.strerror or error}") from error


@contextmanager
def quiet_bars() -> Iterator[None]:
    """Keep the client from drawing bars, for a while."""
    tools = import_optional("huggingface_hub.utils", extra=EXTRA, feature="a repository on a hub")
    was_off = tools.are_progress_bars_disabled()
    tools.disable_progress_bars()
    try:
        yield
    finally:
        if not was_off:
            tools.enable_progress_bars()
