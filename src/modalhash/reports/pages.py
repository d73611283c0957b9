"""Self-contained HTML pages: templates, pictures and plots inside the file."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from modalhash.data.pictures import read_picture
from modalhash.errors import CollectionError, MissingExtraError
from modalhash.extras import import_optional
from modalhash.files import write_text
from modalhash.notebook_html import picture_url
from modalhash.videos import is_video_name, parse_moment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure_data", "new_figure", "picture_data", "thumbnail", "write_page"]

TEMPLATES = Path(__file__).parent / "templates"
THUMBNAIL, QUALITY = 160, 85
INK, GRID = "#6b7280", "#9ca3af40"


def write_page(template: str, values: Mapping[str, Any], path: Path) -> None:
    """Fill a template and write the page.

    Args:
        template: a file in `templates/`.
        values: what it shows; texts are escaped.
        path: where the page goes.

    Raises:
        MissingExtraError: if jinja2 isn't installed.
        StorageError: if the file system refuses.
    """
    jinja2 = import_optional("jinja2", extra="report", feature="writing HTML pages")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    write_text(path, environment.get_template(template).render(values), keeps_work=False)


def thumbnail(file: str | Path, size: int = THUMBNAIL) -> Image.Image | None:
    """Make a small RGB copy of a picture file, or None if it can't be read any more."""
    try:
        if parse_moment(str(file)) is not None or is_video_name(str(file)):
            picture = read_picture(Path(file))
        else:
            with Image.open(file) as opened:
                picture = opened.convert("RGB")
    except (OSError, CollectionError, MissingExtraError):
        return None
    picture.thumbnail((size, size))
    return picture


def picture_data(file: str | Path | None) -> str:
    """Encode a picture file's thumbnail as a data URL; "" if there is none to show."""
    small = None if file is None else thumbnail(file)
    return "" if small is None else picture_url(small, THUMBNAIL, QUALITY)


def new_figure(width: float = 5.4, height: float = 3.0) -> "Figure":
    """Make an empty figure in the pages' style, with one set of axes.

    Raises:
        MissingExtraError: if matplotlib isn't installed.
    """
    figures = import_optional("matplotlib.figure", extra="report", feature="plots")
    figure: Figure = figures.Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(INK)
    axes.tick_params(colors=INK)
    axes.grid(color=GRID)
    return figure


def figure_data(figure: "Figure") -> str:
    """Encode a figure as a data URL of an SVG picture with a clear background."""
    content = io.BytesIO()
    figure.savefig(content, format="svg", transparent=True, metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(content.getvalue()).decode()}"
