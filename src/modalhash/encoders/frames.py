"""Videos: a picture tower run on each of some frames.

A video's pooled feature is the mean of its frames' pooled features. Its content tokens are its
frames, one token each; where a grid is asked for, each frame is followed by the patches of the
frame, pooled to that grid. A picture is a video of one frame.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modalhash.encoders.base import Identity, ImageTower, TowerOutput
from modalhash.errors import FeatureError, SettingError

__all__ = ["DEFAULT_FRAMES", "FrameTower", "frame_tokens"]

DEFAULT_FRAMES = 12
AT_ONCE_ON_CPU, AT_ONCE = 8, 256
"""Frames of all videos of a batch that are encoded at once."""


class FrameTower(ImageTower):
    """The videos of a collection, frame by frame.

    Args:
        tower: encodes each frame.
        frames: of a video at most; more are kept uniformly.
        grid: side of the square that a frame's patches are pooled to; 0 leaves patches out.

    Raises:
        SettingError: if `frames` is below 1 or `grid` below 0, or a grid is asked of a tower whose
            tokens aren't as wide as its pooled features.
    """

    def __init__(self, tower: ImageTower, frames: int = DEFAULT_FRAMES, grid: int = 0) -> None:
        if frames < 1 or grid < 0:
            raise SettingError(
                f"frames is {frames} and frame_grid {grid}, expected at least 1 and 0 or more"
            )
        if grid and tower.token_width != tower.width:
            raise SettingError(
                f"frame_grid is {grid}, but the image tower {tower.identity()['name']!r} has no "
                "patches as wide as its pooled features: take 0, or an encoder such as clip or vit"
            )
        self.tower, self.frames, self.grid = tower, frames, grid
        self.width = self.token_width = tower.width
        self.device = tower.device
        self.item_bytes = tower.item_bytes * frames
        self.picture_side = tower.picture_side

    def identity(self) -> Identity:
        """Combine the picture tower's identity with how videos are read."""
        return {**self.tower.identity(), "frames": self.frames, "frame_grid": self.grid}

    def decode_in_full(self) -> None:
        """Have large JPEG files decoded in full from now on; the identity follows."""
        self.tower.decode_in_full()
        super().decode_in_full()

    def state(self) -> Mapping[str, Any]:
        """Export how videos are read, as JSON; whether there are videos, a collection decides."""
        return {**self.tower.state(), "frames": self.frames, "frame_grid": self.grid}

    def prepare(self, picture: Image.Image) -> NDArray[Any]:
        """Prepare the input for a video of one frame."""
        return self.prepare_frames([picture])

    def prepare_frames(self, pictures: Sequence[Image.Image]) -> NDArray[Any]:
        """Prepare the input for a video, (f, ...); at least one frame."""
        return np.stack([self.tower.prepare(picture) for picture in pictures])

    def encode(self, prepared: Sequence[NDArray[Any]], *, with_tokens: bool = False) -> TowerOutput:
        """Encode a batch of videos.

        Raises:
            FeatureError: if patches don't form a square that the grid divides into windows.
        """
        frames = [frame for video in prepared for frame in video]
        needs_patches = with_tokens and self.grid > 0
        at_once = AT_ONCE_ON_CPU if self.device == "cpu" else AT_ONCE
        parts = [
            self.tower.encode(frames[start : start + at_once], with_tokens=needs_patches)
            for start in range(0, len(frames), at_once)
        ]
        pooled = np.concatenate([part.pooled for part in parts])
        patches = [part.tokens for part in parts if part.tokens is not None]
        all_patches = np.concatenate(patches) if patches else None
        ends = np.cumsum([len(video) for video in prepared])
        starts = ends - [len(video) for video in prepared]
        means = np.stack(
            [pooled[start:end].mean(axis=0) for start, end in zip(starts, ends, strict=True)]
        )
        if not with_tokens:
            return TowerOutput(means)
        own = [
            frame_tokens(
                pooled[start:end],
                None if all_patches is None else all_patches[start:end],
                self.grid,
                np.stack,
            )
            for start, end in zip(starts, ends, strict=True)
        ]
        lengths = np.array([len(tokens) for tokens in own])
        mask = np.arange(lengths.max()) < lengths[:, None]
        padded = np.zeros((*mask.shape, self.width), np.float32)
        padded[mask] = np.concatenate(own)
        return TowerOutput(means, padded, mask)


def frame_tokens(pooled: Any, patches: Any, grid: int, stack: Callable[..., Any]) -> Any:
    """Compute the tokens of a video, (f (1 + grid^2), w): each frame, then its pooled patches.

    Args:
        pooled: (f, w) array or tensor.
        patches: (f, t, w) patches of the frames, row by row; None without a grid.
        grid: side of the square that they are pooled to; 0 for none.
        stack: joins arrays or tensors at a new axis.

    Raises:
        FeatureError: if the patches aren't a square of at least that side.
    """
    parts = [pooled]
    if grid:
        side = round(patches.shape[1] ** 0.5)
        if side * side != patches.shape[1] or side < grid:
            raise FeatureError(
                f"frame_grid is {grid}, but frames have {patches.shape[1]} patches: expected a "
                "square of at least that side"
            )
        square = patches.reshape(len(pooled), side, side, -1)
        edges = [(part * side // grid, -(-(part + 1) * side // grid)) for part in range(grid)]
        parts += [
            square[:, top:bottom, left:right].mean((1, 2))
            for top, bottom in edges
            for left, right in edges
        ]
    return stack(parts, 1).reshape(len(pooled) * len(parts), -1)
