"""The changelog keeps its form: merges that take both sides of a conflict can tear it."""

import re
from pathlib import Path

CHANGELOG = Path(__file__).parents[2] / "CHANGELOG.md"
SECTIONS = ["Added", "Changed", "Fixed"]


def unreleased_parts() -> list[str]:
    """Read what stands before Unreleased's first section, then that section, and so on."""
    text = CHANGELOG.read_text(encoding="utf-8")
    return re.split(
        r"^### .*\n", re.split(r"^## ", text, flags=re.MULTILINE)[1], flags=re.MULTILINE
    )


def entries_of(part: str) -> list[str]:
    return [" ".join(entry.split()) for entry in re.split(r"^- ", part, flags=re.MULTILINE)]


def test_sections_come_in_their_order() -> None:
    text = CHANGELOG.read_text(encoding="utf-8")
    assert re.findall(r"^### (.*)$", text, re.MULTILINE) == SECTIONS
    assert not re.search(r"^- ", text.partition("### Added")[0], re.MULTILINE)


def test_an_entry_is_one_list_item_and_ends_with_its_issue() -> None:
    for part in unreleased_parts()[1:]:
        first, *entries = entries_of(part)
        assert first == ""
        for entry in entries:
            assert re.fullmatch(r"[A-Z0-9`\"].*[.)] \(#\d+(, #\d+)*\)", entry), entry
            assert not re.search(r"\(#\d+\) \S", entry), f"two entries in one: {entry}"


def test_no_entry_comes_twice() -> None:
    starts = [entry[:60] for part in unreleased_parts()[1:] for entry in entries_of(part)[1:]]
    assert sorted(starts) == sorted(set(starts))
