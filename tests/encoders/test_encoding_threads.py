import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from modalhash.encoders import FeatureStore, extract_features, load_encoder, memory
from modalhash.encoders.encoding_threads import encoding_lanes, encoding_pool
from modalhash.encoders.memory import free_bytes, is_out_of_memory, starting_batch_size
from tests.oracles.fake_encoder import GreyTower, LengthTower, grey_collection


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Let torch use two threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_lanes_compute_on_one_core_and_the_callers_setting_stays() -> None:
    assert encoding_lanes("cpu") == 2
    with encoding_pool("cpu") as pool:
        assert {pool.submit(torch.get_num_threads).result() for _ in range(8)} == {1}
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 2
    with encoding_pool("cuda:0") as pool:
        assert pool.submit(torch.get_num_threads).result() == 2


def test_without_torch_and_on_an_accelerator_there_is_one_lane(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert encoding_lanes("cuda:0") == 1
    monkeypatch.delitem(sys.modules, "torch")
    assert encoding_lanes("cpu") == 1


@pytest.mark.usefixtures("two_threads")
def test_features_do_not_depend_on_the_number_of_lanes(tmp_path: Path) -> None:
    collection = grey_collection(24)
    encoder = load_encoder("offline")
    found = []
    for n_threads in (1, 2):
        torch.set_num_threads(n_threads)
        features = extract_features(
            collection, encoder, cache_folder=tmp_path / str(n_threads), batch_size=8
        )
        assert isinstance(features.image, FeatureStore)
        assert isinstance(features.text, FeatureStore)
        found.append(
            {
                path.name: path.read_bytes()
                for table in (features.image, features.text)
                for path in table.folder.glob("*.npy")
            }
        )
    assert found[0] == found[1]


def test_pictures_are_encoded_as_the_tower_alone_does(tmp_path: Path) -> None:
    collection = grey_collection(5)
    encoder = load_encoder("offline")
    features = extract_features(collection, encoder, cache_folder=tmp_path, dtype="float32")
    assert collection.pictures is not None
    prepared = [encoder.image.prepare(collection.pictures.open(item)) for item in range(5)]
    expected = encoder.image.encode(prepared).pooled
    found = features.image.pooled(np.arange(5))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


class HeavyTower(GreyTower):
    item_bytes = 1 << 30


@pytest.mark.parametrize(("gib", "expected"), [(0, 1), (4, 1), (17, 4), (33, 8), (4096, 8)])
def test_batches_of_all_lanes_take_a_quarter_of_the_free_memory(
    gib: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: gib << 30)
    monkeypatch.setattr(memory, "encoding_lanes", lambda device: 1)
    assert starting_batch_size(HeavyTower()) == expected
    monkeypatch.setattr(memory, "encoding_lanes", lambda device: 4)
    assert starting_batch_size(HeavyTower()) == max(1, expected // 4) or gib == 4096


def test_texts_may_come_in_larger_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1 << 50)
    assert starting_batch_size(LengthTower()) == 256


def test_free_memory_is_a_plausible_number() -> None:
    assert 1 << 20 < free_bytes("cpu") < 1 << 50


def test_only_what_means_so_is_out_of_memory() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory"))
    assert not is_out_of_memory(RuntimeError("shapes differ"))
    assert not is_out_of_memory(ValueError("out of memory"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert is_out_of_memory(caught.value)
