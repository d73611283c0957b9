"""The machine's description: what it holds, and what it says where something isn't known."""

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from modalhash.machine import cpu_model, describe_machine, installed_version, memory_gib


def test_the_description_is_json_and_names_this_python() -> None:
    found = json.loads(json.dumps(describe_machine()))
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert 1 <= found["cores"] <= (os.cpu_count() or 1)
    assert found["packages"]["numpy"] == version("numpy")
    assert set(found["packages"]) == {"modalhash", "numpy", "torch", "faiss-cpu"}


def test_the_first_model_name_is_the_cpu(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Abacus: 12 beads\nmodel name\t: Other\n")
    assert cpu_model(cpuinfo) == "Abacus: 12 beads"


def test_without_a_model_name_the_architecture_is_named(tmp_path: Path) -> None:
    assert cpu_model(tmp_path / "nothing")


def test_memory_is_pages_times_page_size(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"SC_PHYS_PAGES": 3 * 2**18, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    assert memory_gib() == 3.0


def test_memory_is_unknown_where_the_system_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sysconf_names", {})
    assert memory_gib() is None


def test_a_package_that_is_not_installed_has_no_version() -> None:
    assert installed_version("no-such-package-anywhere") is None
