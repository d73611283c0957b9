"""Every source in its official layout: read, checked, divided by a protocol, trained, measured."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from modalhash.data import COLLECTIONS
from tests.oracles import feature_layouts as made
from tests.oracles import official_layouts as official
from tests.oracles import passed_on_layouts as passed_on
from tests.oracles import table_layouts as tables
from tests.oracles.command_line import CommandLine

pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")


class Case(NamedTuple):
    """A source, who writes its tiny official layout, its protocol, and the encoder it needs."""

    source: str
    write: Callable[[Path], str]
    protocol: str
    encoder: str = "tiny+bow:min_count=1"


BY_LABEL = "djsrh:queries=6,train=12"
BY_PERMUTATION = "dcmh:queries=6,train=12"
CASES = (
    Case("clip-retrieval", made.write_clip_folder, BY_PERMUTATION, "precomputed"),
    Case("coco", official.write_coco, BY_PERMUTATION),
    Case("coco-2014", official.write_coco, "vtm-uch:queries=6,train=12"),
    Case("coco-2017", official.write_coco_2017, "ucch:queries=6"),
    Case("coco-karpathy", tables.write_coco_karpathy, "official"),
    Case("coco-122k", made.write_coco_122k, "ucch:queries=6", "precomputed"),
    Case("coco-87k", made.write_coco_87k, "djsrh:train=12", "precomputed"),
    Case("dcmh-mat", passed_on.write_dcmh_mat, BY_PERMUTATION, "tiny+precomputed"),
    Case("dcmh-mat", passed_on.write_dcmh_mat_of_h5py, BY_PERMUTATION, "tiny+precomputed"),
    Case("dgcpn", made.write_dgcpn, "official", "precomputed"),
    Case("dgcpn", passed_on.write_dgcpn_wiki, "official", "precomputed"),
    Case("file-captions", tables.write_captioned_files, BY_PERMUTATION),
    Case("flickr30k", official.write_flickr30k_json, "official"),
    Case("flickr30k", official.write_flickr30k_tokens, "official"),
    Case("flickr30k", tables.write_kaggle_flickr30k, BY_PERMUTATION),
    Case("flickr8k", official.write_flickr8k_json, "official"),
    Case("flickr8k", official.write_flickr8k_tokens, "official"),
    Case("flickr8k", tables.write_kaggle_flickr8k, BY_PERMUTATION),
    Case("huggingface", tables.write_imagefolder, "official"),
    Case("huggingface", tables.write_imagefolder_jsonl, "official"),
    Case("huggingface", tables.write_huggingface_parquet, "official"),
    Case("huggingface", tables.write_saved_to_disk, "official"),
    Case("huggingface", tables.write_img2dataset_parquet, BY_PERMUTATION),
    Case("iall-yall-lall", made.write_iall, BY_LABEL, "tiny+precomputed"),
    Case("iapr", official.write_iapr, "ucch:queries=6"),
    Case("mirflickr", official.write_mirflickr, BY_LABEL),
    Case("mirflickr-all", official.write_mirflickr, "dchmt:queries=6,train=12"),
    Case("msrvtt", official.write_msrvtt_frames, "official"),
    Case("msrvtt", official.write_msrvtt_features, "official", "precomputed+bow:min_count=1"),
    Case("msrvtt", official.write_msrvtt_videos, "official"),
    Case("msrvtt-1ka", passed_on.write_msrvtt_1ka, "official"),
    Case("msvd", official.write_msvd, "official"),
    Case("msvd", official.write_msvd_videos, "official"),
    Case("nine-array", made.write_nine_array, "official", "precomputed"),
    Case("nine-array", made.write_three_nine_array_files, "official", "precomputed"),
    Case("nuswide-10", official.write_nuswide, BY_LABEL),
    Case("nuswide-21", official.write_nuswide_21, BY_PERMUTATION),
    Case("precomp", passed_on.write_precomp, "official", "precomputed+bow:min_count=1"),
    Case("precomp", passed_on.write_precomp_regions, "official", "precomputed+bow:min_count=1"),
    Case("rsicd", official.write_rsicd, "official"),
    Case("rsitmd", tables.write_rsitmd, "official"),
    Case("sydney", tables.write_sydney, "official"),
    Case("table", tables.write_laion_table, BY_PERMUTATION),
    Case("text-files", tables.write_img2dataset_files, BY_PERMUTATION),
    Case("three-file", made.write_three_files, "dchmt:queries=6,train=12"),
    Case("three-file", made.write_three_files_73, "dchmt:queries=6,train=12"),
    Case("three-file", made.write_torchcmh, BY_PERMUTATION, "tiny+precomputed"),
    Case("ucch", made.write_ucch, "ucch", "precomputed"),
    Case("ucch", made.write_ucch_iapr, "official", "precomputed"),
    Case("ucm", official.write_ucm, "official"),
    Case("ucmfh", made.write_ucmfh, "official", "precomputed"),
    Case("ucmfh", passed_on.write_ucmfh_tensors, "official", "precomputed"),
    Case("vtm-uch", made.write_text_lists, "vtm-uch:queries=6,train=12"),
    Case("webdataset", made.write_tars, BY_PERMUTATION),
    Case("wiki-articles", passed_on.write_wiki_articles, "official"),
)
TESTED_ELSEWHERE = {"features", "icons", "scenes", "wiki"}


def test_every_source_has_a_case() -> None:
    assert {case.source for case in CASES} == COLLECTIONS.keys() - TESTED_ELSEWHERE


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.source}-{case.write.__name__}")
def test_read_checked_divided_trained_and_measured(
    case: Case, modalhash: CommandLine, tmp_path: Path
) -> None:
    collection = f"{case.source}:{case.write(tmp_path / 'data')}"
    checked = modalhash("-q", "data", "check", collection)
    assert checked.code == 0, checked
    assert "no defect" in checked.out
    described = modalhash("-q", "data", "info", collection, "--json")
    assert described.code == 0, described
    converted = modalhash("-q", "data", "convert", collection, "-o", tmp_path / "ours")
    if case.encoder == "tiny+precomputed":  # neither form holds pictures with features of texts
        assert converted.code == 1, converted
    else:
        assert converted.code == 0, converted
        is_features = (tmp_path / "ours" / "item_ids.txt").exists()
        ours = f"features:{tmp_path / 'ours'}" if is_features else tmp_path / "ours"
        counted = modalhash("-q", "data", "info", ours, "--json")
        for count in ("n_items", "n_captions"):
            assert json.loads(counted.out)[count] == json.loads(described.out)[count]
    run = tmp_path / "run"
    trained = modalhash(
        "-q", "train", collection, "-o", run, "--protocol", case.protocol, "--encoder",
        case.encoder, "--bits", "8", "--set", "epochs=1", "--set", "hidden_width=8", "--set",
        "batch_size=4",
    )  # fmt: skip
    assert trained.code == 0, trained
    plan = json.loads((run / "plan.json").read_text())
    assert plan["trained_on"]["split_note"].startswith(f"protocol {case.protocol.split(':')[0]}")
    measured = modalhash("-q", "evaluate", run, "--json")
    assert measured.code == 0, measured
    document = json.loads(measured.out)
    queries = (run / "splits" / "test.txt").read_text().splitlines()
    assert document["counts"]["queries"] == len(queries)
    again = modalhash(
        "-q", "evaluate", run, collection, "--split-file", run / "splits", "--json",
        "--database", "database",
    )  # fmt: skip
    assert json.loads(again.out)["measures"] == document["measures"]
    database = (run / "splits" / "database.txt").read_text().splitlines()
    assert not set(queries) & set(database)
    ranked = document["counts"]["database"]
    assert ranked in (0, len(database))
