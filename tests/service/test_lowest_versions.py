"""The service with the lowest versions of the packages that its extra permits."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = ("tests/service/test_service_safety.py", "tests/service/test_connections.py")
OLD_TEST_CLIENT = "httpx==0.27.0"
"""What the test client of the lowest Starlette takes; the server doesn't need it."""
WARNINGS = (
    "ignore::DeprecationWarning", "ignore::PendingDeprecationWarning", "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)  # fmt: skip
"""Old packages warn of newer ones beside them, and the old test client closes no streams."""


def lowest_versions() -> list[str]:
    """Return the packages of the extra `serve`, each with its lowest version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = [
        re.match(r"([\w-]+)>=([\w.]+)", line) for line in project["optional-dependencies"]["serve"]
    ]
    return [f"{match[1]}=={match[2]}" for match in found if match is not None]


def test_every_package_of_the_service_has_a_lowest_version() -> None:
    named = {line.partition("==")[0] for line in lowest_versions()}
    assert named >= {"fastapi", "starlette", "pydantic", "uvicorn", "httptools"}


@pytest.mark.slow
def test_the_service_is_safe_with_the_lowest_versions(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-warn-conflicts", "--target",
         str(tmp_path / "packages"), *lowest_versions(), OLD_TEST_CLIENT],
        check=True, timeout=600,
    )  # fmt: skip
    paths = [str(tmp_path / "packages"), str(ROOT / "src"), str(ROOT)]
    options = [option for warning in WARNINGS for option in ("-W", warning)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, *TESTS],
        check=False, cwd=ROOT, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True, text=True, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
