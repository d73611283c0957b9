"""The pairs of a collection that are most likely wrong."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modalhash as mh
from modalhash.api.suspecting import Suspect, SuspectList
from modalhash.cli.tables import print_suspects
from modalhash.data import Collection
from modalhash.errors import InputError
from tests.oracles.command_line import CommandLine

pytestmark = pytest.mark.usefixtures("own_cache")


def made_pairs(n: int, exchanged: int, *, n_texts: int = 2) -> Collection:
    """Make items whose texts tell the picture, but for the first so many, which have others'."""
    generator = np.random.default_rng(0)
    image = generator.normal(size=(n, 8)).astype(np.float32)
    owners = np.arange(n)
    owners[:exchanged] = np.roll(owners[:exchanged], 1)
    text = np.repeat(image[owners, :6], n_texts, axis=0)
    text = (text + 0.1 * generator.normal(size=text.shape)).astype(np.float32)
    ids = tuple(f"item {place}" for place in range(n))
    return Collection(
        "made",
        ids,
        tuple(f"{name}#{place}" for name in ids for place in range(n_texts)),
        np.repeat(np.arange(n), n_texts),
        splits={"train": np.arange(n), "few": np.arange(10)},
        features={"image": image, "text": text},
    )


def test_exchanged_pairs_come_first() -> None:
    result = mh.suspects(made_pairs(300, 60))
    assert (result.n_items, len(result.suspects), result.is_clear) == (300, 300, True)
    first = {suspect.id for suspect in result.suspects[:60]}
    assert len(first & {f"item {place}" for place in range(60)}) >= 54
    assert result.wrong_share == pytest.approx(0.2, abs=0.08)
    scores = [suspect.score for suspect in result.suspects]
    assert scores == sorted(scores)
    assert result.suspects[0].probability > 0.5 > result.suspects[-1].probability
    assert result.suspects[0].text == result.suspects[0].path == ""
    assert mh.suspects(made_pairs(300, 60), k=5).suspects == result.suspects[:5]


def test_right_pairs_are_hardly_suspected() -> None:
    result = mh.suspects(made_pairs(300, 0))
    assert result.is_clear
    assert result.wrong_share < 0.03


def test_one_text_an_item_and_features_that_say_nothing() -> None:
    pairs = made_pairs(200, 200, n_texts=1)  # every pair is wrong
    result = mh.suspects(pairs)
    assert not result.is_clear


def test_bad_input() -> None:
    message = (
        "split 'few' of made has 10 items with texts: at least 50 are needed to tell which pairs "
        "are unlike the others"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        mh.suspects(made_pairs(60, 0), split="few")
    with pytest.raises(InputError, match=r"^k is 0, expected at least 1$"):
        mh.suspects(made_pairs(60, 0), k=0)


@pytest.mark.usefixtures("tiny_encoder")
def test_the_command(modalhash: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "suspects.csv"
    base: tuple[Any, ...] = ("data", "suspects", "scenes:60", "--encoder", "tiny")
    ended = modalhash(*base, "-k", "3", "-o", file)
    assert ended.code == 0
    assert ended.out.startswith("60 pairs compared: ")
    assert "suspects of scenes" in ended.out
    rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
    assert list(rows[0]) == ["id", "score", "probability", "text", "path"]
    scenes = mh.load_collection("scenes:60")
    assert scenes.captions is not None
    first_texts = {
        name: scenes.captions[start]
        for name, start in zip(scenes.item_ids, scenes.caption_starts[:-1], strict=True)
    }
    assert [row["text"] for row in rows] == [first_texts[row["id"]] for row in rows]
    document = json.loads(modalhash(*base, "--k", "3", "--json").out)
    assert document["format"] == 1
    assert [suspect["id"] for suspect in document["suspects"]] == [row["id"] for row in rows]
    assert len(rows) == 3
    whole = modalhash(*base, "-o", file)
    assert whole.code == 0
    assert len(file.read_text(encoding="utf-8").splitlines()) == 61


def list_of(
    probabilities: list[float], wrong_share: float, *, path: str = "", is_clear: bool = True
) -> SuspectList:
    suspects = tuple(
        Suspect(f"item {place}", -1.0, probability, "", path and f"{path}/{place}.jpg")
        for place, probability in enumerate(probabilities)
    )
    return SuspectList("made", len(probabilities), wrong_share, is_clear, suspects)


def test_clean_pairs_are_not_listed(capsys: pytest.CaptureFixture[str]) -> None:
    print_suspects(list_of([0.09, *[0.0] * 59], 0.001), None)
    assert capsys.readouterr().out.splitlines() == [
        "60 pairs compared: none looks wrong",
        (
            "No pair is wrong with a probability of 0.10 or more; -k N lists the N most suspect "
            "ones anyway."
        ),
    ]


def test_probable_suspects_are_listed_up_to_20(capsys: pytest.CaptureFixture[str]) -> None:
    print_suspects(list_of([0.9, 0.1, 0.09, *[0.0] * 57], 0.02), None)
    first, *table, last = capsys.readouterr().out.splitlines()
    assert first == "60 pairs compared: about 1 (2.0%) looks wrong"
    assert [place for place in range(60) if f"item {place} " in "\n".join(table)] == [0, 1]
    assert last.startswith("Listed: all that are wrong with a probability of 0.10 or more; -k N")
    print_suspects(list_of([0.5] * 60, 0.5), None)
    first, *table, last = capsys.readouterr().out.splitlines()
    assert first == "60 pairs compared: about 30 (50%) look wrong"
    assert sum("item " in line for line in table) == 20
    assert last.startswith("Listed: 20 of the 60 that are wrong with a probability of 0.10")
    print_suspects(list_of([0.0] * 60, 0.0, is_clear=False), None)
    assert capsys.readouterr().out.count("item ") == 20  # the order is a hint


def test_a_number_of_suspects_is_kept_and_files_are_whole_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = "/photos/" + "long-" * 60
    print_suspects(list_of([0.0] * 60, 0.0, path=folder), 3)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-4:] == [
        "Their files, in the same order:", *(f"{folder}/{place}.jpg" for place in range(3))
    ]  # fmt: skip
    assert "path" not in lines[2]
    assert "text" not in lines[2]  # a collection of features has none


def test_a_collection_without_texts_fails_with_one_line(
    modalhash: CommandLine, tmp_path: Path
) -> None:
    from PIL import Image

    for place in range(3):
        Image.new("RGB", (8, 8), (place, 0, 0)).save(tmp_path / f"{place}.png")
    ended = modalhash("data", "suspects", tmp_path)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.splitlines()[-1].startswith("modalhash: ")
    assert "suspects compares pictures with their texts" in ended.err
