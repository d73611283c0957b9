"""Turn the formulas of a page into MathML when the documentation is built.

A hook of mkdocs, run after `pymdownx.arithmatex` has marked the formulas. Browsers show MathML by
themselves, so a reader's browser fetches and runs nothing.
"""

import html
import re
from typing import Any

from latex2mathml.converter import convert

FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<latex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)
UNREAD = re.compile(r"<m[a-z]+>(?:&|\\[A-Za-z]+)<")
"""What the converter leaves of a command that it doesn't know."""


def on_page_content(content: str, **_context: Any) -> str:
    """Return the page's HTML with every formula as MathML."""
    return FORMULA.sub(formula, content)


def formula(match: re.Match[str]) -> str:
    """Return one formula as MathML: in the line, or in a block that scrolls if it is too wide.

    Raises:
        ValueError: if the converter doesn't know a part of it, naming the formula.
    """
    is_block = match["tag"] == "div"
    # The converter knows `split`, which is the same inside a block.
    latex = html.unescape(match["latex"]).strip().replace("{aligned}", "{split}")
    mathml = convert(latex, display="block" if is_block else "inline")
    unread = UNREAD.search(mathml)
    if unread:
        raise ValueError(f"can't show {unread[0]} of the formula {latex}")
    return f'<div style="overflow-x: auto">{mathml}</div>' if is_block else mathml
