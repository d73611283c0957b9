"""The verb `push`: a model or an index sent to a hub, or only what would be sent."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from modalhash.api.measuring import evaluate
from modalhash.api.opening import open_model
from modalhash.artifacts.hub_models import WEIGHTS_LICENCE, check_licence
from modalhash.errors import InputError
from modalhash.hub import read_hub_name, upload_files
from modalhash.progress import Progress, automatic
from modalhash.search import is_search_index
from modalhash.search.hub_indexes import write_hub_files

__all__ = ["PushedFiles", "push"]


@dataclass(frozen=True)
class PushedFiles:
    """What was sent to a hub.

    Attributes:
        repository: `hf://OWNER/NAME`, or `hf://datasets/OWNER/NAME` of an index.
        sizes: path of a file in the repository to its bytes.
        card: its `README.md`.
        address: of the commit; None if nothing was sent.
    """

    repository: str
    sizes: Mapping[str, int]
    card: str
    address: str | None

    @property
    def n_bytes(self) -> int:
        """Bytes of all files together."""
        return sum(self.sizes.values())


def push(
    source: Path | str,
    repository: str,
    *,
    license: str,  # noqa: A002 - the hub's word
    split: str | None = None,
    private: bool = False,
    token: str | None = None,
    dry_run: bool = False,
    device: str = "auto",
    progress: Progress = automatic,
) -> PushedFiles:
    """Send a model, or an index as a data set, to a hub; the repository is made if it isn't there.

    Args:
        source: a run folder, an index folder, or the name of a ready model.
        repository: `OWNER/NAME`.
        license: as hubs write it ("apache-2.0", "cc-by-4.0", "other"): of the weights of a model,
            of the texts and pictures of an index.
        split: measure the model on this split of the collection it was trained on, and put the
            numbers onto its card; None puts none there.
        private: whether a new repository is private.
        token: of the user; by default the one that the hub's client keeps.
        dry_run: send nothing, and ask no hub.
        device: where the model is measured.
        progress: called as `Progress` says.

    Raises:
        ArtifactError: if the source is damaged, or neither a model nor an index.
        InputError: if it is no name of a repository, the licence is no identifier, the index lies
            on a server, or a split of an index is named.
        LockedError: if another process changes the index at the moment.
        MissingExtraError: if the hub's client isn't installed.
        ModelUnavailableError: if the hub refuses, or can't be reached.
    """
    is_index = is_search_index(Path(source))
    name = read_hub_name(repository, kind="dataset" if is_index else "model")
    with TemporaryDirectory(prefix="modalhash-push-") as place:
        folder = Path(place) / "files"
        if is_index:
            if split is not None:
                raise InputError("split measures a model, but an index is pushed: leave it out")
            message = write_hub_files(source, folder, repository, license=license)
        else:
            check_licence(license, WEIGHTS_LICENCE)  # before the model is measured
            folder.mkdir()
            model = open_model(source, device)
            report = None if split is None else evaluate(model, split=split, progress=progress)
            message = model.write_hub_files(folder, repository, license=license, report=report)
        address = None
        if not dry_run:
            address = upload_files(folder, name, message=message, private=private, token=token)
        sizes = {
            path.relative_to(folder).as_posix(): path.stat().st_size
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        card = (folder / "README.md").read_text(encoding="utf-8")
    return PushedFiles(str(name), sizes, card, address)
