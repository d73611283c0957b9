import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modalhash as mh
from modalhash.benchmarking.outcomes import Outcome
from modalhash.benchmarking.printed import Printed
from modalhash.benchmarking.reproducing import (
    Line,
    compare_with_printed,
    reproduction_json,
    reproduction_text,
)
from modalhash.benchmarking.reproduction_plan import (
    ReproductionPlan,
    choose_protocol,
    describe_draw,
    plan_reproduction,
)
from modalhash.data import PROTOCOLS, load_collection
from modalhash.errors import FeatureError, InputError, UnknownNameError
from tests.oracles.command_line import CommandLine
from tests.oracles.feature_layouts import (
    write_dgcpn,
    write_iall,
    write_nine_array,
    write_text_lists,
    write_ucch,
)
from tests.oracles.official_layouts import (
    image_features,
    text_features,
    write_iapr,
    write_mirflickr,
)

SMALL = "djsrh:queries=6,train=12"
QUICK = ("--set", "epochs=1", "--set", "text_hidden_width=8", "--set", "image_hidden_width=8")


def write_wiki(folder: Path) -> str:
    """30 articles to train on, 12 queries; the class says what features say."""
    folder.mkdir(parents=True)
    image, text, label = image_features(42), text_features(42), np.arange(42) % 3
    arrays: dict[str, Any] = {
        f"{name}_{part}": array[rows]
        for part, rows in (("train", slice(30)), ("test", slice(30, None)))
        for name, array in (("image", image), ("text", text), ("label", label))
    }
    np.savez(folder / "wiki.npz", class_names=np.array(["art", "music", "sport"]), **arrays)
    return f"wiki:{folder}"


def test_ours_stands_beside_what_is_printed(tmp_path: Path, modalhash: CommandLine) -> None:
    wiki, out, cache = write_wiki(tmp_path / "wiki"), tmp_path / "out", str(tmp_path / "cache")
    call = ("reproduce", "djsrh", "--dataset", wiki, "--bits", "8,16", "--seeds", "0,1", *QUICK)
    ended = modalhash(*call, "--cache", cache, "-o", str(out))
    assert ended.code == 0, ended.err
    text = (out / "reproduction.md").read_text()
    assert ended.out.rstrip("\n") == text.rstrip("\n")
    lines = text.splitlines()
    assert lines[0] == "# DJSRH on wiki, protocol djsrh"
    assert lines[2].startswith(
        "protocol djsrh, seed 0: 12 test, 30 train, 30 database. Preset wiki, epochs=1, "
    )
    rows = [line.split(" | ") for line in lines if line.startswith("| djsrh")]
    assert [row[1:4] + row[5:6] for row in rows] == [
        ["8", "I→T", "MAP@50, shared label", "unknown"],
        ["8", "T→I", "MAP@50, shared label", "unknown"],
        ["16", "I→T", "MAP@50, shared label", "0.388 [1]"],
        ["16", "T→I", "MAP@50, shared label", "0.611 [1]"],
    ]
    assert "unknown: no number that is printed for this could be read." in lines
    assert "1. DJSRH (ICCV 2019), table on the authors' project page" in lines
    assert "- Split: the one that comes with the data set." in lines
    assert any(
        line.startswith(
            "- Features: precomputed (6-d image features and 5-d text features that came with the "
            "collection), frozen. The papers: pictures by a CNN (DJSRH: AlexNet"
        )
        for line in lines
    )
    assert any(line.startswith("- Items: 42; the papers' data set has 2,866.") for line in lines)
    assert any(line.startswith("- Constants: those of the preset wiki") for line in lines)
    assert any(line.startswith("- Method: it trains all of AlexNet") for line in lines)

    document = json.loads((out / "reproduction.json").read_text())
    assert document["format"] == 1
    assert (document["protocol"], document["preset"], document["data_set"]) == (
        "djsrh", "wiki", "wiki",
    )  # fmt: skip
    assert document["lines"][0]["printed"] is None
    model = mh.train(
        load_collection(wiki, protocol="djsrh"), method="djsrh", n_bits=16, preset="wiki", seed=1,
        encoder="precomputed", cache=cache,
        settings={"epochs": 1, "text_hidden_width": 8, "image_hidden_width": 8},
    )  # fmt: skip
    report = mh.evaluate(model, load_collection(wiki, protocol="djsrh"), cache=cache)
    by_hand = report.value("map", "text_to_image", relevance="shared_label", k=50)
    last = document["lines"][3]
    np.testing.assert_allclose(last["ours"][1], by_hand, rtol=0, atol=5.1e-5)
    np.testing.assert_allclose(last["mean"], sum(last["ours"]) / 2, rtol=0, atol=5.1e-5)
    (printed,) = last["printed"]
    assert printed["value"] == 0.611
    np.testing.assert_allclose(printed["difference"], last["mean"] - 0.611, rtol=0, atol=1.1e-4)

    files = sorted((out / "runs").glob("*.json"))
    times = [file.stat().st_mtime_ns for file in files]
    assert len(files) == 4
    assert modalhash(*call, "--cache", cache, "-o", str(out)).code == 0
    assert [file.stat().st_mtime_ns for file in files] == times


def test_another_protocol_has_its_own_measure(tmp_path: Path, modalhash: CommandLine) -> None:
    files, out = write_ucch(tmp_path / "files"), tmp_path / "out"
    ended = modalhash(
        "reproduce", "djsrh", "--dataset", f"ucch:{files}", "--protocol", "ucch", "--bits", "16",
        "--seeds", "0", *QUICK, "--cache", str(tmp_path / "cache"), "-o", str(out),
    )  # fmt: skip
    assert ended.code == 0, ended.err
    rows = [line.split(" | ") for line in ended.out.splitlines() if line.startswith("| djsrh")]
    assert [(row[3], row[5]) for row in rows] == [
        ("MAP, whole list, shared label, answerable", "0.652 [1]"),
        ("MAP, whole list, shared label, answerable", "0.662 [1]"),
    ]
    assert "Numbers under djsrh and vtm-uch are known too" in ended.out
    assert "- Split: the last rows, which are the paper's queries if rows are in its" in ended.out
    (kept,) = (out / "runs").glob("*.json")
    values = json.loads(kept.read_text())["outcomes"][0]["values"]
    # every query has an answer here, so that the formulas of the whole list agree
    assert (
        values["MAP, whole list, shared label, answerable image_to_text"]
        == values["MAP, whole list, shared label image_to_text"]
    )


@pytest.mark.usefixtures("tiny_encoder")
def test_a_method_whose_table_nobody_read(tmp_path: Path, modalhash: CommandLine) -> None:
    photos, out = write_mirflickr(tmp_path / "photos"), tmp_path / "out"
    ended = modalhash(
        "reproduce", "cfrh", "--dataset", f"mirflickr-all:{photos}", "--protocol", SMALL,
        "--encoder", "tiny", "--bits", "16", "--seeds", "0", "--set", "epochs=1", "--set",
        "hidden_width=8", "--cache", str(tmp_path / "cache"), "-o", str(out),
    )  # fmt: skip
    assert ended.code == 0, ended.err
    rows = [line.split(" | ") for line in ended.out.splitlines() if line.startswith("| cfrh")]
    assert [(row[5], row[6]) for row in rows] == [("unknown", "- |")] * 2
    assert "- Sizes: stated by hand (queries=6,train=12), not the papers'." in ended.out
    assert "## Sources" not in ended.out
    assert "0 train" not in ended.out
    assert [line["printed"] for line in reproduced(out)] == [None, None]


def reproduced(out: Path) -> list[dict[str, object]]:
    lines: list[dict[str, object]] = json.loads((out / "reproduction.json").read_text())["lines"]
    return lines


def test_runs_that_fail_are_said_to(tmp_path: Path, modalhash: CommandLine) -> None:
    wiki = write_wiki(tmp_path / "wiki")
    ended = modalhash(
        "reproduce", "djsrh", "--dataset", wiki, "--bits", "16", "--seeds", "0", "--set",
        "batch_size=1", "--cache", str(tmp_path / "cache"), "-o", str(tmp_path / "out"),
    )  # fmt: skip
    assert ended.code == 1
    assert "| djsrh | 16 | I→T | MAP@50, shared label | failed | 0.388 [1] | - |" in ended.out
    assert "- djsrh: 1 run failed: batch_size: 1, but DJSRH compares" in ended.out
    assert "every run failed; the text says why" in ended.err


def test_differences_are_of_means() -> None:
    line = Line(
        "m", 16, "image_to_text", "MAP", (0.2, 0.4), (Printed(".25", "a"), Printed(".5", "b"))
    )
    np.testing.assert_allclose(line.list_differences(), [0.3 - 0.25, 0.3 - 0.5], rtol=0, atol=1e-12)


def test_two_sources_stand_side_by_side(tmp_path: Path) -> None:
    files = write_ucch(tmp_path / "files")
    plan = plan_reproduction("ms2gah", f"ucch:{files}", protocol="dcmh:queries=9,train=9")
    key = "MAP, whole list, shared label, first_k_relevant"
    values = {f"{key} {way}": 0.8 for way in ("image_to_text", "text_to_image")}
    found = compare_with_printed(plan, [Outcome("ssah", "here", 16, 0, values)])
    rows = [line for line in reproduction_text(found).splitlines() if line.startswith("| ssah")]
    assert rows == [
        f"| ssah | 16 | I→T | {key} | 0.800 | 0.7709 [1], 0.782 [2] | +0.029, +0.018 |",
        f"| ssah | 16 | T→I | {key} | 0.800 | 0.7681 [1], 0.791 [2] | +0.032, +0.009 |",
    ]
    (first, _) = reproduction_json(found)["lines"]
    assert [one["value"] for one in first["printed"]] == [0.7709, 0.782]


def test_collapsed_codes_never_stand_unmarked_beside_a_printed_number(tmp_path: Path) -> None:
    files = write_ucch(tmp_path / "files")
    plan = plan_reproduction("ms2gah", f"ucch:{files}", protocol="dcmh:queries=9,train=9")
    key = "MAP, whole list, shared label, first_k_relevant"
    values = {f"{key} {way}": 0.2 for way in ("image_to_text", "text_to_image")}
    outcome = Outcome("ssah", "here", 16, 2, values, constant_share=1.0)
    found = compare_with_printed(plan, [outcome])
    text = reproduction_text(found)
    (row, _) = [line for line in text.splitlines() if line.startswith("| ssah")]
    assert "| 0.200 † | 0.7709 [1], 0.782 [2] |" in row
    assert "say nothing of the method: ssah at 16 bits, seed 2 (100% of the bits)." in text
    assert [line["collapsed"] for line in reproduction_json(found)["lines"]] == [True, True]


@pytest.mark.parametrize(
    ("method", "source", "protocol", "encoder", "preset"),
    [
        ("djsrh", "mirflickr-all", "djsrh:queries=6,train=12", "offline+bow", "mirflickr"),
        ("hugging-hash", "mirflickr-all", "djsrh:queries=6,train=12", "offline", "auto"),
        ("cfrh", "mirflickr-all", "vtm-uch:queries=6,train=12", "clip", "mirflickr"),
        ("djsrh", "iall-yall-lall", "djsrh:queries=6,train=12", "offline+precomputed", "mirflickr"),
        ("sgrn", "nine-array", "official", "precomputed", "paper"),
        ("cca-itq", "dgcpn", "wiki-dgcpn:queries=3", "precomputed", "auto"),
    ],
)
def test_encoder_and_preset_that_suit(
    tmp_path: Path, method: str, source: str, protocol: str, encoder: str, preset: str
) -> None:
    plan = planned(method, source, tmp_path, protocol)
    assert plan.place.encoder == encoder
    assert plan.variant.preset == preset
    assert (plan.place.split, plan.place.protocol) == ("test", protocol)


WRITERS = {
    "mirflickr-all": write_mirflickr,
    "iall-yall-lall": write_iall,
    "nine-array": write_nine_array,
    "dgcpn": write_dgcpn,
    "vtm-uch": write_text_lists,
}


def planned(method: str, source: str, folder: Path, protocol: str = "auto") -> ReproductionPlan:
    return plan_reproduction(method, f"{source}:{WRITERS[source](folder / source)}",
                             protocol=protocol)  # fmt: skip


def test_a_protocol_with_printed_numbers_comes_first(tmp_path: Path) -> None:
    files = load_collection(f"ucch:{write_ucch(tmp_path / 'files')}")
    assert choose_protocol("djsrh", files) == "djsrh"
    # JDSH's own table isn't known, UCCH's paper prints numbers of it
    assert choose_protocol("jdsh", files) == "ucch"
    assert choose_protocol("cirh", files) == "vtm-uch"
    assert choose_protocol("cfrh", files) == "djsrh"
    wiki = load_collection(write_wiki(tmp_path / "wiki"))
    assert choose_protocol("dgcpn", wiki) == "djsrh"
    assert choose_protocol("ucmfh", wiki) == "djsrh"


def test_wrong_calls(tmp_path: Path) -> None:
    wiki = write_wiki(tmp_path / "wiki")
    with pytest.raises(UnknownNameError, match=r"^unknown method 'nope'"):
        plan_reproduction("nope", wiki)
    with pytest.raises(UnknownNameError, match=r"^unknown preset of djsrh 'nope'"):
        plan_reproduction("djsrh", wiki, preset="nope")
    with pytest.raises(UnknownNameError, match=r"^unknown protocol 'nope'"):
        plan_reproduction("djsrh", wiki, protocol="nope")
    with pytest.raises(InputError, match=r"^no method of djsrh has a setting nope$"):
        plan_reproduction("djsrh", wiki, settings={"nope": "1"})
    with pytest.raises(
        InputError,
        match=re.escape(
            "no paper's protocol is known for 'random': name one, such as djsrh, or compare "
            "methods with `modalhash bench`"
        ),
    ):
        plan_reproduction("random", wiki)
    with pytest.raises(
        InputError,
        match=re.escape(
            "djsrh was measured under djsrh and ucch and vtm-uch, which divide coco, coco-87k, "
            "iapr, mirflickr, nuswide-10, nuswide-21, wiki, but 'scenes' is none of the data sets "
            "of papers: name a protocol with its sizes to run there all the same, as in "
            "djsrh:queries=2000,train=5000"
        ),
    ):
        plan_reproduction("djsrh", "scenes:30")
    with pytest.raises(InputError, match=r"^cagan was measured under cagan, .* 'iapr' is iapr: "):
        plan_reproduction("cagan", f"iapr:{write_iapr(tmp_path / 'iapr')}")
    with pytest.raises(InputError, match=r"^protocol 'djsrh' takes 2,000 queries and 5,000 "):
        planned("djsrh", "mirflickr-all", tmp_path)


def test_features_that_the_protocol_cannot_use(tmp_path: Path) -> None:
    with pytest.raises(
        FeatureError,
        match=re.escape(
            "HuggingHash reads tokens, but the image side of wiki is precomputed, which has none: "
            "take the data set as pictures and texts, with an encoder such as offline or clip"
        ),
    ):
        plan_reproduction("hugging-hash", write_wiki(tmp_path / "wiki"), protocol="djsrh")
    unlabelled = Path(write_iapr(tmp_path / "iapr"))
    for file in unlabelled.rglob("labels.txt"):
        file.unlink()
    with pytest.raises(
        FeatureError,
        match=re.escape(
            "protocol 'ucch' counts what shares a label, but iapr has no labels: get them with "
            "the data set, see `modalhash data card`"
        ),
    ):
        plan_reproduction("djsrh", f"iapr:{unlabelled}", protocol="ucch:queries=6")


def test_draws_of_a_program_are_told_from_draws_of_ours() -> None:
    legacy, ours = PROTOCOLS["dchmt"], PROTOCOLS["djsrh"]
    assert describe_draw(legacy, "mirflickr") == (
        "the program's own draw with its seed 1814, the same items if rows are in its order"
    )
    assert describe_draw(PROTOCOLS["torchcmh"], "nuswide-21").startswith(
        "the program's own draw with its seed 7,"
    )
    assert describe_draw(ours, "mirflickr") == (
        "drawn with the seed 0; the papers' draws were not seeded or published"
    )
