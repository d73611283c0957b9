"""A folder of small coloured photos with captions that say the colour, for towers that learn."""

from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["COLOURS", "write_coloured_photos"]

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 50, 220), "grey": (90,) * 3}


def write_coloured_photos(folder: Path, n_photos: int = 32, *, seed: int = 0) -> Path:
    """Write photos with two captions and a label each, and splits; return the folder."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    captions, labels = ["image\tcaption"], ["image\t" + "\t".join(COLOURS)]
    for number in range(n_photos):
        name, colour = f"{number:03d}.png", list(COLOURS)[number % len(COLOURS)]
        noise = rng.integers(-25, 26, (20, 24, 3))
        pixels = np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / name)
        captions += [f"{name}\ta {colour} picture", f"{name}\tthe {colour} dog runs"]
        labels.append("\t".join([name, *(str(int(one == colour)) for one in COLOURS)]))
    (folder / "captions.tsv").write_text("\n".join(captions) + "\n", encoding="utf-8")
    (folder / "labels.tsv").write_text("\n".join(labels) + "\n", encoding="utf-8")
    (folder / "splits").mkdir()
    names = [f"{number:03d}.png" for number in range(n_photos)]
    n_test = n_photos // 4
    for split, members in (("train", names[n_test:]), ("test", names[:n_test])):
        (folder / "splits" / f"{split}.txt").write_text("\n".join(members) + "\n", "utf-8")
    return folder
