"""Models on a hub: sent to and fetched from a stub of its API, by the hub's own client."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import modalhash as mh
from modalhash.artifacts import HashModel
from modalhash.errors import (
    DamagedArtifactError,
    InputError,
    ModelUnavailableError,
    NewerFormatError,
)
from modalhash.files import sealed
from tests.oracles.command_line import CommandLine
from tests.oracles.hub_server import HubStub, serve_hub

library = pytest.importorskip("huggingface_hub")
pytestmark = pytest.mark.usefixtures("tiny_encoder")
NAME = "anna/scenes"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStub]:
    """A hub of this machine, which knows nothing yet, and an empty cache."""
    with serve_hub() as stub:
        monkeypatch.setenv("HF_ENDPOINT", stub.address)
        monkeypatch.setenv("MODALHASH_CACHE", str(tmp_path / "cache" / "features"))
        yield stub


def push(run: Path, **options: object) -> str:
    model = mh.load_model(run)
    return model.push_to_hub(NAME, **{"license": "mit", "token": "hf_none", **options})  # type: ignore[arg-type]


def test_a_model_goes_to_a_hub_and_comes_back(hub: HubStub, scene_run: Path) -> None:
    address = push(scene_run, private=True)
    assert address.startswith(f"{hub.address}/{NAME}/commit/")
    assert hub.private == {f"models/{NAME}"}
    names = {"model.json", "model.safetensors", "README.md"}
    assert set(hub.files[f"models/{NAME}"]) == names
    for name in names - {"README.md"}:
        assert hub.files[f"models/{NAME}"][name] == (scene_run / name).read_bytes()

    model, pulled = mh.load_model(scene_run), mh.load_model(f"hf://{NAME}")
    assert pulled.fingerprint == model.fingerprint
    texts = ["a red circle", "two squares"]
    np.testing.assert_array_equal(pulled.encode_texts(texts), model.encode_texts(texts))
    assert pulled.folder is not None
    assert not any(path.is_symlink() for path in pulled.folder.rglob("*"))
    n_requests = len(hub.requests)
    again = HashModel.from_pretrained(NAME)
    assert again.fingerprint == model.fingerprint
    assert hub.requests[n_requests:] == [f"GET /api/models/{NAME}"]  # what it is, not its files
    assert HashModel.from_pretrained(scene_run).fingerprint == model.fingerprint
    commit = pulled.folder.name
    assert mh.load_model(f"hf://{NAME}@{commit}").fingerprint == model.fingerprint


def test_the_card_says_what_a_hub_reads(hub: HubStub, scene_run: Path, own_cache: Path) -> None:
    report = mh.evaluate(scene_run, split="test", cache=own_cache)
    push(scene_run, report=report, license="cc-by-4.0")
    text = hub.files[f"models/{NAME}"]["README.md"].decode()
    assert f'mh.load_model("hf://{NAME}")' in text
    data = library.ModelCard(text).data
    assert (data.license, data.library_name) == ("cc-by-4.0", "modalhash")
    assert data.pipeline_tag == "feature-extraction"
    assert {"cross-modal-hashing", "12-bits", "cca-sign"} <= set(data.tags)
    counted = [measure for measure in report.measures if not np.isnan(measure.value)]
    results = data.eval_results
    assert [result.metric_value for result in results] == [m.value for m in counted]
    first, measure = results[0], counted[0]
    assert first.metric_args["formula"] == (measure.convention or "")
    assert first.metric_args["ties"] == measure.ties
    assert first.metric_args["scoring"] == "hamming"
    assert f"ties {measure.ties}" in first.metric_name


def test_a_model_in_onnx_files_goes_along(hub: HubStub, scene_run: Path, tmp_path: Path) -> None:
    exported = mh.export_onnx(scene_run, tmp_path / "onnx").folder
    mh.load_model(exported).push_to_hub(NAME, license="mit", token="hf_none")
    pulled = mh.load_model(f"hf://{NAME}")
    assert pulled.is_in_onnx
    features = np.ones((1, 16), np.float32)
    codes = mh.load_model(scene_run).encode_features(features, "text")
    np.testing.assert_array_equal(pulled.encode_features(features, "text"), codes)
    assert (exported / "README.md").read_text().startswith("# ")  # the model's own card stays


def test_without_a_network_the_fetched_copy_is_taken(
    hub: HubStub, scene_run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    push(scene_run)
    fingerprint = mh.load_model(f"hf://{NAME}").fingerprint
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    with caplog.at_level(logging.WARNING):
        assert mh.load_model(f"hf://{NAME}").fingerprint == fingerprint
    assert "the copy that was fetched before is taken" in caplog.text
    message = r"hf://anna/other can't be fetched .*: check the name, the network"
    with pytest.raises(ModelUnavailableError, match=message):
        mh.load_model("hf://anna/other")


def test_refusals_are_one_line(hub: HubStub, scene_run: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="there is no such model, or you may not"):
        mh.load_model("hf://anna/none")
    hub.files["models/anna/words"] = {"words.txt": b"none of ours"}
    with pytest.raises(ModelUnavailableError, match="it is no model that modalhash wrote"):
        mh.load_model("hf://anna/words")
    push(scene_run)
    with pytest.raises(ModelUnavailableError, match="it has no revision 'v9'"):
        HashModel.from_pretrained(NAME, revision="v9")
    with pytest.raises(InputError, match="license is 'Our own', expected the identifier of a lic"):
        push(scene_run, license="Our own")
    with pytest.raises(InputError, match="is no name of a repository on a hub"):
        mh.load_model(scene_run).push_to_hub("scenes", license="mit")
    hub.refusal = 403
    with pytest.raises(ModelUnavailableError, match=r"no permission \(status 403\); run `hf auth"):
        push(scene_run)
    with pytest.raises(ModelUnavailableError, match="can't be fetched"):
        mh.load_model(f"hf://{NAME}")  # a copy is there, but the hub refuses


def test_what_is_fetched_is_checked_like_any_file(hub: HubStub, scene_run: Path) -> None:
    push(scene_run)
    files = hub.files[f"models/{NAME}"]
    whole = dict(files)
    files["model.safetensors"] = whole["model.safetensors"][:-1] + b"\0"
    with pytest.raises(DamagedArtifactError, match="its checksum isn't the one in"):
        mh.load_model(f"hf://{NAME}")
    document = json.loads(whole["model.json"])
    files["model.json"] = json.dumps(sealed({**document, "format": 99})).encode()
    with pytest.raises(NewerFormatError, match="upgrade modalhash"):
        mh.load_model(f"hf://{NAME}")
    hub.files[f"models/{NAME}"] = {**whole, "../outside.json": b"{}", ".git/config": b"x"}
    pulled = mh.load_model(f"hf://{NAME}")
    assert pulled.folder is not None
    assert {path.name for path in pulled.folder.iterdir()} == set(whole)


def test_an_index_is_a_data_set(hub: HubStub, scene_index: Path) -> None:
    address = mh.push_index(scene_index, "anna/scenes-index", license="cc0-1.0", token="hf_none")
    assert address.startswith(f"{hub.address}/datasets/anna/scenes-index/commit/")
    files = hub.files["datasets/anna/scenes-index"]
    assert not [name for name in files if name.endswith(".lock")]
    card = library.DatasetCard(files["README.md"].decode())
    assert card.data.license == "cc0-1.0"
    expected = [hit.id for hit in mh.open_index(scene_index).search(text="a red circle").hits]
    with mh.open_index("hf://datasets/anna/scenes-index") as pulled:
        assert [hit.id for hit in pulled.search(text="a red circle").hits] == expected
    with pytest.raises(InputError, match="names a model: write hf://datasets/OWNER/NAME"):
        mh.open_index("hf://anna/scenes-index")


def test_the_command_sends_models_and_indexes(
    hub: HubStub, modalhash: CommandLine, scene_run: Path, scene_index: Path, own_cache: Path
) -> None:
    arguments = ["push", scene_run, NAME, "--license", "mit", "--split", "test"]
    shown = modalhash(*arguments, "--dry-run")
    assert shown.code == 0, shown.err
    assert shown.out.startswith(f"hf://{NAME} would get 3 files, ")
    assert '\n  license: "mit"\n' in shown.out
    assert hub.requests == []
    sent = modalhash(*arguments)
    assert sent.code == 0, sent.err
    data = library.ModelCard(hub.files[f"models/{NAME}"]["README.md"].decode()).data
    report = mh.evaluate(scene_run, split="test", cache=own_cache)
    counted = [measure.value for measure in report.measures if not np.isnan(measure.value)]
    assert [result.metric_value for result in data.eval_results] == counted

    indexed = modalhash("push", scene_index, "anna/scenes-index", "--license", "cc0-1.0")
    assert indexed.code == 0, indexed.err
    assert "hf://datasets/anna/scenes-index: " in indexed.out
    found = modalhash("search", "hf://datasets/anna/scenes-index", "--text", "red circle", "--json")
    assert found.code == 0, found.err

    for refused, message in (
        (["push", scene_run, NAME], "Error: --license is missing: name the licence"),
        (
            ["push", scene_index, NAME, "--license", "mit", "--split", "test"],
            "split measures a mod",
        ),
        (["push", scene_run, NAME, "--license", "Mine"], "license is 'Mine', expected the ident"),
        (["push", scene_run, "scenes", "--license", "mit"], "'scenes' is no name of a repository"),
        (["push", scene_run.parent, NAME, "--license", "mit"], "is no model folder"),
    ):
        ended = modalhash(*refused)
        assert ended.code in (1, 2)
        assert message in ended.err
    hub.refusal = 403
    ended = modalhash(*arguments)
    assert (ended.code, ended.out) == (1, "")
    assert "can't be written: the hub gives no permission (status 403)" in ended.err


def test_a_server_takes_an_index_from_a_hub(hub: HubStub, scene_index: Path) -> None:
    from modalhash.service import ServiceSettings, parse_index_arguments
    from modalhash.service.app import create_service

    mh.push_index(scene_index, "anna/scenes-index", license="cc0-1.0", token="hf_none")
    folders = parse_index_arguments(["hf://datasets/anna/scenes-index", "own=hf://datasets/a/b"])
    assert list(folders) == ["scenes-index", "own"]
    service = create_service({"scenes": folders["scenes-index"]}, ServiceSettings())
    assert service.host.sizes() == {("scenes", "images"): 60, ("scenes", "texts"): 300}
    service.host.close()
    with pytest.raises(ModelUnavailableError, match="there is no such data set"):
        create_service(folders, ServiceSettings())


def test_the_hub_is_never_asked_unless_it_is_named(hub: HubStub, scene_run: Path) -> None:
    mh.load_model(scene_run).encode_texts(["a red circle"])
    assert hub.requests == []
