"""Encode in a process and then in a child: `python -m tests.oracles.encoding_child fork`.

Prints "same" where the child's features are those that one core gives, and nothing where it hangs.
"""

import multiprocessing
import sys
from typing import Any

import numpy as np
from PIL import Image

from modalhash.encoders import load_encoder
from modalhash.layers import FeatureScaling, LinearHead, ScalingRule
from modalhash.methods.hasher import HashTower

TEXTS = ["a red circle", "two blue squares on a green field"]


def outputs() -> list[np.ndarray[Any, Any]]:
    """Return features of texts and of a picture, and relaxed codes of a head with fixed weights."""
    import torch

    encoder = load_encoder("offline")
    drawing = Image.effect_mandelbrot((224, 224), (-2, -1, 1, 1), 50).convert("RGB")
    picture = encoder.image.prepare(drawing)
    image, texts = encoder.image.encode([picture]).pooled, encoder.text.encode(TEXTS).pooled
    tower = HashTower(FeatureScaling(ScalingRule.UNIT, image.shape[1]), LinearHead(1280, 16)).eval()
    with torch.no_grad():
        tower.head.map.weight.copy_(torch.arange(16 * 1280).view(16, 1280) % 7 - 3)  # type: ignore[union-attr, operator]
        tower.head.map.bias.zero_()  # type: ignore[union-attr, operator]
    return [image, texts, tower.relaxed(np.repeat(image, 600, axis=0))]


def send_outputs(queue: Any, *, is_forked: bool) -> None:
    """Send what a child computes; a forked one computes on one core by itself."""
    import torch

    if not is_forked:
        torch.set_num_threads(1)
    assert torch.get_num_threads() == 1
    queue.put(outputs())


def main(method: str) -> None:
    """Compute here with two threads, then in a child."""
    import torch

    torch.set_num_threads(2)
    outputs()
    context: Any = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(
        target=send_outputs, args=(queue,), kwargs={"is_forked": method == "fork"}, daemon=True
    )
    child.start()
    found = queue.get(timeout=240)
    child.join(30)
    torch.set_num_threads(1)
    for mine, theirs in zip(outputs(), found, strict=True):
        np.testing.assert_array_equal(theirs, mine)
    sys.stdout.write("same\n")


if __name__ == "__main__":
    main(sys.argv[1])
