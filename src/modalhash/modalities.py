"""The words for what a thing is, pictures or texts: modality, side of an index, direction."""

from enum import StrEnum
from typing import Literal

__all__ = ["MODALITIES", "Direction", "Modality", "Side"]

Modality = Literal["image", "text"]
"""What one item or one query is."""
MODALITIES: tuple[Modality, Modality] = ("image", "text")


class Side(StrEnum):
    """What is searched: pictures or texts."""

    IMAGES = "images"
    TEXTS = "texts"

    @property
    def modality(self) -> Modality:
        """What an item of this side is."""
        return "image" if self is Side.IMAGES else "text"

    @classmethod
    def of(cls, modality: Modality) -> "Side":
        """Find the side that holds items of a modality.

        Example:
            >>> Side.of("text").value, Side.IMAGES.modality
            ('texts', 'image')
        """
        return cls.IMAGES if modality == "image" else cls.TEXTS


class Direction(StrEnum):
    """Modality of the queries, and of the database that they search."""

    IMAGE_TO_TEXT = "image_to_text"
    TEXT_TO_IMAGE = "text_to_image"
    IMAGE_TO_IMAGE = "image_to_image"
    TEXT_TO_TEXT = "text_to_text"

    @property
    def query(self) -> Modality:
        """Modality of the queries."""
        return "image" if self in (Direction.IMAGE_TO_TEXT, Direction.IMAGE_TO_IMAGE) else "text"

    @property
    def database(self) -> Modality:
        """Modality of the database."""
        return "image" if self in (Direction.TEXT_TO_IMAGE, Direction.IMAGE_TO_IMAGE) else "text"

    @property
    def is_within(self) -> bool:
        """Whether queries and database are of one modality."""
        return self.query == self.database

    @classmethod
    def between(cls, query: Modality, database: Modality) -> "Direction":
        """Find the direction from queries of one modality to a database of another.

        Example:
            >>> Direction.between("text", "image").value
            'text_to_image'
        """
        return next(
            direction
            for direction in cls
            if (direction.query, direction.database) == (query, database)
        )
