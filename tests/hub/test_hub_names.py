"""Names of repositories on a hub."""

from pathlib import Path

import pytest

from modalhash.errors import InputError
from modalhash.hub import HubName, is_hub_name, read_hub_name


def test_names_are_read_with_and_without_their_scheme() -> None:
    assert read_hub_name("anna/photos") == HubName("anna/photos")
    assert read_hub_name("hf://anna/photos@v1.2") == HubName("anna/photos", revision="v1.2")
    assert read_hub_name(Path("hf://anna/photos")) == HubName("anna/photos")
    expected = HubName("anna/photos-index", "dataset")
    assert read_hub_name("hf://datasets/anna/photos-index", kind="dataset") == expected
    assert read_hub_name("anna/photos-index", kind="dataset") == expected
    assert is_hub_name(Path("hf://anna/photos"))
    assert not is_hub_name("runs/hf")


@pytest.mark.parametrize(
    "name", ["photos", "hf://photos", "hf://a/b/c", "hf://../x", "hf://a/..", "hf://a/b@", "a/b c"]
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="is no name of a repository on a hub: write hf://OWNER"):
        read_hub_name(name)


def test_the_other_kind_is_refused() -> None:
    with pytest.raises(InputError, match="names a data set: write hf://OWNER/NAME"):
        read_hub_name("hf://datasets/anna/photos")
    with pytest.raises(InputError, match="names a model: write hf://datasets/OWNER/NAME"):
        read_hub_name("hf://anna/photos", kind="dataset")
