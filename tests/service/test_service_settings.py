"""Settings from flags, environment and file; keys; rates; names of indexes."""

import re
from pathlib import Path

import pytest

from modalhash.errors import DamagedArtifactError, InputError, SettingError, UnknownNameError
from modalhash.service import KeyFile, Role, ServiceSettings, parse_index_arguments, read_settings
from modalhash.service.rates import Rates


def test_flags_come_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text('port = 1\nk = 1\nbatch = 1\nkeys = "keys.json"\n[indexes]\na = "a.index"\n')
    environment = {
        "MODALHASH_SERVE_K": "2", "MODALHASH_SERVE_BATCH": "2", "MODALHASH_SERVE_WRITABLE": "true",
        "MODALHASH_SERVE_ORIGINS": "https://a.example, https://b.example",
        "MODALHASH_SERVE_CONFIG": str(file), "HOME": "x",
    }  # fmt: skip
    settings, indexes = read_settings({"batch": 3, "host": None}, environment=environment)
    assert (settings.port, settings.k, settings.batch) == (1, 2, 3)
    assert settings.writable
    assert settings.origins == ("https://a.example", "https://b.example")
    assert settings.host == "127.0.0.1"
    assert settings.keys == str(tmp_path / "keys.json")
    assert indexes == {"a": str(tmp_path / "a.index")}


def test_folders_of_pictures_in_a_file_lie_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text('pictures = ["moved", "other=/far/away", "icons=drawn"]')
    settings, _ = read_settings({}, environment={}, file=file)
    assert settings.pictures == (
        str(tmp_path / "moved"), "other=/far/away", f"icons={tmp_path / 'drawn'}",
    )  # fmt: skip
    file.write_text("pictures = [1]")
    with pytest.raises(SettingError, match=r"^pictures is \[1\], expected a list of texts$"):
        read_settings({}, environment={}, file=file)


def test_nothing_set_is_the_default() -> None:
    assert read_settings(environment={}) == (ServiceSettings(), {})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"k": 0}, "k is 0, expected at least 1"),
        ({"k": "many"}, "k is 'many', expected a whole number"),
        ({"k": True}, "k is True, expected a whole number"),
        ({"k": 1.5}, "k is 1.5, expected a whole number"),
        ({"timeout": 0}, "timeout is 0.0, expected more than 0 seconds"),
        ({"timeout": "nan"}, "timeout is nan, expected more than 0 seconds"),
        ({"rate": -1}, "rate is -1.0, expected at least 0"),
        ({"port": 65536}, "port is 65536, expected 0 to 65535"),
        ({"log": "xml"}, "log is 'xml', expected auto, json or text"),
        ({"writable": "perhaps"}, "writable is 'perhaps', expected true or false"),
        ({"hosts": 3}, "hosts is 3, expected a list of texts"),
        ({"origins": "*"}, "origins is *: name the origins that may read answers"),
        ({"device": 1}, "device is 1, expected a text"),
    ],
)
def test_a_wrong_value_is_refused_by_name(flags: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        read_settings(flags, environment={})


def test_an_unknown_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown setting of the server 'prot': did you"):
        read_settings(environment={"MODALHASH_SERVE_PROT": "1"})
    file = tmp_path / "serve.toml"
    file.write_text("port = ")
    with pytest.raises(SettingError, match="isn't TOML"):
        read_settings(environment={}, file=file)
    file.write_text("indexes = 3")
    with pytest.raises(SettingError, match="isn't a table of names and folders"):
        read_settings(environment={}, file=file)


def test_a_loopback_address_knows_its_names() -> None:
    assert "localhost" in ServiceSettings().known_hosts
    assert ServiceSettings(host="0.0.0.0").known_hosts == ()
    assert ServiceSettings(hosts=("a.example",)).known_hosts == ("a.example",)


def test_indexes_are_named_after_their_folders() -> None:
    named = parse_index_arguments(["some/photos.index", "texts=other.index"])
    assert named == {
        "photos": Path("some/photos.index").resolve(), "texts": Path("other.index").resolve(),
    }  # fmt: skip


@pytest.mark.parametrize("argument", ["=a", "a/b=c", "..=c", "a b.index", "é=c", ".index"])
def test_a_name_that_suits_no_address_is_refused(argument: str) -> None:
    with pytest.raises(InputError, match="an index can't be served as"):
        parse_index_arguments([argument])


def test_a_name_is_given_once() -> None:
    with pytest.raises(InputError, match="two indexes are named 'a': name one of them"):
        parse_index_arguments(["x/a.index", "y/a.index"])


def test_a_key_is_found_by_its_token_only(tmp_path: Path) -> None:
    file, first = KeyFile(tmp_path / "keys.json").add_key("first", "read")
    file, second = file.add_key("second", Role.WRITE)
    file.write()
    read = KeyFile.read(file.path)
    assert read == file
    found = read.find(first), read.find(second)
    assert [(key.name, key.role) for key in found if key] == [
        ("first", Role.READ), ("second", Role.WRITE),
    ]  # fmt: skip
    for wrong in ("", first[:-1], first + "a", first.lower(), file.keys[0].sha256):
        assert read.find(wrong) is None
    assert read.remove_key("first").find(first) is None
    assert len({first, second}) == 2
    assert len(first) == len("mh_") + 43


def test_wrong_keys_are_refused(tmp_path: Path) -> None:
    file, _ = KeyFile(tmp_path / "keys.json").add_key("a", "read")
    with pytest.raises(InputError, match="there is a key named 'a'"):
        file.add_key("a", "write")
    with pytest.raises(InputError, match="expected up to 100 printable characters"):
        file.add_key("\n", "write")
    with pytest.raises(UnknownNameError, match="unknown role 'root'"):
        file.add_key("b", "root")
    with pytest.raises(UnknownNameError, match="unknown key 'b'"):
        file.remove_key("b")
    file.path.write_text('{"format": 1, "keys": [{"name": "a"}]}')
    with pytest.raises(DamagedArtifactError):
        KeyFile.read(file.path)


def test_write_includes_read() -> None:
    allowed = {(one, other) for one in Role for other in Role if one.allows(other)}
    assert allowed == {
        (Role.READ, Role.READ), (Role.WRITE, Role.READ), (Role.WRITE, Role.WRITE),
    }  # fmt: skip


def test_a_bucket_fills_at_its_rate() -> None:
    clock = [0.0]
    rates = Rates(2, 3, now=lambda: clock[0])
    assert [rates.wait("ann") for _ in range(5)] == [0, 0, 0, 1, 1]
    clock[0] = 0.5  # one token
    assert [rates.wait("ann") for _ in range(2)] == [0, 1]
    clock[0] = 100.0  # full, and no fuller
    assert [rates.wait("ann") for _ in range(4)] == [0, 0, 0, 1]
    slow = Rates(0.1, 1, now=lambda: clock[0])
    assert [slow.wait("ann"), slow.wait("ann"), slow.wait("bob")] == [0, 10, 0]


def test_no_rate_is_no_limit() -> None:
    rates = Rates(0, 0)
    assert {rates.wait("ann") for _ in range(1000)} == {0}
