"""Run a public program's checkout on exported input files, and keep the codes that it makes.

`modalhash bench export` copies this file into the folder of input files as `run.py`::

    python cirh-inputs/run.py CHECKOUT --bits 64
    python cirh-inputs/run.py CHECKOUT --bits 64 -- --NUM_EPOCH 10

It needs the packages that the program needs, and modalhash isn't among them. The program's own
script runs in this process, with the folder of input files as the current folder. Nothing in the
checkout changes: what doesn't fit is replaced in memory, before the script starts.

- Without a GPU, calls for one do nothing. Names that NumPy and torch dropped are back.
- Packages that a program imports without need are stubs where they can't be imported.
- Data loaders start no other processes.
- Sizes that the program states for its own data sets are those of the exported ones.
- Each evaluation of all queries against the whole database leaves its codes in the output file.

No code of the programs is here, only names of their files and functions.
"""

import argparse
import builtins
import importlib
import importlib.abc
import importlib.machinery
import inspect
import json
import os
import runpy
import shlex
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

__all__ = ["PROGRAMS", "SCRIPT", "main"]

SCRIPT: Final = "run.py"
MANIFEST: Final = "inputs.json"


@dataclass
class Run:
    """One run of a program.

    Attributes:
        inputs: the folder of input files.
        manifest: what the export says of them.
        checkout: the program's folder.
        output: file of the codes.
        halves: codes of one direction, until those of the other direction come.
    """

    inputs: Path
    manifest: Mapping[str, Any]
    checkout: Path
    output: Path
    halves: list[tuple[Any, Any]] = field(default_factory=list)

    @property
    def n_queries(self) -> int:
        """Rows of queries that the program was given."""
        return int(self.manifest["rows"]["query"]["n_rows"])

    @property
    def n_database(self) -> int:
        """Rows of the database that the program was given."""
        return int(self.manifest["rows"]["database"]["n_rows"])

    @property
    def n_trained(self) -> int:
        """Items that the program learns from."""
        return int(self.manifest["n_trained"])

    @property
    def image_width(self) -> int:
        """Columns of image features in the files."""
        return int(self.manifest["image_width"])

    def keep_codes(self, **arrays: Any) -> None:
        """Write the codes, unless they are those of other items, such as validation items."""
        import numpy as np

        n_rows = {"qu": self.n_queries, "re": self.n_database}
        if any(len(rows) != n_rows[name[:2]] for name, rows in arrays.items()):
            return
        codes: dict[str, Any] = {name: np.asarray(rows, np.int8) for name, rows in arrays.items()}
        part = self.output.with_name(f"{self.output.name}.part.npz")
        np.savez(part, **codes)
        part.replace(self.output)

    def keep_direction(self, query: Any, database: Any) -> None:
        """Keep the codes of a program that ranks texts for images first, then the reverse."""
        self.halves.append((query, database))
        if len(self.halves) == 2:
            (image_query, text_database), (text_query, image_database) = self.halves
            self.halves.clear()
            self.keep_codes(
                qu_BI=image_query, qu_BT=text_query, re_BI=image_database, re_BT=text_database
            )

    def replace(self, module: str, name: str, make: Callable[[Any], Any]) -> None:
        """Replace a function of a module, or `Class.method`, by what `make` makes of it."""
        try:
            owner: Any = importlib.import_module(module)
        except ImportError as error:
            stop(f"{module} can't be imported: {error}")
        first, _, method = name.partition(".")
        if not hasattr(owner, first):
            program = self.manifest["program"].upper()
            stop(f"{self.checkout} isn't the {program} that we know: {module} has no {first}")
        if method:
            owner = getattr(owner, first)
        changed = method or first
        setattr(owner, changed, make(getattr(owner, changed)))


def stop(message: str) -> NoReturn:
    """End with one line on stderr."""
    sys.exit(f"{SCRIPT}: {message}")


def adapt_cirh(run: Run) -> None:
    """Keep what CIRH's evaluation computes."""
    run.replace("utils", "compress", keep_compressed(run))


def keep_compressed(run: Run) -> Callable[[Any], Any]:
    """Wrap a function that returns the codes of database and queries, each with its labels."""

    def wrap(compress: Any) -> Any:
        def compress_and_keep(*arguments: Any, **options: Any) -> Any:
            codes = compress(*arguments, **options)
            re_image, re_text, _, qu_image, qu_text, _ = codes
            run.keep_codes(qu_BI=qu_image, qu_BT=qu_text, re_BI=re_image, re_BT=re_text)
            return codes

        return compress_and_keep

    return wrap


def adapt_ucch(run: Run) -> None:
    """Divide the rows as exported, and keep what UCCH compares by Hamming distance."""
    loader = "MSCOCO_fea" if run.manifest["layout"] == "coco" else "MIRFlickr25K_fea"

    def load_part(partition: str) -> Any:
        rows = slice(-run.n_queries, None)
        if "test" not in partition.lower():
            rows = slice(run.n_trained if "train" in partition.lower() else run.n_database)
        return tuple(array[rows] for array in read_ucch_arrays(run))

    def wrap(distances: Any) -> Any:
        def compare_and_keep(query: Any, database: Any, *arguments: Any, **options: Any) -> Any:
            run.keep_direction(query, database)
            return distances(query, database, *arguments, **options)

        return compare_and_keep

    run.replace("src.cmdataset", loader, lambda _: load_part)
    run.replace("scipy.spatial.distance", "cdist", wrap)


def read_ucch_arrays(run: Run) -> list[Any]:
    """Read images, texts and labels of all rows."""
    if run.manifest["layout"] == "coco":
        import h5py

        path = run.inputs / "data" / "MSCOCO" / "MSCOCO_deep_doc2vec_data_rand.h5py"
        with h5py.File(path, "r") as stored:
            return [stored[key][()] for key in ("XAll", "YAll", "LAll")]
    from scipy.io import loadmat

    place = run.inputs / "data" / "MIRFLICKR25K"
    names = {"XAll": "iall-vgg", "YAll": "yall", "LAll": "lall"}
    return [loadmat(place / f"mirflickr25k-{name}.mat")[key] for key, name in names.items()]


def adapt_ucmfh(run: Run) -> None:
    """Open the exported files, build networks as wide as their features, and keep codes."""
    width = run.image_width

    def open_exported(path: str, mode: str) -> Any:
        # The program reads from a folder of its authors' machine.
        return (run.inputs / "mirflickr" / Path(path).name).open(mode)

    def wrap(measure: Any) -> Any:
        def measure_and_keep(**options: Any) -> Any:
            run.keep_direction(options["qu_B"], options["re_B"])
            return measure(**options)

        return measure_and_keep

    def widen_transformer(start: Any) -> Any:
        return lambda network, n_layers, _, n_heads: start(network, n_layers, 2 * width, n_heads)

    def widen_head(start: Any) -> Any:
        return lambda network, _, n_bits: start(network, width, n_bits)

    run.replace("load_dataset", "load_dataset", read_by(open_exported))
    run.replace("model", "FuseTransEncoder.__init__", widen_transformer)
    run.replace("model", "ImageMlp.__init__", widen_head)
    run.replace("model", "TextMlp.__init__", widen_head)
    run.replace("evaluate", "calculate_top_map", wrap)


def read_by(open_file: Callable[[str, str], Any]) -> Callable[[Any], Any]:
    """Let a function open files by another `open`."""

    def wrap(load: Any) -> Any:
        load.__globals__["open"] = open_file
        return load

    return wrap


def adapt_dgcpn(run: Run) -> None:
    """Read the exported arrays, build networks as wide as their features, and keep codes."""
    place = run.inputs / "flickr"

    def wrap_load(load: Any) -> Any:
        # The program reads from a folder of its authors' machine.
        return lambda path, **options: load(place / Path(path).name, **options)

    def widen_network(start: Any) -> Any:
        def start_as_wide(network: Any, **options: Any) -> None:
            import torch

            start(network, **options)
            network.fc1 = torch.nn.Linear(run.image_width, network.fc1.out_features)

        return start_as_wide

    run.replace("metric", "compress", keep_compressed(run))
    run.replace("models", "ImgNet.__init__", widen_network)
    run.replace("numpy", "load", wrap_load)


@dataclass(frozen=True)
class Program:
    """What we know of a program's checkout.

    Attributes:
        address: where a checkout comes from.
        files: that tell it from other programs.
        unneeded: packages that it imports, and doesn't need for features on files.
        folders: that it writes to and doesn't make.
        adapt: replaces in memory what doesn't fit the exported files.
    """

    address: str
    files: tuple[str, ...]
    unneeded: tuple[str, ...]
    folders: tuple[str, ...]
    adapt: Callable[[Run], None]


PROGRAMS: Final[Mapping[str, Program]] = {
    "cirh": Program(
        "https://github.com/XizeWu/CIRH",
        ("main_mir.py", "main_coco.py", "my_opt.py", "utils.py"),
        ("torchvision", "sklearn"),
        ("checkpoints", "logs"),
        adapt_cirh,
    ),
    "ucch": Program(
        "https://github.com/penghu-cs/UCCH",
        ("UCCH.py", "src/cmdataset.py"),
        ("torchvision", "torch.utils.tensorboard", "sympy", "pandas", "PIL", "imp"),
        (),
        adapt_ucch,
    ),
    "ucmfh": Program(
        "https://github.com/XinyuXia97/UCMFH",
        ("demo.py", "ICMR.py", "load_dataset.py", "model.py", "evaluate.py"),
        (),
        ("checkpoints/hash",),
        adapt_ucmfh,
    ),
    "dgcpn": Program(
        "https://github.com/Atmegal/DGCPN",
        ("train.py", "train_div.py", "metric.py", "models.py"),
        ("torchvision", "sklearn"),
        ("checkpoint", "log", "result"),
        adapt_dgcpn,
    ),
}


class NoOperation:
    """Stands for any member of a package that isn't there: calls and attributes do nothing."""

    def __call__(self, *arguments: Any, **options: Any) -> "NoOperation":
        """Do nothing."""
        return self

    def __getattr__(self, name: str) -> "NoOperation":
        if name.startswith("__"):
            raise AttributeError(name)
        return self


class StubModule(types.ModuleType):
    """A package whose members do nothing."""

    def __getattr__(self, name: str) -> NoOperation:
        if name.startswith("__"):
            raise AttributeError(name)
        return NoOperation()


class StubFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports stubs for some packages and all modules in them."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)

    def find_spec(
        self, fullname: str, path: Any, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find the stub of a module."""
        if any(fullname == name or fullname.startswith(f"{name}.") for name in self.names):
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """Make a stub."""
        return StubModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Leave the stub as it is."""


def stub_packages(names: Sequence[str]) -> list[str]:
    """Put stubs in the place of packages that can't be imported, and list these."""
    missing = [name for name in names if not can_import(name)]
    for module in [*sys.modules]:  # what a failed import left behind
        if any(module == name or module.startswith(f"{name}.") for name in missing):
            del sys.modules[module]
    sys.meta_path.insert(0, StubFinder(missing))
    return missing


def can_import(name: str) -> bool:
    """Tell whether a module imports, whatever goes wrong inside it."""
    try:
        importlib.import_module(name)
    except Exception:  # noqa: BLE001 - torchvision of another torch raises errors of many kinds
        return False
    return True


def restore_numpy_names() -> None:
    """Give NumPy the names for Python's types back."""
    import numpy as np

    for name in ("bool", "float", "int", "object"):
        if name not in vars(np):
            setattr(np, name, getattr(builtins, name))


def adapt_torch() -> None:
    """Make torch load all of a checkpoint, on a CPU if there is no GPU, in this process."""
    import torch
    from torch.nn.utils import clip_grad

    has_gpu, load = torch.cuda.is_available(), torch.load
    is_limited = "weights_only" in inspect.signature(load).parameters

    def load_all(file: Any, map_location: Any = None, **options: Any) -> Any:
        if is_limited:
            options["weights_only"] = False
        return load(file, map_location=map_location if has_gpu else "cpu", **options)

    def stay_on_cpu(tensor: Any, *_: Any, **__: Any) -> Any:
        return tensor

    start_loader = torch.utils.data.DataLoader.__init__

    def start_without_workers(loader: Any, *arguments: Any, **options: Any) -> None:
        start_loader(loader, *arguments, **{**options, "num_workers": 0, "pin_memory": False})

    changes: list[tuple[Any, str, Any]] = [
        (torch, "load", load_all),
        (torch.utils.data.DataLoader, "__init__", start_without_workers),
    ]
    if not has_gpu:
        changes += [(owner, "cuda", stay_on_cpu) for owner in (torch.Tensor, torch.nn.Module)]
        changes.append((torch.cuda, "set_device", stay_on_cpu))
    for owner, name in ((torch.nn.init, "normal"), (clip_grad, "clip_grad_norm")):
        if not hasattr(owner, name):
            changes.append((owner, name, getattr(owner, f"{name}_")))
    for owner, name, value in changes:
        setattr(owner, name, value)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read what the export wrote of its files."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["program"] in PROGRAMS and "n_trained" in manifest:
            return dict(manifest)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    stop(f"{folder} has no readable {MANIFEST} of this version: export again")


def check_checkout(checkout: Path, name: str) -> None:
    """Refuse a folder that isn't a checkout of the program."""
    program = PROGRAMS[name]
    way_out = f"git clone {program.address}"
    if not checkout.is_dir():
        stop(f"{checkout} isn't a folder: {way_out}")
    if missing := [file for file in program.files if not (checkout / file).is_file()]:
        stop(
            f"{checkout} isn't a checkout of {name.upper()}, it has no {', '.join(missing)}: "
            f"{way_out}"
        )


def parse_arguments(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Parse the options, and take off those behind `--`, which are the program's."""
    own = [*arguments]
    extra: list[str] = []
    if "--" in own:
        position = own.index("--")
        own, extra = own[:position], own[position + 1 :]
    parser = argparse.ArgumentParser(
        prog=SCRIPT,
        description="Run a checkout of the program that the files beside this script are for, and "
        "keep the codes that it makes. The checkout isn't changed.",
        epilog="Options of the program follow after --, and replace those of the export.",
    )
    parser.add_argument("checkout", type=Path, help="Folder that the program was cloned to.")
    parser.add_argument("--bits", type=int, required=True, help="Number of bits of a code.")
    parser.add_argument(
        "-o", "--output", type=Path, help="New file of the codes.  [default: PROGRAM-BITS.npz]"
    )
    options = parser.parse_args(own)
    if options.bits < 1:
        parser.error("--bits must be at least 1")
    return options, extra


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a checkout with the options of the command line."""
    options, extra = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    inputs = Path(__file__).resolve().parent
    manifest = read_manifest(inputs)
    name = manifest["program"]
    checkout = options.checkout.resolve()
    output = (options.output or Path(f"{name}-{options.bits}.npz")).resolve()
    check_checkout(checkout, name)
    if output.exists() or not output.parent.is_dir():
        problem = "exists already" if output.exists() else "is in a folder that doesn't exist"
        stop(f"{output} {problem}: name another file with -o")
    if not can_import("torch"):
        stop(f"torch can't be imported here, and {name.upper()} needs it")
    _, script, *command = shlex.split(manifest["command"])
    command = [str(options.bits) if word == "N" else word for word in command]
    for folder in PROGRAMS[name].folders:
        (inputs / folder).mkdir(parents=True, exist_ok=True)
    sys.dont_write_bytecode = True
    sys.path[0] = str(checkout)
    os.chdir(inputs)
    for stub in prepare(Run(inputs, manifest, checkout, output)):
        sys.stderr.write(f"{SCRIPT}: {stub} can't be imported; a stub takes its place\n")
    sys.argv = [script, *command, *extra]
    sys.stderr.write(f"{SCRIPT}: python {shlex.join(sys.argv)}\n")
    runpy.run_path(str(checkout / script), run_name="__main__")
    if not output.exists():
        stop(
            f"{name.upper()} ended without an evaluation of all queries, so there are no codes: do "
            "the options behind -- keep it from evaluating?"
        )
    sys.stderr.write(
        f"{SCRIPT}: codes in {output}\nnow: modalhash bench import {inputs} {output} "
        f"-o {name}-codes --bits {options.bits}\n"
    )


def prepare(run: Run) -> Iterator[str]:
    """Change in memory what the program needs changed, and list the packages that are stubs."""
    program = PROGRAMS[run.manifest["program"]]
    missing = stub_packages(program.unneeded)
    restore_numpy_names()
    adapt_torch()
    program.adapt(run)
    return iter(missing)


if __name__ == "__main__":
    main()
