"""The laws of the house: which room imports which, and what no file may do.

The table of rooms is the one in docs/development.md. Everything here reads source text, but for the
last test, which starts fresh interpreters.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "modalhash"
FOUNDATION = {
    "errors",
    "files",
    "extras",
    "progress",
    "machine",
    "choices",
    "folder_hints",
    "modalities",
    "notebook_html",
    "picture_arrays",
    "forked_children",
    "numpy_numbers",
    "registries",
    "seeds",
    "search_request",
}
TORCH_FREE = (
    *sorted(FOUNDATION),
    "codes",
    "data",
    "metrics",
    "index",
    "bridges",
    "options",
    "videos",
)
SLOW_TO_LOAD = {"torch", "transformers", "faiss", "matplotlib", "scipy", "pyarrow", "h5py"}
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}
TEST_FOLDERS = {"contracts", "docs", "benchmarks", "oracles"}
SERIALISERS_THAT_RUN_CODE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve"}
PATH_OF_ONE_MACHINE = re.compile(r"(?<![\w.])/(?:home|root|work|tmp|Users|mnt)/|\b[A-Z]:\\\w")
DOTTED_NAME = re.compile(r"modalhash(\.\w+)+(:\w+)?")


def read_table() -> dict[str, set[str]]:
    """Read what each room may import, from the table in docs/development.md."""
    text = (ROOT / "docs" / "development.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", text, re.MULTILINE)
    return {room: set(re.findall(r"`(\w+)`", allowed)) for room, allowed in rows}


ROOMS = read_table()
ROOM_FOLDERS = sorted(room for room in ROOMS if (PACKAGE / room / "__init__.py").is_file())


@dataclass(frozen=True)
class Source:
    """One parsed file of the package."""

    path: Path
    tree: ast.Module

    @property
    def room(self) -> str:
        """Name of the room, of the foundation file, or "modalhash" for the package's own file."""
        first = self.path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        return "modalhash" if first == "__init__" else first

    def at(self, node: ast.AST) -> str:
        """Say where a node stands, for messages."""
        return f"{self.path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"


SOURCES = [
    Source(path, ast.parse(path.read_text(encoding="utf-8")))
    for path in sorted(PACKAGE.rglob("*.py"))
]


def imported_names(node: ast.AST) -> Iterator[str]:
    """Yield dotted names that a node imports, also those named in a string for a later import."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        module = "." * node.level + (node.module or "")
        if module == "modalhash":
            yield from (f"modalhash.{alias.name}" for alias in node.names)
        else:
            yield module
    elif isinstance(node, ast.Constant) and DOTTED_NAME.fullmatch(str(node.value)):
        yield str(node.value)


def room_of(dotted: str) -> str:
    """Return the room of a dotted name of ours; a name of the package itself counts as `api`."""
    first = dotted.split(".")[1].partition(":")[0]
    return first if first in ROOMS else "api"


def test_the_table_names_every_room_and_allows_no_circle() -> None:
    names = {source.room for source in SOURCES} - {"modalhash"}
    assert names <= set(ROOMS)
    for room in ROOMS:
        reached: set[str] = set()
        frontier = {room}
        while frontier:
            frontier = set().union(*(ROOMS[name] for name in frontier)) - reached
            reached |= frontier
        assert room not in reached, f"{room} may import itself by a detour"


def test_a_room_imports_only_what_the_table_allows() -> None:
    broken = []
    for source in SOURCES:
        if source.room == "modalhash":
            continue
        allowed = ROOMS[source.room] | FOUNDATION | {source.room}
        for node in ast.walk(source.tree):
            for name in imported_names(node):
                if name.startswith("."):
                    broken.append(f"{source.at(node)}: relative import; write it in full")
                elif name == "modalhash.__version__" or not name.startswith("modalhash."):
                    continue
                elif room_of(name) not in allowed:
                    broken.append(f"{source.at(node)}: {source.room} imports {name}")
    assert broken == []


def module_name(path: Path) -> str:
    """Return the dotted name of a file of the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def imported_modules(tree: ast.Module) -> set[str]:
    """Collect what a file imports, wherever in it: each module, and each name as a module."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def find_circle(imports: dict[str, set[str]]) -> list[str]:
    """Find modules that import each other in a circle; [] where there are none.

    Args:
        imports: module to the modules that it imports; names that are no keys don't count.
    """
    graph = {name: (imported & imports.keys()) - {name} for name, imported in imports.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_a_circle_of_imports_is_found() -> None:
    assert find_circle({"a": {"b", "json"}, "b": {"c"}, "c": set()}) == []
    assert set(find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}})) == {"b", "c"}
    later = "from x import y\nif TYPE_CHECKING:\n import z\ndef f():\n from v.w import u"
    assert imported_modules(ast.parse(later)) == {"x", "x.y", "z", "v.w", "v.w.u"}


def test_no_modules_import_each_other() -> None:
    imports = {module_name(source.path): imported_modules(source.tree) for source in SOURCES}
    assert find_circle(imports) == []


def test_rooms_are_one_level_deep() -> None:
    deep = [s.path for s in SOURCES if len(s.path.relative_to(PACKAGE).parts) > 2]
    assert deep == []


def test_every_folder_with_code_is_a_package() -> None:
    folders = {source.path.parent for source in SOURCES}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert [source.path for source in SOURCES if source.path.stem in VAGUE_NAMES] == []


def test_no_star_import() -> None:
    stars = [
        source.at(node)
        for source in SOURCES
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
    ]
    assert stars == []


def assigned_all(tree: ast.Module) -> list[str]:
    """Return the names in a file's `__all__`; without one it exports nothing."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def by_kind(name: str) -> tuple[int, str]:
    """Sort as ruff does: constants, classes, then the rest."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2, name)


@pytest.mark.parametrize("room", ROOM_FOLDERS)
def test_a_room_exports_exactly_what_it_says(room: str) -> None:
    path = PACKAGE / room / "__init__.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = assigned_all(tree)
    assert names == sorted(set(names), key=by_kind)
    from_files = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"modalhash.{room}.")
        for alias in node.names
    }
    own = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }
    used_here = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert own | from_files - used_here <= set(names)
    if room in TORCH_FREE:
        module = import_module(f"modalhash.{room}")
        assert [name for name in names if not hasattr(module, name)] == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: str(source.path.stem))
def test_no_file_runs_code_it_reads(source: Source) -> None:
    broken = []
    for node in ast.walk(source.tree):
        roots = {name.partition(".")[0] for name in imported_names(node)}
        if not isinstance(node, ast.Constant) and roots & SERIALISERS_THAT_RUN_CODE:
            broken.append(f"{source.at(node)}: a serialiser that runs code")
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if called in {"eval", "exec", "compile", "__import__"}:
            broken.append(f"{source.at(node)}: {called}()")
        if called == "torch.load" and keywords.get("weights_only") != "True":
            broken.append(f"{source.at(node)}: torch.load without weights_only=True")
        if keywords.get("allow_pickle", "False") != "False":
            broken.append(f"{source.at(node)}: allow_pickle")
        if called == "print" and source.room != "cli":
            broken.append(f"{source.at(node)}: print outside cli")
    assert broken == []


def test_no_file_names_a_path_of_one_machine() -> None:
    folders = ("src", "tests", "docs", "benchmarks", ".ci")
    files = [p for folder in folders for p in (ROOT / folder).rglob("*") if p.is_file()]
    files += [p for p in ROOT.iterdir() if p.is_file()]
    readable = {".py", ".md", ".toml", ".txt", ".yml", ".json", ".html", ".css", ""}
    broken = []
    for path in files:
        if (
            path.suffix not in readable
            or "egg-info" in str(path)
            or path.name in (".coverage", ".git")
        ):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if PATH_OF_ONE_MACHINE.search(line):
                broken.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert broken == []


def test_every_test_file_mirrors_a_room() -> None:
    tests = ROOT / "tests"
    stems: set[str] = set()
    for path in sorted(tests.rglob("*.py")):
        if "third_party_package" in path.parts:  # a package of somebody else's
            continue
        folder, *rest = path.relative_to(tests).parts
        if not rest:
            assert folder == "conftest.py" or re.fullmatch(r"test_(\w+)\.py", folder), path
            continue
        assert len(rest) == 1, f"{path}: one level is enough"
        assert folder in TEST_FOLDERS | set(ROOMS), f"{path}: no room is called {folder}"
        assert path.name != "__init__.py", f"{path}: test folders are no packages"
        if folder != "oracles" and path.name != "conftest.py":
            assert path.stem.startswith("test_"), path
            assert path.stem not in stems, f"{path}: another test file has that name"
            stems.add(path.stem)


def loaded_modules(program: str) -> set[str]:
    """Run a program in a fresh interpreter and return the top-level modules it loaded."""
    report = "; import sys; print('\\n' + ' '.join({m.partition('.')[0] for m in sys.modules}))"
    answer = subprocess.run(
        [sys.executable, "-c", program + report],
        check=True, capture_output=True, text=True, timeout=120, cwd=ROOT,
    )  # fmt: skip
    return set(answer.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("room", TORCH_FREE)
def test_a_light_room_never_loads_torch(room: str) -> None:
    path = PACKAGE / room
    files = sorted(path.glob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    modules = [
        f"modalhash.{room}.{file.stem}" if path.is_dir() else f"modalhash.{room}" for file in files
    ]
    program = "import " + ", ".join(module.removesuffix(".__init__") for module in modules)
    assert not loaded_modules(program) & {"torch", "transformers"}


@pytest.mark.parametrize(
    "module", ["api", "artifacts", "search", "service", "encoders.onnx_towers"]
)
def test_searching_never_loads_torch_by_itself(module: str) -> None:
    """A model in ONNX files is searched with where there is no torch."""
    assert not loaded_modules(f"import modalhash.{module}") & {"torch", "transformers"}


@pytest.mark.parametrize("room", ["encoders", "methods"])
def test_a_table_of_names_never_loads_torch(room: str) -> None:
    assert not loaded_modules(f"import modalhash.{room}") & {"torch", "transformers"}


def test_the_package_never_loads_torch() -> None:
    assert not loaded_modules("import modalhash") & SLOW_TO_LOAD


def test_help_loads_nothing_slow() -> None:
    program = (
        "import sys; sys.argv = ['modalhash', '--help']\n"
        "from modalhash.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "pass"
    )
    assert not loaded_modules(program) & SLOW_TO_LOAD
