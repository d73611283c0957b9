import json
from pathlib import Path

from tests.oracles.coloured_videos import write_coloured_videos
from tests.oracles.command_line import CommandLine
from tests.oracles.tiny_transformers import save_tiny_model


def test_an_encoder_is_tuned_on_videos_indexed_and_searched(
    modalhash: CommandLine, tmp_path: Path
) -> None:
    clips = write_coloured_videos(tmp_path / "clips")
    clip = save_tiny_model("clip", tmp_path / "clip")
    cache = ("--cache", str(tmp_path / "cache"))
    run, index = str(tmp_path / "run"), str(tmp_path / "index")
    ended = modalhash(
        *("train", str(clips), "-o", run, "--bits", "16", "--encoder", f"clip:{clip}"),
        *("--tune-encoder", "--frames", "3", "--frame-grid", "2", "--device", "cpu", *cache),
        *("--set", "epochs=1", "--set", "batch_size=8", "--set", "flip_pictures=yes"),
    )
    assert ended.code == 0, ended.err
    assert "the encoder is tuned on the CPU, which is slow" in ended.err.replace("\n", " ")
    record = json.loads((tmp_path / "run" / "model.json").read_text(encoding="utf-8"))
    assert record["training"]["tune_encoder"] is True
    assert record["training"]["flip_pictures"] is True
    assert record["encoder"]["image_state"] == {"frames": 3, "frame_grid": 2}
    ended = modalhash("index", run, "-o", index, "--device", "cpu", *cache)
    assert ended.code == 0, ended.err
    ended = modalhash("search", index, "--text", "a red picture", "-k", "2", "--json")
    assert ended.code == 0, ended.err
    assert len(json.loads(ended.out)["hits"]) == 2


def test_features_of_videos_say_how_many_tokens_there_are(
    modalhash: CommandLine, tmp_path: Path
) -> None:
    clips = write_coloured_videos(tmp_path / "clips")
    clip = save_tiny_model("clip", tmp_path / "clip")
    ended = modalhash(
        *("features", str(clips), "--encoder", f"clip:{clip}", "--tokens", "--frames", "5"),
        *("--cache", str(tmp_path / "cache"), "--device", "cpu"),
    )
    assert ended.code == 0, ended.err
    assert "image: 24 x 64 float16, tokens up to 5 x 64" in ended.out


def test_a_setting_of_tuning_out_of_range_is_one_clear_line(
    modalhash: CommandLine, tmp_path: Path
) -> None:
    ended = modalhash(
        *("train", "icons", "-o", str(tmp_path / "run"), "--tune-encoder"),
        *("--set", "smallest_crop=2"),
    )
    assert ended.code == 1
    assert "smallest_crop is 2.0, expected in (0, 1]" in ended.err
