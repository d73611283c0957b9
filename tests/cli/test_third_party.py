"""A method, an encoder and a kind of index of another package, by name, through every command."""

import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import modalhash as mh
from modalhash import registries
from modalhash.artifacts import load_model
from modalhash.encoders import load_encoder
from modalhash.errors import ArtifactError, InputError, UnknownNameError
from modalhash.layers import HashHead
from modalhash.methods import method_class
from modalhash.methods.base import Method
from tests.oracles.command_line import CommandLine
from tests.oracles.third_party_package.installing import add_package, install_acme

SOURCE = Path(__file__).parents[1] / "oracles/third_party_package/acme_hashing"
BY_NAME = ("--method", "pls", "--encoder", "colours:32", "--bits", "16")
OWN_HEAD = """
from acme_hashing.partial_least_squares import PartialLeastSquares
from modalhash.layers import LinearHead

class DoubledHead(LinearHead):
    def forward(self, features):
        return 2 * super().forward(features)
    def spec(self):
        return super().spec() | {"kind": "doubled"}

class Doubled(PartialLeastSquares):
    name = title = "doubled"
    def solve(self, view, shapes, n_bits, generator):
        heads = super().solve(view, shapes, n_bits, generator)
        for side in ("image", "text"):
            single = getattr(heads, side)
            double = DoubledHead(single.map.in_features, n_bits)
            double.load_state_dict(single.state_dict())
            setattr(heads, side, double)
        return heads
    @classmethod
    def build_head(cls, spec):
        return DoubledHead(spec["in_width"], spec["n_bits"])
"""


@pytest.fixture(autouse=True)
def acme(package_site: Path, own_cache: Path) -> Path:
    """Install the package; return the folder it is in."""
    del own_cache
    install_acme(package_site)
    return package_site


def remove_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no package be installed from here on."""
    monkeypatch.setattr(registries, "installed", lambda group: {})


def test_a_method_has_at_most_40_lines() -> None:
    assert len((SOURCE / "partial_least_squares.py").read_text().splitlines()) <= 40


def test_every_command_takes_them_by_name(modalhash: CommandLine, tmp_path: Path) -> None:
    run, index, table = (str(tmp_path / name) for name in ("run", "index", "table"))
    trained = modalhash("train", "scenes:60", "-o", run, *BY_NAME)
    assert (trained.code, trained.out.partition(":")[0]) == (0, "PLS, 16 bits")
    evaluated = modalhash("evaluate", run, "--json", tmp_path / "report.json")
    assert evaluated.code == 0, evaluated.err
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["format"] == 1
    indexed = modalhash("index", run, "-o", index, "--kind", "sorted-scan", "--no-calibrate")
    assert indexed.code == 0, indexed.err
    assert "images: sorted-scan" in indexed.out
    found = modalhash("search", index, "--text", "a red circle", "-k", "3", "--json")
    assert found.code == 0, found.err
    assert modalhash("bench", "scenes:60", "--methods", "random,pls", "--bits", "16",
                     "--encoder", "colours", "--seeds", "0", "-o", table).code == 0  # fmt: skip
    rows = (tmp_path / "table" / "table.md").read_text().splitlines()
    assert any(row.startswith("| pls") for row in rows), rows


def test_a_search_finds_what_a_plain_scan_finds(tmp_path: Path) -> None:
    model = mh.train("scenes:60", method="pls", encoder="colours", n_bits=16, output=tmp_path / "r")
    indexes = {
        kind: mh.build_index(model, "scenes:60", output=tmp_path / kind, kind=kind, calibrate=False)
        for kind in ("sorted-scan", "exact")
    }
    found = {
        kind: [(hit.id, hit.distance) for hit in index.search(text="a red circle", k=7).hits]
        for kind, index in indexes.items()
    }
    assert found["sorted-scan"] == found["exact"]


def test_classes_and_objects_are_taken_as_they_are(tmp_path: Path) -> None:
    the_class = method_class("pls")
    encoder = load_encoder("colours")
    codes = []
    path = "acme_hashing.partial_least_squares:PartialLeastSquares"
    methods: list[str | type[Method] | Method] = ["pls", path, the_class, the_class()]
    for number, method in enumerate(methods):
        model = mh.train(
            "scenes:60", method=method, encoder=encoder, n_bits=16, output=tmp_path / str(number)
        )
        codes.append(model.encode_texts(["a red circle", "two blue squares"]))
    for other in codes[1:]:
        np.testing.assert_array_equal(other, codes[0])
    record = load_model(tmp_path / "0").record
    assert (record.method, record.method_package) == ("pls", "acme-hashing 1.0")
    assert load_model(tmp_path / "3").record.method == "pls"


def test_the_class_of_an_encoder_is_taken() -> None:
    colours = import_module("acme_hashing.colours").Colours
    model = mh.train("scenes:60", method="pls", encoder=colours, n_bits=16)
    assert model.record.encoder["name"] == "colours"


def test_settings_of_a_method_object_are_kept() -> None:
    from modalhash.methods.cvh import Cvh, CvhSettings

    model = mh.train("scenes:60", method=Cvh(CvhSettings(anchors=12)), encoder="colours", n_bits=8)
    assert (model.record.method, model.record.settings["anchors"]) == ("cvh", 12)


def test_a_model_of_known_heads_needs_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = mh.train("scenes:60", method="pls", encoder="colours",
                     n_bits=16, output=tmp_path / "run")  # fmt: skip
    features = np.random.default_rng(0).normal(size=(5, 27)).astype(np.float32)
    remove_packages(monkeypatch)
    again = load_model(tmp_path / "run")
    np.testing.assert_array_equal(
        again.encode_features(features, "image"), model.encode_features(features, "image")
    )
    with pytest.raises(UnknownNameError, match="unknown encoder 'colours'"):
        again.encode_texts(["a red circle"])


def test_a_model_of_heads_of_its_own_names_its_package(
    acme: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (acme / "doubled.py").write_text(OWN_HEAD)
    add_package(acme, "doubled", {"methods": {"doubled": "doubled:Doubled"}})
    registries.installed.cache_clear()
    model = mh.train("scenes:60", method="doubled", encoder="colours", n_bits=16,
                     output=tmp_path / "run")  # fmt: skip
    again = load_model(tmp_path / "run")
    assert isinstance(again.hasher_in_torch.image.head, HashHead)
    texts = ["a red circle", "two blue squares"]
    np.testing.assert_array_equal(again.encode_texts(texts), model.encode_texts(texts))
    remove_packages(monkeypatch)
    expected = (
        "the model's hash head is of the method 'doubled' of the package doubled 1.0: install that "
        "package"
    )
    with pytest.raises(ArtifactError, match=f"^{expected}$"):
        load_model(tmp_path / "run")


def test_the_command_line_says_one_line_of_a_broken_package(
    modalhash: CommandLine, acme: Path, tmp_path: Path
) -> None:
    add_package(acme, "broken", {"methods": {"broken": "not_there:Method"}})
    registries.installed.cache_clear()
    ended = modalhash("train", "scenes:60", "--method", "broken", "-o", tmp_path / "run")
    assert ended.code != 0
    assert "method 'broken' of the package broken 1.0 can't be loaded" in ended.err
    assert "Traceback" not in ended.err
    assert InputError.__name__ not in ended.err
