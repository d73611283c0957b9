"""The check script: every step runs, one failure fails it, the environment is made once.

It runs here with a stand-in for Python that says what it was asked to do.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STAND_IN = """#!/usr/bin/env bash
case "$*" in
    *version_info*) exit "${TOO_OLD:-0}" ;;
    *_base_executable*) echo "$0" ;;
    --version) echo "Python ${VERSION:-3.12.0}" ;;
    "-m venv "*) mkdir -p .venv-check/bin && cp "$0" .venv-check/bin/python && echo "ran $*" ;;
    *"${FAILING:-nothing at all}"*) echo "ran $*"; exit 1 ;;
    *) echo "ran $*" ;;
esac
"""

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the check is a bash script")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a folder with the check, the files it stamps, and the stand-in for Python."""
    for name in ("check", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    stand_in = tmp_path / "stand-in"
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)
    return tmp_path


def run(project: Path, *steps: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the check of a project with the stand-in."""
    environment = {**os.environ, "PYTHON": str(project / "stand-in"), **settings}
    return subprocess.run(
        [str(project / "check"), *steps],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def asked(answer: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the first words of what the stand-in was asked to run."""
    lines = [line for line in answer.stdout.splitlines() if line.startswith("ran ")]
    return [" ".join(line.split()[1:4]) for line in lines]


def test_all_steps_run_in_an_environment_of_their_own(project: Path) -> None:
    answer = run(project)
    assert answer.returncode == 0, answer.stderr
    assert asked(answer) == [
        "-m venv .venv-check",
        "-m pip install",
        "-c from modalhash.static_site",
        "-m ruff format",
        "-m ruff check",
        "-m mypy",
        "-m pytest -n",
        "docs/generate.py --check",
        "-m mkdocs build",
    ]


def test_failed_tests_run_once_more_and_fail_the_check_again(project: Path) -> None:
    answer = run(project, "tests", FAILING="pytest")
    assert answer.returncode == 1
    calls = [line for line in answer.stdout.splitlines() if line.startswith("ran -m pytest")]
    assert calls == [
        "ran -m pytest -n 2 --dist worksteal",
        "ran -m pytest -n 1 --last-failed --last-failed-no-failures none",
    ]


def test_tests_that_pass_the_second_time_pass_the_check(project: Path) -> None:
    answer = run(project, "tests", FAILING="worksteal")
    assert answer.returncode == 0
    assert "tests    passed" in answer.stdout


def test_steps_after_a_failed_one_run_and_the_check_fails(project: Path) -> None:
    answer = run(project, FAILING="ruff check")
    assert answer.returncode == 1
    assert asked(answer)[-1] == "-m mkdocs build"
    summary = answer.stdout.partition("== summary ==\n")[2].splitlines()
    outcomes = [line.split()[:2] for line in summary]
    assert outcomes == [
        ["format", "passed"],
        ["lint", "FAILED"],
        ["types", "passed"],
        ["tests", "passed"],
        ["docs", "passed"],
    ]


def test_the_environment_is_made_anew_only_when_versions_change(project: Path) -> None:
    run(project, "format")
    assert asked(run(project, "format")) == ["-m ruff format"]
    with (project / "constraints.txt").open("a") as file:
        file.write("another==1.0\n")
    assert asked(run(project, "format"))[:2] == ["-m venv .venv-check", "-m pip install"]
    assert asked(run(project, "format", VERSION="3.13.0"))[0] == "-m venv .venv-check"


def test_a_runtime_that_npm_cannot_fetch_is_told_and_passed_over(project: Path) -> None:
    answer = run(project, "format", FAILING="find_runtime")
    assert answer.returncode == 0
    assert "no onnxruntime-web, so that tests of texts in static sites are skipped" in answer.stderr
    assert asked(run(project, "format")) == ["-m ruff format"]


def test_a_failed_installation_stops_the_check_and_is_tried_again(project: Path) -> None:
    answer = run(project, FAILING="pip install")
    assert answer.returncode == 1
    assert answer.stderr == "check: installing the development dependencies failed; see above\n"
    assert asked(run(project, "format"))[0] == "-m venv .venv-check"


def test_only_the_named_steps_run(project: Path) -> None:
    run(project)
    assert asked(run(project, "types", "docs")) == [
        "-m mypy",
        "docs/generate.py --check",
        "-m mkdocs build",
    ]


def test_an_unknown_step_is_refused_with_the_known(project: Path) -> None:
    answer = run(project, "test")
    assert answer.returncode == 1
    assert answer.stderr == (
        "check: unknown step 'test'; there are: format lint types tests docs\n"
    )
    assert asked(answer) == []


def test_an_old_python_is_refused_with_the_way_out(project: Path) -> None:
    answer = run(project, TOO_OLD="1", VERSION="3.10.4")
    assert answer.returncode == 1
    assert answer.stderr == (
        f"check: '{project / 'stand-in'}' isn't Python 3.11 or newer (Python 3.10.4): "
        "install one and name it, as in PYTHON=python3.12 ./check\n"
    )
