"""`modalhash data`: cards, protocols, splits, inspection, conversion; and commands that divide."""

import json
import logging
from pathlib import Path

import pytest

import modalhash as mh
from modalhash.data import load_collection, read_split_file
from modalhash.errors import InputError
from tests.oracles.command_line import CommandLine
from tests.oracles.feature_layouts import write_nine_array, write_ucmfh
from tests.oracles.official_layouts import write_mirflickr, write_ucm

pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")
PROTOCOL = "djsrh:queries=6,train=12"
"""Of 24 labels each gives one query (6 / 25, rounded up), and only three of them occur here."""
N_QUERIES, N_DATABASE = 3, 21


def test_a_card_says_counts_terms_and_traps(modalhash: CommandLine) -> None:
    card = modalhash("data", "card", "flickr8k:somewhere")
    assert (card.code, card.err) == (0, "")
    assert card.out.startswith("Flickr8k\n\n8,000 photos of people and dogs doing things")
    assert (
        "flickr8k: 8,000 or 8,091 items, 40,000 or 40,455 texts; "
        "train 6,000, dev 1,000, test 1,000\n"
    ) in card.out
    assert "checksums  none published that we know of\n" in card.out
    assert "  - The photos' folder is spelt Flicker8k_Dataset.\n" in card.out
    document = json.loads(modalhash("data", "card", "flickr8k", "--json").out)
    assert document["expected"]["flickr8k"]["items"] == [8000, 8091]
    unknown = modalhash("data", "card", "flickr9k")
    assert (unknown.code, unknown.out) == (1, "")
    assert unknown.err.startswith("modalhash: unknown data set card 'flickr9k': did you mean")


def test_protocols_are_named_with_their_measures(modalhash: CommandLine) -> None:
    lines = modalhash("data", "protocols").out.splitlines()
    [ucch] = [line for line in lines if line.startswith("ucch ")]
    assert ucch.endswith("all others train, whole list (answerable @ all)")


def test_a_split_file_is_written_and_taken(modalhash: CommandLine, tmp_path: Path) -> None:
    collection = f"mirflickr:{write_mirflickr(tmp_path / 'data')}"
    file = tmp_path / "splits.json"
    ended = modalhash(
        "-q", "data", "split", collection, "--protocol", PROTOCOL, "--split-seed", "4", "-o", file
    )
    assert ended.code == 0
    fingerprint = json.loads(file.read_text())["split_fingerprint"]
    assert ended.out == (
        "protocol djsrh, seed 4: 3 test, 12 train, 21 database\n"
        f"fingerprint {fingerprint}, in {file}\n"
    )
    info = modalhash("-q", "data", "info", collection, "--split-file", file, "--json")
    assert json.loads(info.out)["splits"] == {"test": 3, "train": 12, "database": 21}
    both = modalhash("data", "info", collection, "--split-file", file, "--protocol", PROTOCOL)
    assert both.err == (
        "modalhash: protocol and split_file both divide the collection: give one of them\n"
    )


def test_inspect_names_the_command_that_loads_it(modalhash: CommandLine, tmp_path: Path) -> None:
    path = write_nine_array(tmp_path)
    ended = modalhash("data", "inspect", path)
    lines = ended.out.splitlines()
    assert (ended.code, lines[0]) == (0, f"{path}: MATLAB file")
    assert "  L_db  18 x 3 uint8, from 0 to 1, 0 and 1 only" in lines
    place = lines.index("likely nine-array: it has I_tr, T_tr, L_tr, T_te")
    assert lines[place + 1] == f"  modalhash data check nine-array:{path}"
    document = json.loads(modalhash("data", "inspect", path, "--json").out)
    assert document["commands"][0] == f"modalhash data check nine-array:{path}"
    words = document["commands"][0].split()[1:]
    assert modalhash(*words).code == 0


def test_convert_makes_a_collection_of_ours(modalhash: CommandLine, tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    ended = modalhash("-q", "data", "convert", f"ucm:{write_ucm(tmp_path / 'data')}", "-o", ours)
    counts = "24 items (0 pictures copied, 24 written as PNG)"
    assert (ended.code, ended.out) == (0, f"{counts}; try: modalhash data info {ours}\n")
    assert load_collection(ours).n_captions == 48
    arrays = tmp_path / "arrays"
    source = f"ucmfh:{write_ucmfh(tmp_path / 'pickles')}"
    ended = modalhash("-q", "data", "convert", source, "-o", arrays)
    assert ended.out == f"24 items; try: modalhash data info features:{arrays}\n"
    again = modalhash("-q", "data", "convert", source, "-o", arrays)
    assert (again.code, again.out) == (1, "")
    assert again.err == f"modalhash: {arrays} isn't empty: name a new folder to convert into\n"


def test_what_differs_from_the_card_is_a_defect_if_strict(
    modalhash: CommandLine, tmp_path: Path
) -> None:
    collection = f"mirflickr:{write_mirflickr(tmp_path)}"
    ended = modalhash("-q", "data", "check", collection)
    assert ended.code == 0
    assert "differs: items: found 24, the card of mirflickr says 20,015\n" in ended.out
    assert modalhash("-q", "data", "check", collection, "--strict").code == 1
    document = json.loads(modalhash("-q", "data", "check", collection, "--json").out)
    assert document["deviations"][0] == {
        "card": "mirflickr", "what": "items", "found": 24, "expected": [20015],
    }  # fmt: skip


def train(modalhash: CommandLine, collection: str, run: Path) -> None:
    ended = modalhash(
        "-q", "train", collection, "-o", run, "--method", "cca-sign", "--bits", "4", "--encoder",
        "tiny", "--protocol", PROTOCOL,
    )  # fmt: skip
    assert ended.code == 0, ended


def test_a_protocol_sets_how_it_is_measured_unless_the_user_does(
    modalhash: CommandLine, tmp_path: Path
) -> None:
    collection, run = f"mirflickr:{write_mirflickr(tmp_path / 'data')}", tmp_path / "run"
    train(modalhash, collection, run)
    cases = {
        (): ({50}, {"truncated"}),
        ("-k", "7"): ({7}, {"truncated"}),
        ("--convention", "standard"): ({50}, {"standard"}),
    }
    for options, expected in cases.items():
        ended = modalhash(
            "-q", "evaluate", run, collection, "--protocol", PROTOCOL, "--json", *options
        )
        document = json.loads(ended.out)
        shown = [one for one in document["measures"] if one["measure"] == "map"]
        assert ({one["k"] for one in shown}, {one["convention"] for one in shown}) == expected
        assert document["counts"]["database"] == N_DATABASE


def test_a_run_is_measured_on_its_own_splits(
    modalhash: CommandLine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    collection, run = f"mirflickr:{write_mirflickr(tmp_path / 'data')}", tmp_path / "run"
    train(modalhash, collection, run)
    document = json.loads(modalhash("-q", "evaluate", run, "--json").out)
    counts = document["counts"]
    assert (counts["queries"], counts["database"]) == (N_QUERIES, N_DATABASE)
    with pytest.raises(InputError, match="was divided otherwise when the model was trained"):
        mh.evaluate(mh.load_model(run))
    divided = read_split_file(load_collection(collection), run / "splits")
    measured = mh.evaluate(mh.load_model(run), divided).to_json()
    assert measured["measures"] == document["measures"]
    tags = tmp_path / "data" / "mirflickr" / "meta" / "tags" / "tags1.txt"
    tags.write_text("sky\nphoto\nother\n")
    with caplog.at_level(logging.WARNING, logger="modalhash"):
        mh.evaluate(run)
    assert "mirflickr has changed since the model was trained on it" in caplog.messages


def test_without_a_collection_there_is_nothing_to_divide(
    modalhash: CommandLine, scene_run: Path
) -> None:
    ended = modalhash("evaluate", scene_run, "--protocol", PROTOCOL)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.endswith(
        "--protocol, --split-file and --split-seed divide COLLECTION: name it. Without it, the "
        "run's own splits are used.\n"
    )
