import re

import pytest

from modalhash import errors
from modalhash.errors import (
    CollectionError,
    Defect,
    MissingExtraError,
    ModalhashError,
    UnknownNameError,
)
from modalhash.extras import import_optional

BUILTINS = {
    "InputError": ValueError,
    "CollectionError": ValueError,
    "FeatureError": ValueError,
    "ArtifactError": ValueError,
    "StorageError": OSError,
    "ModelUnavailableError": OSError,
    "MissingExtraError": ImportError,
    "TrainingError": RuntimeError,
    "SearchStoppedError": TimeoutError,
}


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name != "Defect"])
def test_every_error_is_of_the_tree_and_of_a_builtin(name: str) -> None:
    found = getattr(errors, name)
    assert issubclass(found, ModalhashError)
    assert found.__doc__
    if name in BUILTINS:
        assert issubclass(found, BUILTINS[name])


def test_the_docstring_draws_the_whole_tree() -> None:
    assert errors.__doc__ is not None
    drawn = set(re.findall(r"\b(\w+Error)\b", errors.__doc__)) - {
        builtin.__name__ for builtin in BUILTINS.values()
    }
    assert drawn == {name for name in errors.__all__ if name.endswith("Error")}


def test_unknown_names_list_the_known() -> None:
    assert str(UnknownNameError("split", "test", ["train", "dev"])) == (
        "unknown split 'test'; known: dev, train"
    )
    assert str(UnknownNameError("split", "tets", ["train", "test"])) == (
        "unknown split 'tets': did you mean 'test'? Known: test, train"
    )


def test_collection_errors_show_the_first_and_count_the_rest() -> None:
    first = Defect("empty-text", "captions.tsv:3", "the caption is empty", ("a.jpg",))
    assert str(CollectionError([first])) == "captions.tsv:3: the caption is empty"
    assert str(CollectionError([first, first, first])) == (
        "captions.tsv:3: the caption is empty (and 2 more: `modalhash data check` lists all)"
    )


def test_a_missing_extra_is_named() -> None:
    message = "the moon encoder needs the package 'no_such_package': pip install 'modalhash[moon]'"
    with pytest.raises(MissingExtraError, match=f"^{re.escape(message)}$"):
        import_optional("no_such_package.inner", extra="moon", feature="the moon encoder")
    assert import_optional("json", extra="moon", feature="x").dumps([]) == "[]"
