"""Each bad input gives one clear line with the place and the way out, exit code 1, and no harm."""

import json
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.oracles.command_line import CommandLine, Ended
from tests.oracles.photo_folder import write_folder

pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")

DOING = re.compile(r": \d+ (to do|done)|^looking for ")
LABELLED = "image\tcaption\na.jpg\ta red square\nb.jpg\ta blue square\n"


def line_of(ended: Ended) -> str:
    """Return the one line that a failed command printed on stderr, beside what it was doing."""
    assert ended.code == 1, ended
    lines = [line for line in ended.err.splitlines() if not DOING.search(line)]
    assert len(lines) == 1, lines
    assert ended.out == ""
    assert lines[0].startswith("modalhash: ")
    return lines[0].removeprefix("modalhash: ")


def train_on(modalhash: CommandLine, collection: Path | str, *options: str | Path) -> str:
    run = Path("run-that-must-not-be")
    ended = modalhash(
        "train", collection, "-o", run, "--encoder", "tiny", "--method", "random", "--bits", "8",
        "--split", "all", *options,
    )  # fmt: skip
    assert not run.exists()
    return line_of(ended)


@pytest.fixture(autouse=True)
def inside_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_an_unreadable_picture(modalhash: CommandLine, tmp_path: Path) -> None:
    photos = write_folder(tmp_path / "photos")
    picture = photos / "images" / "b.jpg"
    picture.write_bytes(b"this is no picture")
    assert train_on(modalhash, photos) == (
        f"{picture}: isn't a JPEG, PNG or WebP picture; convert it"
    )


def test_a_name_that_the_file_system_does_not_take(modalhash: CommandLine, tmp_path: Path) -> None:
    photos = write_folder(tmp_path / "photos")
    name = "x" * 300
    for words, advice in (
        (("data", "check", f"table:{name}"), "check the path"),
        (("data", "convert", photos, "-o", name), "choose a shorter name"),
    ):
        assert line_of(modalhash(*words)).endswith(f"{name}: File name too long; {advice}")


def test_a_truncated_picture(modalhash: CommandLine, tmp_path: Path) -> None:
    photos = write_folder(tmp_path / "photos")
    picture = photos / "images" / "a.jpg"
    Image.effect_noise((64, 64), 50).save(picture)
    picture.write_bytes(picture.read_bytes()[:-500])
    line = train_on(modalhash, photos)
    assert line.startswith(f"{picture}: is cut off or damaged (")
    assert line.endswith("; copy it again")


def test_a_caption_for_a_missing_picture(modalhash: CommandLine, tmp_path: Path) -> None:
    photos = write_folder(tmp_path / "photos", captions=LABELLED + "c.jpg\tgone\n")
    assert train_on(modalhash, photos) == (
        f"{photos / 'captions.tsv'}:4: picture 'c.jpg' isn't in {photos / 'images'}; "
        "add it to the folder, or delete the row"
    )


def test_a_picture_without_caption(modalhash: CommandLine, tmp_path: Path) -> None:
    photos = write_folder(
        tmp_path / "photos", captions=LABELLED, pictures=("a.jpg", "b.jpg", "c.jpg")
    )
    assert train_on(modalhash, photos) == (
        f"{photos / 'images' / 'c.jpg'}: has no caption in captions.tsv; write one, or move it away"
    )


def test_an_empty_text(modalhash: CommandLine, tmp_path: Path, scene_index: Path) -> None:
    photos = write_folder(tmp_path / "photos", captions=LABELLED + "a.jpg\t \n")
    assert train_on(modalhash, photos) == (
        f"{photos / 'captions.tsv'}:4: the caption of 'a.jpg' is empty; write one"
    )
    assert line_of(modalhash("search", scene_index, "--text", " ")) == (
        "the text to search for is empty: give at least one word"
    )


@pytest.mark.parametrize(("value", "shown"), [(np.nan, "nan"), (np.inf, "inf")])
def test_a_feature_that_isnt_finite(
    modalhash: CommandLine, tmp_path: Path, value: float, shown: str
) -> None:
    image = np.eye(5)
    image[2, 1] = value
    np.savez(tmp_path / "pairs.npz", image=image, text=np.eye(5))
    line = train_on(modalhash, f"features:{tmp_path / 'pairs.npz'}", "--encoder", "precomputed")
    assert line == (
        f"{tmp_path / 'pairs.npz'}:image: row 2 (from 0), item '2', holds {shown}; features are "
        "finite"
    )


def test_features_of_a_wrong_width(modalhash: CommandLine, tmp_path: Path) -> None:
    for name, width in (("a", 5), ("b", 6)):
        np.savez(tmp_path / f"{name}.npz", image=np.ones((9, width)), text=np.eye(9))
    trained = modalhash(
        "train", f"features:{tmp_path / 'a.npz'}", "-o", "run", "--encoder", "precomputed",
        "--method", "random", "--bits", "8",
    )  # fmt: skip
    assert trained.code == 0
    assert line_of(modalhash("evaluate", "run", f"features:{tmp_path / 'b.npz'}")) == (
        "the image features of collection 'b' have shape (9, 6), expected (9, 5): bring one row an "
        "item, of the width the model was trained on"
    )


def test_unknown_names_and_values(modalhash: CommandLine) -> None:
    for options, expected in (
        (("--encoder", "ofline"), "unknown encoder 'ofline': did you mean 'offline'? Known: "),
        (("--method", "cfrhh"), "unknown method 'cfrhh': did you mean 'cfrh'? Known: "),
        (("--set", "epoch=3"), "unknown setting of random 'epoch': did you mean 'epochs'? Known: "),
        (("--set", "epochs=x"), "epochs is 'x', expected a whole number"),
        (("--set", "learning_rate=-1"), "learning_rate is -1.0, expected positive"),
        (("--split", "tran"), "unknown split of scenes 'tran': did you mean 'train'? Known: "),
        (("--bits", "0"), "n_bits is 0, expected a positive number: 16 to 256"),
        (("--bits", "-4"), "n_bits is -4, expected a positive number: 16 to 256"),
        (("--device", "abacus"), "device 'abacus' can't be used ("),
        (("--preset", "best"), "unknown preset of random 'best'; known: none"),
    ):
        assert train_on(modalhash, "scenes:20", *options).startswith(expected)


def test_an_unknown_collection(modalhash: CommandLine, tmp_path: Path) -> None:
    assert train_on(modalhash, "iconz").startswith(
        "unknown collection or folder 'iconz': did you mean 'icons'? Known: "
    )
    assert train_on(modalhash, "zzzqqq") == (
        "there is no folder and no collection 'zzzqqq': check the path; `modalhash data list` "
        "names the collections"
    )
    missing = tmp_path / "no" / "photos"
    assert train_on(modalhash, missing) == f"there is no folder {missing}: check the path"


def test_collections_of_different_encoders(
    modalhash: CommandLine, scene_run: Path, tmp_path: Path
) -> None:
    np.savez(tmp_path / "pairs.npz", image=np.eye(9), text=np.eye(9))
    source = f"features:{tmp_path / 'pairs.npz'}"
    expected = (
        "the model reads pictures with the encoder 'tiny', but collection 'pairs' has features "
        "only: give a collection of pictures, or train a model on such features with --encoder "
        "precomputed"
    )
    for arguments in (
        ("evaluate", scene_run, source),
        ("encode", scene_run, source, "-o", "codes"),
        ("index", scene_run, source, "-o", "index"),
    ):
        assert line_of(modalhash(*arguments)) == expected
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.npz"]


def damaged(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def newer(folder: Path) -> None:
    path = folder / "model.json"
    document = json.loads(path.read_text(encoding="utf-8")) | {"format": 7, "modalhash": "8.0"}
    path.write_text(json.dumps(document), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            damaged,
            (
                "{run}/model.safetensors is damaged: its checksum isn't the one in model.json; "
                "take it from a backup, or train again"
            ),
        ),
        (
            newer,
            (
                "{run}/model.json has format 7 (written by modalhash 8.0); this version reads "
                "model formats up to 1: upgrade modalhash"
            ),
        ),
        (
            lambda folder: (folder / "model.json").unlink(),
            "{run} is no model folder: it has no model.json",
        ),
    ],
    ids=["damaged", "newer", "missing"],
)
def test_a_model_that_cant_be_used(
    modalhash: CommandLine,
    scene_run: Path,
    tmp_path: Path,
    change: Callable[[Path], object],
    expected: str,
) -> None:
    run = tmp_path / "run"
    shutil.copytree(scene_run, run)
    change(run)
    for arguments in (
        ("evaluate", run),
        ("encode", run, "scenes:60", "-o", "codes"),
        ("index", run, "-o", "index"),
    ):
        assert line_of(modalhash(*arguments)) == expected.format(run=run)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_an_index_that_cant_be_used(
    modalhash: CommandLine, scene_index: Path, tmp_path: Path
) -> None:
    assert line_of(modalhash("search", tmp_path / "nothing", "--text", "a")) == (
        f"there is no folder {tmp_path / 'nothing'}: check the path"
    )
    index = tmp_path / "index"
    shutil.copytree(scene_index, index)
    damaged(index / "model")
    assert line_of(modalhash("search", index, "--text", "a")) == (
        f"{index / 'model' / 'model.safetensors'} is damaged: its checksum isn't the one in "
        "model.json; take it from a backup, or train again"
    )


def test_a_query_picture_that_cant_be_read(
    modalhash: CommandLine, scene_index: Path, tmp_path: Path
) -> None:
    missing, text = tmp_path / "missing.png", tmp_path / "text.png"
    text.write_text("no picture", encoding="utf-8")
    for path, problem in (
        (missing, "there is no such picture"),
        (text, "isn't a JPEG, PNG or WebP picture; convert it"),
    ):
        assert line_of(modalhash("search", scene_index, "--image", path)) == f"{path}: {problem}"
    assert line_of(modalhash("search", scene_index, "--text", "a", "-k", "0")) == (
        "k is 0, expected at least 1"
    )


def test_a_split_that_isnt_there_lists_those_there_are(
    modalhash: CommandLine, scene_run: Path, tmp_path: Path
) -> None:
    names = [f"{number}.jpg" for number in range(4)]
    captions = "image\tcaption\n" + "".join(f"{name}\ta picture\n" for name in names)
    splits = {"train": "0.jpg\n1.jpg\n", "val": "2.jpg\n3.jpg\n"}
    photos = write_folder(tmp_path / "photos", captions=captions, pictures=names, splits=splits)
    assert line_of(modalhash("evaluate", scene_run, photos)) == (
        "unknown split of photos 'test'; known: all, train, val"
    )
    tested = write_folder(
        tmp_path / "tested", captions=captions, pictures=names, splits={"test": "\n".join(names)}
    )
    assert train_on(modalhash, tested, "--split", "train") == (
        "unknown split of tested 'train'; known: all, test; name the items to learn from with "
        "--split (split in Python)"
    )


def test_a_hub_name_without_network(
    modalhash: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformers = pytest.importorskip("transformers")

    def from_pretrained(source: str, **options: Any) -> Any:
        raise OSError("We couldn't connect to the hub.\nMore lines.")

    def no_network(*arguments: Any) -> None:
        raise AssertionError("a test reached for the network")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", from_pretrained)
    assert train_on(modalhash, "scenes:20", "--encoder", "clip:some/model") == (
        "the model some/model can't be loaded (We couldn't connect to the hub.): run once with "
        "network access, or give a local folder: clip:FOLDER"
    )


def test_a_full_disk(modalhash: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(handle: int) -> None:
        raise OSError(28, "No space left on device")

    train = ("train", "scenes:60", "--encoder", "tiny", "--method", "random", "-o", "run")
    features = ("features", "scenes:20", "--encoder", "tiny", "--cache", "cache")
    assert modalhash("features", "scenes:60", "--encoder", "tiny").code == 0
    monkeypatch.setattr("os.fsync", no_space)
    for arguments, start in ((features, "cache/"), (train, "run/plan.json")):
        assert re.fullmatch(
            f"can't write {re.escape(start)}\\S*: No space left on device; free some space or "
            "choose another folder, then run the same command again: what was finished is kept",
            line_of(modalhash(*arguments)),
        )
    assert [path for path in Path().rglob("*") if path.is_file()] == []


def test_debug_shows_the_trace(modalhash: CommandLine, tmp_path: Path) -> None:
    from modalhash.cli.main import main
    from modalhash.errors import InputError

    with pytest.raises(InputError, match=re.escape(f"there is no folder {tmp_path / 'none'}")):
        main(["--debug", "data", "info", str(tmp_path / "none")])


def test_a_bug_of_ours_is_one_line_too(
    modalhash: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("by\nnought")

    monkeypatch.setattr("modalhash.cli.data_command.load_collection", fail)
    assert line_of(modalhash("data", "info", "scenes:9")) == (
        "unexpected ZeroDivisionError: by nought; this is a bug, please report it with what "
        "`modalhash --debug ...` prints"
    )


def test_defects_are_listed_by_check(modalhash: CommandLine, tmp_path: Path) -> None:
    photos = write_folder(tmp_path / "photos", captions=LABELLED + "c.jpg\tgone\nd.jpg\tgone\n")
    Image.new("RGB", (3, 3)).save(photos / "images" / "e.png")
    checked = modalhash("data", "check", photos)
    assert checked.code == 1
    assert checked.out.count("[missing-picture]") == 2
    assert checked.out.count("[picture-without-caption]") == 1
    assert checked.out.endswith("3 defects\n")
    line = line_of(modalhash("features", photos, "--encoder", "tiny"))
    assert line.endswith(" (and 2 more: `modalhash data check` lists all)")
    left = modalhash("features", photos, "--encoder", "tiny", "--skip-bad")
    assert left.code == 0
    assert left.out.startswith("image: 2 x 12")
    assert "photos: left out 3 bad items, 2 are used: c.jpg, d.jpg, e.png" in left.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("robustness", "scenes:60", "--json"),
        ("evaluate", "run", "--json"),
        ("evaluate", "run", "--csv"),
        ("evaluate", "run", "--report"),
        ("evaluate", "run", "--write-trec"),
        ("score", "queries.npy", "items.npy", "--json"),
        ("data", "suspects", "scenes:60", "-o"),
        ("data", "split", "scenes:60", "-o"),
        ("search", "photos.index", "dog", "--sheet"),
        ("train", "scenes:60", "-o"),
        ("bench", "scenes:60", "-o"),
        ("bench", "quantizers", "scenes:60", "-o"),
        ("tune", "djsrh", "scenes:60", "-o"),
        ("index", "run", "-o"),
        ("encode", "run", "-o"),
    ],
)
def test_results_that_cannot_be_written_are_refused_before_the_work(
    modalhash: CommandLine, arguments: tuple[str, ...]
) -> None:
    Path("file").write_text("x")
    assert line_of(modalhash(*arguments, "file/results")) == (
        "can't write file/results: Not a directory; choose another folder"
    )
    assert [path.name for path in Path().iterdir()] == ["file"]
