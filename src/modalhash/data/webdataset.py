"""Tars of pictures and texts, as img2dataset and webdataset write them: `webdataset:PATH`.

PATH is a tar, a folder with tars in it or in its folders (`00000.tar`, `00001.tar.gz`, ...), or a
pattern such as `data/{00000..00012}.tar`; `data/tars.py` says what a sample is. Tars are read in
place; samples without picture or text are left out and counted. What the `.json` of a sample holds
beside the caption becomes metadata: texts, numbers, true and false.

Other members or fields are named with `--columns image=img.png,caption=prompt,label=cls`: the
suffix of a member, or a field of the `.json`. Keys of tars in folders begin with the folder, and
folders or tars that are called after splits divide the samples.
"""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from modalhash.data.collection import Collection, Positions, Value
from modalhash.data.pair_lists import missing_file
from modalhash.data.path_patterns import expand_pattern
from modalhash.data.pictures import is_safe_name, read_picture
from modalhash.data.reading import Reading
from modalhash.data.splits import make_splits
from modalhash.data.table_columns import divide_source
from modalhash.data.table_rows import find_split_name
from modalhash.data.tables import typed_values
from modalhash.data.tars import (
    TAR_ERRORS,
    SampleKeys,
    TarMember,
    TarSample,
    is_tar,
    read_tar_samples,
)
from modalhash.data.text_files import scalar_fields
from modalhash.errors import CollectionError, Defect
from modalhash.files import file_stamp

__all__ = ["read_webdataset"]


@dataclass(frozen=True)
class TarPictures:
    """Pictures inside tars.

    Attributes:
        members: in item order.
    """

    members: Sequence[TarMember]

    def open(self, position: int) -> Image.Image:
        """Open the picture; see `Pictures.open`."""
        return self._open(position, None)

    def open_scaled(self, position: int, side: int) -> Image.Image:
        """Open the picture, smaller where that is quicker; see `ScalablePictures.open_scaled`."""
        return self._open(position, side)

    def _open(self, position: int, side: int | None) -> Image.Image:
        member = self.members[position]
        return read_picture(member.tar / member.name, content=io.BytesIO(member.read()), side=side)

    def stamp(self, position: int) -> str:
        """Combine the tar's size and times and the member's place; see `Pictures.stamp`."""
        member = self.members[position]
        return f"{file_stamp(member.tar)}:{member.start}:{member.size}"

    def digest(self, position: int) -> str:
        """Compute the SHA-256 of the member; see `Pictures.digest`."""
        return hashlib.sha256(self.members[position].read()).hexdigest()

    def path(self, position: int) -> None:
        """Answer None: the picture has no file of its own."""


@dataclass
class Samples:
    """What was read of all tars.

    Attributes:
        pictures: key to picture, of samples that have picture and text.
        captions: key to texts, of the same samples.
        fields: key to what its `.json` holds that is metadata.
        splits: split to the keys of its samples, where tars or folders name splits.
        tars: key to the tar it is in, of every sample.
        n_left_out: samples without picture or text.
        n_with_several: samples with several pictures.
        n_with_lines: samples whose `.txt` has several lines.
        defects: what was wrong.
    """

    pictures: dict[str, TarMember] = field(default_factory=dict)
    captions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    fields: dict[str, Mapping[str, Value]] = field(default_factory=dict)
    splits: dict[str, list[str]] = field(default_factory=dict)
    tars: dict[str, Path] = field(default_factory=dict)
    n_left_out: int = 0
    n_with_several: int = 0
    n_with_lines: int = 0
    defects: list[Defect] = field(default_factory=list)

    def add(self, sample: TarSample, tar: Path, split: str = "") -> None:
        """Take a sample, or note what is wrong with it.

        Args:
            sample: the sample.
            tar: where it is.
            split: the split that the tar or its folder is called after; "" for none.

        Raises:
            CollectionError: if the tar can't be read.
        """
        if problem := self.name_problem(sample, tar):
            kind = "unsafe-name" if "name inside" in problem else "duplicate-id"
            self.defects.append(Defect(kind, str(tar), problem, (sample.key,)))
            if sample.key in self.tars:
                return
        self.tars[sample.key] = tar
        defects: list[Defect] = []
        captions = sample.read_captions(defects)
        self.defects += defects
        if defects and sample.pictures and not captions:
            captions = ("",)  # the item stays, so that its defect can leave it out
        if not sample.pictures or not captions:
            self.n_left_out += 1
            return
        self.n_with_several += len(sample.pictures) > 1
        self.n_with_lines += len(captions) > 1
        self.pictures[sample.key], self.captions[sample.key] = sample.pictures[0], captions
        fields = sample.read_fields([])
        self.fields[sample.key] = {
            name: value
            for name, value in scalar_fields(fields).items()
            if name not in sample.keys.fields
        }
        self.splits.setdefault(split, []).append(sample.key)

    def name_problem(self, sample: TarSample, tar: Path) -> str:
        """Say what is wrong with the names of a sample; "" if nothing is."""
        if sample.key in self.tars:
            other = self.tars[sample.key]
            return f"sample {sample.key!r} is also in {other}; give every sample its own name"
        if sample.repeated:
            return (
                f"sample {sample.key!r} comes twice: there is a second {sample.repeated[0]!r}; "
                "give every sample its own name"
            )
        if not is_safe_name(sample.key):
            return f"the key {sample.key!a} isn't a name inside a folder; write another"
        return ""

    def notes(self, path: Path) -> tuple[str, ...]:
        """Say what was left out, and how several pictures or lines were read."""
        counted = (
            (self.n_left_out, "samples without picture or text are left out"),
            (self.n_with_several, "samples have several pictures; the first is read"),
            (self.n_with_lines, "samples have several captions: each line of a .txt is one"),
        )
        return tuple(f"{path}: {count} {noun}" for count, noun in counted if count)


def read_webdataset(argument: str, *, split_seed: int) -> Reading:
    """Read tars; see `SourceReader` and the module's description."""
    source, columns = divide_source(argument)
    path = Path(source)
    root, files = expand_pattern(source)
    tars = [file for file in files if is_tar(file)] if path.is_dir() else files
    if not tars or not tars[0].exists():
        return missing_file(tars[0] if tars else path, "a tar, or a folder of tars")
    images, captions = (columns.columns.get(role, ()) for role in ("image", "caption"))
    keys = SampleKeys(tuple(name.lower().lstrip(".") for name in images), captions)
    samples = Samples()
    for tar in tars:
        _add_tar(tar, root, keys, samples)
    notes = samples.notes(path)
    if not samples.pictures:
        samples.defects.append(Defect("no-items", str(path), "has no picture with a text"))
        return Reading(None, tuple(samples.defects), notes)
    name = path.absolute().name if path.is_dir() else path.absolute().stem
    stored_at = f"webdataset:{path.absolute()}{argument[len(source) :]}"
    collection = _collect(samples, name, stored_at, split_seed)
    return Reading(collection, tuple(samples.defects), notes)


def _add_tar(tar: Path, root: Path, keys: SampleKeys, samples: Samples) -> None:
    """Add the samples of a tar; those in a folder have its name before their keys."""
    folders = tar.parent.relative_to(root).parts
    split = find_split_name([tar.name, *reversed(folders)])
    try:
        for sample in read_tar_samples(tar, keys).values():
            sample.key = "/".join((*folders, sample.key))
            samples.add(sample, tar, split)
    except TAR_ERRORS as error:
        if isinstance(error, CollectionError):
            samples.defects += error.defects
            return
        problem = f"can't be read as a tar: {error}"
        samples.defects.append(Defect("unreadable-file", str(tar), problem))


def _collect(samples: Samples, name: str, source: str, split_seed: int) -> Collection:
    ids = tuple(samples.pictures)
    counts = [len(samples.captions[key]) for key in ids]
    splits, note = _splits(samples, ids, split_seed)
    columns = dict.fromkeys(column for key in ids for column in samples.fields[key])
    return Collection(
        name=name,
        item_ids=ids,
        caption_ids=tuple(
            f"{key}#{number}" for key, n in zip(ids, counts, strict=True) for number in range(n)
        ),
        caption_items=np.arange(len(ids), dtype=np.int64).repeat(counts),
        captions=tuple(text for key in ids for text in samples.captions[key]),
        pictures=TarPictures(tuple(samples.pictures.values())),
        metadata={
            column: typed_values(samples.fields[key].get(column) for key in ids)
            for column in columns
        },
        splits=splits,
        source=source,
        split_note=note,
    )


def _splits(
    samples: Samples, ids: tuple[str, ...], split_seed: int
) -> tuple[dict[str, Positions], str]:
    """Read the splits that tars or folders are called after; make splits where there are none."""
    named = {split: keys for split, keys in samples.splits.items() if split}
    if len(named) < 2:
        return make_splits(ids, seed=split_seed)
    positions = {key: place for place, key in enumerate(ids)}
    splits = {
        split: np.array([positions[key] for key in keys], np.int64) for split, keys in named.items()
    }
    return splits, f"official: {', '.join(splits)}"
