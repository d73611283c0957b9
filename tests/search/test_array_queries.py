"""Searches for pictures in memory, and for features: they are the same query as the file."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import modalhash as mh
from modalhash.client.queries import picture_bytes
from modalhash.errors import FeatureError, InputError
from modalhash.search import SearchIndex
from modalhash.search_request import SearchRequest


@pytest.fixture
def index(tiny_encoder: None, scene_index: Path) -> Iterator[SearchIndex]:
    with mh.open_index(scene_index) as opened:
        yield opened


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    scenes = mh.load_collection("scenes:60")
    assert scenes.pictures is not None
    return scenes.pictures.open(7)


def test_a_picture_in_any_form_is_the_same_query(
    index: SearchIndex, picture: Image.Image, tmp_path: Path
) -> None:
    file = tmp_path / "picture.png"
    picture.save(file)
    hits = index.search(image=file).hits
    assert hits[0].score > hits[-1].score
    for image in (str(file), file.read_bytes(), picture, np.asarray(picture)):
        answer = index.search(image=image)
        assert answer.hits == hits
        assert answer.target == "texts"
    assert index.search(image=np.asarray(picture)).query == {"image": "a picture"}
    (explanation,) = index.explain([hits[0].id], image=np.asarray(picture))
    assert explanation.distance == hits[0].distance
    codes = index.model.encode_images([file, file.read_bytes(), picture, np.asarray(picture)])
    assert (codes == codes[0]).all()


def test_features_are_the_query_that_they_were_made_of(
    index: SearchIndex, picture: Image.Image
) -> None:
    output = index.model.image_output(picture)
    by_picture = index.search(image=picture, explain=True)
    for features in (output.pooled, output.pooled[0], output.pooled.astype(np.float64)):
        answer = index.search(features=features, modality="image", explain=True)
        assert answer.hits == by_picture.hits
        assert answer.target == "texts"
        assert [e.to_json() for e in answer.explanations] == [
            e.to_json() for e in by_picture.explanations
        ]
    assert answer.query == {"features": f"{output.pooled.size} numbers of an image"}
    words = index.model.text_output("a red circle").pooled
    by_words = index.search("a red circle", target="images")
    assert index.search(features=words, modality="text").hits == by_words.hits


def test_features_take_part_in_a_combination(index: SearchIndex, picture: Image.Image) -> None:
    features = index.model.image_output(picture).pooled
    combined, expected = (
        index.answer(SearchRequest("a red circle", target="images", **parts))
        for parts in ({"features": features, "modality": "image"}, {"image": picture})
    )
    assert combined[0].hits == expected[0].hits


@pytest.mark.parametrize(
    ("features", "modality", "message"),
    [
        (np.zeros(3, np.float32), None, "modality is missing: say whether the features are of an"),
        (np.zeros((2, 3)), "image", "features have the shape (2, 3), expected (d,) or (1, d): "),
        (np.zeros((1, 1, 3)), "image", "features have the shape (1, 1, 3), expected (d,) or"),
        (np.zeros(0), "image", "features have the shape (0,), expected (d,) or (1, d): "),
        (np.zeros(3, np.int64), "text", "features are int64, expected an array of floats"),
        ([0.1, 0.2], "text", "features are list, expected an array of floats"),
    ],
)
def test_other_features_are_refused(features: Any, modality: str | None, message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        SearchRequest(features=features, modality=modality)


@pytest.mark.parametrize("features", [np.zeros(5, np.float32), np.full(1, np.nan)])
def test_features_of_another_encoder_are_refused(
    index: SearchIndex, features: NDArray[np.floating[Any]]
) -> None:
    with pytest.raises(FeatureError):
        index.search(features=features, modality="image")


def test_features_are_not_sent_to_a_server() -> None:
    message = "features aren't sent to a server: give a text, a picture, an id or a code"
    with pytest.raises(InputError, match=f"^{message}$"):
        SearchRequest(features=np.ones(3), modality="image").to_json()


def test_pixels_are_sent_to_a_server_as_a_file(picture: Image.Image) -> None:
    for image in (picture, np.asarray(picture)):
        with Image.open(io.BytesIO(picture_bytes(image))) as sent:
            assert sent.format == "PNG"
            np.testing.assert_array_equal(np.asarray(sent), np.asarray(picture))


def test_what_is_no_picture_is_refused(index: SearchIndex) -> None:
    with pytest.raises(InputError, match=r"^the picture is of type int, expected a file"):
        index.search(image=7)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^the picture: isn't a JPEG, PNG or WebP picture"):
        index.search(image=b"no picture")
    with pytest.raises(InputError, match=r"^images is a single bytes: give a list, \[images\]$"):
        index.model.encode_images(b"no list")  # type: ignore[arg-type]
