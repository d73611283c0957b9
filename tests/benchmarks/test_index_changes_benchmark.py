"""The benchmark of changes measures two trees in turn and records both."""

import json
from pathlib import Path

import pytest

from benchmarks.index import changes


def test_a_small_run_of_two_trees_is_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--changes", "3", "--items", "20", "--repeats", "1"]
    output = tmp_path / "changes.json"
    changes.main([*small, "--against", str(changes.ROOT / "src"), "--output", str(output)])
    document = json.loads(output.read_text(encoding="utf-8"))
    assert document["settings"] == {"changes": 3, "items": 20, "repeats": 1}
    names = [
        f"{name}_{unit}"
        for name in ("adds", "upserts", "deletes", "bulks")
        for unit in ("per_second", "cpu_ms")
    ]
    for tree in ("this", "other"):
        assert list(document["results"][tree]) == names
        assert min(document["results"][tree].values()) > 0
    assert capsys.readouterr().out.split()[:2] == ["this", "other"]


def test_changes_leave_what_they_should(tmp_path: Path) -> None:
    sides = changes.TwoSides(tmp_path, 20)
    for number in range(3):
        sides.add(number, caption="a dog")
    sides.add(1, caption="a cat", upsert=True)
    sides.index.delete(["n0"])
    sides.add_many(4)
    images, texts = sides.index.sides.values()
    assert images.ids[20:].tolist() == ["n2", "n1", "b0", "b1", "b2", "b3"]
    assert len(texts) == 20 + 2 * 5 + 4


def test_another_tree_without_the_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        changes.main(["--against", str(tmp_path)])
