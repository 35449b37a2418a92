"""One HTML file that shows what was done: figures, tables, notes and provenance, with nothing to fetch."""

import base64
import html
import io
import re
from dataclasses import dataclass, field

import numpy as np

from specalign.display import Displayed, brief
from specalign.exceptions import SpecalignError
from specalign.io.files import atomic_write

__all__ = ["Section", "write_report"]

#: Rows of a table that are shown; the rest is counted.
MOST_ROWS = 60

#: Texts of more characters may be broken into lines.
LONG = 40

#: Sharp on paper at the size of a page, and far below the size at which mail servers refuse a file.
DPI = 160


@dataclass(repr=False)
class Section(Displayed):
    """A part of a report.

    Parameters
    ----------
    title : str
    text : str
        Plain text; an empty line begins a paragraph.
    figures : list of (`~matplotlib.figure.Figure`, str)
        With captions.
    tables : list of (`~astropy.table.Table`, str)
        With captions; units stand under the names.
    notes : list of str
        What a reader must know in order not to be misled.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from specalign.plots import Section
    >>> table = Table({"recall@1": [0.5]})
    >>> section = Section("Retrieval", "How often a star is found.", tables=[(table, "Test stars")])
    >>> section.title, len(section.tables), section.notes
    ('Retrieval', 1, [])
    """

    title: str
    text: str = ""
    figures: list = field(default_factory=list)
    tables: list = field(default_factory=list)
    notes: list = field(default_factory=list)

    def _facts(self):
        parts = {name: str(len(getattr(self, name))) for name in ("figures", "tables", "notes")}
        return {"title": self.title, "text": brief(self.text), **parts}


def write_report(path, title, sections, *, subtitle="", headline=(), notes=(), provenance=None):
    """Write a report as one self-contained HTML file.

    Parameters
    ----------
    path : str or `~pathlib.Path`
    title, subtitle : str
    sections : list of Section
    headline : list of (name, value, remark)
        The few figures that matter most, already formatted with their units.
    notes : list of str
        Shown at the top, before any figure: for instance that the data are a mock.
    provenance : dict
        Versions, seeds, digests, commands; dicts within it become groups.

    Returns
    -------
    path : str or `~pathlib.Path`

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from specalign.plots import Section, write_report
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "report.html"
    ...     _ = write_report(path, "A run", [Section("Look-alikes", "None.")], notes=["Mock data."])
    ...     "Mock data." in path.read_text(encoding="utf-8")
    True
    """
    names = _anchors([section.title for section in sections])
    parts = [_header(title, subtitle), _notes(notes), _headline(headline), _contents(sections, names, provenance)]
    parts += [_section(section, name) for section, name in zip(sections, names, strict=True)]
    parts += [_provenance(provenance or {})]
    page = _PAGE.format(title=html.escape(title), style=_STYLE, body="\n".join(part for part in parts if part))
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _header(title, subtitle):
    below = f'<p class="subtitle">{html.escape(subtitle)}</p>' if subtitle else ""
    return f"<header><h1>{html.escape(title)}</h1>{below}</header>"


def _notes(notes):
    return "".join(f'<p class="note" role="note">{html.escape(note)}</p>' for note in notes)


def _headline(cards):
    items = "".join(
        f'<li><span class="name">{html.escape(str(name))}</span><span class="value">{html.escape(str(value))}</span>'
        f'<span class="remark">{html.escape(str(remark))}</span></li>'
        for name, value, remark in cards
    )
    return f'<ul class="headline">{items}</ul>' if items else ""


def _anchors(titles):
    """A name for each title that stays the same when sections move, so that links into a report keep working."""
    names = []
    for title in titles:
        name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
        taken = sum(re.fullmatch(rf"{re.escape(name)}(--\d+)?", other) is not None for other in [*names, "provenance"])
        names.append(f"{name}--{taken + 1}" if taken else name)
    return names


def _contents(sections, names, provenance):
    entries = [(name, section.title) for name, section in zip(names, sections, strict=True)]
    entries += [("provenance", "Provenance")] if provenance else []
    items = "".join(f'<li><a href="#{name}">{html.escape(title)}</a></li>' for name, title in entries)
    return f'<nav aria-label="Contents"><ol>{items}</ol></nav>' if len(entries) > 1 else ""


def _section(section, name):
    text = "".join(f"<p>{html.escape(part.strip())}</p>" for part in section.text.split("\n\n") if part.strip())
    tables = "".join(_table(table, caption) for table, caption in section.tables)
    figures = "".join(_figure(figure, caption) for figure, caption in section.figures)
    title = html.escape(section.title)
    return f'<section id="{name}"><h2>{title}</h2>{text}{_notes(section.notes)}{figures}{tables}</section>'


def _figure(figure, caption):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, pil_kwargs={"optimize": True})
    data = base64.b64encode(buffer.getvalue()).decode()
    words, instead = html.escape(caption), html.escape(_in_words(figure), quote=True)
    image = f'<img src="data:image/png;base64,{data}" alt="{instead}" style="--inches:{figure.get_figwidth():.2f}">'
    return f"<figure>{image}<figcaption>{words}</figcaption></figure>"


def _in_words(figure):
    """What a reader hears who cannot see the figure; the caption is read anyway."""
    panels = [ax for ax in figure.axes if ax.axison and ax.get_label() != "<colorbar>"]
    words = [" ".join(_panel_in_words(ax).split()) for ax in panels]
    count = f"{len(panels)} panels. " if len(panels) > 1 else ""
    return f"Figure. {count}{'; '.join(filter(None, words))}."


def _panel_in_words(ax):
    title = ax.get_title(loc="left") or ax.get_title()
    x = _axis_label(ax, ax.get_shared_x_axes(), "get_xlabel")
    y = _axis_label(ax, ax.get_shared_y_axes(), "get_ylabel")
    axes = f"{y} against {x}" if x and y else x or y
    return ": ".join(filter(None, (title, axes)))


def _axis_label(ax, shared, name):
    """The label of an axis, or of the panel with which it is shared, or of all panels."""
    panels = [ax, *(other for other in ax.figure.axes if other in shared.get_siblings(ax))]
    labels = [getattr(panel, name)() for panel in panels]
    return next(filter(None, [*labels, getattr(ax.figure, name.replace("get_", "get_sup"))()]), "")


def _table(table, caption):
    _check_lengths(table)
    kinds = [_kind(table[name]) for name in table.colnames]
    names = "".join(f"<th{kind}>{_breakable(name)}</th>" for name, kind in zip(table.colnames, kinds, strict=True))
    units = [_unit(table[name]) for name in table.colnames]
    second = "".join(f"<td{kind}>{html.escape(unit)}</td>" for unit, kind in zip(units, kinds, strict=True))
    head = f"<tr>{names}</tr>" + (f'<tr class="units">{second}</tr>' if any(units) else "")
    rows = "".join(_table_row(table, index) for index in range(min(len(table), MOST_ROWS)))
    left = f" (the first {MOST_ROWS} of {len(table)} rows)" if len(table) > MOST_ROWS else ""
    caption = html.escape(caption.rstrip(".") + left)
    body = f"<thead>{head}</thead><tbody>{rows}</tbody>"
    return f'<div class="table"><table><caption>{caption}</caption>{body}</table></div>'


def _check_lengths(table):
    for name in table.colnames:
        if getattr(table[name], "ndim", 1) != 1:
            raise SpecalignError(f"column {name!r} has {table[name].ndim} dimensions; a report shows one value a cell")


def _kind(column):
    return ' class="number"' if getattr(column, "dtype", np.dtype(object)).kind in "iuf" else ""


def _breakable(name):
    return html.escape(name).replace("_", "_<wbr>")


def _unit(column):
    unit = getattr(column, "unit", None)
    return "" if unit is None else unit.to_string("unicode") if hasattr(unit, "to_string") else str(unit)


def _table_row(table, index):
    cells = [_cell(getattr(table[name], "value", table[name])[index]) for name in table.colnames]
    return "<tr>" + "".join(cells) + "</tr>"


def _cell(value):
    if value is np.ma.masked or np.any(getattr(value, "mask", False)):
        return '<td class="number">–</td>'
    value = np.asarray(value.unmasked)[()] if hasattr(value, "unmasked") else value
    if isinstance(value, (bool, np.bool_)):
        return f"<td>{'yes' if value else 'no'}</td>"
    if isinstance(value, (int, np.integer)):
        return f'<td class="number">{value:,}</td>'.replace(",", "\u2009")
    if isinstance(value, (float, np.floating)):
        return f'<td class="number">{_number(value)}</td>'
    text = str(value)
    kind = ' class="long"' if len(text) > LONG else ""
    return f"<td{kind}>{html.escape(text)}</td>"


def _number(value):
    """Four significant digits; a dash where there is no value."""
    if not np.isfinite(value):
        return "–"
    size = abs(value)
    if size and not 1e-3 <= size < 1e6:
        return f"{value:.2e}"
    decimals = 4 if size < 1 else 3 if size < 10 else 2 if size < 100 else 1
    return f"{value:,.{decimals}f}".replace(",", "\u2009")


def _provenance(facts):
    if not facts:
        return ""
    return f'<section id="provenance"><h2>Provenance</h2>{_facts(facts)}</section>'


def _facts(facts):
    items = "".join(f"<dt>{html.escape(str(name))}</dt><dd>{_fact(value)}</dd>" for name, value in facts.items())
    return f"<dl>{items}</dl>"


def _fact(value):
    if isinstance(value, dict) and any(isinstance(part, dict) for part in value.values()):
        return _facts(value)
    if isinstance(value, dict):
        value = [f"{name}: {part}" for name, part in value.items()]
    if isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value))
    return f"<code>{html.escape(str(value))}</code>"


# The policy makes "self-contained" a rule that browsers enforce: nothing can be fetched, nothing can run.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body><main>
{body}
</main></body>
</html>
"""

# Figures keep their white paper on a dark page: their colours were chosen for it.
_STYLE = """
:root { color-scheme: light dark; --ink: #22282f; --soft: #5d6873; --line: #dfe4e9; --accent: #1f5fa8; --paper: #ffffff;
  --desk: #f3f5f7; --note: #fff7e3; --mark: #d9a21b; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #dde3e9; --soft: #9da8b3; --line: #39424c; --accent: #7fb2ea; --paper: #1b2027; --desk: #12161b;
    --note: #332b15; --mark: #b98a12; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--desk); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 64rem; margin: 2rem auto; padding: 2.5rem 3rem; background: var(--paper); border-radius: 6px;
  box-shadow: 0 1px 4px rgba(20, 30, 40, .12); }
header { border-bottom: 3px solid var(--accent); margin-bottom: 1.5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .6rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); }
p { margin: .5rem 0; max-width: 46rem; overflow-wrap: anywhere; }
a { color: var(--accent); }
nav ol { columns: 2 16rem; margin: 1rem 0; padding-left: 1.6rem; font-size: .95rem; }
nav li { break-inside: avoid; }
.subtitle { color: var(--soft); margin-bottom: 1rem; }
.note { background: var(--note); border-left: 4px solid var(--mark); padding: .6rem .9rem; }
.headline { list-style: none; display: grid; grid-template-columns: repeat(auto-fit, minmax(11.5rem, 1fr)); gap: .8rem;
  padding: 0; margin: 1.5rem 0; }
.headline li { border: 1px solid var(--line); border-radius: 6px; padding: .7rem .9rem; }
.headline span { display: block; }
.headline .name, .headline .remark { color: var(--soft); font-size: .82rem; line-height: 1.35; }
.headline .value { font-size: 1.65rem; font-weight: 650; color: var(--accent); font-variant-numeric: tabular-nums; }
.table { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: .4rem; }
th, td { padding: .25rem .5rem; border-bottom: 1px solid var(--line); text-align: left; }
th { vertical-align: bottom; }
td { white-space: nowrap; }
td.long { white-space: normal; min-width: 18rem; }
thead th { border-bottom: 2px solid var(--ink); }
thead:has(.units) th { border-bottom: 0; padding-bottom: 0; }
.units td { color: var(--soft); font-size: .8rem; border-bottom: 2px solid var(--ink); padding-top: 0; }
.number { text-align: right; }
figure { margin: 1.2rem 0; }
img { width: calc(var(--inches) * 110px); max-width: 100%; height: auto; background: #ffffff; border-radius: 3px; }
figcaption { color: var(--soft); font-size: .88rem; max-width: 46rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; font-size: .84rem; margin: .3rem 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
code { font: .95em ui-monospace, "DejaVu Sans Mono", monospace; }
@media screen and (max-width: 40rem) {
  main { margin: 0; padding: 1.2rem; border-radius: 0; }
  figure { overflow-x: auto; }
  img { max-width: none; width: max(100%, calc(var(--inches) * 75px)); }
}
@page { size: A4; margin: 16mm 15mm; }
@media print {
  :root { color-scheme: light; }
  body { background: none; font-size: 10.5pt; }
  main { margin: 0; padding: 0; max-width: none; box-shadow: none; }
  .table { overflow: visible; }
  td:not(.number) { white-space: normal; overflow-wrap: break-word; }
  td.long { min-width: 0; }
  table { font-size: 7.5pt; }
  thead { display: table-header-group; }
  caption, h2 { break-after: avoid; }
  section > p { break-after: avoid; }
  img { width: calc(var(--inches) * .82in); max-height: 190mm; object-fit: contain; object-position: left; }
  figure { margin: .6rem 0; }
  dl { font-size: 7.5pt; }
  p, figure, tr, .headline li, .note { break-inside: avoid; }
  .note, .headline li, header { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
