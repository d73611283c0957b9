"""The verb that gives an index a newer model without encoding its items again."""

from pathlib import Path

from modalhash.api.opening import open_model
from modalhash.artifacts import HashModel
from modalhash.search import SearchIndex
from modalhash.search.upgrading import upgrade_search_index

__all__ = ["upgrade_index"]


def upgrade_index(
    index: Path | str, model: HashModel | Path | str, *, device: str = "auto"
) -> SearchIndex:
    """Put a newer model in the place of an index's own; no item is encoded again.

    From then on queries are encoded by the newer model, and so are items that `add_to_index` and
    `sync` add; the codes that are there stay. A server that has the index open takes up the new
    model by itself. Relevance is no longer calibrated.

    Args:
        index: the index folder.
        model: or its run folder; trained with `compatible_with` the index's model.
        device: where queries are encoded.

    Returns:
        The index, opened.

    Raises:
        ArtifactError: if the model isn't compatible with the models that made the index's codes.
        InputError: if the index keeps features or finer codes, which only its own model reads.
        LockedError: if another process changes the index.
        StorageError: if the file system refuses; the index is as it was, or upgraded.
    """
    return upgrade_search_index(index, open_model(model, device))
