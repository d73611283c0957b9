"""Runs tests that are coroutines, and trains a model that tells words apart."""

import asyncio
import inspect
from pathlib import Path

import pytest

from tests.conftest import add_tiny_encoder


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine; no plugin is needed for that."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture(scope="session")
def word_run(tmp_path_factory: pytest.TempPathFactory, session_cache: Path) -> Path:
    """The folder of a model of random hyperplanes, 128 bits, on scenes; not to be changed."""
    import modalhash as mh

    folder = tmp_path_factory.mktemp("runs") / "words"
    with pytest.MonkeyPatch.context() as patch:
        add_tiny_encoder(patch)
        mh.train(
            "scenes:60", output=folder, method="lsh", n_bits=128, encoder="tiny",
            cache=session_cache,
        )  # fmt: skip
    return folder
