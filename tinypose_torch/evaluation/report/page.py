"""HTML of a report: one file without links to others, for small screens too, light and dark."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import cv2
import numpy as np

from tinypose_torch.utils.atomic import replacing
from tinypose_torch.utils.messages import escaped
from tinypose_torch.utils.provenance import SOFTWARE

_QUALITY = 82
_REFRESH_SECONDS = 10
# Nothing is loaded and no script runs, whatever names the annotations have.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_START = (
    f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="generator" content="{SOFTWARE}">\n'
)
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5d6b7c; --paper: #f4f6f8; --card: #ffffff; --line: #dde3ea; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e9ef; --soft: #9aa8b8; --paper: #12161b; --card: #1b2129; --line: #303945; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 16px; font: 15px/1.45 system-ui, sans-serif; color: var(--ink);
  background: var(--paper); }
h1 { font-size: 1.5em; margin: 8px 0; overflow-wrap: anywhere; }
h2 { font-size: 1.05em; margin: 0 0 8px; }
p { margin: 6px 0; color: var(--soft); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px; min-width: 0; }
section.wide { grid-column: 1 / -1; }
.sections { display: grid; gap: 12px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); }
.scroll { overflow-x: auto; }
.images { display: grid; gap: 12px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 320px), 1fr)); }
svg { width: 100%; height: auto; max-width: 620px; display: block; margin: 0 auto; color: var(--ink); }
svg text { font-family: system-ui, sans-serif !important; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: 3px 8px 3px 0; text-align: left; border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums;
  vertical-align: top; }
td + td { overflow-wrap: anywhere; }
table.numbers td + td, table.numbers th + th { text-align: right; white-space: nowrap; }
figure { margin: 0; min-width: 0; }
figure div { display: grid; grid-template-columns: 1fr 1fr; gap: 2px; }
img { width: 100%; display: block; }
figcaption { font-size: 0.85em; color: var(--soft); overflow-wrap: anywhere; }
"""


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        title: Plain text.
        html: The content; texts in it are escaped.
        note: Plain text below the title.
        wide: Whether it takes the whole width.
    """

    title: str
    html: str
    note: str = ""
    wide: bool = False


@dataclass(frozen=True)
class ImagePair:
    """An image with its annotations, and with its predictions.

    Attributes:
        annotated, predicted: ``(H, W, 3)`` uint8 RGB.
    """

    caption: str
    annotated: np.ndarray
    predicted: np.ndarray


def write_page(path: Path, title: str, sections: Iterable[Section], *, refresh: bool = False) -> None:
    """Write a page atomically.

    Args:
        refresh: Whether a browser loads the page again every few seconds.

    Raises:
        OutputError: It cannot be written.
    """
    reload = f'<meta http-equiv="refresh" content="{_REFRESH_SECONDS}">\n' if refresh else ""
    text = (
        f'{_START}<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n{reload}'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{_text(title)}</h1>\n"
        f'<div class="sections">\n{"".join(map(_section, sections))}</div>\n</body>\n</html>\n'
    )
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def table(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> str:
    """A table of texts; with a header all columns but the first are numbers."""
    head = f"<tr>{''.join(f'<th>{_text(cell)}</th>' for cell in header)}</tr>" if header else ""
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>\n" for row in rows)
    return f'<div class="scroll"><table{" class=numbers" if header else ""}>{head}{body}</table></div>'


def facts_table(facts: Mapping[str, str]) -> str:
    """A table of names and values."""
    return table(list(facts.items()))


def image_pairs(pairs: Iterable[ImagePair]) -> str:
    """Images with their annotations on the left and their predictions on the right."""
    return f'<div class="images">{"".join(map(_figure, pairs))}</div>'


def _section(section: Section) -> str:
    note = f"<p>{_text(section.note)}</p>" if section.note else ""
    kind = ' class="wide"' if section.wide else ""
    return f"<section{kind}><h2>{_text(section.title)}</h2>{note}{section.html}</section>\n"


def _figure(pair: ImagePair) -> str:
    images = "".join(
        f'<img alt="{kind}" src="{_data_address(image)}">'
        for kind, image in (("annotated", pair.annotated), ("predicted", pair.predicted))
    )
    return f"<figure><div>{images}</div><figcaption>{_text(pair.caption)}</figcaption></figure>\n"


def _data_address(image: np.ndarray) -> str:
    encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"


def _text(text: str) -> str:
    return escape(escaped(text))
