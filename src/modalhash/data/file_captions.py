"""Pictures whose files hold their captions, as photo programs write them: `file-captions:PATH`.

The pictures are those in any folder below PATH. Texts of a picture are its caption and its title;
its other metadata (`read_file_metadata`) are columns, except keywords, of which there are many.
Pictures without a caption or title are left out and counted.
"""

from pathlib import Path

from modalhash.data.file_metadata import read_file_metadata
from modalhash.data.pair_lists import PairList, missing_file
from modalhash.data.path_patterns import expand_pattern
from modalhash.data.pictures import PICTURE_SUFFIXES
from modalhash.data.reading import Reading

__all__ = ["read_file_captions"]


def read_file_captions(argument: str, *, split_seed: int) -> Reading:
    """Read pictures with the captions in their files; see `SourceReader` and the module's text."""
    path = Path(argument)
    if not path.is_dir():
        return missing_file(path, "a folder of pictures whose files hold captions")
    root, files = expand_pattern(path)
    pairs = PairList(path.absolute().name, f"file-captions:{path.absolute()}", root)
    n_left_out = 0
    for file in files:
        if file.suffix.lower() not in PICTURE_SUFFIXES:
            continue
        fields = read_file_metadata(file)
        texts = dict.fromkeys(fields[name] for name in ("caption", "title") if name in fields)
        if not texts:
            n_left_out += 1
            continue
        metadata = {
            name: value
            for name, value in fields.items()
            if name != "caption" and not isinstance(value, list)
        }
        pairs.add(file.relative_to(root).as_posix(), texts, where=str(file), metadata=metadata)
    if n_left_out:
        pairs.notes.append(f"{path}: {n_left_out:,} pictures hold no caption and are left out")
    return pairs.reading(split_seed=split_seed)
