"""Every command does its job, prints where it should, and ends with the right code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.oracles.command_line import CommandLine

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")


def test_the_way_of_a_user(modalhash: CommandLine, tmp_path: Path) -> None:
    run, index, codes = (tmp_path / name for name in ("run", "photos.index", "codes"))
    features = modalhash("features", "scenes:60", "--encoder", "tiny", "--resume")
    assert (features.code, features.out) == (
        0, "image: 60 x 12 float16\ntext: 300 x 16 float16\n",
    )  # fmt: skip
    train = modalhash(
        "train", "scenes:60", "--encoder", "tiny", "--bits", "8", "-o", run,
        "--set", "epochs=2", "--set", "hidden-width=16",
    )  # fmt: skip
    assert train.code == 0
    assert train.out == (
        f"Nested, labelled, 8 bits: model in {run} (evaluate it: modalhash evaluate {run})\n"
    )
    chosen = "method nested-labelled, as there are labels to learn from (--method names another)\n"
    assert chosen in train.err
    evaluate = modalhash("evaluate", run, "--json", tmp_path / "report.json")
    assert evaluate.code == 0
    assert "nested-labelled, 8 bits" in evaluate.out
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["format"] == 1
    encode = modalhash("encode", run, "scenes:60", "-o", codes, "--split", "dev")
    assert (encode.code, encode.out) == (
        0, f"6 pictures and 30 texts, 8 bits each, in {codes}\n",
    )  # fmt: skip
    indexed = modalhash("index", run, "-o", index)
    assert (indexed.code, indexed.out) == (
        0,
        (f"60 images and 300 texts, 8 bits each, in {index}\n"
        "images: flat (60 codes: few enough to scan)\n"
        "texts: flat (300 codes: few enough to scan)\n"
        f'try: modalhash search {index} --text "..."\n'),
    )  # fmt: skip
    search = modalhash("search", index, "--text", "a red circle", "-k", "3")
    assert search.code == 0
    assert "images for text 'a red circle'" in search.out
    assert search.out.count("scene-0-") == 3
    picture = next((index / "pictures").iterdir())
    search = modalhash("search", index, "--image", picture, "-k", "2", "--target", "texts")
    assert search.code == 0
    assert search.out.count("#") == 2


def test_json_of_a_search_is_one_document_and_nothing_else(
    modalhash: CommandLine, scene_index: Path
) -> None:
    search = modalhash(
        "search", scene_index, "--text", "a red circle", "-k", "2", "--json", "--scoring", "hamming"
    )
    document = json.loads(search.out)
    assert (search.code, search.err) == (0, "")
    assert {key: document[key] for key in ("format", "query")} == {
        "format": 1, "query": {"text": "a red circle"},
    }  # fmt: skip
    assert len(document["hits"]) == 2
    for hit in document["hits"]:
        assert {"id", "distance", "score", "caption", "image"} <= set(hit)
        assert isinstance(hit["distance"], int)
        assert hit["score"] == pytest.approx(1 - hit["distance"] / 12, abs=1e-6)
        assert Path(hit["image"]).is_file()
    by_picture = modalhash("search", scene_index, "--image", document["hits"][0]["image"], "--json")
    assert json.loads(by_picture.out)["query"] == {"image": document["hits"][0]["image"]}


def test_json_of_an_evaluation_is_one_document_and_nothing_else(
    modalhash: CommandLine, scene_run: Path
) -> None:
    evaluate = modalhash(
        "evaluate", scene_run, "-k", "10,all", "--convention", "standard", "--ties",
        "pessimistic", "--split", "dev", "--database", "rest", "--captions", "all", "--json",
    )  # fmt: skip
    document = json.loads(evaluate.out)
    assert evaluate.code == 0
    assert (document["format"], document["n_bits"], document["split"]) == (1, 12, "dev")
    assert document["counts"] == {
        "queries": 6, "database": 54, "query_texts": 30, "database_texts": 270,
    }  # fmt: skip
    maps = [one for one in document["measures"] if one["measure"] == "map"]
    assert {(one["k"], one["convention"], one["ties"]) for one in maps} == {
        (10, "standard", "pessimistic"), (None, "standard", "pessimistic"),
    }  # fmt: skip
    recalls = [one for one in document["measures"] if one["relevance"] == "pair"]
    assert {one["k"] for one in recalls if one["measure"] == "recall"} == {1, 5, 10}


def test_bars_and_messages_go_to_stderr_and_quiet_silences_them(
    modalhash: CommandLine, tmp_path: Path
) -> None:
    def train(*first: str) -> tuple[int, str, str]:
        ended = modalhash(
            *first, "train", "scenes:20", "--encoder", "tiny", "--method", "random", "--bits", "8",
            "-o", tmp_path / "run", "--cache", tmp_path / first[0] if first else tmp_path,
            "--overwrite",
        )  # fmt: skip
        return ended.code, ended.out, ended.err

    code, out, err = train()
    assert code == 0
    assert out.count("\n") == 1
    assert err.splitlines() == [
        "image features: 20 to do", "image features: 20 done", "text features: 100 to do",
        "text features: 100 done", "solve: 1 to do", "solve: 1 done",
    ]  # fmt: skip
    code, quiet_out, err = train("-q")
    assert (code, quiet_out, err) == (0, out, "")


def test_messages_are_shown_unless_quiet(modalhash: CommandLine, tmp_path: Path) -> None:
    arguments = (
        "train", "scenes:20", "--encoder", "tiny", "--method", "random", "--bits", "8", "-o",
        tmp_path / "run", "--resume",
    )  # fmt: skip
    assert modalhash(*arguments).code == 0
    message = f"{tmp_path / 'run'} holds this run, finished: nothing to do\n"
    assert modalhash(*arguments).err == message
    assert modalhash("-q", *arguments).err == ""


def test_collections_are_listed_described_and_checked(modalhash: CommandLine) -> None:
    listed = modalhash("data", "list")
    assert listed.code == 0
    assert {"icons", "wiki:PATH", "FOLDER"} <= {line.split()[0] for line in listed.out.splitlines()}
    info = modalhash("data", "info", "scenes:60")
    assert (info.code, info.err) == (0, "")
    assert "60, with pictures" in info.out
    assert "300, 5 an item" in info.out
    document = json.loads(modalhash("data", "info", "scenes:60", "--json").out)
    assert (document["format"], document["n_items"], document["n_captions"]) == (1, 60, 300)
    check = modalhash("data", "check", "scenes:20", "--json")
    document = json.loads(check.out)
    assert (check.code, document["defects"]) == (0, [])
    assert document["counts"] == {"items": 20, "texts": 100, "pictures": 20}
    check = modalhash("data", "check", "scenes:20")
    assert check.out.endswith("\n20 items, 100 texts, 20 pictures decoded: no defect\n")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("trian",), "No such command 'trian'"),
        (("train", "scenes:9"), "Missing option '-o' / '--output'"),
        (("train", "-o", "run"), "Missing argument 'COLLECTION'"),
        (("train", "scenes:9", "-o", "run", "--bits", "many"), "'many' is not a valid integer"),
        (("train", "scenes:9", "-o", "run", "--set", "epochs"), "'epochs' isn't KEY=VALUE"),
        (("evaluate", "run", "-k", "0"), "'0' is neither a number nor 'all'"),
        (("evaluate", "run", "--ties", "any"), "'any' is not one of"),
        (("search", "index"), "Give either --text or --image."),
        (("search", "index", "--text", "a", "--image", "b"), "Give either --text or --image."),
        (("features", "scenes:9", "--batch-size", "0"), "0 is not in the range x>=1"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_so(
    modalhash: CommandLine, arguments: tuple[str, ...], problem: str
) -> None:
    ended = modalhash(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert problem in ended.err
    assert ended.err.startswith("Usage: modalhash ")


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_names_every_command_and_an_example(modalhash: CommandLine, flag: str) -> None:
    shown = modalhash(flag)
    assert (shown.code, shown.err) == (0, "")
    for command in (
        "demo", "data", "features", "train", "encode", "evaluate", "index", "search",
    ):  # fmt: skip
        assert f"\n  {command} " in shown.out
    assert "Example: modalhash demo" in shown.out


def test_the_version_is_told(modalhash: CommandLine) -> None:
    from importlib.metadata import version

    assert modalhash("--version").out == f"modalhash, version {version('modalhash')}\n"


def test_no_command_is_help(modalhash: CommandLine) -> None:
    ended = modalhash()
    assert "Usage: modalhash" in ended.out + ended.err
    assert ended.code in (0, 2)  # as click has it: 2 from version 8.2 on


def test_help_needs_no_torch() -> None:
    program = (
        "import sys\n"
        "from modalhash.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as ended:\n    assert ended.code == 0\n"
        "assert 'torch' not in sys.modules and 'modalhash.api' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60)


def test_a_reader_that_leaves_early_is_no_error() -> None:
    """As in `modalhash data list | head -1`."""
    command = [sys.executable, "-c", "from modalhash.cli.main import main; main()", "data", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_a_hubs_retries_are_shown_only_when_debugging(
    modalhash: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments, expected in ((("data", "list"), "error"), (("--debug", "data", "list"), None)):
        monkeypatch.setenv("HF_HUB_VERBOSITY", "set so that it is put back")
        monkeypatch.delenv("HF_HUB_VERBOSITY")
        assert modalhash(*arguments).code == 0
        assert os.environ.get("HF_HUB_VERBOSITY") == expected
