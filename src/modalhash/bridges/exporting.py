"""The verb `export_codes`: codes, ids and metadata as files that another system loads."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from modalhash.bridges.contents import Content, Source, Written, list_keys, open_source
from modalhash.bridges.folders import check_output
from modalhash.bridges.targets import find_writer
from modalhash.choices import Scoring
from modalhash.errors import InputError
from modalhash.files import peek_json, sealed, sha256_of_file, write_json, write_text
from modalhash.index import HashIndex, ItemBlock
from modalhash.index.new_folders import new_folder
from modalhash.progress import Progress, automatic

__all__ = ["ARTIFACT", "EXPORT_FORMAT", "EXPORT_MANIFEST", "ExportedCodes", "export_codes"]

EXPORT_MANIFEST, EXPORT_FORMAT = "export.json", 1
ARTIFACT: Final = "modalhash export"
NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,47}")
README: Final = """\
# Codes for {target}

{n_items:,} codes of {n_bits} bits, exported by modalhash from {source}. `export.json` says what is
in the files. Bit j of a code is bit j % 8 of byte j // 8, counted from the low end; a set bit means
+1{padding}. Queries must be codes of the same model.

{guide}"""


@dataclass(frozen=True)
class ExportedCodes:
    """What `export_codes` wrote.

    Attributes:
        folder: where.
        target: for which system.
        n_items: how many.
        n_bits: bits of a code.
        files: names in the folder; `README.md` says how they are loaded.
    """

    folder: Path
    target: str
    n_items: int
    n_bits: int
    files: tuple[str, ...]


class CountedSource(Source):
    """A source that counts what is taken from it, and tells of the progress.

    Args:
        source: of the items.
        progress: told of every block.
    """

    def __init__(self, source: Source, progress: Progress) -> None:
        super().__init__(source.name, source.items, is_own=source.is_own)
        self.progress, self.n_taken = progress, 0

    def blocks(self) -> Iterator[ItemBlock]:
        """Yield the items in the order of insertion."""
        self.n_taken = 0
        for block in super().blocks():
            yield block
            self.n_taken += len(block)
            self.progress("export", self.n_taken, max(self.n_items, self.n_taken))


HAMMING_ONLY = """## How it ranks

This engine ranks by Hamming distance. A search of the index it was exported from ranks by the
query's own numbers unless it says otherwise (`--scoring hamming`), so the orders differ. To have
that order here, take a longer list from this engine, and score it with
`modalhash.codes.asymmetric_scores`."""
ASYMMETRIC_TOO = """## How it ranks

With vectors of -1 and +1 as queries this engine ranks by Hamming distance. With the query's own
numbers it ranks as a search of the index it was exported from does: divide its score by the sum of
the sizes of the numbers. Its binary quantization must not be the last word: search exactly, or
let it rescore."""


def export_codes(
    source: HashIndex | Path | str,
    target: str,
    output: Path | str,
    *,
    side: str | None = None,
    name: str = "codes",
    keys: str | None = None,
    overwrite: bool = False,
    progress: Progress = automatic,
) -> ExportedCodes:
    """Write codes, ids and metadata as files that another system loads.

    The folder holds the target's files, `README.md` with the commands that load and ask them, and
    `export.json`. It appears when all of it is written. What was deleted isn't exported.

    Args:
        source: an index folder, what `encode` wrote, or an opened index of one side
            (`search_index.sides["images"]`).
        target: elasticsearch, faiss, milvus, npy, opensearch, pgvector, qdrant or usearch.
        output: a new folder.
        side: "images" (the default) or "texts", of a source that has both.
        name: of the table, collection or index in the target.
        keys: where the target's keys are integers, "ids" takes integer ids, "rows" numbers the
            items; by default ids if they are integers. The ids themselves go along either way.
        overwrite: take the place of an export that is there.
        progress: told of every block.

    Raises:
        ArtifactError: if the source is damaged or newer.
        InputError: if the source is none, empty, or hasn't that side; if `output` is taken; if the
            name isn't one that every target takes; if an id or metadata can't be stored there.
        MissingExtraError: if the target needs a package that isn't installed.
        StorageError: if the file system refuses; what was there is kept.
        UnknownNameError: if there is no such target.
    """
    write, folder = find_writer(target), Path(output)
    if not NAME.fullmatch(name):
        raise InputError(
            f"name is {name!r}, expected a lower-case letter, then up to 47 letters a to z, "
            "digits and underscores, which every target takes"
        )
    check_output(folder, is_ours=is_export, overwrite=overwrite)
    counted = CountedSource(open_source(source, side), progress)
    try:
        if not counted.n_items:
            raise InputError(f"{counted.name} has no items to export")
        content = Content(counted, name, list_keys(counted, keys))
        with new_folder(folder) as part:
            written = write(part, content)
            describe(part, target, content, written, counted.n_taken)
    finally:
        counted.close()
    files = (*written.files, EXPORT_MANIFEST, "README.md")
    return ExportedCodes(folder, target, counted.n_taken, content.n_bits, files)


def describe(folder: Path, target: str, content: Content, written: Written, n_items: int) -> None:
    """Write `README.md` and `export.json` beside a target's files."""
    n_bits, n_padded = content.n_bits, content.n_padded
    padding = "" if n_bits == n_padded else f", and the {n_padded - n_bits} last bits are zero"
    text = README.format(
        target=target,
        n_items=n_items,
        n_bits=n_bits,
        source=content.source.name,
        padding=padding,
        guide=f"{written.guide.rstrip()}\n\n{describe_scorings(written)}\n",
    )
    write_text(folder / "README.md", text)
    id_kind = content.source.id_kind
    document: dict[str, Any] = {
        "format": EXPORT_FORMAT,
        "artifact": ARTIFACT,
        "modalhash": version("modalhash"),
        "target": target,
        "source": content.source.name,
        "model_fingerprint": content.source.model_fingerprint,
        "n_items": n_items,
        "n_bits": n_bits,
        "n_padded_bits": n_padded,
        "bit_order": "little",
        "id_kind": None if id_kind is None else id_kind.value,
        "keys": content.keys.value,
        "name": content.name,
        "scorings": [scoring.value for scoring in written.scorings],
        **written.about,
        "files": [
            {
                "name": name,
                "size": (folder / name).stat().st_size,
                "sha256": sha256_of_file(folder / name),
            }
            for name in written.files
        ],
    }
    write_json(folder / EXPORT_MANIFEST, sealed(document))


def describe_scorings(written: Written) -> str:
    """Describe how the target ranks, beside what a search of this library does by default."""
    if Scoring.ASYMMETRIC in written.scorings:
        return ASYMMETRIC_TOO
    return HAMMING_ONLY


def is_export(folder: Path) -> bool:
    """Tell whether a folder holds an export, be it damaged or newer."""
    document = peek_json(folder / EXPORT_MANIFEST)
    return document is not None and document.get("artifact") == ARTIFACT
