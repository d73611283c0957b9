"""What verify and repair say of a damaged search index, and what is left of it."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import modalhash as mh
from modalhash.errors import DamagedArtifactError, IndexLockedError
from modalhash.index import build_index, find_damage, open_index, repair_index
from modalhash.search import Side, SideContent, open_search_index
from tests.oracles.command_line import CommandLine

pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")


@pytest.fixture
def folder(scene_index: Path, tmp_path: Path) -> Path:
    """A copy of the index that may be damaged."""
    shutil.copytree(scene_index, tmp_path / "copy")
    return tmp_path / "copy"


def flip(path: Path, place: int = -3) -> None:
    """Change a byte of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 255
    path.write_bytes(content)


def test_a_whole_index_has_no_damage(modalhash: CommandLine, folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    verified = modalhash("verify", folder)
    assert (verified.code, verified.out) == (
        0,
        f"no damage: 60 images and 300 texts in {folder}\n",
    )
    repaired = modalhash("repair", folder)
    assert (repaired.code, repaired.out) == (
        0,
        f"no damage: 60 images and 300 texts in {folder}\n",
    )
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for changed in before.keys() ^ after.keys():
        assert changed.name == "writer.lock"


DAMAGES: list[tuple[str, Callable[[Path], object], int, int]] = [
    ("items.sqlite", lambda path: flip(path / "images/000001/items.sqlite", 0), 60, 300),
    ("codes.npy", lambda path: flip(path / "images/000001/codes.npy"), 0, 300),
    ("id_text.npy", lambda path: flip(path / "texts/000001/id_text.npy"), 60, 0),
    ("id_keys.npy", lambda path: (path / "texts/000001/id_keys.npy").unlink(), 60, 300),
]


@pytest.mark.parametrize(("name", "damage", "n_images", "n_texts"), DAMAGES, ids=range(4))
def test_what_is_whole_is_kept(
    modalhash: CommandLine,
    folder: Path,
    name: str,
    damage: Callable[[Path], object],
    n_images: int,
    n_texts: int,
) -> None:
    damage(folder)
    verified = modalhash("verify", folder)
    assert verified.code == 1
    assert name in verified.out
    assert verified.out.endswith(f"keep what is whole: modalhash repair {folder}\n")
    repaired = modalhash("repair", folder)
    assert repaired.code == 0
    assert name in repaired.out
    assert repaired.out.endswith(f"kept {n_images} images and {n_texts} texts in {folder}\n")
    with open_search_index(folder) as index:
        assert [len(side) for side in index.sides.values()] == [n_images, n_texts]
        index.add({Side.IMAGES: SideContent(["x"], np.zeros((1, 2), np.uint8), [{}])})
        if n_images:
            assert len(index.search(text="a circle", k=5).hits) == 5
    assert find_damage(folder / "images") == find_damage(folder / "texts") == []


def test_what_cannot_be_repaired_is_not_sent_to_a_repair(
    modalhash: CommandLine, folder: Path
) -> None:
    flip(folder / "texts" / "manifest.json")
    verified, repaired = modalhash("verify", folder), modalhash("repair", folder)
    assert (verified.code, repaired.code) == (1, 1)
    assert "manifest.json" in verified.out
    assert "modalhash repair" not in verified.out


def test_pictures_are_verified(folder: Path) -> None:
    pictures = sorted((folder / "pictures").iterdir())
    pictures[0].unlink()
    pictures[1].write_bytes(b"no picture")
    Image.new("RGB", (2, 2)).save(folder / "pictures" / "unnamed.png")
    problems = mh.verify_index(folder).problems
    assert len(problems) == 3
    assert str(pictures[0]) in problems[0]
    assert re.search(r"the picture of '.*' \(images\) is missing", problems[0])
    assert f"can't be read: {pictures[1]}" in problems[1]
    assert problems[2] == "1 pictures are of no item: `modalhash compact` removes them"
    losses = mh.repair_index(folder).losses
    assert [str(pictures[0]) in losses[0], str(pictures[1]) in losses[1], len(losses)] == [
        True,
        True,
        2,
    ]
    assert not (folder / "pictures" / "unnamed.png").exists()


def test_a_side_whose_folder_is_gone_becomes_empty(modalhash: CommandLine, folder: Path) -> None:
    shutil.rmtree(folder / "images")
    assert modalhash("verify", folder).code == 1
    repaired = modalhash("repair", folder)
    assert repaired.code == 0
    assert f"{folder / 'images'} was gone: all its items are lost" in repaired.out
    assert repaired.out.endswith(f"kept 0 images and 300 texts in {folder}\n")
    with open_search_index(folder) as index:
        index.add({Side.IMAGES: SideContent(["x"], np.zeros((1, 2), np.uint8), [{}])})
        assert len(index.sides[Side.IMAGES]) == 1


def test_pictures_of_lost_items_stay(folder: Path) -> None:
    pictures = {path.name for path in (folder / "pictures").iterdir()}
    flip(folder / "images/000001/codes.npy")
    shutil.rmtree(folder / "texts")
    losses = mh.repair_index(folder).losses
    assert (
        losses[-1] == f"{len(pictures)} pictures are of no item: `modalhash compact` removes them"
    )
    assert {path.name for path in (folder / "pictures").iterdir()} == pictures


def test_a_pending_change_that_cannot_be_read_is_left_out(folder: Path) -> None:
    (folder / "pending.json").write_text("{")
    with pytest.raises(DamagedArtifactError, match=re.escape("pending.json is damaged")):
        open_search_index(folder)
    assert mh.repair_index(folder).n_items == {"images": 60, "texts": 300}
    open_search_index(folder).close()


def test_an_index_that_is_being_changed_is_not_repaired(folder: Path) -> None:
    with open_index(folder / "texts") as side, side.writing(), pytest.raises(IndexLockedError):
        mh.repair_index(folder)


# --- one index ---------------------------------------------------------------------------------

CODES = np.random.default_rng(0).integers(0, 256, (40, 2), dtype=np.uint8)


def logged(place: Path) -> list[int]:
    """Make an index of a segment and three changes in its log; return where each begins."""
    build_index(range(30), CODES[:30], 16, folder=place).close()
    starts = []
    with open_index(place) as index:
        for row in range(30, 33):
            starts.append((place / "log.000001").stat().st_size)
            index.add([row], CODES[row : row + 1], [{"n": row}])
    return starts


def test_whole_records_behind_a_damaged_one_are_kept(tmp_path: Path) -> None:
    starts = logged(tmp_path)
    flip(tmp_path / "log.000001", starts[1] + 40)
    assert len(find_damage(tmp_path)) == 1
    repair = repair_index(tmp_path)
    assert repair.n_items == 32
    assert re.search(r"bytes of .*log.000001 can't be read", repair.losses[0])
    with open_index(tmp_path) as index:
        assert index.ids.tolist() == [*range(31), 32]
        assert index.metadata([32]) == [{"n": 32}]


def test_a_record_that_was_cut_off_is_no_loss(tmp_path: Path) -> None:
    logged(tmp_path)
    content = (tmp_path / "log.000001").read_bytes()
    (tmp_path / "log.000001").write_bytes(content[:-5])
    assert find_damage(tmp_path) == []
    assert repair_index(tmp_path).losses == ()
    with open_index(tmp_path) as index:
        assert index.ids.tolist() == list(range(32))


def test_a_text_like_a_record_makes_no_torn_log_damaged(tmp_path: Path) -> None:
    import struct
    import zlib

    logged(tmp_path)
    path = tmp_path / "log.000001"
    start = path.stat().st_size
    number = 0
    while True:  # a head whose checksum is a text too
        head = f"mhrc{number:012d}".encode()
        checksum = struct.pack("<I", zlib.crc32(head))
        if all(48 <= byte < 123 and byte != 92 for byte in checksum):
            break
        number += 1
    text = (head + checksum).decode()
    with open_index(tmp_path) as index:
        index.add([99], CODES[:1], [{"t": text * 5, "more": "x" * 500}])
    whole = path.read_bytes()
    for end in range(start + 1, len(whole), 7):
        path.write_bytes(whole[:end])
        with open_index(tmp_path) as index:
            assert len(index) == 33
    assert find_damage(tmp_path) == []


def test_deleted_items_come_back_when_their_list_is_lost(tmp_path: Path) -> None:
    logged(tmp_path)
    with open_index(tmp_path) as index:
        index.upsert([3], CODES[39:40], [{"is": "new"}])
        index.delete([5])
        index.checkpoint()
    (dead,) = tmp_path.glob("dead.*.npy")
    flip(dead)
    repair = repair_index(tmp_path)
    assert "deleted items are back" in repair.losses[0]
    with open_index(tmp_path) as index:
        assert sorted(index.ids.tolist()) == list(range(33))
        assert index.metadata([3]) == [{"is": "new"}]
        np.testing.assert_array_equal(index.reconstruct([3]), CODES[39:40])


def test_any_flip_or_cut_can_be_repaired_or_is_said(tmp_path: Path) -> None:
    """Whatever byte changes, the index opens after a repair, or the manifest is named."""
    logged(tmp_path / "whole")
    generator = np.random.default_rng(1)
    paths = [path for path in (tmp_path / "whole").rglob("*") if path.is_file()]
    n_repaired = 0
    for path in paths:
        if path.name == "writer.lock":
            continue
        for is_cut in (False, True):
            for place in generator.integers(0, path.stat().st_size, 6).tolist():
                shutil.copytree(tmp_path / "whole", tmp_path / "try")
                damaged = tmp_path / "try" / path.relative_to(tmp_path / "whole")
                if is_cut:
                    damaged.write_bytes(damaged.read_bytes()[:place])
                else:
                    flip(damaged, place)
                if path.name == "manifest.json":
                    with pytest.raises(DamagedArtifactError, match=r"manifest\.json"):
                        repair_index(tmp_path / "try")
                else:
                    repair = repair_index(tmp_path / "try")
                    with open_index(tmp_path / "try") as index:
                        assert len(index) == repair.n_items == len(index.ids)
                        held = index.reconstruct(index.ids)
                        np.testing.assert_array_equal(held, CODES[index.ids.astype(np.int64)])
                    n_repaired += bool(repair.losses)
                shutil.rmtree(tmp_path / "try")
    assert n_repaired > 30
