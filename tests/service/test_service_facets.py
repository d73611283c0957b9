"""Facets: counts by hand, of all items and of those that pass a filter; what a page may know."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import modalhash as mh
from modalhash.errors import InputError, UnknownNameError
from modalhash.index import build_index
from modalhash.search import Side
from modalhash.search.pictures import name_folder
from modalhash.service.facets import Counts, count_facets
from modalhash.service.index_names import parse_picture_folders
from modalhash.service.keys import KeyFile, Role
from tests.conftest import add_tiny_encoder
from tests.service.conftest import Serve

FACETS = "/v1/indexes/scenes/facets"

PHOTOS: list[dict[str, Any]] = [
    {"taken": "2021-07-14T10:22:05", "camera": "Canon", "rating": 5, "keywords": ["dog", "snow"]},
    {"taken": "2021-01-02", "camera": "Canon", "rating": 3.0, "keywords": ["dog"]},
    {"taken": "2019-12", "camera": "Pixel 7", "rating": 5, "keywords": [], "flash": True},
    {"taken": None, "keywords": ["snow", "snow"], "latitude": 47.5},
]


def facets_of(documents: list[dict[str, Any]], where: str | None = None) -> dict[str, Any]:
    """Count the facets of items in memory, by name."""
    codes = np.zeros((len(documents), 1), np.uint8)
    ids = [f"item {row}" for row in range(len(documents))]
    with build_index(ids, codes, 8, metadata=documents, kind="exact") as index:
        counted = count_facets(index, where)
    by_name: dict[str, Any] = {facet["name"]: facet for facet in counted["facets"]}
    return by_name | {"": (counted["of"], counted["counted"])}


def pairs(facet: dict[str, Any]) -> list[tuple[Any, int]]:
    return [(one["value"], one["count"]) for one in facet["values"]]


def test_values_are_counted_once_an_item_the_commonest_first() -> None:
    found = facets_of(PHOTOS)
    assert found[""] == (4, 4)
    assert pairs(found["camera"]) == [("Canon", 2), ("Pixel 7", 1)]
    assert (found["camera"]["missing"], found["camera"]["more"]) == (1, 0)
    assert pairs(found["keywords"]) == [("dog", 2), ("snow", 2)]
    assert pairs(found["rating"]) == [(5, 2), (3, 1)]
    assert pairs(found["flash"]) == [(True, 1)]
    assert "latitude" not in found  # nobody chooses among places on a map


def test_dates_are_counted_by_year_with_their_range() -> None:
    taken = facets_of(PHOTOS)["taken"]
    assert taken["kind"] == "year"
    assert pairs(taken) == [("2021", 2), ("2019", 1)]
    assert (taken["earliest"], taken["latest"]) == ("2019-12", "2021-07-14T10:22:05")
    assert taken["missing"] == 1


def test_a_text_among_dates_makes_them_values() -> None:
    mixed = facets_of([{"taken": "2021-01-02"}, {"taken": "in summer"}])["taken"]
    assert mixed["kind"] == "value"
    assert pairs(mixed) == [("2021-01-02", 1), ("in summer", 1)]


def test_only_what_passes_the_filter_counts() -> None:
    found = facets_of(PHOTOS, 'camera == "Canon"')
    assert found[""] == (2, 2)
    assert pairs(found["taken"]) == [("2021", 2)]
    with pytest.raises(InputError, match="did you mean camera"):
        facets_of(PHOTOS, 'camara == "Canon"')


def test_what_hardly_repeats_is_no_facet() -> None:
    titles = [{"title": f"number {row}", "place": f"town {row % 60}"} for row in range(120)]
    found = facets_of(titles)
    assert "title" not in found
    assert len(found["place"]["values"]) == 50
    assert found["place"]["more"] == 10
    long = Counts()
    long.take("x" * 201)
    assert long.document("long", 1) is None


def test_counting_stops_at_its_bound_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modalhash.service.facets.MOST_ITEMS", 3)
    found = facets_of(PHOTOS)
    assert found[""] == (4, 3)
    assert pairs(found["camera"]) == [("Canon", 2), ("Pixel 7", 1)]


def test_the_route_counts_as_a_plain_loop(client: TestClient, scene_index: Path) -> None:
    with mh.open_index(scene_index) as index:
        documents = [row for block in index.sides[Side.IMAGES].blocks() for row in block.metadata]
    answer = client.get(FACETS).json()
    assert (answer["side"], answer["of"], answer["counted"]) == ("images", 60, 60)
    for facet in answer["facets"]:
        plain = Counter(row[facet["name"]] for row in documents if facet["name"] in row)
        assert dict(pairs(facet)) == dict(plain), facet["name"]
    (first, *_) = answer["facets"]
    value = first["values"][0]["value"]
    where = f'{first["name"]} == "{value}"'
    narrowed = client.get(FACETS, params={"filter": where}).json()
    assert narrowed["of"] == first["values"][0]["count"]
    assert client.get(FACETS, params={"side": "texts"}).json()["side"] == "texts"
    for params, code in (
        ({"filter": "a >> b"}, "invalid_filter"),
        ({"filter": "nobody == 1"}, "invalid_filter"),
        ({"filter": "x" * 5000}, "limit_exceeded"),
        ({"side": "videos"}, "invalid_request"),
    ):
        assert client.get(FACETS, params=params).json()["error"]["code"] == code


def test_counts_follow_changes(serve: Serve, own_index: Path) -> None:
    client = serve({"scenes": own_index}, writable=True)
    assert client.get(FACETS).json()["of"] == 60
    first = client.post("/v1/indexes/scenes/search", json={"text": "a ring", "k": 1}).json()
    identity = first["results"][0]["hits"][0]["id"]
    client.post("/v1/indexes/scenes/items/delete", json={"ids": [identity]})
    assert client.get(FACETS).json()["of"] == 59


def test_a_client_learns_whether_it_may_change(
    serve: Serve, own_index: Path, tmp_path: Path
) -> None:
    file = KeyFile(tmp_path / "keys.json")
    tokens = {}
    for role in Role:
        file, tokens[role] = file.add_key(f"the {role} key", role)
    file.write()
    client = serve({"scenes": own_index}, writable=True, keys=str(file.path))
    for role, may in ((Role.READ, False), (Role.WRITE, True)):
        headers = {"Authorization": f"Bearer {tokens[role]}"}
        facts = client.get("/v1/indexes/scenes", headers=headers).json()
        assert (facts["writable"], facts["may_change"]) == (True, may)


def test_the_largest_relevance_is_a_fact(serve: Serve, calibrated_index: Path) -> None:
    client = serve({"scenes": calibrated_index})
    facts = client.get("/v1/indexes/scenes").json()
    with mh.open_index(calibrated_index) as index:
        assert index.calibration is not None
        for direction, calibrated in index.calibration.asymmetric.items():
            largest = calibrated.curve.at(60)[0]
            assert facts["reach"][str(direction)] == pytest.approx(largest, abs=1e-6)
    answer = client.post(
        "/v1/indexes/scenes/search", json={"text": "a red ring", "min_relevance": 1.0}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "not_available")
    assert "ask for that or less" in answer.json()["error"]["message"]


# --- where pictures lie ---------------------------------------------------------------------------


@pytest.fixture
def moved(scene_run: Path, tmp_path: Path, session_cache: Path) -> tuple[Path, Path]:
    """An index of three pictures in folders, and where these were moved to."""
    folder = tmp_path / "photos"
    for row, name in enumerate(("2021/alps/a.png", "2021/b.png", "c.png")):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (80 * row, 0, 0)).save(path)
    with pytest.MonkeyPatch.context() as patch:
        add_tiny_encoder(patch)
        mh.build_index(
            scene_run, folder, split="all", output=tmp_path / "photos.index", cache=session_cache
        ).close()
    shutil.move(folder, tmp_path / "moved")
    return tmp_path / "photos.index", tmp_path / "moved"


def pictures_of(client: TestClient) -> dict[str, Any]:
    answer = client.post("/v1/indexes/photos/search", json={"text": "a red ring"}).json()
    return {hit["id"]: hit["picture"] for hit in answer["results"][0]["hits"]}


def test_pictures_are_taken_from_where_they_lie_now(serve: Serve, moved: tuple[Path, Path]) -> None:
    index, place = moved
    assert pictures_of(serve({"photos": index})) == {
        "2021/alps/a.png": None, "2021/b.png": None, "c.png": None,
    }  # fmt: skip
    for pictures in ((str(place),), (f"photos={place}",)):
        client = serve({"photos": index}, pictures=pictures)
        shown = pictures_of(client)
        assert {name: one["path"] for name, one in shown.items()} == {
            name: name for name in ("2021/alps/a.png", "2021/b.png", "c.png")
        }
        assert client.get(shown["c.png"]["thumbnail"]).status_code == 200
    open_server = serve({"photos": index}, pictures=(str(place),), show_paths=True)
    assert pictures_of(open_server)["c.png"]["path"] == str(place / "c.png")


def test_folders_of_pictures_that_cannot_be_are_refused(
    serve: Serve, moved: tuple[Path, Path], tmp_path: Path
) -> None:
    index, place = moved
    with pytest.raises(InputError, match=r"there is no folder .*: name where the pictures lie now"):
        serve({"photos": index}, pictures=(str(tmp_path / "none"),))
    with pytest.raises(UnknownNameError, match="unknown index 'other'"):
        serve({"photos": index}, pictures=(f"other={place}",))
    with pytest.raises(InputError, match="two folders of pictures are named for all indexes"):
        parse_picture_folders(["a", "b"])


def test_the_folder_of_a_picture_is_a_field(serve: Serve, moved: tuple[Path, Path]) -> None:
    client = serve({"photos": moved[0]})
    (folder,) = client.get("/v1/indexes/photos/facets").json()["facets"]
    assert (folder["name"], folder["missing"]) == ("folder", 1)
    assert pairs(folder) == [("2021", 1), ("2021/alps", 1)]


@pytest.mark.parametrize(
    ("identity", "image", "folder"),
    [
        ("a/b/c.jpg", "/x/a/b/c.jpg", "a/b"),
        ("c.jpg", "/x/c.jpg", None),
        ("a/c.jpg", "/x/other.jpg", None),
        ("a/c.jpg", None, None),
        (7, "/x/7", None),
    ],
)
def test_a_folder_is_named_where_the_id_is_a_path(
    identity: str | int, image: str | None, folder: str | None
) -> None:
    assert name_folder(identity, image) == ({} if folder is None else {"folder": folder})
