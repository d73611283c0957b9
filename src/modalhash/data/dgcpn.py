"""Features once, splits as indices: `dgcpn:PATH`.

PATH is a folder with `NAME_vgg19.npy` (image features; any `*_vgg19.npy`, or `image.npy`),
`tags.npy`, `label.npy` and `test_num.npy`, `val_num.npy`, `train_num.npy`, `database_num.npy`:
positions of items, one file a split. `val` is called `dev`.
"""

from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from modalhash.data.arrays import read_arrays
from modalhash.data.feature_parts import Part, positions_from_zero, turn_to_rows
from modalhash.data.features import collect_arrays
from modalhash.data.pair_lists import missing_file
from modalhash.data.reading import Reading
from modalhash.errors import CollectionError, Defect

__all__ = ["read_dgcpn"]

_SPLITS: Final = {"train": "train", "val": "dev", "test": "test", "database": "database"}


def read_dgcpn(argument: str, *, split_seed: int) -> Reading:
    """Read DGCPN's layout; see `SourceReader` and the module's description."""
    path = Path(argument)
    if not path.is_dir():
        return missing_file(path, "the folder of .npy files")
    try:
        stored = read_arrays(path)
    except CollectionError as error:
        return Reading(None, error.defects)
    images = [name for name in stored if name.endswith("_vgg19")] or ["image"]
    if len(images) > 1:
        problem = f"holds the image features of several data sets: {', '.join(images)}"
        return Reading(None, (Defect("two-sets", str(path), problem),))
    keys = {"image": images[0], "text": "tags", "labels": "label"}
    for key in keys.values():
        if key not in stored:
            return missing_file(path / f"{key}.npy", "an array with a row an item")
    origins = {side: str(path / f"{key}.npy") for side, key in keys.items()}
    notes: list[str] = []
    part = turn_to_rows(Part({side: stored[key] for side, key in keys.items()}, origins), notes)
    n_items = len(part.arrays["image"])
    splits: dict[str, NDArray[Any]] = {}
    for file, split in _SPLITS.items():
        key = f"{file}_num"
        if key in stored:
            origins[f"split_{split}"] = str(path / f"{key}.npy")
            splits[f"split_{split}"] = stored[key]
    by_origin = {origins[name]: array for name, array in splits.items()}
    from_zero = positions_from_zero(by_origin, n_items, notes)
    splits = {name: from_zero[origins[name]] for name in splits}
    name = images[0].removesuffix("_vgg19") if images != ["image"] else path.absolute().name
    reading = collect_arrays(
        {**part.arrays, **splits},
        name=name,
        path=path,
        source=f"dgcpn:{path.absolute()}",
        split_seed=split_seed,
        origins=origins,
    )
    return Reading(reading.collection, reading.defects, (*notes, *reading.notes))
