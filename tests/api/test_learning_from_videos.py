"""HuggingHash and its plus form on the frames of video files, and moments with subtitles."""

from pathlib import Path

import numpy as np
import pytest

import modalhash as mh
from modalhash.encoders.frames import FrameTower
from modalhash.errors import FeatureError
from modalhash.search import Side
from tests.oracles.drawn_videos import draw_scenes, write_scenes
from tests.oracles.official_layouts import N_ITEMS, write_msrvtt_videos
from tests.oracles.tiny_transformers import save_tiny_model

pytest.importorskip("av")
pytestmark = pytest.mark.usefixtures("own_cache")
COLOURS = ("red", "green", "blue", "yellow")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"clip:{save_tiny_model('clip', tmp_path_factory.mktemp('clip'))}"


@pytest.mark.parametrize("method", ["hugging-hash", "hugging-hash-plus"])
def test_frames_of_files_are_content_tokens(clip: str, method: str, tmp_path: Path) -> None:
    source = f"msrvtt:{write_msrvtt_videos(tmp_path / 'data')}"
    model = mh.train(
        source, output=tmp_path / "run", method=method, n_bits=16, encoder=clip, frames=3,
        settings={"epochs": 1, "batch_size": 8}, device="cpu",
    )  # fmt: skip
    assert isinstance(model.encoder.image, FrameTower)
    report = mh.evaluate(tmp_path / "run", device="cpu")
    assert report.value("recall", "text_to_image", relevance="pair", k=10) >= 0
    with mh.build_index(tmp_path / "run", output=tmp_path / "index", device="cpu") as index:
        rerank = "all" if method.endswith("plus") else 0
        hits = index.search("sky number0 item0", k=N_ITEMS, rerank=rerank).hits
        assert len({hit.id for hit in hits}) == N_ITEMS


def said(number: int, second: int) -> str:
    """What is said in a film at a second: another pair of colours each time."""
    other = COLOURS[(number + second) % 4]
    return f"a {COLOURS[number]} picture of the {other} dog" if second > 1 else f"the {other} dog"


def test_moments_with_subtitles_are_pairs_to_learn_from(clip: str, tmp_path: Path) -> None:
    films = tmp_path / "films"
    for number in range(4):
        write_scenes(films / f"{number}.mp4", draw_scenes((2.5, 2.5, 2.5), first=3 * number))
        cues = [
            f"00:00:0{second},500 --> 00:00:0{second + 1},000\n{said(number, second)}\n"
            for second in (1, 3)
        ]
        (films / f"{number}.srt").write_text("\n".join(cues), encoding="utf-8")
    collection = mh.load_collection(films)
    assert collection.n_items == 4 * 4
    assert collection.n_captions == 4 * 2
    model = mh.train(
        films, output=tmp_path / "run", method="cca-sign", n_bits=4, encoder=clip, frames=2,
        device="cpu",
    )  # fmt: skip
    assert len(model.encode_texts(["a dog"])) == 1
    with mh.build_index(
        tmp_path / "run", output=tmp_path / "index", calibrate=False, device="cpu"
    ) as index:
        assert (len(index.sides[Side.IMAGES]), len(index.sides[Side.TEXTS])) == (16, 8)
        captions = {hit.id: hit.caption for hit in index.search("a dog", k=16).hits}
        moment = "1.mp4#t=2.5,5"
        assert captions[moment] == said(1, 3)
        assert captions["1.mp4"] == captions["1.mp4#t=5,7.5"] == ""
    report = mh.evaluate(tmp_path / "run", device="cpu")
    assert np.isfinite(report.value("median_rank", "text_to_image", relevance="pair"))
    with pytest.raises(FeatureError, match="8 of the 16 items of split 'all' have no text"):
        mh.train(films, split="all", method="cca-sign", n_bits=4, encoder=clip, device="cpu")
