import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modalhash.data import load_collection
from modalhash.encoders import Encoder, extract_features, load_encoder
from modalhash.encoders.clip import ClipImageTower
from modalhash.encoders.frames import FrameTower
from modalhash.encoders.network_towers import live_frame_features
from modalhash.encoders.precomputed import PrecomputedImageTower
from modalhash.encoders.vit import VitImageTower
from modalhash.errors import DamagedArtifactError, FeatureError, SettingError
from tests.oracles.coloured_videos import write_coloured_videos
from tests.oracles.fake_encoder import GreyTower, LengthTower
from tests.oracles.official_layouts import write_msrvtt_features
from tests.oracles.tiny_transformers import SIDE, WIDTH, save_tiny_model


def pictures(n_pictures: int, *, seed: int = 0) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)) for _ in range(n_pictures)
    ]


def grey_videos(*values: list[int]) -> tuple[FrameTower, list[Any]]:
    tower = FrameTower(GreyTower(), frames=5)
    frames = [[Image.new("RGB", (4, 4), (value,) * 3) for value in video] for video in values]
    return tower, [tower.prepare_frames(video) for video in frames]


def test_a_video_is_the_mean_of_its_frames_which_are_its_tokens() -> None:
    # A grey frame's features are its value and the root of that.
    tower, prepared = grey_videos([4, 16], [9], [1, 4, 16])
    output = tower.encode(prepared, with_tokens=True)
    means = np.array([[10, 3], [9, 3], [7, 7 / 3]])
    np.testing.assert_allclose(output.pooled, means, rtol=1e-6)
    assert output.tokens is not None
    assert output.token_mask is not None
    assert output.token_mask.tolist() == [[1, 1, 0], [1, 0, 0], [1, 1, 1]]
    expected = np.array(
        [[[4, 2], [16, 4], [0, 0]], [[9, 3], [0, 0], [0, 0]], [[1, 1], [4, 2], [16, 4]]]
    )
    np.testing.assert_allclose(output.tokens, expected, rtol=1e-6)
    without = tower.encode(prepared)
    assert without.tokens is None
    np.testing.assert_array_equal(without.pooled, output.pooled)


def test_a_picture_is_a_video_of_one_frame() -> None:
    tower, _ = grey_videos([1])
    output = tower.encode([tower.prepare(Image.new("RGB", (4, 4), (25,) * 3))], with_tokens=True)
    np.testing.assert_allclose(output.pooled, [[25, 5]])
    assert output.tokens is not None
    np.testing.assert_allclose(output.tokens, [[[25, 5]]])


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> VitImageTower:
    # 16 / 8 squared are 2 x 2 patches.
    return VitImageTower(str(save_tiny_model("vit", tmp_path_factory.mktemp("vit"))))


@pytest.mark.parametrize("grid", [0, 1, 2])
def test_pooled_patches_follow_their_frame(vit: VitImageTower, grid: int) -> None:
    tower = FrameTower(vit, grid=grid)
    videos = [pictures(3), pictures(1, seed=1)]
    output = tower.encode([tower.prepare_frames(video) for video in videos], with_tokens=True)
    assert output.tokens is not None
    assert output.token_mask is not None
    a_frame = 1 + grid**2
    assert output.token_mask.sum(axis=1).tolist() == [3 * a_frame, a_frame]
    for video, tokens in zip(videos, output.tokens, strict=True):
        for place, frame in enumerate(video):
            alone = vit.encode([vit.prepare(frame)], with_tokens=True)
            assert alone.tokens is not None
            patches = {0: [], 1: [alone.tokens[0].mean(axis=0)], 2: list(alone.tokens[0])}[grid]
            expected = np.stack([alone.pooled[0], *patches])
            own = tokens[place * a_frame : (place + 1) * a_frame]
            np.testing.assert_allclose(own, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("grid", [0, 2])
@pytest.mark.parametrize("with_tokens", [False, True])
def test_live_features_of_videos_are_the_encoded_ones_and_take_gradients(
    vit: VitImageTower, grid: int, with_tokens: bool
) -> None:
    tower = FrameTower(vit, grid=grid)
    prepared = [tower.prepare_frames(pictures(count, seed=count)) for count in (2, 4, 1)]
    encoded = tower.encode(prepared, with_tokens=with_tokens)
    live = live_frame_features(tower, vit, prepared, with_tokens=with_tokens)
    assert live.pooled.requires_grad
    np.testing.assert_allclose(live.pooled.detach().numpy(), encoded.pooled, rtol=0, atol=2e-5)
    assert (live.tokens is None) == (encoded.tokens is None) == (not with_tokens)
    if live.tokens is not None and live.token_mask is not None:
        assert encoded.tokens is not None
        assert live.tokens.requires_grad
        np.testing.assert_allclose(live.tokens.detach().numpy(), encoded.tokens, rtol=0, atol=2e-5)
        np.testing.assert_array_equal(live.token_mask.numpy(), encoded.token_mask)


def test_overlapping_windows_cover_a_grid_that_does_not_divide(tmp_path: Path) -> None:
    class Squares(GreyTower):
        width = token_width = 1

        def encode(self, prepared: Any, *, with_tokens: bool = False) -> Any:
            from modalhash.encoders.base import TowerOutput

            tokens = np.arange(9, dtype=np.float32).reshape(1, 9, 1).repeat(len(prepared), 0)
            mask = np.ones(tokens.shape[:2], np.bool_)
            return TowerOutput(tokens[:, 0], *((tokens, mask) if with_tokens else ()))

    tower = FrameTower(Squares(), grid=2)
    output = tower.encode([tower.prepare(Image.new("RGB", (4, 4)))], with_tokens=True)
    assert output.tokens is not None
    # Rows 0-1 and 1-2 of 0 1 2 / 3 4 5 / 6 7 8, and the same columns.
    assert output.tokens[0, :, 0].tolist() == [0, 2, 3, 5, 6]
    tower = FrameTower(Squares(), grid=4)
    message = "frame_grid is 4, but frames have 9 patches: expected a square of at least that side"
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        tower.encode([tower.prepare(Image.new("RGB", (4, 4)))], with_tokens=True)


def test_frames_and_grid_are_part_of_the_identity_and_the_state(vit: VitImageTower) -> None:
    prints = {
        FrameTower(vit, frames, grid).fingerprint() for frames, grid in ((12, 0), (8, 0), (12, 2))
    }
    assert len(prints | {vit.fingerprint()}) == 4
    assert FrameTower(vit, 8, 2).state() == {"frames": 8, "frame_grid": 2}
    again = load_encoder(
        f"vit:{vit.model.source}+bow", image_state=FrameTower(vit, 8, 2).state()
    ).image
    assert again.fingerprint() == FrameTower(vit, 8, 2).fingerprint()
    message = (
        "the saved state of the image tower is damaged: {'frames': 0, 'frame_grid': 2}, expected "
        "frames and frame_grid"
    )
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        load_encoder(f"vit:{vit.model.source}+bow", image_state={"frames": 0, "frame_grid": 2})


def test_numbers_out_of_range_and_grids_without_patches_are_refused() -> None:
    message = "frames is 0 and frame_grid 0, expected at least 1 and 0 or more"
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        FrameTower(GreyTower(), 0)
    message = (
        "frame_grid is 2, but the image tower 'grey' has no patches as wide as its pooled "
        "features: take 0, or an encoder such as clip or vit"
    )
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        FrameTower(GreyTower(), grid=2)


def test_extraction_keeps_frames_uniformly_and_makes_again_what_changed(tmp_path: Path) -> None:
    folder = write_coloured_videos(tmp_path / "clips")
    clip = ClipImageTower(str(save_tiny_model("clip", tmp_path / "clip")))
    tower = FrameTower(clip, frames=3)
    encoder = Encoder("clip", tower, LengthTower())

    def extracted() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        found = extract_features(
            load_collection(folder), encoder, cache_folder=tmp_path / "cache", with_tokens=True
        )
        rows = np.array([6, 0])
        return found.image.pooled(rows), *found.image.tokens(rows)

    pooled, tokens, mask = extracted()
    assert mask.sum(axis=1).tolist() == [3, 1]
    frames = [  # of seven: 1, 3 and 5
        clip.prepare(Image.open(folder / "videos" / "clip06" / f"{number:05d}.png"))
        for number in (2, 4, 6)
    ]
    expected = clip.encode(frames).pooled
    np.testing.assert_allclose(tokens[0], expected, rtol=0, atol=5e-3)  # stored as float16
    np.testing.assert_allclose(pooled[0], expected.mean(axis=0), rtol=0, atol=5e-3)
    Image.new("RGB", (20, 16), "white").save(folder / "videos" / "clip06" / "00004.png")
    changed = extracted()
    assert not np.allclose(changed[1][0, 1], tokens[0, 1], atol=1e-3)
    np.testing.assert_array_equal(changed[1][0, [0, 2]], tokens[0, [0, 2]])


def test_a_tower_of_pictures_takes_the_middle_frame(tmp_path: Path) -> None:
    folder = write_coloured_videos(tmp_path / "clips")
    clip = ClipImageTower(str(save_tiny_model("clip", tmp_path / "clip")))
    found = extract_features(
        load_collection(folder),
        Encoder("clip", clip, LengthTower()),
        cache_folder=tmp_path / "cache",
    )
    middle = clip.prepare(Image.open(folder / "videos" / "clip06" / "00004.png"))
    np.testing.assert_allclose(
        found.image.pooled(np.array([6])), clip.encode([middle]).pooled, rtol=0, atol=5e-3
    )
    assert found.image.width == WIDTH


def test_features_of_frames_are_tokens_masked_by_length(tmp_path: Path) -> None:
    source = f"msrvtt:{write_msrvtt_features(tmp_path)}"
    collection = load_collection(source)
    width = collection.features["image"].shape[1]
    long = np.arange(20 * width, dtype=np.float32).reshape(20, width)
    np.save(tmp_path / "features" / f"{collection.item_ids[2]}.npy", long)
    collection = load_collection(source)
    encoder = Encoder("precomputed", PrecomputedImageTower(frames=4), LengthTower())
    found = extract_features(collection, encoder, cache_folder=tmp_path / "cache", with_tokens=True)
    own = np.atleast_2d(np.load(tmp_path / "features" / f"{collection.item_ids[0]}.npy"))
    tokens, mask = found.image.tokens(np.array([2, 0]))
    assert found.image.token_shape == (4, width)
    assert mask.sum(axis=1).tolist() == [4, len(own)]
    np.testing.assert_array_equal(tokens[0], long[[2, 7, 12, 17]])
    np.testing.assert_array_equal(tokens[1, : len(own)], own)
    assert not tokens[~mask].any()
    np.testing.assert_allclose(found.image.pooled(np.array([2]))[0], long.mean(axis=0))
    state = found.encoder.image.state()
    assert state == {"width": width, "frames": 4}
    again = load_encoder("precomputed", image_state=state).image
    assert again.fingerprint() == found.encoder.image.fingerprint()
    assert again.token_width == width


def test_arrays_without_frames_have_no_tokens(tmp_path: Path) -> None:
    collection = load_collection(f"msrvtt:{write_msrvtt_features(tmp_path)}")
    encoder = Encoder("precomputed", PrecomputedImageTower(), LengthTower())
    found = extract_features(collection, encoder, cache_folder=tmp_path / "cache")
    assert found.image.token_shape is None
    with pytest.raises(FeatureError, match="hold no content tokens"):
        found.image.tokens(np.array([0]))
