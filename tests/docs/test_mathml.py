import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import markdown  # type: ignore[import-untyped]
import pytest

DOCS = Path(__file__).parent.parent.parent / "docs"
SPACE = "{http://www.w3.org/1998/Math/MathML}"


@pytest.fixture(autouse=True)
def docs_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(DOCS), *sys.path])


def shown(text: str) -> str:
    from mathml import on_page_content  # type: ignore[import-not-found, unused-ignore]

    page = markdown.markdown(
        text,
        extensions=["pymdownx.arithmatex"],
        extension_configs={"pymdownx.arithmatex": {"generic": True}},
    )
    made: str = on_page_content(page)
    return made


def test_a_block_becomes_a_table_of_mathml() -> None:
    made = shown("$$\n\\begin{aligned}\na &= \\frac{1}{2} \\\\\nb &= c < d\n\\end{aligned}\n$$\n")
    math = ET.fromstring(made).find(f"{SPACE}math")
    assert math is not None
    assert math.get("display") == "block"
    assert len(math.findall(f".//{SPACE}mtr")) == 2
    assert [part.text for part in math.iter(f"{SPACE}mn")] == ["1", "2"]


def test_a_formula_in_a_line_stays_there_and_money_is_none() -> None:
    made = shown("From \\(a_i\\) it follows; it costs $5 or $6.")
    math = ET.fromstring(made).find(f"{SPACE}math")
    assert math is not None
    assert math.get("display") == "inline"
    assert "it costs $5 or $6." in made


def test_a_part_that_can_not_be_shown_stops_the_build() -> None:
    with pytest.raises(ValueError, match=r"^can't show <mi>&< of the formula"):
        shown("$$\n\\begin{gathered} a & b \\end{gathered}\n$$\n")
