"""What packages register, and one clear line for each way of doing it wrong."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from modalhash import registries
from modalhash.encoders import ENCODERS, load_encoder
from modalhash.errors import ArtifactError, InputError, UnknownNameError
from modalhash.index import build_index, open_index
from modalhash.index.searcher_table import searcher_class
from modalhash.methods import REGISTRY, method_class, method_name
from modalhash.methods.lsh import Lsh
from modalhash.registries import TRUSTED_MODULES, installed
from tests.oracles.third_party_package.installing import add_package, install_acme

REPAIR = "repair or remove the package"
BASES = "modalhash.methods.base"
HALF_A_METHOD = """
from modalhash.methods.base import GradientMethod
class Half(GradientMethod):
    def build_heads(self, shapes, n_bits): ...
"""


def add_module(package_site: Path, source: str, **methods: str) -> None:
    """Install the package `odd` with a module `odd_module` and methods in it."""
    (package_site / "odd_module.py").write_text(source)
    points = {name: f"odd_module:{attribute}" for name, attribute in methods.items()}
    add_package(package_site, "odd", {"methods": points})
    installed.cache_clear()


def test_registered_classes_have_names(package_site: Path) -> None:
    install_acme(package_site)
    the_class = method_class("pls")
    assert the_class.title == "PLS"
    assert "pls" in REGISTRY
    assert REGISTRY.names()[-1] == "pls"
    assert REGISTRY.package_of_name("pls") == "acme-hashing 1.0"
    assert REGISTRY.package_of_name("lsh") == ""
    assert method_name(the_class) == method_name(the_class()) == "pls"
    assert load_encoder("colours:12").text.width == 12
    assert load_encoder("colours+bow").image.width == 27
    assert searcher_class("sorted-scan").kind == "sorted-scan"


def test_a_class_is_named_by_its_path_and_given_itself() -> None:
    path = "modalhash.methods.lsh:Lsh"
    assert method_class(path) is method_class(Lsh) is method_class(Lsh()) is Lsh
    assert method_name(Lsh) == "lsh"
    assert method_name(path) == path


def test_an_unknown_name_lists_registered_ones_too(package_site: Path) -> None:
    install_acme(package_site)
    with pytest.raises(UnknownNameError, match=r"did you mean 'pls'\? Known: .*, pls, random"):
        method_class("plss")
    with pytest.raises(UnknownNameError, match=r"unknown encoder 'colour': did you mean 'colours'"):
        load_encoder("colour")


@pytest.mark.parametrize(
    ("source", "attribute", "message"),
    [
        (
            "import not_there",
            "Method",
            "can't be loaded (ModuleNotFoundError: No module named 'not_there'): " + REPAIR,
        ),
        (
            "",
            "Method",
            "can't be loaded (AttributeError: module 'odd_module' has no attribute 'Method'): "
            + REPAIR,
        ),
        (
            "Method = 3",
            "Method",
            f"is 3, expected a subclass of {BASES}.ClosedFormMethod or {BASES}.GradientMethod",
        ),
        (
            HALF_A_METHOD,
            "Half",
            "lacks batch_loss: define what Half leaves open",
        ),
    ],
)
def test_what_cannot_be_used_is_named_with_its_package(
    package_site: Path, source: str, attribute: str, message: str
) -> None:
    add_module(package_site, source, odd=attribute)
    expected = f"method 'odd' of the package odd 1.0 {message}"
    with pytest.raises(InputError, match=f"^{re.escape(expected)}$"):
        method_class("odd")
    assert method_class("lsh") is Lsh, "other names are as before"


def test_two_packages_of_one_name_are_named(package_site: Path) -> None:
    install_acme(package_site)
    add_package(package_site, "other-hashing", {"methods": {"pls": "other:Pls"}})
    installed.cache_clear()
    expected = (
        "two packages register a method 'pls': acme-hashing 1.0 and other-hashing 1.0; remove one, "
        "or name the class itself: acme_hashing.partial_least_squares:PartialLeastSquares or "
        "other:Pls"
    )
    with pytest.raises(InputError, match=f"^{re.escape(expected)}$"):
        method_class("pls")


def test_a_name_of_the_library_stays_the_librarys(package_site: Path) -> None:
    add_package(package_site, "thief", {"methods": {"lsh": "thief:Lsh"}})
    installed.cache_clear()
    assert method_class("lsh") is Lsh
    assert REGISTRY.names().count("lsh") == 1


def test_a_path_that_leads_nowhere_says_what_to_do() -> None:
    expected = (
        "method 'not_there:Method' can't be loaded (ModuleNotFoundError: No module named "
        "'not_there'): install its package, or put its folder on PYTHONPATH"
    )
    with pytest.raises(InputError, match=f"^{re.escape(expected)}$"):
        method_class("not_there:Method")


def test_a_file_imports_no_module_that_it_names(
    package_site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package_site / "named_by_a_file.py").write_text("raise SystemExit('imported')")
    name = "named_by_a_file:Encoder"
    expected = (
        f"encoder {name!r} is named by a file, which imports nothing: import named_by_a_file "
        "first, or list it in the environment variable MODALHASH_MODULES"
    )
    with pytest.raises(InputError, match=f"^{re.escape(expected)}$"):
        load_encoder(name, from_file=True)
    install_acme(package_site)
    path = "acme_hashing.colours:Colours"
    for module in ("acme_hashing", "acme_hashing.colours"):  # another test may have imported it
        monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(InputError, match="is named by a file"):
        load_encoder(path, from_file=True)
    monkeypatch.setenv(TRUSTED_MODULES, "json, acme_hashing.colours")
    assert load_encoder(path, from_file=True).image.width == 27


def test_a_saved_index_names_the_package_it_needs(
    package_site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_acme(package_site)
    from modalhash.codes import pack

    codes = pack([[1, 1, -1], [1, -1, -1], [-1, -1, -1]])
    build_index([1, 2, 3], codes, 3, kind="sorted-scan", folder=tmp_path / "i").close()
    with open_index(tmp_path / "i") as index:
        assert index.search(codes[:1], k=2).distances.tolist() == [[0, 1]]
    monkeypatch.setattr(registries, "installed", lambda group: {})
    with pytest.raises(ArtifactError, match="'sorted-scan', which can't be"):
        open_index(tmp_path / "i")


def test_names_of_the_library_cost_no_look_at_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(group: str) -> Mapping[str, object]:
        raise AssertionError(f"packages of {group} were looked at")

    monkeypatch.setattr(registries, "installed", refuse)
    assert method_class("lsh") is Lsh
    assert searcher_class("exact").kind == "exact"
    assert set(ENCODERS) > {"clip", "bow"}
    assert load_encoder("precomputed+bow").name == "precomputed+bow"
