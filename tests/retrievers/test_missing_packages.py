"""Without its package, each program's module names the extra; the rest of the room works."""

import sys
from importlib import import_module

import pytest

from modalhash.errors import MissingExtraError


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [("langchain", "langchain_core", "langchain"), ("llama_index", "llama_index", "llama-index")],
)
def test_the_extra_is_named(
    module: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] == package:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, f"modalhash.retrievers.{module}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError) as error:
        import_module(f"modalhash.retrievers.{module}")
    assert error.value.extra == extra
    assert f"pip install 'modalhash[{extra}]'" in str(error.value)
