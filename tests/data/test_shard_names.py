"""Which files a folder, a file or a pattern names as shards."""

import re
from pathlib import Path

import pytest

from modalhash.data.shards import find_shards
from modalhash.errors import CollectionError, InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "b.tar", "a.parquet", "day/2.tar", "day/1.tar", "day/1.json", ".hidden.tar",
        "_temporary/0.parquet", "day/_part.parquet", ".cache/x.tar", "readme.txt",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    (tmp_path / "folder.tar").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("", ["a.parquet", "b.tar", "day/1.tar", "day/2.tar"]),
        ("day", ["1.tar", "2.tar"]),
        ("day/2.tar", ["2.tar"]),
        ("*.tar", ["b.tar"]),
        ("day/[12].tar", ["1.tar", "2.tar"]),
        ("**/*.tar", ["b.tar", "day/1.tar", "day/2.tar"]),
        ("d*/*", ["day/1.tar", "day/2.tar"]),
    ],
)
def test_names_are_relative_to_what_was_named(folder: Path, source: str, names: list[str]) -> None:
    found = find_shards(folder / source)
    assert [shard.name for shard in found] == names
    assert all(shard.path.read_bytes() == b"12345" for shard in found)


@pytest.mark.parametrize("source", ["nothing", "readme.txt", "day/*.parquet", "_temporary/.x"])
def test_no_shards_is_an_error(folder: Path, source: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"{folder / source} names no shards: give a")):
        find_shards(folder / source)


def test_contents_are_told_apart(folder: Path) -> None:
    shard = find_shards(folder / "b.tar")[0]
    content = shard.content()
    # printf 12345 | sha256sum
    assert content.sha256 == "5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5a9c173cacfc5"
    assert (content.name, content.n_bytes) == ("b.tar", 5)
    assert shard.stamp() == (5, content.mtime_ns, content.ctime_ns)
    shard.path.unlink()
    with pytest.raises(CollectionError, match=r"b\.tar: can't be read: "):
        shard.content()
