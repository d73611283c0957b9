"""Shards to code files: the codes of a collection, each once, and what is wrong named by place."""

import hashlib
import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modalhash as mh
from modalhash.data import Collection, Modality, load_collection
from modalhash.errors import (
    ArtifactError,
    CollectionError,
    DamagedArtifactError,
    IndexLockedError,
    InputError,
)
from modalhash.index.code_files import code_files
from modalhash.index.lock import WriterLock
from modalhash.search.answers import ItemCounts
from tests.oracles.command_line import CommandLine
from tests.oracles.shard_files import png, rows_of, write_parquet, write_shards, write_tar

pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")


@pytest.fixture(scope="module")
def scenes() -> Collection:
    return load_collection("scenes:60")


@pytest.fixture
def shards(tmp_path: Path, scenes: Collection) -> Path:
    write_shards(tmp_path / "shards", scenes, 4)
    return tmp_path / "shards"


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file but the lock's."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "writer.lock"
    }


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}


def coded(folder: Path) -> dict[str, dict[Any, bytes]]:
    """Id to code, of both modalities."""
    found: dict[str, dict[Any, bytes]] = {"image": {}, "text": {}}
    for file in code_files(folder):
        if file.image_codes is not None and file.ids is not None:
            found["image"] |= dict(zip(file.ids, map(bytes, file.image_codes), strict=True))
        if file.text_codes is not None:
            found["text"] |= dict(zip(file.text_ids(), map(bytes, file.text_codes), strict=True))
    return found


def of_collection(folder: Path) -> dict[str, dict[Any, bytes]]:
    """Id to code, of what `mh.encode` wrote."""
    ids = json.loads((folder / "codes.json").read_text("utf-8"))
    return {
        side: dict(
            zip(ids[f"{side}_ids"], map(bytes, np.load(folder / f"{side}_codes.npy")), strict=True)
        )
        for side in ("image", "text")
    }


def test_codes_are_those_of_the_collection(scene_run: Path, shards: Path, tmp_path: Path) -> None:
    mh.encode(scene_run, "scenes:60", tmp_path / "whole")
    written = mh.encode_shards(scene_run, shards, tmp_path / "codes")
    assert (written.n_shards, written.n_encoded, written.n_items, written.n_texts) == (
        4,
        4,
        60,
        300,
    )
    assert (written.n_bits, written.n_left_out, written.left_out) == (12, 0, ())
    assert coded(tmp_path / "codes") == of_collection(tmp_path / "whole")


@pytest.mark.parametrize("text_in", ["txt", "json"])
def test_tars_have_the_same_codes_as_their_collection(
    scene_run: Path, scenes: Collection, tmp_path: Path, text_in: str
) -> None:
    for shard in range(2):
        rows = rows_of(scenes, range(10 * shard, 10 * shard + 10))
        write_tar(tmp_path / "tars" / f"{shard:05d}.tar", rows, text_in=text_in)
    mh.encode(scene_run, f"webdataset:{tmp_path / 'tars'}", tmp_path / "whole")
    written = mh.encode_shards(scene_run, str(tmp_path / "tars" / "*.tar"), tmp_path / "codes")
    assert (written.n_shards, written.n_items, written.n_texts) == (2, 20, 20)
    assert coded(tmp_path / "codes") == of_collection(tmp_path / "whole")


def test_pictures_may_be_paths_and_other_programs_names(
    scene_run: Path, scenes: Collection, tmp_path: Path
) -> None:
    rows = rows_of(scenes, range(6))
    for row in rows:
        (tmp_path / "pictures").mkdir(exist_ok=True)
        (tmp_path / "pictures" / f"{row['id']}.png").write_bytes(row["image"])
    paths = [
        {"key": row["id"], "image_path": f"{row['id']}.png", "caption": row["text"][0]}
        for row in rows
    ]
    structs = [
        {"id": row["id"], "image": {"bytes": row["image"], "path": None}, "text": row["text"][0]}
        for row in rows
    ]
    write_parquet(tmp_path / "a" / "x.parquet", paths)
    write_parquet(tmp_path / "b" / "x.parquet", structs)
    write_tar(tmp_path / "c" / "x.tar", rows)
    for name in "abc":
        mh.encode_shards(
            scene_run, tmp_path / name, tmp_path / f"{name}.codes", images=tmp_path / "pictures"
        )
    assert coded(tmp_path / "a.codes") == coded(tmp_path / "b.codes") == coded(tmp_path / "c.codes")


def test_a_shard_may_have_one_side(scene_run: Path, scenes: Collection, tmp_path: Path) -> None:
    rows = rows_of(scenes, range(4))
    for name, side in (("a", "image"), ("b", "text")):
        only = [{"id": f"{name}{row['id']}", side: row[side]} for row in rows]
        write_parquet(tmp_path / "shards" / f"{name}.parquet", only)
        write_tar(
            tmp_path / "shards" / f"{name}.tar", [{**row, "id": f"t{row['id']}"} for row in only]
        )
    written = mh.encode_shards(scene_run, tmp_path / "shards", tmp_path / "codes")
    assert (written.n_items, written.n_texts) == (16, 4 * 5 + 4)
    assert [
        (file.image_codes is None, file.text_codes is None)
        for file in code_files(tmp_path / "codes")
    ] == [(False, True), (False, True), (True, False), (True, False)]


def test_features_for_a_model_of_arrays(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {"image": rng.normal(size=(80, 6)), "text": rng.normal(size=(80, 5))}
    np.savez(tmp_path / "features.npz", image=arrays["image"], text=arrays["text"])
    run = tmp_path / "run"
    mh.train(
        f"features:{tmp_path / 'features.npz'}", output=run, method="random", n_bits=10,
        encoder="precomputed",
    )  # fmt: skip
    rows = [
        {"id": item, "image_features": arrays["image"][item].tolist(),
         "text_features": arrays["text"][item].tolist()}
        for item in range(80)
    ]  # fmt: skip
    write_parquet(tmp_path / "shards" / "0.parquet", rows[:50])
    write_parquet(tmp_path / "shards" / "1.parquet", rows[50:])
    mh.encode_shards(run, tmp_path / "shards", tmp_path / "codes")
    model, found = mh.load_model(run), coded(tmp_path / "codes")
    sides: tuple[Modality, ...] = ("image", "text")
    for side in sides:
        codes = model.encode_features(arrays[side].astype(np.float32), side)
        assert list(found[side].values()) == list(map(bytes, codes))
    assert list(found["image"]) == list(range(80))
    assert list(found["text"])[:2] == ["0#0", "1#0"]

    rows[3]["image_features"][0] = float("nan")
    rows[4]["text_features"] = None
    rows[5]["text_features"] = [1.0]
    write_parquet(tmp_path / "bad" / "0.parquet", rows[:8])
    with pytest.raises(CollectionError) as caught:
        mh.encode_shards(run, tmp_path / "bad", tmp_path / "bad.codes")
    expected = "expected 5, the width the model was trained on"
    assert list(map(str, caught.value.defects)) == [
        "0.parquet, row 3: has features that aren't finite, or too large for the model's precision",
        f"0.parquet, row 4: text_features is nothing, {expected} (id 4)",
        f"0.parquet, row 5: text_features is 1 numbers, {expected} (id 5)",
    ]
    written = mh.encode_shards(run, tmp_path / "bad", tmp_path / "bad.codes", skip_bad=True)
    assert (written.n_items, written.n_left_out) == (5, 3)
    rest = coded(tmp_path / "bad.codes")["image"]
    assert rest == {item: found["image"][item] for item in (0, 1, 2, 6, 7)}

    write_tar(tmp_path / "tars" / "0.tar", [{"id": "a", "text": "a dog"}])
    with pytest.raises(CollectionError, match=re.escape(
        "0.tar: is a tar, but the model was trained on image features that came as arrays: give "
        "Parquet with a column image_features"
    )):  # fmt: skip
        mh.encode_shards(run, tmp_path / "tars", tmp_path / "tar.codes")


def test_finished_shards_are_left_alone(
    scene_run: Path, shards: Path, scenes: Collection, tmp_path: Path
) -> None:
    output = tmp_path / "codes"
    mh.encode_shards(scene_run, shards, output)
    before, written = hashes(output), times(output)
    again = mh.encode_shards(scene_run, shards, output)
    assert (again.n_encoded, again.n_items) == (0, 60)
    (shards / "part-00002.parquet").touch()  # the content decides
    assert mh.encode_shards(scene_run, shards, output).n_encoded == 0
    (output / "part-00001.parquet.safetensors").unlink()
    assert mh.encode_shards(scene_run, shards, output).n_encoded == 1
    assert hashes(output) == before
    kept = {name: time for name, time in times(output).items() if "00001" not in name}
    assert kept == {name: written[name] for name in kept}
    more = {"id": "new", "image": png(scenes, 0), "text": ["one more"]}
    write_parquet(shards / "part-00009.parquet", [more])
    grown = mh.encode_shards(scene_run, shards, output)
    assert (grown.n_encoded, grown.n_shards, grown.n_items) == (1, 5, 61)


def test_changed_and_foreign_shards_are_refused_or_encoded_again(
    scene_run: Path, shards: Path, scenes: Collection, tmp_path: Path
) -> None:
    output = tmp_path / "codes"
    mh.encode_shards(scene_run, shards, output)
    before = hashes(output)
    write_parquet(shards / "part-00001.parquet", rows_of(scenes, range(15, 20)))
    changed = (
        "1 shards changed since they were encoded: 'part-00001.parquet'; encode them again with "
        "--overwrite, or choose another folder"
    )
    with pytest.raises(InputError, match=re.escape(changed)):
        mh.encode_shards(scene_run, shards, output)
    assert hashes(output) == before
    written = mh.encode_shards(scene_run, shards, output, overwrite=True)
    assert (written.n_encoded, written.n_items) == (1, 50)

    (shards / "part-00003.parquet").unlink()
    gone = (
        f"{output} holds codes of shards that weren't named: 'part-00003.parquet.safetensors'; "
        "name all shards, remove these with --overwrite, or choose another folder"
    )
    with pytest.raises(InputError, match=re.escape(gone)):
        mh.encode_shards(scene_run, shards, output)
    assert mh.encode_shards(scene_run, shards, output, overwrite=True).n_items == 35
    assert not (output / "part-00003.parquet.safetensors").exists()

    other = mh.train(
        "scenes:60", output=tmp_path / "other", method="random", n_bits=12, encoder="tiny"
    )
    with pytest.raises(ArtifactError, match=re.escape(
        f"{output} holds codes of another model, of 'part-00000.parquet', 'part-00001.parquet', "
        "'part-00002.parquet': encode them again with --overwrite, or choose another folder"
    )):  # fmt: skip
        mh.encode_shards(other, shards, output)
    assert mh.encode_shards(other, shards, output, overwrite=True).n_encoded == 3


def bad_rows(scenes: Collection) -> list[dict[str, Any]]:
    """Rows 0 to 3 and 7 are sound."""
    rows = rows_of(scenes, range(8))
    rows[4]["image"] = rows[4]["image"][:-400]
    rows[5]["text"] = ["fine", "  "]
    rows[6]["id"] = rows[2]["id"]
    return rows


def test_bad_rows_and_shards_are_named_and_the_others_go_on(
    scene_run: Path, scenes: Collection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shards, output = tmp_path / "shards", tmp_path / "codes"
    rows = bad_rows(scenes)
    write_parquet(shards / "a.parquet", rows)
    whole = write_parquet(shards / "b.parquet", rows_of(scenes, range(10, 14)))
    (shards / "c.parquet").write_bytes(whole.read_bytes()[:-100])
    tar = write_tar(shards / "d.tar", rows_of(scenes, range(20, 24)))
    tar.write_bytes(tar.read_bytes()[:5000])
    with pytest.raises(CollectionError) as caught:
        mh.encode_shards(scene_run, shards, output)
    told = [str(defect) for defect in caught.value.defects]
    assert told[0].startswith("a.parquet, row 4: the picture is cut off or damaged (")
    assert told[1] == (
        f"a.parquet, row 5: text is empty; write a text, or delete the row (id '{rows[5]['id']}')"
    )
    assert told[2] == (
        f"a.parquet, row 6: the id '{rows[2]['id']}' is already in a.parquet, row 2; give every "
        "row its own"
    )
    assert told[3].startswith("c.parquet: can't be read as Parquet: ")
    assert told[4].startswith("d.tar: can't be read as a tar: ")
    assert len(told) == 5
    assert str(caught.value) == (
        f"{told[0]} (and 4 more: the log names them); 1 of 4 shards are encoded: mend the rest and "
        "run the same again, or leave bad rows out with --skip-bad"
    )
    assert [path.name for path in output.glob("*.safetensors")] == ["b.parquet.safetensors"]
    with pytest.raises(InputError, match=re.escape(
        f"{output} holds the codes of a part of the shards: run the same `modalhash encode` again "
        "until it is done"
    )):  # fmt: skip
        mh.build_index(scene_run, output, output=tmp_path / "index")

    with caplog.at_level(logging.WARNING, "modalhash"):
        written = mh.encode_shards(scene_run, shards, output, skip_bad=True)
    assert (written.n_shards, written.n_encoded, written.n_items) == (2, 1, 9)
    assert written.n_left_out == 3
    assert [defect.where for defect in written.left_out] == ["c.parquet", "d.tar"]
    assert f"left out: {told[2]}" in caplog.messages
    assert [number for file in code_files(output) for number in file.item_rows.tolist()] == [
        0, 1, 2, 3, 7, 0, 1, 2, 3,
    ]  # fmt: skip


def test_ids_are_unique_over_all_shards(
    scene_run: Path, scenes: Collection, tmp_path: Path
) -> None:
    shards, output = tmp_path / "shards", tmp_path / "codes"
    rows = rows_of(scenes, range(12))
    ids = [row["id"] for row in rows]
    write_parquet(shards / "a.parquet", rows[:5])
    write_parquet(shards / "b.parquet", [*rows[5:8], rows[1]])
    write_parquet(shards / "c.parquet", [rows[6], rows[8], rows[1], rows[9]])
    with pytest.raises(CollectionError) as caught:
        mh.encode_shards(scene_run, shards, output)
    assert [str(defect) for defect in caught.value.defects] == [
        f"b.parquet, row 3: the id '{ids[1]}' is already in a.parquet, row 1",
        f"c.parquet, row 0: the id '{ids[6]}' is already in b.parquet, row 1",
        f"c.parquet, row 2: the id '{ids[1]}' is already in a.parquet, row 1",
    ]
    assert str(caught.value) == (
        f"b.parquet, row 3: the id '{ids[1]}' is already in a.parquet, row 1 (and 2 more: 2 ids "
        "come more than once); give every row its own id, or leave out all but the first with "
        "--skip-bad"
    )
    written = mh.encode_shards(scene_run, shards, output, skip_bad=True)
    assert (written.n_encoded, written.n_items, written.n_left_out) == (0, 10, 3)
    assert list(coded(output)["image"]) == [*ids[:8], ids[8], ids[9]]
    mh.encode(scene_run, "scenes:60", tmp_path / "whole")
    whole, found = of_collection(tmp_path / "whole"), coded(output)
    for side in ("image", "text"):
        assert found[side] == {key: whole[side][key] for key in found[side]}
    before = hashes(output)
    assert mh.encode_shards(scene_run, shards, output).n_encoded == 0
    assert hashes(output) == before


def test_ids_of_two_kinds_are_refused(scene_run: Path, tmp_path: Path) -> None:
    write_parquet(tmp_path / "shards" / "a.parquet", [{"id": 1, "text": "a dog"}])
    write_parquet(tmp_path / "shards" / "b.parquet", [{"id": "1", "text": "a dog"}])
    with pytest.raises(InputError, match=re.escape(
        "there are integer ids in a.parquet and text ids in b.parquet: give all shards ids of one "
        "kind"
    )):  # fmt: skip
        mh.encode_shards(scene_run, tmp_path / "shards", tmp_path / "codes")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"id": None}, "the id must be a text or a 64-bit integer, not nothing"),
        ({"id": " "}, "the id is empty; give every row its own"),
        ({"image": None}, "image is nothing, expected a picture's bytes or its path (id 'x')"),
        ({"image": b"no picture"}, "the picture isn't a JPEG, PNG or WebP picture; convert it"),
        ({"text": None}, "text is empty; write a text, or delete the row (id 'x')"),
    ],
)
def test_what_is_wrong_with_a_row(
    scene_run: Path, scenes: Collection, tmp_path: Path, row: dict[str, Any], problem: str
) -> None:
    sound = {"id": "y", "image": png(scenes, 0), "text": "a dog"}
    write_parquet(tmp_path / "x.parquet", [sound, {**sound, "id": "x", **row}])
    with pytest.raises(CollectionError) as caught:
        mh.encode_shards(scene_run, tmp_path / "x.parquet", tmp_path / "codes")
    assert [str(defect) for defect in caught.value.defects] == [f"x.parquet, row 1: {problem}"]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (
            {"id": "x", "image_path": "../x.png"},
            (
                "x.parquet, row 0: image_path '../x.png' isn't a name inside the folder of "
                "pictures: write it relative to that folder, without '..', and name the folder "
                "with --images (id 'x')"
            ),
        ),
        ({"name": "x", "text": "a dog"}, "x.parquet: has no column id; it has name, text"),
        (
            {"id": "x", "words": "a dog"},
            "x.parquet: has no column image or image_path or text or caption; it has id, words",
        ),
        ({"id": "x", "text": 7}, "x.parquet, row 0: text is of type int, expected a text (id 'x')"),
    ],
)
def test_what_is_wrong_with_a_table(
    scene_run: Path, tmp_path: Path, row: dict[str, Any], problem: str
) -> None:
    write_parquet(tmp_path / "x.parquet", [row])
    with pytest.raises(CollectionError) as caught:
        mh.encode_shards(scene_run, tmp_path / "x.parquet", tmp_path / "codes")
    assert [str(defect) for defect in caught.value.defects] == [problem]


def test_samples_of_a_tar_need_what_the_others_have(
    scene_run: Path, scenes: Collection, tmp_path: Path
) -> None:
    rows = rows_of(scenes, range(3))
    del rows[1]["text"]
    rows[2]["text"] = " "
    write_tar(tmp_path / "x.tar", rows)
    with pytest.raises(CollectionError) as caught:
        mh.encode_shards(scene_run, tmp_path / "x.tar", tmp_path / "codes")
    others = "others of this tar have one; add it, or remove the rest"
    assert [str(defect) for defect in caught.value.defects] == [
        f"x.tar, sample {rows[1]['id']}: has no text, {others}",
        f"x.tar, sample {rows[2]['id']}: the text is empty; write one",
    ]


def test_no_shards_and_videos_and_a_second_encoder_are_refused(
    scene_run: Path, shards: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "empty", tmp_path / "nothing", tmp_path / "*.tar"):
        with pytest.raises(InputError, match=re.escape(
            f"{source} names no shards: give a folder, a file or a pattern of files whose names "
            "end in .parquet or .tar"
        )):  # fmt: skip
            mh.encode_shards(scene_run, source, tmp_path / "codes")
    (tmp_path / "codes").mkdir(exist_ok=True)
    lock = WriterLock(tmp_path / "codes")
    try:
        with pytest.raises(IndexLockedError, match=re.escape(
            f"another process encodes into {tmp_path / 'codes'}: wait until it is done, or choose "
            "another folder"
        )):  # fmt: skip
            mh.encode_shards(scene_run, shards, tmp_path / "codes")
    finally:
        lock.release()


def test_a_full_disk_keeps_what_is_finished(
    scene_run: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "codes"
    mh.encode_shards(scene_run, shards, tmp_path / "unbroken")
    n_writes = 0

    def no_space(handle: int) -> None:
        nonlocal n_writes
        n_writes += 1
        if n_writes > 5:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", no_space)
        with pytest.raises(OSError, match="No space left on device"):
            mh.encode_shards(scene_run, shards, output)
    assert 1 <= len(times(output)) < 4
    mh.encode_shards(scene_run, shards, output)
    assert hashes(output) == hashes(tmp_path / "unbroken")


def test_damaged_code_files_are_made_again(scene_run: Path, shards: Path, tmp_path: Path) -> None:
    output = tmp_path / "codes"
    mh.encode_shards(scene_run, shards, output)
    before = hashes(output)
    path = output / "part-00002.parquet.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert mh.encode_shards(scene_run, shards, output).n_encoded == 1
    assert hashes(output) == before
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # not seen by its size
    path.write_bytes(content)
    damaged = f"{path} is damaged: its content isn't what was written; delete it and run the same"
    with pytest.raises(DamagedArtifactError, match=re.escape(damaged)):
        mh.build_index(scene_run, output, output=tmp_path / "index")


def test_codes_of_shards_become_an_index(
    scene_run: Path, scene_index: Path, shards: Path, tmp_path: Path
) -> None:
    output = tmp_path / "codes"
    mh.encode_shards(scene_run, shards, output)
    with (
        mh.build_index(scene_run, output, output=tmp_path / "index") as index,
        mh.open_index(scene_index) as whole,
    ):
        for text in ("a red circle", "two blue squares"):
            hits = [(hit.id, hit.distance) for hit in index.search(text=text, k=60).hits]
            assert hits == [(hit.id, hit.distance) for hit in whole.search(text=text, k=60).hits]
        words = index.search(text="a red circle", k=3, target="texts").hits
        assert [hit.metadata for hit in words] == [{"item": str(hit.id)[:-2]} for hit in words]
        index.delete([words[0].metadata["item"]])
        assert {side: len(one) for side, one in index.sides.items()} == {"images": 59, "texts": 295}
        assert mh.add_to_index(index, output, upsert=True) == ItemCounts(60, 300)
        assert {side: len(one) for side, one in index.sides.items()} == {"images": 60, "texts": 300}
        with pytest.raises(InputError, match="codes of shards have no splits: leave it out"):
            mh.add_to_index(index, output, split="test")
    with pytest.raises(InputError, match="codes of shards have no features: leave it out"):
        mh.build_index(scene_run, output, output=tmp_path / "kept", keep_features="int8")
    other = mh.train(
        "scenes:60", output=tmp_path / "other", method="random", n_bits=12, encoder="tiny"
    )
    with pytest.raises(ArtifactError, match=re.escape(
        f"the codes in {output} were made by another model: give the run they were encoded with, "
        "or encode the shards again"
    )):  # fmt: skip
        mh.build_index(other, output, output=tmp_path / "foreign")


def test_the_command(scene_run: Path, shards: Path, tmp_path: Path, modalhash: CommandLine) -> None:
    output = tmp_path / "codes"
    done = modalhash(
        "-q", "encode", scene_run, shards / "part-0000[01].parquet", "-o", output, "--shards"
    )
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        f"30 items and 150 texts of 2 shards, 12 bits each, in {output}; 2 shards encoded now\n"
    )
    (shards / "part-00001.parquet").write_bytes(b"broken")
    ended = modalhash(
        "-q", "encode", scene_run, shards / "part-0000[01].parquet", "-o", output, "--shards",
        "--overwrite", "--skip-bad",
    )  # fmt: skip
    assert ended.code == 0
    index = modalhash("-q", "index", scene_run, output, "-o", tmp_path / "index")
    assert index.out.startswith("15 images and 75 texts, 12 bits each, in ")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--shards", "--split", "test"), "--split is for collections; shards are encoded whole"),
        (("--ray", "local", "--protocol", "djsrh"), "--protocol is for collections"),
        (("--images", "x"), "--images is for shards: add --shards"),
        (("--overwrite",), "--overwrite is for shards: add --shards"),
        (("--shards", "--workers", "2"), "--workers is for Ray: add --ray"),
    ],
)
def test_options_that_do_not_belong_together(
    modalhash: CommandLine, tmp_path: Path, options: tuple[str, ...], problem: str
) -> None:
    ended = modalhash("encode", tmp_path, "scenes:60", "-o", tmp_path / "codes", *options)
    assert ended.code == 2
    assert problem in ended.err


def test_img2datasets_tars_and_tables(scene_run: Path, tmp_path: Path) -> None:
    rows = [
        {**row, "caption": row["text"]} for row in rows_of(load_collection("scenes:60"), [0, 1])
    ]
    folder = tmp_path / "tars"
    write_tar(folder / "00000.tar", [{"id": f"a{row['id']}", **_without_id(row)} for row in rows])
    described = {"key": "a0", "status": "success", "url": "http://host.example/0", "caption": "x"}
    write_parquet(folder / "00000.parquet", [described])
    written = mh.encode_shards(scene_run, folder, tmp_path / "codes")
    assert (written.n_shards, written.n_items) == (1, 2)
    lost = {"key": "b9", "jpg": None, "caption": "lost", "status": "failed_to_download"}
    tables = [
        {"key": f"b{row['id']}", "jpg": row["image"], "caption": "seen", "status": "success"}
        for row in rows
    ]
    write_parquet(tmp_path / "tables" / "00000.parquet", [tables[0], lost, tables[1]])
    written = mh.encode_shards(scene_run, tmp_path / "tables", tmp_path / "more")
    assert (written.n_items, written.n_texts, written.n_left_out) == (2, 2, 0)


def test_no_codes_at_all_is_an_error(scene_run: Path, tmp_path: Path) -> None:
    write_parquet(tmp_path / "x.parquet", [{"id": "a", "text": " "}, {"id": "b", "text": None}])
    with pytest.raises(CollectionError, match="every row was left out, so there are no codes"):
        mh.encode_shards(scene_run, tmp_path / "x.parquet", tmp_path / "codes", skip_bad=True)


def _without_id(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "id"}
