"""A folder of tiny videos as frames: each goes from one colour to another, and its text says so."""

from itertools import permutations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.oracles.coloured_photos import COLOURS

__all__ = ["frame_colours", "write_coloured_videos"]


def frame_colours(number: int, n_frames: int) -> NDArray[np.uint8]:
    """Return the colour of each frame of a video, (f, 3) uint8."""
    first, last = list(permutations(COLOURS, 2))[number % 12]
    shares = np.linspace(0, 1, n_frames)[:, None]
    mixed: NDArray[np.float64] = (1 - shares) * np.array(COLOURS[first]) + shares * np.array(
        COLOURS[last]
    )
    return mixed.astype(np.uint8)


def write_coloured_videos(folder: Path, n_videos: int = 24) -> Path:
    """Write videos of 1 to 7 frames with two captions each, and splits; return the folder."""
    rows, labels = ["video\tcaption\tlength"], ["video\t" + "\t".join(COLOURS)]
    for number in range(n_videos):
        name, n_frames = f"clip{number:02d}", 1 + number % 7
        first, last = list(permutations(COLOURS, 2))[number % 12]
        (folder / "videos" / name).mkdir(parents=True)
        for place, colour in enumerate(frame_colours(number, n_frames)):
            frame = Image.new("RGB", (20, 16), tuple(map(int, colour)))
            frame.save(folder / "videos" / name / f"{place + 1:05d}.png")
        rows.append(f"{name}\ta {first} picture of the {last} dog\t{n_frames}")
        rows.append(f"{name}\tthe {first} {last} picture\t{n_frames}")
        labels.append("\t".join([name, *(str(int(one in (first, last))) for one in COLOURS)]))
    (folder / "captions.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "labels.tsv").write_text("\n".join(labels) + "\n", encoding="utf-8")
    (folder / "splits").mkdir()
    names = [f"clip{number:02d}" for number in range(n_videos)]
    for split, members in (("train", names[6:]), ("test", names[:6])):
        (folder / "splits" / f"{split}.txt").write_text("\n".join(members) + "\n", "utf-8")
    return folder
