"""What tests of the verbs share: a quick encoder, a cache of their own, a trained model."""

import logging
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.oracles.command_line import CommandLine, Ended
from tests.oracles.tiny_encoder import TINY_TABLES

SCENES = "scenes:60"
N_BITS = 12
"""Not a multiple of 8, so that the last byte has padding."""


def add_tiny_encoder(patch: pytest.MonkeyPatch) -> None:
    for table, entry in TINY_TABLES:
        patch.setitem(table, "tiny", entry)


@pytest.fixture
def tiny_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the encoder `tiny` be known."""
    add_tiny_encoder(monkeypatch)


@pytest.fixture
def package_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages that are installed for one test."""
    from modalhash.registries import installed

    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    installed.cache_clear()
    before = set(sys.modules)
    yield folder
    installed.cache_clear()
    for name in set(sys.modules) - before:
        origin = getattr(sys.modules[name], "__file__", None)
        if origin is not None and Path(origin).is_relative_to(folder):
            del sys.modules[name]


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that the whole session shares."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def own_cache(session_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep features away from the user's cache."""
    monkeypatch.setenv("MODALHASH_CACHE", str(session_cache))
    return session_cache


@pytest.fixture(scope="session")
def scene_run(tmp_path_factory: pytest.TempPathFactory, session_cache: Path) -> Path:
    """The folder of a model of CCA + sign, 12 bits, trained on 60 scenes; not to be changed."""
    import modalhash as mh

    folder = tmp_path_factory.mktemp("runs") / "scenes"
    with pytest.MonkeyPatch.context() as patch:
        add_tiny_encoder(patch)
        mh.train(
            SCENES, output=folder, method="cca-sign", n_bits=N_BITS, encoder="tiny",
            cache=session_cache,
        )  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def scene_index(
    scene_run: Path, tmp_path_factory: pytest.TempPathFactory, session_cache: Path
) -> Path:
    """The folder of an index of all 60 scenes; not to be changed."""
    import modalhash as mh

    folder = tmp_path_factory.mktemp("indexes") / "scenes.index"
    with pytest.MonkeyPatch.context() as patch:
        add_tiny_encoder(patch)
        mh.build_index(scene_run, output=folder, cache=session_cache).close()
    return folder


@pytest.fixture(scope="session")
def calibrated_index(
    scene_index: Path, tmp_path_factory: pytest.TempPathFactory, session_cache: Path
) -> Path:
    """The folder of an index that knows how relevant its items are; not to be changed."""
    import modalhash as mh

    folder = tmp_path_factory.mktemp("calibrated") / "scenes.index"
    shutil.copytree(scene_index, folder)
    with pytest.MonkeyPatch.context() as patch:
        add_tiny_encoder(patch)
        mh.calibrate(folder, "scenes:90", split="all", cache=session_cache)
    return folder


@pytest.fixture
def modalhash(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[CommandLine]:
    """Run the command line in this process."""
    from modalhash.cli.main import main

    logger = logging.getLogger("modalhash")
    monkeypatch.setattr(logger, "handlers", [])
    level = logger.level

    def run(*arguments: str | Path) -> Ended:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Ended(code, printed.out, printed.err)

    yield run
    logger.setLevel(level)
