"""Write an index as a static web page that searches in the browser."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from modalhash.choices import Scoring
from modalhash.errors import InputError
from modalhash.files import peek_json, sealed, write_json, write_text
from modalhash.index import IdKind
from modalhash.index.new_folders import new_folder
from modalhash.modalities import MODALITIES, Direction
from modalhash.progress import Progress, automatic
from modalhash.search import SearchIndex
from modalhash.search.strength import chances_by_distance, strengths_by_distance
from modalhash.static_site.item_files import (
    PictureFiles,
    SideFiles,
    SideWriter,
    check_fields,
    locate_source,
)
from modalhash.static_site.page_files import check_links, write_page
from modalhash.static_site.runtime import Runtime
from modalhash.static_site.small_weights import Compared, Weights

__all__ = ["SITE_MANIFEST", "ExportedSite", "SiteOptions", "write_site"]

SITE_MANIFEST, SITE_FORMAT = "site.json", 1
ARTIFACT: Final = "modalhash site"
LARGEST_THUMBNAIL: Final = 2048
MOST_HITS, MOST_BATCH, MOST_LETTERS = 1000, 20, 2000
README: Final = """\
# {name}: a search page

Made by modalhash {modalhash} of {n_items:,} codes of {n_bits} bits. `index.html` searches in the
browser itself: any web server can host this folder, below any path, GitHub Pages too. To see it
here, run `python3 -m http.server` in this folder and open http://localhost:8000/.

- `data/` holds the codes and what is shown of the items, `pictures/` small pictures.
- `site.json` says what is where.
{runtime}"""
RUNTIME: Final = """\
- `text/` holds the text encoder and the hash function as ONNX files, `runtime/` holds
  onnxruntime-web {version} (MIT licence, Microsoft), which computes them.
"""


@dataclass(frozen=True)
class SiteOptions:
    """How a site is made.

    Attributes:
        thumbnails: longer side of small pictures in pixels; 0 for none.
        links: what stands before a picture's name in links to large ones; None for none.
        fields: names of metadata that go along; captions and ids always do.
        weights: how the text encoder's weights are kept.
        name: of the site; "" for the folder's.
    """

    thumbnails: int = 256
    links: str | None = None
    fields: Sequence[str] = ()
    weights: Weights = Weights.FLOAT32
    name: str = ""


@dataclass(frozen=True)
class ExportedSite:
    """What `write_site` wrote.

    Attributes:
        folder: where.
        n_items: codes of all sides.
        n_bits: bits of a code.
        n_bytes: of all files.
        n_missing: pictures that can't be read, which the page shows as missing.
        compared: how the codes of made captions compare with the model's own; None without words.
    """

    folder: Path
    n_items: int
    n_bits: int
    n_bytes: int
    n_missing: int
    compared: Compared | None


def write_site(
    index: SearchIndex,
    output: Path | str,
    runtime: Runtime | None,
    options: SiteOptions,
    *,
    overwrite: bool = False,
    progress: Progress = automatic,
) -> ExportedSite:
    """Write an index as a static web page that searches in the browser.

    Args:
        index: what is searched; it isn't changed.
        output: a new folder.
        runtime: what computes texts in the browser; None for a site without words.
        options: how the site is made.
        overwrite: take the place of a site that is there.
        progress: told of the items.

    Raises:
        ArtifactError: if the model is in ONNX files.
        InputError: if the index is empty, an option is none, `output` is taken, or the model is of
            a kind that can't be written.
        MissingExtraError: if the packages of the extra `onnx-export` aren't installed.
        StorageError: if the file system refuses; what was there is kept.
    """
    folder = Path(output)
    check_options(options)
    check_output(folder, overwrite=overwrite)
    if not len(index):
        raise InputError(f"{index.folder} has no items to export")
    check_fields(index, options.fields)
    name = options.name or index.folder.name.removesuffix(".index")
    with new_folder(folder) as part:
        text, compared = None, None
        if runtime is not None:
            from modalhash.static_site.text_files import write_text_side  # which loads torch

            text, compared = write_text_side(index.model, part, runtime, options.weights)
        source = locate_source(index)
        pictures = PictureFiles(part, options.thumbnails, options.links, source)
        rows: dict[str | int, int] = {}
        sides = {
            str(side): SideWriter(index, side, pictures, options.fields, rows).write(progress)
            for side in sorted(index.sides)  # images first
        }
        write_page(part, options.links)
        document = describe_site(index, name, sides, text)
        write_json(part / SITE_MANIFEST, sealed(document))
        n_items = sum(files.n_items for files in sides.values())
        n_bits = index.model.n_bits
        words = "" if runtime is None else RUNTIME.format(version=runtime.version)
        facts = {"name": name, "modalhash": document["modalhash"], "n_bits": n_bits}
        write_text(part / "README.md", README.format(n_items=n_items, runtime=words, **facts))
        write_text(part / ".nojekyll", "")  # GitHub Pages would leave files out
        flush_files()
        n_bytes = sum(path.stat().st_size for path in part.rglob("*") if path.is_file())
    return ExportedSite(folder, n_items, n_bits, n_bytes, pictures.n_missing, compared)


def flush_files() -> None:
    """Have all that was written be on disk: thousands of small files are flushed at once."""
    if hasattr(os, "sync"):
        os.sync()


def check_options(options: SiteOptions) -> None:
    """Refuse options that can't be followed.

    Raises:
        InputError: naming the first of them.
    """
    if not 0 <= options.thumbnails <= LARGEST_THUMBNAIL:
        raise InputError(
            f"thumbnails is {options.thumbnails}, expected pixels from 0 (none) to "
            f"{LARGEST_THUMBNAIL}"
        )
    check_links(options.links)


def check_output(folder: Path, *, overwrite: bool) -> None:
    """Refuse a place where something is that must be kept.

    Raises:
        InputError: if it is taken.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    document = peek_json(folder / SITE_MANIFEST)
    if document is None or document.get("artifact") != ARTIFACT:
        raise InputError(f"{folder} exists already and holds something else: choose another folder")
    if not overwrite:
        raise InputError(
            f"{folder} exists already: replace it with --overwrite, or choose another folder"
        )


def describe_site(
    index: SearchIndex,
    name: str,
    sides: Mapping[str, SideFiles],
    text: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Describe a site for its page: `site.json`."""
    model, made_by = index.model, version("modalhash")
    grades = describe_grades(index)
    queries = {"text": text is not None, "picture": False}
    rules = {
        direction: known["asymmetric"]["rule"]
        for direction, known in grades.items()
        if "asymmetric" in known
    }
    return {
        "format": SITE_FORMAT,
        "artifact": ARTIFACT,
        "modalhash": made_by,
        "name": name,
        "model_fingerprint": model.fingerprint,
        "n_bits": model.n_bits,
        "bit_order": "little",
        "sides": {
            side: {
                "count": files.n_items,
                "codes": files.codes,
                "items": files.items,
                "owners": files.owners,
            }
            for side, files in sides.items()
        },
        "text": text,
        "chances": chances_by_distance(model.n_bits).tolist(),
        "grades": grades,
        "limits": {"k": MOST_HITS, "batch": MOST_BATCH, "text_length": MOST_LETTERS},
        "index": {
            "name": name,
            "collection": str(index.collection.get("name", "")),
            "split": str(index.collection.get("split", "")),
            "model": model.fingerprint,
            "n_bits": model.n_bits,
            "sides": {
                str(side): {
                    "count": len(searched),
                    "kind": "exact",
                    "search": "every code is compared, in this browser",
                    "id_kind": "integer" if searched.id_kind is IdKind.INTEGER else "text",
                }
                for side, searched in index.sides.items()
            },
            "fields": [],
            "queries": queries,
            "relevance": rules,
            "reach": {},
            "rerank": {},
            "writable": False,
            "may_change": False,
        },
        "model": {
            "fingerprint": model.fingerprint,
            "method": model.record.method,
            "title": model.record.title,
            "n_bits": model.n_bits,
            "encoder": model.record.encoder["name"],
            "trained_on": {
                entry: model.record.trained_on[entry]
                for entry in ("collection", "split", "n_items")
                if entry in model.record.trained_on
            },
            "fine_codes": False,
            "queries": queries,
            "modalhash": model.record.modalhash,
        },
    }


def describe_grades(index: SearchIndex) -> dict[str, Any]:
    """Describe what places are worth where the index is calibrated: a word and a probability each.

    Places are Hamming distances, or levels of asymmetric scores.
    """
    grades: dict[str, Any] = {}
    for side, searched in index.sides.items():
        for modality in MODALITIES:
            known: dict[str, Any] = {}
            for scoring in Scoring:
                curve = index.curve(modality, side, scoring)
                if curve is None:
                    continue
                words = strengths_by_distance(curve, index.model.n_bits, len(searched))
                known[scoring.value] = {
                    "rule": curve.rule.value,
                    "words": [None if word is None else word.value for word in words],
                    "relevance": [round(value, 6) for value in curve.at(len(searched)).tolist()],
                }
            if known:
                grades[str(Direction.between(modality, side.modality))] = known
    return grades
