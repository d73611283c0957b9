"""Videos over HTTP: hits with moments, frames, ranges of the file, and nothing but the index's."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

import modalhash as mh
from modalhash.service.videos import LARGEST_PIECE, ByteRange, read_range_header
from tests.oracles.drawn_videos import draw_scenes, write_scenes
from tests.service.conftest import Serve

pytest.importorskip("av")
pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")
SEARCH, VIDEO = "/v1/indexes/films/search", "/v1/indexes/films/video"


@pytest.fixture
def films(tmp_path: Path) -> Path:
    write_scenes(tmp_path / "films" / "a.mp4", draw_scenes((3.0, 4.0)))
    draw_scenes((1.0,), first=20)[0].picture.save(tmp_path / "films" / "p.png")
    return tmp_path / "films"


@pytest.fixture
def client(films: Path, scene_run: Path, tmp_path: Path, serve: Serve) -> TestClient:
    mh.build_index(scene_run, films, output=tmp_path / "index", calibrate=False).close()
    return serve({"films": tmp_path / "index"})


def test_hits_say_which_part_of_which_video_they_are(client: TestClient) -> None:
    found = client.post(SEARCH, json={"text": "a red circle", "k": 10}).json()
    hits = {hit["id"]: hit for hit in found["results"][0]["hits"]}
    assert hits["p.png"]["moment"] is None
    spans = {
        name: (hit["moment"]["start"], hit["moment"]["end"])
        for name, hit in hits.items()
        if hit["moment"]
    }
    assert spans == {"a.mp4": (0, 7), "a.mp4#t=0,3": (0, 3), "a.mp4#t=3,7": (3, 7)}
    moment = hits["a.mp4#t=3,7"]
    assert moment["moment"]["address"] == f"{VIDEO}?id=a.mp4"
    assert moment["picture"]["file_name"] == "a.mp4-3s.jpg"
    assert moment["metadata"] == {"kind": "moment", "video": "a.mp4", "start": 3.0, "end": 7.0}
    best = client.post(SEARCH, json={"text": "a red circle", "group_by": "video"}).json()
    assert len(best["results"][0]["hits"]) == 2
    others = {"id": "a.mp4#t=0,3", "target": "images", "filter": 'video == "a.mp4"'}
    (other,) = client.post(SEARCH, json=others).json()["results"][0]["hits"]
    assert other["id"] == "a.mp4#t=3,7"


def test_frames_of_moments_are_thumbnails(client: TestClient) -> None:
    found = client.post(SEARCH, json={"text": "a red circle", "k": 10}).json()
    contents = set()
    for hit in found["results"][0]["hits"]:
        answer = client.get(hit["picture"]["thumbnail"] + "&size=64")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
        contents.add(answer.content)
        whole = client.get(hit["picture"]["thumbnail"].replace("/thumbnail?", "/picture?"))
        assert whole.status_code == 200
    assert len(contents) >= 3


def test_a_video_is_sent_whole_and_in_ranges(client: TestClient, films: Path) -> None:
    content = (films / "a.mp4").read_bytes()
    whole = client.get(VIDEO, params={"id": "a.mp4"})
    assert (whole.status_code, whole.content) == (200, content)
    assert whole.headers["content-type"] == "video/mp4"
    assert whole.headers["accept-ranges"] == "bytes"
    size = len(content)
    for asked, part in [
        ("bytes=0-", (0, size)),
        ("bytes=10-19", (10, 20)),
        (f"bytes={size - 5}-{size + 5}", (size - 5, size)),
        ("bytes=-7", (size - 7, size)),
    ]:
        answer = client.get(VIDEO, params={"id": "a.mp4#t=3,7"}, headers={"Range": asked})
        assert (answer.status_code, answer.content) == (206, content[slice(*part)])
        assert answer.headers["content-range"] == f"bytes {part[0]}-{part[1] - 1}/{size}"
    other = client.get(VIDEO, params={"id": "a.mp4"}, headers={"Range": "bytes=0-1,4-5"})
    assert other.status_code == 200
    beyond = client.get(VIDEO, params={"id": "a.mp4"}, headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.json()["error"]["code"]) == (416, "no_such_range")
    tag = whole.headers["etag"]
    assert (
        client.get(VIDEO, params={"id": "a.mp4"}, headers={"If-None-Match": tag}).status_code == 304
    )
    changed = {"Range": "bytes=0-1", "If-Range": '"another"'}
    assert client.get(VIDEO, params={"id": "a.mp4"}, headers=changed).status_code == 200


def test_only_videos_of_the_index_are_sent(client: TestClient, films: Path, tmp_path: Path) -> None:
    for identity, code in [
        ("p.png", "no_video"),
        ("b.mp4", "unknown_item"),
        (str(films / "a.mp4"), "unknown_item"),
        ("../films/a.mp4", "unknown_item"),
    ]:
        answer = client.get(VIDEO, params={"id": identity})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, code)
    (films / "a.mp4").rename(tmp_path / "other.mp4")
    assert client.get(VIDEO, params={"id": "a.mp4"}).json()["error"]["code"] == "no_picture"
    (films / "a.mp4").symlink_to(tmp_path / "other.mp4")
    assert client.get(VIDEO, params={"id": "a.mp4"}).json()["error"]["code"] == "no_picture"


def test_ranges_are_cut_to_pieces() -> None:
    size = 3 * LARGEST_PIECE
    assert read_range_header("bytes=5-", size) == ByteRange(5, 5 + LARGEST_PIECE, size)
    for header in (None, "", "bytes=-", "items=0-1", "bytes=9-3", "bytes=a-b"):
        assert read_range_header(header, size) is None


def test_metadata_that_only_look_like_moments_do_no_harm(own_index: Path, serve: Serve) -> None:
    client = serve({"films": own_index}, writable=True)
    odd = [
        {"kind": "moment", "video": "a.mp4", "start": "x", "end": 3},
        {"kind": "moment", "video": ["a.mp4"], "start": 0, "end": 3},
        {"kind": "video", "end": "long"},
        {"kind": "video", "end": 5},
        {"kind": "moment", "video": "a.mp4", "start": 0, "end": True},
    ]
    items = [
        {"id": f"odd{number}", "image_code": {"hex": "ff0f"}, "metadata": row}
        for number, row in enumerate(odd)
    ]
    assert client.post("/v1/indexes/films/items", json={"items": items}).status_code == 200
    query = {"code": {"hex": "ff0f"}, "k": 9, "radius": 0, "group_by": "video"}
    answer = client.post(SEARCH, json=query)
    assert answer.status_code == 200
    assert all(hit["moment"] is None for hit in answer.json()["results"][0]["hits"])
    assert client.get(VIDEO, params={"id": "odd3"}).status_code == 404
    deleted = {"ids": [f"odd{number}" for number in range(5)]}
    assert client.post("/v1/indexes/films/items/delete", json=deleted).json() == {"removed": 5}
