"""The pictograms of Font Awesome Free."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from modalhash.data import Collection, check_collection, load_collection
from modalhash.data.icons import _read_categories
from modalhash.errors import MissingExtraError


@pytest.fixture(scope="module")
def icons() -> Collection:
    return load_collection("icons")


def labels_of(icons: Collection, name: str) -> set[str]:
    assert icons.labels is not None
    row = icons.labels[icons.item_ids.index(name)]
    return {label for label, value in zip(icons.label_names, row, strict=True) if value}


def test_counts(icons: Collection) -> None:
    assert icons.n_items == 1393
    assert len(icons.label_names) == 68
    assert icons.labels is not None
    assert icons.labels.any(axis=1).all()
    assert "github" not in icons.item_ids  # a brand


def test_the_dog(icons: Collection) -> None:
    item = icons.item_ids.index("dog")
    start, stop = icons.caption_starts[item : item + 2]
    assert icons.captions is not None
    terms = "animal, canine, fauna, mammal, pet, pooch, puppy, woof"
    assert icons.captions[start:stop] == (f"Dog: {terms}", "Dog", terms)
    assert icons.caption_ids[start:stop] == ("dog#0", "dog#1", "dog#2")
    assert labels_of(icons, "dog") == {"Animals"}
    assert icons.metadata["unicode"][item] == "f6d3"
    assert icons.metadata["since"][item] == "5.4.0"


def test_quoted_names_in_the_categories_are_read(icons: Collection) -> None:
    assert labels_of(icons, "7") == {"Numbers"}
    assert labels_of(icons, "n") >= {"Alphabet"}


def test_splits_divide_the_icons(icons: Collection) -> None:
    sizes = {name: len(items) for name, items in icons.splits.items()}
    assert sum(sizes.values()) == icons.n_items
    assert 180 <= sizes["test"] <= 240
    assert 80 <= sizes["dev"] <= 120
    together = np.concatenate(list(icons.splits.values()))
    assert np.array_equal(np.sort(together), np.arange(icons.n_items))


def test_every_glyph_has_ink_in_the_middle(icons: Collection) -> None:
    assert icons.pictures is not None
    drawn = set()
    for item in range(0, icons.n_items, 5):
        picture = icons.pictures.open(item)
        assert (picture.mode, picture.size) == ("RGB", (224, 224))
        ink = np.asarray(picture)[:, :, 0] < 128
        for axis in (0, 1):
            places = np.flatnonzero(ink.any(axis=axis))
            assert 12 <= places.min() <= places.max() < 212
            assert abs((places.min() + places.max()) / 2 - 111.5) <= 1.5
        drawn.add(picture.tobytes())
    assert len(drawn) > 0.98 * len(range(0, icons.n_items, 5))


def test_the_circle_is_a_disc(icons: Collection) -> None:
    assert icons.pictures is not None
    ink = np.asarray(icons.pictures.open(icons.item_ids.index("circle")))[:, :, 0] < 128
    rows, columns = np.indices(ink.shape) - 111.5
    radius = np.sqrt(ink.sum() / np.pi)
    assert 70 <= radius <= 80  # an em, 150 pixels, across
    disc = rows**2 + columns**2 <= radius**2
    assert (ink != disc).mean() < 0.01


def test_a_picture_is_drawn_alike_each_time_and_stamped(icons: Collection) -> None:
    assert icons.pictures is not None
    again = load_collection("icons").pictures
    assert again is not None
    assert again.open(100).tobytes() == icons.pictures.open(100).tobytes()
    assert again.digest(100) == icons.pictures.digest(100) != icons.pictures.digest(101)
    assert icons.pictures.path(100) is None


def test_all_glyphs_can_be_drawn_by_many_threads() -> None:
    assert check_collection("icons").is_sound


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fontawesomefree", None)
    problem = (
        "the collection 'icons' needs the package 'fontawesomefree': pip install 'modalhash[icons]'"
    )
    with pytest.raises(MissingExtraError, match=f"^{re.escape(problem)}$"):
        load_collection("icons")


def test_a_damaged_package_is_a_defect(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import fontawesomefree

    monkeypatch.setattr(fontawesomefree, "__file__", str(tmp_path / "__init__.py"))
    [defect] = check_collection("icons").defects
    assert defect.kind == "unreadable-file"
    assert defect.problem.endswith("install 'modalhash[icons]' again")


def test_unknown_yaml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "categories.yml"
    path.write_text("animals:\n  icons:\n    - dog\n    - 'n'\n  label: Animals\n")
    assert _read_categories(path) == {"Animals": {"dog", "n"}}
    path.write_text("animals: [dog]\n")
    with pytest.raises(ValueError, match=re.escape("has an unexpected line 'animals: [dog]'")):
        _read_categories(path)
