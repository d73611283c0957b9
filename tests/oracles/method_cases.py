"""The methods that the contract suites run over, and settings that make them quick enough."""

from dataclasses import fields
from typing import Any

from modalhash.methods import METHODS, method_class
from modalhash.methods.base import Method

PACKAGE = "tests.oracles.third_party_package.acme_hashing"


def all_method_classes() -> dict[str, type[Method]]:
    """The class of every method under contract by its name; a package's own join them here."""
    third_party = f"{PACKAGE}.partial_least_squares:PartialLeastSquares"
    return {name: method_class(name) for name in METHODS} | {"pls": method_class(third_party)}


QUICK: dict[str, dict[str, Any]] = {
    "agch": {
        "image_hidden_width": 64,
        "text_hidden_width": 64,
        "graph_width": 32,
        "graph_output_width": 16,
        "epochs": 12,
    },
    "cagan": {
        "hidden_width": 64,
        "graph_width": 32,
        "graph_output_width": 16,
        "epochs": 8,
        "text_similarity": "linear",
    },
    "cfrh": {"hidden_width": 64, "epochs": 8},
    "cirh": {
        "hidden_width": 64,
        "fusion_width": 32,
        "graph_nodes": 256,
        "batch_size": 32,
        "learning_rate": 5e-3,
        "head_rate_scale": 1.0,
        "image_scaling": "centred_unit",
        "text_scaling": "centred_unit",
        "epochs": 12,
    },
    "dgcpn": {"hidden_width": 64, "most_neighbours": 16, "graph_nodes": 512, "epochs": 12},
    "dchmt": {"hidden_width": 64, "epochs": 12, "batch_size": 20, "learning_rate": 5e-3},
    "dcmh": {
        "image_hidden_width": 64,
        "text_hidden_width": 64,
        "epochs": 12,
        "batch_size": 20,
        "optimiser": "adamw",
        "learning_rate": 5e-3,
        "schedule": "one_cycle",
        "balance_weight": 1e-3,
    },
    "cvh": {"anchors": 12},
    "djsrh": {"image_hidden_width": 64, "text_hidden_width": 64, "epochs": 12},
    "gch": {
        "feature_width": 64,
        "epochs": 12,
        "batch_size": 20,
        "learning_rate": 5e-3,
        "schedule": "one_cycle",
    },
    "hugging-hash": {
        "hidden_width": 64,
        "hug_trunk_width": 16,
        "hug_trunk_heads": 2,
        "hug_width": 16,
        "hug_concepts": 3,
        "batch_size": 32,
        "epochs": 8,
    },
    "hugging-hash-plus": {
        "hidden_width": 64,
        "hug_trunk_width": 16,
        "hug_trunk_heads": 2,
        "hug_width": 16,
        "hug_concepts": 3,
        "fine_subspaces": 4,
        "fine_codewords": 16,
        "fine_sample": 256,
        "batch_size": 32,
        "image_token_grid": 0,
        "image_token_width": 0,
        "text_token_width": 0,
        "epochs": 12,
    },
    "dsah": {"image_hidden_width": 64, "text_hidden_width": 64, "epochs": 12},
    "jdsh": {"image_hidden_width": 64, "text_hidden_width": 64, "epochs": 12},
    "imh": {"anchors": 12},
    "lssh": {"atoms": 32, "rounds": 5},
    "ms2gah": {
        "feature_width": 64,
        "epochs": 12,
        "batch_size": 20,
        "learning_rate": 5e-3,
        "schedule": "one_cycle",
    },
    "nested": {
        "hidden_width": 32,
        "target_width": 16,
        "n_landmarks": 128,
        "batch_size": 128,
        "least_steps": 60,
    },
    "nested-labelled": {
        "hidden_width": 32,
        "target_width": 16,
        "n_landmarks": 128,
        "batch_size": 128,
        "least_steps": 60,
    },
    "sgrn": {"hidden_width": 64, "epochs": 8},
    "ssah": {
        "hidden_width": 64,
        "feature_width": 64,
        "quantization_weight": 0.1,
        "epochs": 12,
        "batch_size": 20,
        "learning_rate": 5e-3,
        "schedule": "one_cycle",
    },
    "ucch": {
        "hidden_width": 64,
        "image_hidden_layers": 1,
        "n_negatives": 128,
        "epochs": 12,
        "batch_size": 20,
        "learning_rate": 2e-3,
    },
    "vtm-uch": {
        "hidden_width": 64,
        "graph_nodes": 256,
        "batch_size": 20,
        "learning_rate": 5e-3,
        "epochs": 12,
    },
    "duch": {"hidden_width": 64, "epochs": 8, "batch_size": 20, "learning_rate": 2e-3},
    "ucmfh": {
        "token_width": 32,
        "n_layers": 1,
        "hidden_width": 64,
        "fusion_rate_scale": 1.0,
        "epochs": 12,
        "batch_size": 20,
        "learning_rate": 2e-3,
    },
}
"""Changes that make a method quick enough for tests."""
KNOWS_NO_CHANCE = {"cca-sign", "feature-sign"}
"""Methods that give the same codes whatever the seed."""
FLOORS = {"lsh", "random"}
"""Methods whose image and text codes know nothing of each other."""
ONE_SPACE = {"feature-sign"}
"""Methods that take only modalities that lie in one space."""
TINY: dict[str, Any] = {
    "attention_rank": 2,
    "feature_width": 4,
    "fine_codewords": 4,
    "fine_sample": 16,
    "fine_start": 0.0,
    "fine_subspaces": 2,
    "fusion_width": 4,
    "graph_nodes": 8,
    "graph_output_width": 3,
    "graph_width": 4,
    "hidden_width": 4,
    "hug_concepts": 2,
    "hug_trunk_heads": 2,
    "hug_trunk_width": 4,
    "hug_width": 4,
    "image_deviations": 1.0,
    "image_hidden_width": 4,
    "most_neighbours": 3,
    "n_attention_heads": 2,
    "n_landmarks": 6,
    "n_layers": 1,
    "resolution": 1.0,
    "shortest": 2,
    "target_width": 3,
    "text_deviations": 1.0,
    "text_hidden_width": 4,
    "text_similarity": "linear",
    "token_width": 4,
}
"""Values of settings, for the methods that have them, with which a loss is a matter of a few
hundred numbers, and some of a dozen pairs are alike."""


SIZES = ("width", "heads", "layers", "landmarks", "nodes", "neighbours", "subspaces", "codewords")


def tiny_settings(method: type[Method]) -> dict[str, Any]:
    """Settings of a method that keep its parts tiny and drop nothing at random."""
    names = [one.name for one in fields(method.settings_class)]
    without_dropout = {name: 0.0 for name in names if name.endswith("dropout")}
    return without_dropout | {name: TINY[name] for name in names if name in TINY}


def small_settings(method: type[Method]) -> dict[str, Any]:
    """Settings of a method that keep its parts small and leave all its weights alone."""
    names = {one.name for one in fields(method.settings_class)}
    quick = QUICK.get(method.name, {})
    sizes = {name: value for name, value in quick.items() if name.endswith(SIZES)}
    return {name: value for name, value in TINY.items() if name in names} | sizes
