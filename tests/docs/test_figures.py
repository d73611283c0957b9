import re
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from modalhash.methods import METHODS, method_class
from modalhash.methods.base import GradientMethod

DOCS = Path(__file__).parent.parent.parent / "docs"
SVG = "{http://www.w3.org/2000/svg}"


def test_a_drawing_holds_its_boxes_and_arrows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(DOCS), *sys.path])
    from flow_drawing import Box, Flow, drawn  # type: ignore[import-not-found, unused-ignore]

    boxes = {"a": Box("one < two", "input", 0, 0), "b": Box("three\nfour", "loss", 1, 1, True)}
    root = ET.fromstring(drawn(Flow("a & b", boxes, [("a", "b")])))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert texts == ["one < two", "three", "four"]
    assert [rect.get("class") for rect in root.iter(f"{SVG}rect")][1:] == ["input", "loss training"]
    # From the middle of the right side of a (12 + 160, 12 + 24) to that of the left side of b,
    # a column (160 + 44) to the right and a row (48 + 16) lower.
    line = [path.get("d") for path in root.iter(f"{SVG}path") if path.get("marker-end")]
    assert line == ["M172,36 C194,36 194,100 216,100"]
    with pytest.raises(KeyError, match="c"):
        drawn(Flow("", boxes, [("a", "c")]))


@pytest.mark.parametrize(
    "name", [name for name in METHODS if issubclass(method_class(name), GradientMethod)]
)
def test_the_page_of_a_trained_method_shows_its_data_flow(name: str) -> None:
    page = (DOCS / "methods" / f"{name}.md").read_text()
    shown = re.search(r"!\[[^]]+\]\(\.\./images/(flow-[a-z0-9-]+\.svg)\)", page)
    assert shown is not None
    assert shown[1] == f"flow-{name}.svg"
    assert (DOCS / "images" / shown[1]).is_file()
