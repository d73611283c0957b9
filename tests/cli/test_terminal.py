"""What comes from data doesn't reach the terminal as commands."""

import ast
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import modalhash as mh
from modalhash.cli.main import cli, main
from modalhash.cli.terminal import shorten_line, show_controls, show_line

CLI = Path(__file__).parents[2] / "src" / "modalhash" / "cli"
WIPE = "\x1b[2J\x1b]0;owned\x07"
HIDDEN = "\u202eabc\u2066"
DANGEROUS = ("\x1b", "\x07", "\x9b", "\x08", "\r", "\u202e", "\u2066", "\u2028")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, ümlaute, 犬, 👩\u200d👧", "plain text, ümlaute, 犬, 👩\u200d👧"),
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("a\x9b31mb", r"a\x9b31mb"),
        ("a\x7fb\x08c\rd", r"a\x7fb\x08c\rd"),
        ("a\u202eb\u2069", r"a\u202eb\u2069"),
        ("a\u2028b", r"a\u2028b"),
        ("a\ud800b", r"a\ud800b"),
        ("two\nlines\t!", "two\nlines\t!"),
    ],
)
def test_control_characters_are_shown_as_escapes(text: str, shown: str) -> None:
    assert show_controls(text) == shown


def test_a_line_stays_one_line() -> None:
    assert show_line("two\nlines\t\x1b") == r"two\nlines\t\x1b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("a dog", "a dog"),
        ("a dog, runs", "a dog,…"),
        ("a dog  runs", "a dog…"),
        ("abcdefg", "abcdefg"),
        ("abcdefgh", "abcdef…"),
        ("\x1b\x1b", r"\x1b\x…"),
        ("a\nb", r"a\nb"),
    ],
)
def test_a_long_line_ends_early(text: str, shown: str) -> None:
    assert shorten_line(text, 7) == shown


def test_no_command_prints_past_the_one_function() -> None:
    broken = []
    for path in sorted(CLI.glob("*.py")):
        if path.name == "terminal.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "click.echo", "click.secho", "print", "sys.stdout.write", "sys.stderr.write",
            ):  # fmt: skip
                broken.append(f"{path.name}:{node.lineno}")
    assert broken == []


@pytest.fixture
def hostile_index(tiny_encoder: None, scene_index: Path, tmp_path: Path) -> Path:
    """An index whose captions and ids hold terminal escapes."""
    import shutil

    from modalhash.search import NewItem, NewText, contents_of_items

    folder = tmp_path / "index"
    shutil.copytree(scene_index, folder)
    with mh.open_index(folder) as index:
        items = [NewItem(f"id{WIPE}", texts=[NewText(f"t{WIPE}", f"a {HIDDEN} caption{WIPE}\x9b")])]
        contents, pictures = contents_of_items(index, items)
        index.add(contents, pictures=pictures)
    return folder


def test_a_caption_cannot_command_the_terminal(hostile_index: Path) -> None:
    search = ["search", str(hostile_index), "--text", f"a caption{WIPE}", "--target", "texts"]
    shown = CliRunner().invoke(cli, [*search, "-k", "400", "--explain"]).stdout
    assert r"\x1b[2J" in shown
    assert not [one for one in DANGEROUS if one in shown]
    shown = CliRunner().invoke(cli, [*search, "-k", "400", "--json"]).stdout
    assert not [one for one in DANGEROUS if one in shown]
    hits = json.loads(shown)["hits"]
    assert f"a {HIDDEN} caption{WIPE}\x9b" in [hit["caption"] for hit in hits]


def test_a_table_shows_the_beginning_of_a_long_caption(hostile_index: Path) -> None:
    from modalhash.search import NewItem, NewText, contents_of_items

    caption = "a red caption " * 500
    with mh.open_index(hostile_index) as index:
        items = [NewItem("long", texts=[NewText("long#0", caption)])]
        contents, pictures = contents_of_items(index, items)
        index.add(contents, pictures=pictures)
    search = ["search", str(hostile_index), "--text", "red", "--target", "texts", "-k", "400"]
    shown = CliRunner().invoke(cli, search).stdout
    assert "…" in shown
    assert shown.count("red caption") <= 240 // len("a red caption ") + 1
    hits = json.loads(CliRunner().invoke(cli, [*search, "--json"]).stdout)["hits"]
    assert [hit["caption"] for hit in hits if hit["id"] == "long#0"] == [caption]


def test_errors_and_usage_show_escapes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for arguments in (
        ["search", str(tmp_path / f"x{WIPE}"), "--text", "a"],
        ["train", f"x{WIPE}", "-o", str(tmp_path / "run")],
        [f"x{WIPE}"],
        ["search", "x", f"--x{WIPE}"],
        ["data", "info", f"x{WIPE}"],
    ):
        with pytest.raises(SystemExit):
            main(arguments)
        captured = capsys.readouterr()
        assert not [one for one in DANGEROUS if one in captured.err + captured.out], arguments
        assert "x1b" in captured.err
