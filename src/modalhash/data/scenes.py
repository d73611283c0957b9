"""Drawn scenes of coloured shapes, for tests and for scale: as many as one asks for.

Scene `i` of a seed depends on that seed and `i` alone, so a larger collection starts with the
smaller one. A scene has one to four objects on a plain ground, each in a cell of its own of a
3 x 3 grid; no two objects of a scene have both shape and colour in common.

Labels are what objects are ("red circle", 48 of them) and how shapes stand to each other ("circle
above star", "circle left of star", 30 each): any two scenes share one with a chance of a fifth.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from random import Random
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from modalhash.data.collection import Collection, Value
from modalhash.data.reading import Reading
from modalhash.errors import InputError

__all__ = ["SceneObject", "SceneSpec", "draw_scene", "make_scene", "read_scenes"]

_SIDE: Final = 224
_CELL: Final = _SIDE / 3
_DRAWING: Final = 1
"""Number of the way scenes are made and drawn; a change to it changes every picture's stamp."""

COLOURS: Final[Mapping[str, tuple[int, int, int]]] = {
    "red": (214, 39, 40),
    "green": (34, 139, 34),
    "blue": (31, 87, 199),
    "yellow": (250, 204, 21),
    "orange": (255, 127, 14),
    "purple": (128, 43, 177),
    "pink": (247, 140, 190),
    "brown": (121, 72, 40),
}
GROUNDS: Final[Mapping[str, tuple[int, int, int]]] = {
    "white": (255, 255, 255),
    "grey": (176, 180, 186),
    "black": (18, 18, 20),
}
SHAPES: Final = ("circle", "square", "triangle", "star", "cross", "ring")
_SIZES: Final = {"small": (13.0, 17.0), "large": (27.0, 33.0)}
_SIZE_WORDS: Final = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}
_PLACES: Final = (
    ("top left corner", "top", "top right corner"),
    ("left", "centre", "right"),
    ("bottom left corner", "bottom", "bottom right corner"),
)
_NUMBERS: Final = ("one", "two", "three", "four")
_OPENINGS: Final = ("", "a picture of ", "an image of ", "a drawing with ", "there is ", "I see ")

LABEL_NAMES: Final = (
    *(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES),
    *(f"{first} above {second}" for first, second in permutations(SHAPES, 2)),
    *(f"{first} left of {second}" for first, second in permutations(SHAPES, 2)),
)
_LABEL_COLUMNS: Final = {name: column for column, name in enumerate(LABEL_NAMES)}
_Choice = TypeVar("_Choice")


@dataclass(frozen=True)
class SceneObject:
    """One object.

    Attributes:
        shape: one of `SHAPES`.
        colour: one of `COLOURS`.
        size: "small" or "large".
        row: of its cell, 0 at the top.
        column: of its cell, 0 at the left.
        centre: x and y in pixels.
        radius: of the circle around it, in pixels.
    """

    shape: str
    colour: str
    size: str
    row: int
    column: int
    centre: tuple[float, float]
    radius: float

    @property
    def name(self) -> str:
        """Return colour and shape ("red circle")."""
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class SceneSpec:
    """What is in a scene.

    Attributes:
        ground: one of `GROUNDS`.
        objects: one to four, no two in one cell.
    """

    ground: str
    objects: tuple[SceneObject, ...]

    def label_names(self) -> set[str]:
        """List the labels that hold in this scene."""
        names = {thing.name for thing in self.objects}
        for first, second in permutations(self.objects, 2):
            if first.shape != second.shape:
                if first.row < second.row:
                    names.add(f"{first.shape} above {second.shape}")
                if first.column < second.column:
                    names.add(f"{first.shape} left of {second.shape}")
        return names


def _random(seed: int, number: int, purpose: str) -> Random:
    """Seed a generator for one scene; only its `random()` is used, which never changes."""
    digest = hashlib.sha256(f"{_DRAWING}:{seed}:{number}:{purpose}".encode()).digest()
    return Random(int.from_bytes(digest[:16]))  # noqa: S311 - nothing here is secret


def _pick(random: Random, choices: Sequence[_Choice]) -> _Choice:
    return choices[int(random.random() * len(choices))]


def make_scene(seed: int, number: int) -> SceneSpec:
    """Make up scene `number` of a seed; it depends on nothing else.

    Example:
        >>> [thing.name for thing in make_scene(0, 1).objects]
        ['pink ring', 'brown square', 'green triangle']
    """
    random = _random(seed, number, "scene")
    cells = [(row, column) for row in range(3) for column in range(3)]
    names = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    objects = []
    ground = _pick(random, tuple(GROUNDS))
    for _ in range(_pick(random, (1, 2, 2, 3, 3, 4))):
        row, column = cells.pop(int(random.random() * len(cells)))
        colour, shape = names.pop(int(random.random() * len(names)))
        size = _pick(random, tuple(_SIZES))
        smallest, largest = _SIZES[size]
        radius = smallest + random.random() * (largest - smallest)
        play = _CELL / 2 - radius - 1
        across, down = (random.random() * 2 - 1) * play, (random.random() * 2 - 1) * play
        centre = ((column + 0.5) * _CELL + across, (row + 0.5) * _CELL + down)
        objects.append(SceneObject(shape, colour, size, row, column, centre, radius))
    return SceneSpec(ground, tuple(objects))


def caption_scene(scene: SceneSpec, random: Random) -> tuple[str, ...]:
    """Describe a scene in five different ways, in an order that `random` decides.

    Args:
        scene: what to describe.
        random: decides words and order; its state moves on.

    Returns:
        Five texts: everything with sizes, places, relation (or the one object's place), number
        and ground, and bare names.
    """
    objects = list(scene.objects)
    texts = [
        _opening(random) + _enumerate([_sized(thing, random) for thing in _order(objects, random)]),
        _enumerate(
            [f"{_article(thing.name)} {_place(thing)}" for thing in _order(objects, random)]
        ),
        _relation(objects, random),
        _write_counts(scene, _order(objects, random)),
        " ".join(thing.name for thing in _order(objects, random)),
    ]
    return tuple(_order(texts, random))


def _order(things: Sequence[_Choice], random: Random) -> list[_Choice]:
    return [
        thing for _, thing in sorted(((random.random(), thing) for thing in things), key=_first)
    ]


def _first(pair: tuple[float, object]) -> float:
    return pair[0]


def _opening(random: Random) -> str:
    return _pick(random, _OPENINGS)


def _article(words: str) -> str:
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def _sized(thing: SceneObject, random: Random) -> str:
    return f"a {_pick(random, _SIZE_WORDS[thing.size])} {thing.name}"


def _enumerate(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def _place(thing: SceneObject) -> str:
    place = _PLACES[thing.row][thing.column]
    return f"in the {place}" if place.endswith(("corner", "centre")) else f"at the {place}"


def _relation(objects: Sequence[SceneObject], random: Random) -> str:
    if len(objects) == 1:
        return f"only {_article(objects[0].name)} {_place(objects[0])}"
    first, second = _order(objects, random)[:2]
    vertical = "above" if first.row < second.row else "below"
    sideways = "to the left of" if first.column < second.column else "to the right of"
    words = [
        word
        for word, differs in (
            (vertical, first.row != second.row),
            (sideways, first.column != second.column),
        )
        if differs
    ]
    return f"{_article(first.name)} {_pick(random, words)} {_article(second.name)}"


def _write_counts(scene: SceneSpec, objects: Sequence[SceneObject]) -> str:
    number = _NUMBERS[len(objects) - 1]
    noun = "object" if len(objects) == 1 else "objects"
    names = _enumerate([_article(thing.name) for thing in objects])
    return f"{number} {noun} on a {scene.ground} background: {names}"


def draw_scene(scene: SceneSpec) -> Image.Image:
    """Draw a scene: RGB, 224 x 224, with smooth edges."""
    picture = Image.new("RGB", (2 * _SIDE, 2 * _SIDE), GROUNDS[scene.ground])
    canvas = ImageDraw.Draw(picture)
    for thing in scene.objects:
        x, y = (2 * place for place in thing.centre)
        _DRAWERS[thing.shape](canvas, x, y, 2 * thing.radius, COLOURS[thing.colour])
    return picture.reduce(2)


_Rgb = tuple[int, int, int]


def _box(x: float, y: float, half: float) -> tuple[float, float, float, float]:
    return (x - half, y - half, x + half, y + half)


def _draw_circle(canvas: ImageDraw.ImageDraw, x: float, y: float, radius: float, rgb: _Rgb) -> None:
    canvas.ellipse(_box(x, y, radius), fill=rgb)


def _draw_ring(canvas: ImageDraw.ImageDraw, x: float, y: float, radius: float, rgb: _Rgb) -> None:
    canvas.ellipse(_box(x, y, radius), outline=rgb, width=round(radius * 0.36))


def _draw_square(canvas: ImageDraw.ImageDraw, x: float, y: float, radius: float, rgb: _Rgb) -> None:
    canvas.rectangle(_box(x, y, radius * 0.86), fill=rgb)


def _draw_cross(canvas: ImageDraw.ImageDraw, x: float, y: float, radius: float, rgb: _Rgb) -> None:
    arm = radius * 0.32
    canvas.rectangle((x - radius, y - arm, x + radius, y + arm), fill=rgb)
    canvas.rectangle((x - arm, y - radius, x + arm, y + radius), fill=rgb)


def _draw_triangle(
    canvas: ImageDraw.ImageDraw, x: float, y: float, radius: float, rgb: _Rgb
) -> None:
    canvas.polygon(_corners(x, y, [radius] * 3), fill=rgb)


def _draw_star(canvas: ImageDraw.ImageDraw, x: float, y: float, radius: float, rgb: _Rgb) -> None:
    canvas.polygon(_corners(x, y, [radius, radius * 0.42] * 5), fill=rgb)


def _corners(x: float, y: float, radii: Sequence[float]) -> list[tuple[float, float]]:
    """Compute corners at equal angles, the first one straight up."""
    step = 2 * math.pi / len(radii)
    return [
        (x + radius * math.sin(turn * step), y - radius * math.cos(turn * step))
        for turn, radius in enumerate(radii)
    ]


_Drawer = Callable[[ImageDraw.ImageDraw, float, float, float, _Rgb], None]
_DRAWERS: Final[Mapping[str, _Drawer]] = {
    "circle": _draw_circle,
    "square": _draw_square,
    "triangle": _draw_triangle,
    "star": _draw_star,
    "cross": _draw_cross,
    "ring": _draw_ring,
}


@dataclass(frozen=True)
class ScenePictures:
    """The pictures of the scenes of a seed, drawn when asked for; see `Pictures`."""

    seed: int

    def open(self, position: int) -> Image.Image:
        """Draw the picture."""
        return draw_scene(make_scene(self.seed, position))

    def stamp(self, position: int) -> str:
        """Describe what the picture is drawn from."""
        return f"scene {_DRAWING}:{self.seed}:{position}"

    def digest(self, position: int) -> str:
        """Compute a SHA-256 of what the picture is drawn from."""
        return hashlib.sha256(self.stamp(position).encode()).hexdigest()

    def path(self, position: int) -> None:
        """Answer None: there is no file."""


def read_scenes(argument: str, *, split_seed: int) -> Reading:  # noqa: ARG001 - fixed splits
    """Make `COUNT` scenes of `SEED`, "COUNT:SEED"; 1,000 of seed 0 by default.

    Raises:
        InputError: if a number isn't whole, the count not positive or the seed negative.
    """
    count, seed = _parse(argument)
    captions: list[str] = []
    columns: dict[str, list[Value]] = {"background": [], "n_objects": [], "largest": []}
    labels: NDArray[np.uint8] = np.zeros((count, len(LABEL_NAMES)), np.uint8)
    for number in range(count):
        scene = make_scene(seed, number)
        captions.extend(caption_scene(scene, _random(seed, number, "captions")))
        labels[number, [_LABEL_COLUMNS[name] for name in scene.label_names()]] = 1
        columns["background"].append(scene.ground)
        columns["n_objects"].append(len(scene.objects))
        columns["largest"].append(max(scene.objects, key=lambda thing: thing.radius).name)
    item_ids = tuple(f"scene-{seed}-{number:07d}" for number in range(count))
    place = np.arange(count, dtype=np.int64)
    collection = Collection(
        name="scenes",
        item_ids=item_ids,
        caption_ids=tuple(f"{item}#{k}" for item in item_ids for k in range(5)),
        caption_items=np.repeat(place, 5),
        captions=tuple(captions),
        pictures=ScenePictures(seed),
        labels=labels,
        label_names=LABEL_NAMES,
        metadata={column: tuple(values) for column, values in columns.items()},
        splits={
            "train": place[(place % 10 != 1) & (place % 10 != 2)],
            "dev": place[place % 10 == 2],
            "test": place[place % 10 == 1],
        },
        source=f"scenes:{count}:{seed}",
        split_note="fixed: of every ten scenes the second is test and the third dev",
    )
    return Reading(collection)


def _parse(argument: str) -> tuple[int, int]:
    parts = (argument or "1000").split(":")
    whole = all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts)
    if not whole or len(parts) > 2 or not int(parts[0]):
        raise InputError(
            f"'scenes:{argument}' isn't COUNT or COUNT:SEED: write a positive whole number, "
            "and a seed from 0 on, such as scenes:500:3"
        )
    return int(parts[0]), int(parts[1]) if len(parts) > 1 else 0
