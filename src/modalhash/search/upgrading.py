"""Give an index a newer model, whose queries search the codes that are there."""

import logging
from importlib.metadata import version
from pathlib import Path

from modalhash.artifacts import HashModel, save_model
from modalhash.errors import ArtifactError, InputError
from modalhash.files import sealed, write_json
from modalhash.index.new_folders import new_folder
from modalhash.search.folder import MANIFEST, open_search_index, read_manifest
from modalhash.search.pending_changes import writing
from modalhash.search.search_index import SearchIndex

__all__ = ["upgrade_search_index"]

logger = logging.getLogger(__name__)


def upgrade_search_index(folder: Path | str, model: HashModel) -> SearchIndex:
    """Put a newer model in the place of an index's own; no code is made anew.

    Queries, and items that are added from then on, are encoded by the newer model. The model is
    replaced first and the manifest last; after a kill between the two the index opens, and the
    same call finishes.

    Args:
        folder: of the index.
        model: that was trained to be compatible with the index's model.

    Raises:
        ArtifactError: if the model isn't compatible with the model that made a code of the index,
            or the index is damaged.
        InputError: if the index keeps features or finer codes, which only its own model reads.
        LockedError: if another process changes the index.
        StorageError: if the file system refuses; the index is as it was, or upgraded.
    """
    folder = Path(folder).resolve()
    with open_search_index(folder, device=model.device) as index:
        check_upgrade(index, model)
        with writing(index.sides):
            document = read_manifest(folder)
            with new_folder(folder / "model") as part:
                save_model(model, part)
            document |= {
                "modalhash": version("modalhash"),
                "model_fingerprint": model.fingerprint,
                "method": model.record.method,
                "encoder": model.record.encoder["name"],
            }
            document.pop("checksum", None)
            write_json(folder / MANIFEST, sealed(document))
        if index.calibration is not None and index.model.fingerprint != model.fingerprint:
            logger.warning(
                "%s no longer says how probable relevance is: the calibration was of the former "
                "model's distances",
                folder,
            )
    return open_search_index(folder, device=model.device)


def check_upgrade(index: SearchIndex, model: HashModel) -> None:
    """Refuse a model that can't take the place of an index's own; nothing is changed yet.

    Raises:
        ArtifactError: if it isn't compatible with a model that made codes of the index.
        InputError: if the index keeps what only its own model reads.
    """
    makers = {index.model.fingerprint, *(side.model_fingerprint for side in index.sides.values())}
    foreign = sorted(maker for maker in makers if not model.searches_codes_of(maker))
    if foreign:
        raise ArtifactError(
            f"the new model ({model.record.title}, encoder {model.record.encoder['name']!r}) isn't "
            f"compatible with the model {foreign[0][:12]} that made codes of {index.folder}: train "
            "it with --compatible-with that model's run, or build the index again"
        )
    if index.model.fingerprint == model.fingerprint:
        return
    if index.keeps_features or index.model.has_fine_codes:
        noun = "features" if index.keeps_features else "finer codes"
        raise InputError(
            f"{index.folder} keeps {noun} to rerank by, which only its own model reads: build the "
            "index again with the new model"
        )
