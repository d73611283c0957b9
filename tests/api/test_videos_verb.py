from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modalhash as mh
from modalhash.artifacts import HashModel
from modalhash.encoders.frames import FrameTower
from modalhash.errors import FeatureError
from tests.oracles.coloured_videos import write_coloured_videos
from tests.oracles.official_layouts import write_msrvtt_features
from tests.oracles.tiny_transformers import save_tiny_model


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    write_coloured_videos(folder / "clips")
    save_tiny_model("clip", folder / "clip")
    return folder


def trained(root: Path, output: Path, **options: Any) -> HashModel:
    return mh.train(
        root / "clips",
        output=output,
        n_bits=16,
        encoder=f"clip:{root / 'clip'}",
        settings={"epochs": 1, "batch_size": 8},
        cache=root / "cache",
        device="cpu",
        **options,
    )


def test_text_finds_videos_and_a_hit_shows_the_middle_frame(root: Path, tmp_path: Path) -> None:
    model = trained(root, tmp_path / "run", frames=4)
    assert model.record.encoder["image_state"] == {"frames": 4, "frame_grid": 0}
    report = mh.evaluate(tmp_path / "run", cache=root / "cache", device="cpu")
    assert report.n_bits == 16
    with mh.build_index(
        tmp_path / "run", output=tmp_path / "index", cache=root / "cache", device="cpu"
    ) as index:
        hits = index.search("a red picture", k=24).hits
        assert len(hits) == 24
        by_id = {hit.id: hit for hit in hits}
        frames = root / "clips" / "videos" / "clip06"
        assert by_id["clip06"].image == str((frames / "00004.png").resolve())
        # A picture is a video of one frame: clip00 has no more, so it finds itself.
        hits = index.search(
            image=root / "clips" / "videos" / "clip00" / "00001.png", k=24, target="images"
        ).hits
        assert {hit.id: hit.distance for hit in hits}["clip00"] == 0


def test_codes_are_those_of_the_mean_of_the_frames(root: Path, tmp_path: Path) -> None:
    from modalhash.data import load_collection, read_picture

    model = trained(root, tmp_path / "run", frames=4)
    loaded = mh.load_model(tmp_path / "run", device="cpu")
    tower = loaded.encoder.image
    assert isinstance(tower, FrameTower)
    assert tower.fingerprint() == model.encoder.image.fingerprint()
    frames = [  # of seven, four are kept: 0, 2, 4 and 6
        read_picture(root / "clips" / "videos" / "clip06" / f"{number:05d}.png")
        for number in (1, 3, 5, 7)
    ]
    features = tower.encode([tower.prepare_frames(frames)]).pooled
    folder = mh.encode(
        loaded, load_collection(root / "clips"), tmp_path / "codes", split="all",
        cache=root / "cache",
    ).folder  # fmt: skip
    codes = np.load(folder / "image_codes.npy")
    np.testing.assert_array_equal(loaded.encode_features(features, "image")[0], codes[6])


@pytest.mark.parametrize("grid", [0, 2])
def test_an_encoder_is_tuned_on_frames(root: Path, tmp_path: Path, grid: int) -> None:
    model = trained(root, tmp_path / "run", tune_encoder=True, frames=3, frame_grid=grid)
    loaded = mh.load_model(tmp_path / "run", device="cpu")
    assert loaded.tuned_folders == {"image": "encoder", "text": "encoder"}
    assert isinstance(loaded.encoder.image, FrameTower)
    assert loaded.encoder.identity() == model.encoder.identity()
    texts = ["a red picture"]
    np.testing.assert_array_equal(loaded.encode_texts(texts), model.encode_texts(texts))
    picture = root / "clips" / "videos" / "clip01" / "00001.png"
    np.testing.assert_array_equal(loaded.encode_images([picture]), model.encode_images([picture]))


def test_features_of_frames_train_without_pictures(tmp_path: Path) -> None:
    source = f"msrvtt:{write_msrvtt_features(tmp_path / 'set')}"
    features = mh.extract_features(
        source, "precomputed+bow:50,min_count=1", frames=2, cache=tmp_path / "cache"
    )
    assert features.image.token_shape is not None
    assert features.encoder.image.state()["frames"] == 2
    with pytest.raises(FeatureError, match="can't encode pictures"):
        features.encoder.image.prepare(None)  # type: ignore[arg-type]
