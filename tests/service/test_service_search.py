"""Searches over HTTP give what the same searches in Python give."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import modalhash as mh
from modalhash.codes import unpack
from modalhash.search import SearchIndex
from tests.service.conftest import Serve

SEARCH = "/v1/indexes/scenes/search"
TEXTS = ("a red circle", "two blue stars on a black background", "green", "one object")


@pytest.fixture
def index(scene_index: Path, tiny_encoder: None) -> Iterator[SearchIndex]:
    with mh.open_index(scene_index) as opened:
        yield opened


def asked(client: TestClient, path: str = SEARCH, **query: Any) -> Any:
    answer = client.post(path, json=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def hits_of(document: Any, side: int = 0) -> list[tuple[str, int, float]]:
    return [(hit["id"], hit["distance"], hit["score"]) for hit in document["results"][side]["hits"]]


def expected(answer: Any) -> list[tuple[str, int, float]]:
    return [(hit.id, hit.distance, hit.score) for hit in answer.hits]


def code_of(index: SearchIndex, text: str) -> str:
    return index.model.encode_texts([text]).tobytes().hex()


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def upload(client: TestClient, content: bytes, **query: Any) -> Any:
    answer = client.post(
        f"{SEARCH}/picture", files={"image": ("x.png", content)}, data={"query": json.dumps(query)}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_text_finds_what_it_finds_in_python(client: TestClient, index: SearchIndex) -> None:
    for text in TEXTS:
        for target in ("images", "texts"):
            document = asked(client, text=text, target=target, k=7)
            answer = index.search(text, target=target, k=7)
            assert hits_of(document) == expected(answer)
            assert document["query"] == {"text": text}
            assert document["code"] == code_of(index, text)
            assert document["n_bits"] == 12
            first, shown = answer.hits[0], document["results"][0]["hits"][0]
            assert shown["caption"] == first.caption
            own = dict(first.metadata)
            assert shown["item"] == own.pop("item", None)
            assert shown["metadata"] == own


def test_ten_pictures_are_what_a_text_finds_by_default(client: TestClient) -> None:
    document = asked(client, text="a red circle")
    assert [result["target"] for result in document["results"]] == ["images"]
    assert len(document["results"][0]["hits"]) == 10


def test_both_sides_at_once(client: TestClient, index: SearchIndex) -> None:
    document = asked(client, text="a red circle", target="both", k=3)
    for side, target in enumerate(("images", "texts")):
        assert document["results"][side]["target"] == target
        answer = index.search("a red circle", target=target, k=3)
        assert hits_of(document, side) == expected(answer)


def test_filter_and_radius_cut_as_in_python(client: TestClient, index: SearchIndex) -> None:
    where = 'background == "white" and n_objects >= 2'
    document = asked(client, text="a red circle", filter=where, k=5)
    assert hits_of(document) == expected(index.search("a red circle", where=where, k=5,
                                                      target="images"))  # fmt: skip
    near = asked(client, text="a red circle", radius=4)
    assert hits_of(near) == expected(index.search("a red circle", radius=4, target="images"))
    assert all(distance <= 4 for _, distance, _ in hits_of(near))


def test_a_radius_finds_no_more_than_the_limit(serve: Serve) -> None:
    document = asked(serve(k=6), text="a red circle", radius=12)
    assert len(document["results"][0]["hits"]) == 6


def test_a_picture_finds_what_it_finds_in_python(
    client: TestClient, index: SearchIndex, scene_index: Path
) -> None:
    file = scene_index / "pictures" / "0000003.png"
    document = upload(client, file.read_bytes(), k=4)
    assert hits_of(document) == expected(index.search(image=file, k=4))
    assert document["results"][0]["target"] == "texts"
    assert document["query"] == {"image": "picture"}
    document = upload(client, file.read_bytes(), k=4, target="images")
    assert hits_of(document)[0][1] == 0


def test_an_item_finds_others_like_it(client: TestClient, index: SearchIndex) -> None:
    identity = str(index.sides[next(iter(index.sides))].ids[5])
    document = asked(client, id=identity, k=5)
    code = index.sides[next(iter(index.sides))].reconstruct([identity])
    hits = index.search(code=code, k=6, target="images").hits
    others = [(hit.id, hit.distance, hit.score) for hit in hits if hit.id != identity][:5]
    assert hits_of(document) == others
    assert document["query"] == {"id": identity}
    assert len(asked(client, id=identity, k=5, target="texts")["results"][0]["hits"]) == 5


def test_a_code_finds_what_is_near_it(client: TestClient, index: SearchIndex) -> None:
    code = code_of(index, "a red circle")
    answer = expected(index.search("a red circle", target="images", scoring="hamming"))
    assert hits_of(asked(client, code={"hex": code}, scoring="hamming")) == answer
    again = asked(client, code={"base64": mh_base64(code)}, target="images", scoring="hamming")
    assert hits_of(again) == answer


def mh_base64(code: str) -> str:
    import base64

    return base64.b64encode(bytes.fromhex(code)).decode()


def test_a_combination_is_the_signs_of_a_weighted_sum(
    client: TestClient, index: SearchIndex, scene_index: Path
) -> None:
    model = index.model
    file = scene_index / "pictures" / "0000003.png"
    parts = [
        (2.0, model.relaxed_features(model.image_output(file).pooled, "image")[0]),
        (1.0, model.relaxed_features(model.text_output("a red circle").pooled, "text")[0]),
        (-0.5, model.relaxed_features(model.text_output("blue").pooled, "text")[0]),
    ]
    identity = str(index.sides[index.side("images")].ids[0])
    code = index.sides[index.side("images")].reconstruct([identity])
    parts.append((1.0, unpack(code, 12)[0].astype(np.float32)))
    total = sum(
        weight * part.astype(np.float64) / np.sqrt((part.astype(np.float64) ** 2).sum())
        for weight, part in parts
    )
    bits = "".join("1" if value >= 0 else "0" for value in total)
    low, high = (int(part[::-1], 2) for part in (bits[:8], bits[8:]))
    document = upload(
        client,
        file.read_bytes(),
        text="a red circle",
        minus_text="blue",
        id=identity,
        weights={"image": 2.0, "minus_text": 0.5},
    )
    assert document["code"] == f"{low:02x}{high:02x}"
    assert document["query"] == {
        "id": identity, "text": "a red circle", "image": "picture", "minus_text": "blue",
    }  # fmt: skip
    assert document["results"][0]["target"] == "images"
    assert document["results"][0]["relevance_rule"] is None


def test_a_batch_is_its_searches(client: TestClient) -> None:
    queries: list[dict[str, Any]] = [{"text": text, "k": 3, "target": "both"} for text in TEXTS] + [
        {"text": TEXTS[0], "filter": "n_objects > 1"}
    ]
    document = asked(client, f"{SEARCH}/batch", queries=queries)
    assert len(document["answers"]) == len(queries)
    for query, answer in zip(queries, document["answers"], strict=True):
        alone = asked(client, **query)
        assert answer["results"] == alone["results"]
        assert answer["code"] == alone["code"]


def test_one_bad_query_refuses_the_batch(client: TestClient) -> None:
    answer = client.post(f"{SEARCH}/batch", json={"queries": [{"text": "a"}, {"id": "nobody"}]})
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert (error["code"], error["message"]) == (
        "unknown_item", "queries[1]: there is no item 'nobody' among the images",
    )  # fmt: skip


def test_explanations_are_those_of_python(client: TestClient, index: SearchIndex) -> None:
    document = asked(client, text="a red circle", k=3, explain=True)
    result = document["results"][0]
    ids = [hit["id"] for hit in result["hits"]]
    explained = index.explain(ids, "a red circle", target="images")
    assert result["explanation"]["distances"] == explained[0].profile.counts.tolist()
    assert result["explanation"]["n_items"] == 60
    assert result["explanation"]["expected_distance"] == 6.0
    for hit, one in zip(result["hits"], explained, strict=True):
        reasons = hit["explanation"]
        assert tuple(reasons["agreeing_bits"]) == one.bits.agreeing
        assert len(reasons["differing_bits"]) == hit["distance"]
        assert (reasons["rank"]["first"], reasons["rank"]["last"]) == one.ranks
    alone = asked(
        client, "/v1/indexes/scenes/explain", text="a red circle", ids=ids, target="images"
    )
    assert [item["differing_bits"] for item in alone["items"]] == [
        hit["explanation"]["differing_bits"] for hit in result["hits"]
    ]
    assert alone["explanation"] == result["explanation"]
    assert [item["contributions"] for item in alone["items"]] == [
        list(one.weighed.contributions) for one in explained if one.weighed is not None
    ]
    by_text, by_code = (
        asked(client, "/v1/indexes/scenes/explain", ids=ids, scoring="hamming", **query)
        for query in ({"text": "a red circle"}, {"code": {"hex": document["code"]}})
    )
    assert by_code["items"] == by_text["items"]
    assert by_code["items"][0]["contributions"] is None


def test_reranking_orders_as_in_python(client: TestClient, index: SearchIndex) -> None:
    document = asked(client, text="a red circle", rerank="all", rerank_by="relaxed", k=8)
    answer = index.search("a red circle", rerank="all", rerank_by="relaxed", k=8, target="images")
    assert hits_of(document) == expected(answer)
    assert document["results"][0]["reranked_by"] == "relaxed"


def test_relevance_is_that_of_python(
    serve: Serve, calibrated_index: Path, tiny_encoder: None
) -> None:
    client = serve({"scenes": calibrated_index})
    with mh.open_index(calibrated_index) as index:
        answer = index.search("a red circle", target="images", k=4)
        document = asked(client, text="a red circle", k=4)
        result = document["results"][0]
        assert result["relevance_rule"] == answer.relevance_rule == "shared_label"
        assert [hit["relevance"] for hit in result["hits"]] == [
            hit.relevance for hit in answer.hits
        ]
        assert [hit["strength"] for hit in result["hits"]] == [hit.strength for hit in answer.hits]
        least = answer.hits[0].relevance
        assert least is not None
        cut = index.search("a red circle", target="images", min_relevance=least)
        assert hits_of(asked(client, text="a red circle", min_relevance=least)) == expected(cut)
        by_code, by_text = (
            asked(client, k=4, scoring="hamming", **query)
            for query in (
                {"code": {"hex": document["code"], "modality": "text"}}, {"text": "a red circle"}
            )
        )  # fmt: skip
        assert by_code["results"] == by_text["results"]
        assert asked(client, code={"hex": document["code"]})["results"][0]["relevance_rule"] is None
    facts = client.get("/v1/indexes/scenes").json()
    assert facts["relevance"]["text_to_image"] == "shared_label"
    answer_of_two = client.post(
        SEARCH, json={"text": "a", "minus_text": "b", "min_relevance": 0.5}
    ).json()
    assert answer_of_two["error"]["code"] == "not_available"


def test_texts_and_pictures_are_encoded_as_in_python(
    client: TestClient, index: SearchIndex, scene_index: Path
) -> None:
    codes = index.model.encode_texts(list(TEXTS))
    document = asked(client, "/v1/indexes/scenes/encode", texts=list(TEXTS))
    assert document["codes"] == [code.tobytes().hex() for code in codes]
    assert (document["n_bits"], document["model"]) == (12, index.model.fingerprint)
    files = [scene_index / "pictures" / f"{place:07d}.png" for place in (0, 7)]
    answer = client.post(
        "/v1/indexes/scenes/encode/pictures",
        files=[("images", (file.name, file.read_bytes())) for file in files],
        data={"form": "base64"},
    )
    assert answer.json()["codes"] == [
        mh_base64(code.tobytes().hex()) for code in index.model.encode_images(files)
    ]


def test_codes_come_and_go_in_either_bit_order(
    client: TestClient, index: SearchIndex, scene_index: Path
) -> None:
    code = index.model.encode_texts(["a red square"])
    big = np.packbits(np.unpackbits(code, axis=1, bitorder="little"), axis=1).tobytes()
    document = asked(client, "/v1/indexes/scenes/encode", texts=["a red square"], bit_order="big")
    assert (document["codes"], document["bit_order"]) == ([big.hex()], "big")
    file = scene_index / "pictures" / "0000000.png"
    (picture,) = client.post(
        "/v1/indexes/scenes/encode/pictures",
        files=[("images", (file.name, file.read_bytes()))],
        data={"bit_order": "big"},
    ).json()["codes"]
    assert picture == index.model.encode_images([file], bit_order="big").tobytes().hex()
    answer = asked(client, code={"hex": code.tobytes().hex()}, k=5)
    assert hits_of(asked(client, code={"hex": big.hex(), "bit_order": "big"}, k=5)) == hits_of(
        answer
    )
    again = asked(client, code={"base64": mh_base64(big.hex()), "bit_order": "big"}, k=5)
    assert hits_of(again) == hits_of(answer)
    own_answer = index.search(code=big, bit_order="big", k=5, target="images")
    assert hits_of(answer) == expected(own_answer)
    refused = client.post(
        "/v1/indexes/scenes/encode/pictures",
        files=[("images", (file.name, file.read_bytes()))],
        data={"bit_order": "middle"},
    )
    assert refused.json()["error"]["message"] == "bit_order: expected little or big"
    unknown = client.post(SEARCH, json={"code": {"hex": big.hex(), "bit_order": "x"}})
    assert unknown.status_code == 422


def test_many_clients_at_once_get_their_own_answers(client: TestClient, index: SearchIndex) -> None:
    from concurrent.futures import ThreadPoolExecutor

    colours = ("red", "blue", "green")
    texts = [f"{count} {colour} stars" for count in range(4) for colour in colours] * 4
    alone = {text: expected(index.search(text, target="images", k=3)) for text in set(texts)}
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text: hits_of(asked(client, text=text, k=3)), texts))
    assert found == [alone[text] for text in texts]


def test_times_are_told(client: TestClient) -> None:
    answer = client.post(SEARCH, json={"text": "a red circle"})
    timings = answer.json()["timings"]
    assert list(timings) == ["decode", "encode", "search", "rerank", "total"]
    assert timings["total"] >= timings["encode"] + timings["search"] > 0
    assert "encode;dur=" in answer.headers["Server-Timing"]


@pytest.mark.parametrize(
    ("query", "status", "code", "message"),
    [
        ({}, 422, "invalid_request", "give a text, an id, a code or a picture to search for"),
        ({"minus_text": "a"}, 422, "invalid_request",
         "give a text, an id, a code or a picture to search for"),
        ({"text": " "}, 422, "invalid_request", "text is empty: give at least one word"),
        ({"text": "a" * 2001}, 422, "limit_exceeded",
         "text has 2001 characters, 2000 are the most"),
        ({"text": "a", "k": 1001}, 422, "limit_exceeded", "k is 1001, 1000 are the most"),
        ({"text": "a", "k": 0}, 422, "invalid_request",
         "k: Input should be greater than or equal to 1"),
        ({"text": "a", "k": "3"}, 422, "invalid_request", "k: Input should be a valid integer"),
        ({"text": "a", "q": 3}, 422, "invalid_request", "q: there is no such field"),
        ({"text": "a", "target": "videos"}, 422, "invalid_request",
         "target: Input should be 'images', 'texts' or 'both'"),
        ({"text": "a", "min_relevance": 0.5}, 422, "not_available",
         ("the index scenes isn't calibrated for text_to_image by asymmetric scoring: calibrate it "
         "anew, cut off by a radius, or choose the other scoring")),
        ({"text": "a", "scoring": "cosine"}, 422, "invalid_request",
         "scoring: Input should be 'asymmetric' or 'hamming'"),
        ({"text": "a", "scoring": "hamming", "min_score": 0.5}, 422, "invalid_request",
         ("min_score is of asymmetric scores, but scoring is hamming: cut off by radius, or leave "
         "scoring out")),
        ({"text": "a", "min_score": 2}, 422, "invalid_request",
         "min_score: Input should be less than or equal to 1"),
        ({"text": "a", "rerank": 10}, 422, "not_available",
         ("the index keeps nothing to rerank by: build it with --keep-features int8, or of a model "
         "that makes finer codes (--method hugging-hash-plus), or rerank by relaxed, which needs "
         "nothing")),
        ({"text": "a", "rerank": 5001}, 422, "limit_exceeded",
         "rerank takes in 5001 items, 5000 are the most"),
        ({"id": "nobody"}, 404, "unknown_item", "there is no item 'nobody' among the images"),
        ({"id": 7}, 404, "unknown_item", "there is no item 7 among the images"),
        ({"code": {"hex": "zz"}}, 422, "invalid_request", "code isn't hexadecimal"),
        ({"code": {"base64": "?"}}, 422, "invalid_request", "code isn't base 64"),
        ({"code": {"hex": "00"}}, 422, "invalid_request",
         "code has 1 bytes, codes of 12 bits have 2"),
        ({"code": {"hex": "00f0"}}, 422, "invalid_request", "code has bits set beyond 12"),
        ({"code": {}}, 422, "invalid_request", "code: give either hex or base64"),
        ({"text": "a", "weights": {"text": 0}}, 422, "invalid_request",
         "weights.text: Input should be greater than 0"),
    ],
)  # fmt: skip
def test_a_bad_query_is_refused_in_words(
    client: TestClient, query: dict[str, Any], status: int, code: str, message: str
) -> None:
    answer = client.post(SEARCH, json=query)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["message"]) == (status, code, message)
    assert error["request_id"] == answer.headers["X-Request-ID"]


def test_a_bad_filter_is_marked(client: TestClient) -> None:
    answer = client.post(SEARCH, json={"text": "a", "filter": "year >= "})
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["code"] == "invalid_filter"
    assert error["message"].startswith("the filter can't be understood at character 9: ")
    long = client.post(SEARCH, json={"text": "a", "filter": "a" * 4097}).json()["error"]
    assert long["code"] == "limit_exceeded"


def test_an_unknown_index_names_those_there_are(client: TestClient) -> None:
    answer = client.post("/v1/indexes/nothing/search", json={"text": "a"})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "unknown_index"
    assert answer.json()["error"]["message"] == (
        "there is no index 'nothing'; those there are: scenes"
    )
