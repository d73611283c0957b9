"""The folder of a static site: what is in it, what is refused, what the command says."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import modalhash as mh
from modalhash.errors import InputError, UnknownNameError
from modalhash.modalities import Side
from modalhash.static_site import Weights, find_runtime
from modalhash.static_site.item_files import PictureFiles
from modalhash.static_site.page_files import POLICY, check_links, find_origin
from modalhash.static_site.small_weights import (
    VectorTable,
    round_rows,
    shrink_text_network,
    write_vectors,
)
from modalhash.static_site.word_rules import read_word_rules
from tests.oracles.command_line import CommandLine
from tests.oracles.tiny_transformers import tiny_tokenizer

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "src" / "modalhash"
EXPORTED = re.compile(r"^export (?:async )?(?:const|function|class) (\w+)", re.MULTILINE)


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a file of items."""
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def make_package(folder: Path, version: str = "1.30.0") -> Path:
    """Make what looks like the npm package."""
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text(
        json.dumps({"name": "onnxruntime-web", "version": version})
    )
    for name in ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"):
        (folder / "dist" / name).write_text(f"// {name}")
    return folder


def test_the_folder_holds_codes_and_items_in_order(
    bert_index: Path, tmp_path: Path, modalhash: CommandLine
) -> None:
    folder, package = tmp_path / "site", make_package(tmp_path / "package")
    ended = modalhash(
        "export", bert_index, "--format", "site", "-o", folder, "--runtime", package,
        "--thumbnails", "32", "--links", "../photos/", "--field", "item",
    )  # fmt: skip
    assert ended.code == 1
    assert "the field 'item' isn't metadata that can be shown" in ended.err
    assert not folder.exists()
    ended = modalhash(
        "export", bert_index, "--format", "site", "-o", folder, "--runtime", package,
        "--thumbnails", "32", "--links", "../photos/", "--site-name", "My scenes",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert "a page that searches 360 codes of 40 bits" in ended.out
    (n_different,) = re.findall(r"of 4,000 bits of made captions (\d+) differ from", ended.out)
    assert int(n_different) <= 4
    site = json.loads((folder / "site.json").read_text())
    assert site["name"] == "My scenes"
    with mh.open_index(bert_index) as index:
        for side in Side:
            (block,) = index.sides[side].blocks(1000)
            codes = np.fromfile(folder / site["sides"][side]["codes"], np.uint8).reshape(-1, 5)
            np.testing.assert_array_equal(codes, block.codes)
            items = lines_of(folder / site["sides"][side]["items"])
            assert [item["id"] for item in items] == block.ids.tolist()
            assert [item["caption"] for item in items] == [row["caption"] for row in block.metadata]
            assert str(bert_index.parent) not in json.dumps(items)
        assert [item["item"] for item in items] == [row["item"] for row in block.metadata]
    images = [item["id"] for item in lines_of(folder / "data" / "images.items.bin")]
    owners = np.fromfile(folder / "data" / "texts.owners.bin", "<u4")
    assert [images[row] for row in owners] == [item["item"] for item in items]
    first = lines_of(folder / "data" / "images.items.bin")[0]
    with Image.open(folder / first["picture"]) as picture:
        assert (picture.format, max(picture.size)) == ("WEBP", 32)
    assert first["whole"].startswith("../photos/")
    texts = lines_of(folder / "data" / "texts.items.bin")
    assert {item["picture"] for item in texts} <= {f"pictures/000/{n:06}.webp" for n in range(60)}
    for name, path in (
        ("module", "ort.wasm.bundle.min.mjs"),
        ("wasm", "ort-wasm-simd-threaded.wasm"),
    ):
        assert site["text"]["runtime"][name] == f"runtime/{path}"
        assert (folder / "runtime" / path).read_text() == f"// {path}"
    assert "img-src 'self' blob: data:;" in (folder / "index.html").read_text()
    assert "1.30.0" in (folder / "README.md").read_text()
    ended = modalhash("export", bert_index, "--format", "site", "-o", folder, "--runtime", "none")
    assert ended.code == 1
    assert "exists already: replace it with --overwrite" in ended.err
    ended = modalhash(
        "export", bert_index, "--format", "site", "-o", folder, "--runtime", "none", "--overwrite",
        "--thumbnails", "0",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert not (folder / "text").exists()
    assert "picture" not in lines_of(folder / "data" / "images.items.bin")[0]


def test_what_cannot_be_exported_is_told_in_a_line(
    bert_index: Path, tmp_path: Path, modalhash: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = {
        ("--runtime", "nowhere"): "install it with `npm install onnxruntime-web@1.30.0`",
        (): "which isn't in node_modules of this folder",
        ("--runtime", "none", "--field", "year"): "no item has the field 'year'; there are: ",
        ("--runtime", "none", "--links", "javascript:x"): "links is 'javascript:x', expected",
        ("--runtime", "none", "--links", "https://a.b/?q"): "links is 'https://a.b/?q', expected",
    }
    for options, words in said.items():
        ended = modalhash("export", bert_index, "--format", "site", "-o", "site", *options)
        assert ended.code == 1
        assert words in ended.err
        assert ended.err.count("\n") == 1
        assert not Path("site").exists()
    Path("full").mkdir()
    Path("full/thing").touch()
    ended = modalhash("export", bert_index, "--format", "site", "-o", "full", "--runtime", "none")
    assert "holds something else: choose another folder" in ended.err
    ended = modalhash("export", bert_index, "npy", "-o", "codes", "--weights", "int8")
    assert (ended.code, "--weights goes with --format site." in ended.err) == (2, True)
    ended = modalhash("export", bert_index, "--format", "onnx", "--field", "x")
    assert (ended.code, "--field goes with --format site." in ended.err) == (2, True)
    with pytest.raises(UnknownNameError, match="Known: float16, float32, int8"):
        mh.export_site(bert_index, tmp_path / "site", runtime="none", weights="bfloat16")
    with pytest.raises(InputError, match=r"thumbnails is -1, expected pixels from 0 \(none\)"):
        mh.export_site(bert_index, tmp_path / "site", runtime="none", thumbnails=-1)


def test_an_empty_index_is_refused(bert_index: Path, tmp_path: Path) -> None:
    with mh.open_index(bert_index) as index:
        ids = next(iter(index.sides[Side.IMAGES].blocks(1000))).ids.tolist()
    shutil.copytree(bert_index, tmp_path / "empty.index")
    with mh.open_index(tmp_path / "empty.index") as index:
        index.delete(ids)
    with pytest.raises(InputError, match="has no items to export"):
        mh.export_site(tmp_path / "empty.index", tmp_path / "site", runtime="none")


def test_the_runtime_is_found_where_npm_puts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = make_package(tmp_path / "node_modules" / "onnxruntime-web", "1.22.0")
    monkeypatch.chdir(tmp_path)
    for stated in (None, tmp_path, package):
        runtime = find_runtime(stated)
        assert runtime is not None
        assert runtime.version == "1.22.0"
        assert all(path.is_file() for path in runtime.files.values())
    assert find_runtime("none") is None
    (package / "dist" / "ort-wasm-simd-threaded.wasm").unlink()
    with pytest.raises(InputError, match=r"has no ort-wasm-simd-threaded\.wasm in dist: install"):
        find_runtime(None)
    old = make_package(tmp_path / "old", "1.14.0")
    with pytest.raises(InputError, match=r"is onnxruntime-web 1\.14\.0, expected 1\.20 or newer"):
        find_runtime(old)


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
def test_npm_fetches_only_the_tested_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODALHASH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="npm isn't installed, so it can't fetch"):
        find_runtime("npm")
    make_package(tmp_path / "other" / "package")
    with tarfile.open(tmp_path / "other.tgz", "w:gz") as archive:
        archive.add(tmp_path / "other" / "package", "package")
    stand_in = tmp_path / "bin" / "npm"
    stand_in.parent.mkdir()
    monkeypatch.setenv("PATH", f"{stand_in.parent}{os.pathsep}/usr/bin{os.pathsep}/bin")
    stand_in.write_text(
        f'#!/bin/sh\nfor last; do :; done\ncp {tmp_path}/other.tgz "$last/one.tgz"\n'
    )
    stand_in.chmod(0o755)
    with pytest.raises(InputError, match=r"isn't the one of onnxruntime-web 1\.30\.0: check which"):
        find_runtime("npm")
    assert not (tmp_path / "cache").exists()
    stand_in.write_text("#!/bin/sh\necho 'npm error code E404' >&2\nexit 1\n")
    with pytest.raises(InputError, match=r"npm can't fetch .* \(npm error code E404\)"):
        find_runtime("npm")


def test_a_tokenizer_that_the_page_cannot_follow_is_refused() -> None:
    with pytest.raises(InputError, match=r"can't follow this encoder's tokenizer \(WordLevel None"):
        read_word_rules(tiny_tokenizer().backend_tokenizer.to_str(), longest=8, known={})


@pytest.mark.parametrize("weights", list(Weights))
def test_a_network_without_its_words_gives_the_same_features(
    bert_index: Path, tmp_path: Path, weights: Weights
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    from modalhash.model_export.encoder_graphs import export_text_tower

    model = mh.load_model(bert_index / "model", device="cpu")
    path = tmp_path / "encoder.onnx"
    export_text_tower(model.encoder.text, path)
    numbers = np.array([[2, 4, 5, 9, 3]])
    mask = np.ones_like(numbers)
    inputs = {"input_ids": numbers, "attention_mask": mask}
    (expected,) = onnxruntime.InferenceSession(path).run(None, inputs)
    size = path.stat().st_size
    table = shrink_text_network(path, weights)
    assert table.rows.shape == (22, 64)
    session = onnxruntime.InferenceSession(path)
    names = [entry.name for entry in session.get_inputs()]
    assert "word_vectors" in names
    rows = round_rows(table, weights)
    values = {**inputs, "word_vectors": rows[numbers]}
    (features,) = session.run(None, {name: values[name] for name in names})
    tolerance = {Weights.FLOAT32: 1e-6, Weights.FLOAT16: 5e-3, Weights.INT8: 0.1}[weights]
    np.testing.assert_allclose(features, expected, rtol=0, atol=tolerance)
    share = {Weights.FLOAT32: 1.0, Weights.FLOAT16: 0.65, Weights.INT8: 0.45}[weights]
    assert path.stat().st_size < share * size


def test_word_vectors_are_written_in_pieces(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((1000, 100)).astype(np.float32)
    rows[3] = 0
    table = VectorTable(rows)
    n_rows, names = write_vectors(table, tmp_path / "whole", Weights.FLOAT32)
    assert (n_rows, names) == (500, ["00000.bin", "00001.bin"])
    pieces = [np.fromfile(tmp_path / "whole" / name, "<f4").reshape(-1, 100) for name in names]
    np.testing.assert_array_equal(np.concatenate(pieces), rows)
    n_rows, names = write_vectors(table, tmp_path / "half", Weights.FLOAT16)
    assert (n_rows, names) == (1000, ["00000.bin"])
    half = np.fromfile(tmp_path / "half" / names[0], "<f2").reshape(-1, 100)
    np.testing.assert_array_equal(half.astype(np.float32), round_rows(table, Weights.FLOAT16))
    n_rows, names = write_vectors(table, tmp_path / "whole-numbers", Weights.INT8)
    content = (tmp_path / "whole-numbers" / names[0]).read_bytes()
    scales = np.frombuffer(content[: 4 * n_rows][: 4 * 1000], "<f4")
    whole = np.frombuffer(content[4 * len(scales) :], np.int8).reshape(-1, 100)
    assert len(scales) == 1000
    np.testing.assert_allclose(whole * scales[:, None], rows, rtol=0, atol=scales.max() * 0.5001)


def test_links_are_addresses_or_paths() -> None:
    for links in (None, "https://example.org/a/", "photos/", "../photos/", "/photos/"):
        check_links(links)
    assert find_origin("https://example.org:8443/a/") == "https://example.org:8443"
    assert find_origin("../photos/") == ""
    for links in ("", "//example.org/", "ftp://a/", "https://a/'; script-src *", "a\nb", "data:x"):
        with pytest.raises(InputError, match="expected what stands before the name of a picture"):
            check_links(links)
    assert "unsafe-inline" not in POLICY


def test_links_name_pictures_below_their_folder_and_moments_of_videos(tmp_path: Path) -> None:
    pictures = PictureFiles(tmp_path, 0, "https://example.org/", "/photos")
    links = {
        "/photos/a/b c.jpg": "a/b%20c.jpg",
        "/elsewhere/d#1.jpg": "d%231.jpg",
        "/photos/films/e.mp4#t=12,17.5": "films/e.mp4#t=12,17.5",
    }
    for image, end in links.items():
        assert pictures.describe(image) == {"picture": f"https://example.org/{end}"}
    assert PictureFiles(tmp_path, 0, None, "").describe("/photos/a.jpg") == {}


def test_a_picture_that_cannot_be_read_is_counted(tmp_path: Path) -> None:
    (tmp_path / "damaged.jpg").write_bytes(b"none")
    pictures = PictureFiles(tmp_path, 16, None, "")
    assert pictures.describe(str(tmp_path / "damaged.jpg")) == {}
    assert pictures.describe(str(tmp_path / "damaged.jpg")) == {}
    assert pictures.describe(None) == {}
    assert pictures.n_missing == 1


def test_the_browser_answers_under_the_names_of_the_server() -> None:
    names = [
        set(EXPORTED.findall((PAGES / room / "page" / "api.js").read_text(encoding="utf-8")))
        for room in ("service", "static_site")
    ]
    assert names[0] == names[1]


def test_a_site_without_words_needs_no_torch(bert_index: Path, tmp_path: Path) -> None:
    shutil.copytree(bert_index, tmp_path / "bert.index")
    mh.export_onnx(tmp_path / "bert.index")  # the model's hash functions, as they are without torch
    program = (
        "import sys; sys.modules['torch'] = None; sys.modules['transformers'] = None\n"
        "import modalhash as mh\n"
        f"result = mh.export_site({str(tmp_path / 'bert.index')!r}, {str(tmp_path / 'site')!r}, "
        "runtime='none', thumbnails=0)\n"
        "print(result.n_items)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=120
    )
    assert (ended.stdout, ended.returncode) == ("360\n", 0), ended.stderr


def test_a_site_of_scenes_by_another_encoder_is_refused(
    tiny_encoder: None, scene_index: Path, tmp_path: Path
) -> None:
    package = make_package(tmp_path / "package")
    with pytest.raises(InputError, match="can't write an encoder of the class"):
        mh.export_site(scene_index, tmp_path / "site", runtime=package)
    result = mh.export_site(scene_index, tmp_path / "site", runtime="none", thumbnails=16)
    assert (result.n_items, result.n_bits, result.compared) == (360, 12, None)
