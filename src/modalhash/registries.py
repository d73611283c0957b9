"""Classes by name: those of this library, and those that installed packages register.

A package registers a class under an entry point of the registry's group. A class that nobody
registered is named `MODULE:CLASS`. Entry points are only read for names that aren't the library's
own, so that `--help` and the library's own names cost nothing.

A name that comes out of a file (a saved model, an index folder) never makes the library import a
module that the file chooses: such names mean what is registered, what is imported already, or what
the environment variable MODALHASH_MODULES lists.
"""

import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from modalhash.errors import InputError, UnknownNameError

__all__ = ["TRUSTED_MODULES", "Registry", "is_class_path"]

TRUSTED_MODULES: Final = "MODALHASH_MODULES"
"""Environment variable: modules, divided by commas, whose classes files may name."""
CLASS_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def is_class_path(name: str) -> bool:
    """Tell whether a name has the form `MODULE:CLASS`.

    Example:
        >>> is_class_path("acme.hashing:Wave"), is_class_path("clip:models/b32")
        (True, False)
    """
    return CLASS_PATH.fullmatch(name) is not None


@dataclass(frozen=True)
class Registry:
    """The classes of one kind.

    Attributes:
        noun: what a class is, for messages ("method").
        group: of the entry points, without "modalhash." ("methods").
        built_in: the library's own names, each with its `MODULE:CLASS`.
        load_bases: loads the classes of which a registered one must be a subclass.
    """

    noun: str
    group: str
    built_in: Mapping[str, str]
    load_bases: Callable[[], tuple[type, ...]]

    def __contains__(self, name: str) -> bool:
        """Tell whether a name is the library's own or registered."""
        return name in self.built_in or name in installed(self.group)

    def names(self) -> list[str]:
        """List the library's own names, then those that are registered."""
        return [*self.built_in, *sorted(installed(self.group).keys() - self.built_in.keys())]

    def load(self, name: str, *, from_file: bool = False) -> Any:
        """Load the class of a name.

        Args:
            name: the library's own, a registered one, or `MODULE:CLASS`.
            from_file: whether a file chose the name, which then imports no other modules.

        Raises:
            InputError: if the class can't be imported, isn't one of this kind or lacks a part, or
                two packages register the name; the message names the package.
            UnknownNameError: if there is no such name, listing those there are.
        """
        if name in self.built_in:
            module, _, attribute = self.built_in[name].partition(":")
            return getattr(import_module(module), attribute)
        points = installed(self.group).get(name, ())
        if len(points) > 1:
            packages = " and ".join(sorted(map(package_of, points)))
            raise InputError(
                f"two packages register a {self.noun} {name!r}: {packages}; remove one, or name "
                f"the class itself: {' or '.join(point.value for point in points)}"
            )
        if points:
            return self.load_registered(points[0])
        if not is_class_path(name):
            raise UnknownNameError(self.noun, name, self.names())
        module = name.partition(":")[0]
        if from_file and module not in sys.modules and module not in trusted_modules():
            raise InputError(
                f"{self.noun} {name!r} is named by a file, which imports nothing: import {module} "
                f"first, or list it in the environment variable {TRUSTED_MODULES}"
            )
        return self.load_path(name)

    def load_registered(self, point: EntryPoint) -> Any:
        """Load the class of an entry point.

        Raises:
            InputError: if it can't be loaded or isn't a class of this kind.
        """
        owner = f"{self.noun} {point.name!r} of the package {package_of(point)}"
        try:
            loaded = point.load()
        except Exception as error:  # whatever the package's own code raises
            raise InputError(
                f"{owner} can't be loaded ({type(error).__name__}: {error}): repair or remove the "
                "package"
            ) from error
        return self.check_class(loaded, owner)

    def load_path(self, path: str) -> Any:
        """Load the class of `MODULE:CLASS`.

        Raises:
            InputError: if it can't be imported or isn't a class of this kind.
        """
        module, _, attributes = path.partition(":")
        owner = f"{self.noun} {path!r}"
        try:
            loaded = import_module(module)
            for attribute in attributes.split("."):
                loaded = getattr(loaded, attribute)
        except Exception as error:  # whatever the module's own code raises
            raise InputError(
                f"{owner} can't be loaded ({type(error).__name__}: {error}): install its package, "
                "or put its folder on PYTHONPATH"
            ) from error
        return self.check_class(loaded, owner)

    def check_class(self, loaded: object, owner: str) -> Any:
        """Check that a class can be used, and return it.

        Args:
            loaded: what a name stands for.
            owner: who it is, for messages.

        Raises:
            InputError: if it is no subclass of the registry's bases, or lacks an abstract member.
        """
        bases = self.load_bases()
        if not isinstance(loaded, type) or not issubclass(loaded, bases):
            expected = " or ".join(f"{base.__module__}.{base.__name__}" for base in bases)
            problem = f"is {loaded!r}"[:200]
            raise InputError(f"{owner} {problem}, expected a subclass of {expected}")
        if inspect.isabstract(loaded):
            missing = ", ".join(sorted(getattr(loaded, "__abstractmethods__", ())))
            raise InputError(f"{owner} lacks {missing}: define what {loaded.__name__} leaves open")
        return loaded

    def name_of(self, loaded: type) -> str:
        """Find the name of a class: the library's own, a registered one, or `MODULE:CLASS`."""
        path = f"{loaded.__module__}:{loaded.__qualname__}"
        for name, known in self.built_in.items():
            if known == path:
                return name
        for name, points in installed(self.group).items():
            if len(points) == 1 and points[0].value == path and name not in self.built_in:
                return name
        return path

    def package_of_name(self, name: str) -> str:
        """Name the package that registers a name, with its version; "" if none or several do."""
        points = installed(self.group).get(name, ())
        is_registered = len(points) == 1 and name not in self.built_in
        return package_of(points[0]) if is_registered else ""


@cache
def installed(group: str) -> Mapping[str, Sequence[EntryPoint]]:
    """Find the entry points of the group `modalhash.GROUP` by name; read once a process."""
    points: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=f"modalhash.{group}"):
        same = points.setdefault(point.name, [])
        if all(package_of(other) != package_of(point) for other in same):
            same.append(point)
    return points


def package_of(point: EntryPoint) -> str:
    """Name the package of an entry point, with its version."""
    return "?" if point.dist is None else f"{point.dist.name} {point.dist.version}"


def trusted_modules() -> set[str]:
    """Read which modules files may name, from the environment."""
    return {name.strip() for name in os.environ.get(TRUSTED_MODULES, "").split(",")} - {""}
