"""What tests of the server share: small indexes behind a client that needs no network."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from starlette.testclient import TestClient

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

Serve = Callable[..., TestClient]
"""Takes settings, and indexes by name; gives a client of a server that runs until the test ends."""


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Chrome"]:
    """Chromium, started once; tests of the page are skipped where it doesn't start."""
    from tests.oracles.browser_page import start_browser

    started = start_browser(tmp_path_factory.mktemp("chromium"))
    yield started
    started.quit()


@pytest.fixture
def own_index(scene_index: Path, tmp_path: Path) -> Path:
    """The folder of an index that a test may change."""
    folder = tmp_path / "own.index"
    shutil.copytree(scene_index, folder)
    return folder


@pytest.fixture
def serve(tiny_encoder: None, scene_index: Path) -> Iterator[Serve]:
    """Start servers."""
    from modalhash.service.app import create_app
    from modalhash.service.settings import ServiceSettings

    with ExitStack() as stack:

        def started(indexes: dict[str, Path] | None = None, **settings: Any) -> TestClient:
            wanted: dict[str, Any] = {"hosts": ("testserver",), "watch": 0.0, **settings}
            app = create_app(indexes or {"scenes": scene_index}, ServiceSettings(**wanted))
            return stack.enter_context(TestClient(app))

        yield started


@pytest.fixture
def client(serve: Serve) -> TestClient:
    """A client of a server of 60 scenes that can't be changed."""
    return serve()
