"""Pictures with a file of text beside each: `text-files:PATH`, as img2dataset's `files` writes it.

::

    00000/000000000.jpg      a picture, in any folder below PATH
    00000/000000000.txt      its texts, one a line
    00000/000000000.json     or its text in `caption`, and metadata: what is no list and no object;
                             a text of several lines is one text if it is the same here

Another field of the JSON holds the texts with `--columns caption=FIELD`, and other text files than
`.txt` are read with `--columns caption=prompt` (`000000000.prompt`). Pictures without a text are
left out and counted.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from modalhash.data.pair_lists import PairList, missing_file
from modalhash.data.path_patterns import expand_pattern
from modalhash.data.pictures import PICTURE_SUFFIXES
from modalhash.data.reading import Reading
from modalhash.data.table_columns import divide_source
from modalhash.data.text_lines import clean_lines
from modalhash.errors import Defect
from modalhash.files import read_regular_text

__all__ = ["caption_texts", "read_text_files", "scalar_fields"]

_NO_METADATA: Final = ("key", "status", "error_message", "exif", "sha256")


def read_text_files(argument: str, *, split_seed: int) -> Reading:
    """Read pictures with their text files; see `SourceReader` and the module's description."""
    source, columns = divide_source(argument)
    path = Path(source)
    root, files = expand_pattern(source)
    if not path.exists() or not files:
        return missing_file(path, "a folder of pictures with a text file beside each")
    named = columns.columns.get("caption", ("",))[0]
    by_name = {file.relative_to(root).as_posix(): file for file in files}
    by_stem: dict[str, dict[str, Path]] = {}
    for name, file in by_name.items():
        by_stem.setdefault(name.removesuffix(file.suffix), {})[file.suffix.lower()] = file
    pairs = PairList(path.absolute().name, f"text-files:{path.absolute()}", root)
    pairs.source += argument[len(source) :]
    n_left_out = 0
    for name, file in by_name.items():
        if file.suffix.lower() not in PICTURE_SUFFIXES:
            continue
        beside = by_stem[name.removesuffix(file.suffix)]
        document = _read_document(beside.get(".json"), pairs.defects, name)
        text_file = beside.get(f".{(named or 'txt').lstrip('.').lower()}")
        texts = _read_texts(text_file, pairs.defects, name) if text_file is not None else []
        stated = caption_texts(document.get(named or "caption"))
        if not texts or stated == [" ".join(texts)]:  # a text of several lines
            texts = stated or texts
        if texts:
            where = str(text_file or beside[".json"])
            fields = {key: document[key] for key in document if key not in ("caption", named)}
            pairs.add(name, texts, where=where, metadata=scalar_fields(fields))
        else:
            n_left_out += 1
    if n_left_out:
        pairs.notes.append(f"{path}: {n_left_out} pictures without a text are left out")
    return pairs.reading(split_seed=split_seed)


def _read_texts(file: Path, defects: list[Defect], item: str) -> list[str]:
    """Read the lines of a text file; what is wrong becomes a defect of its picture."""
    own: list[Defect] = []
    texts = [text for _, text in clean_lines(file, own) if text.strip()]
    defects += [Defect(defect.kind, defect.where, defect.problem, (item,)) for defect in own]
    return texts


def _read_document(file: Path | None, defects: list[Defect], item: str) -> Mapping[str, Any]:
    """Read the object in a JSON file; what is wrong becomes a defect of its picture."""
    if file is None:
        return {}
    try:
        document = json.loads(read_regular_text(file))
    except (OSError, ValueError, RecursionError) as error:
        problem = f"isn't valid JSON: {error}"
        defects.append(Defect("unreadable-file", str(file), problem, (item,)))
        return {}
    return document if isinstance(document, dict) else {}


def caption_texts(value: Any) -> list[str]:
    """List the texts in a field: one, or a list of them; anything else is none."""
    texts = value if isinstance(value, list) else [value]
    return [text for text in texts if isinstance(text, str) and text.strip()]


def scalar_fields(document: Mapping[str, Any]) -> dict[str, str | int | float | None]:
    """Select the fields of an object that are metadata: texts, numbers, true, false or null."""
    return {
        name: value
        for name, value in document.items()
        if name not in _NO_METADATA and (value is None or isinstance(value, str | int | float))
    }
