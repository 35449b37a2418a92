"""How objects show themselves: one line in a terminal, a plain table in a notebook.

The tables are HTML without scripts, styles or links, and every text in them is escaped: names of stars are what a
file or a user says.
"""

import dataclasses
import html

__all__ = ["Displayed", "brief", "fields_html", "fields_repr", "html_table"]

_SHOWN = 5  # elements of a sequence
_LONGEST = 300  # characters of a text
_COUNTED = 100_000  # elements of a vector of which the range is told


def html_table(caption, rows, header=()):
    """A table whose first column names the rows.

    Parameters
    ----------
    caption : str
    rows : iterable of sequences of str
    header : sequence of str
        Names of the columns; none by default.

    Examples
    --------
    >>> from specalign.display import html_table
    >>> html_table("Stars", [("one", "<b>2 & 3</b>")])
    '<table><caption>Stars</caption><tr><th>one</th><td>&lt;b&gt;2 &amp; 3&lt;/b&gt;</td></tr></table>'
    """
    lines = ["<tr>" + "".join(f"<th>{html.escape(str(name))}</th>" for name in header) + "</tr>"] if header else []
    for name, *cells in rows:
        text = "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells)
        lines.append(f"<tr><th>{html.escape(str(name))}</th>{text}</tr>")
    return f"<table><caption>{html.escape(str(caption))}</caption>{''.join(lines)}</table>"


def brief(value):
    """One short line for any value: of an array its shape, type and unit, and the range of a short vector.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> from specalign.display import brief
    >>> brief(np.zeros((2, 3), bool)), brief([1, 2, 3] * u.AA), brief({"a": None})
    ('(2, 3) bool', '3 from 1 to 3 Angstrom', 'a: none')
    """
    if value is None:
        return "none"
    if hasattr(value, "shape") and hasattr(value, "dtype") and not hasattr(value, "colnames"):
        return _brief_array(value)
    if hasattr(value, "colnames"):
        return f"{len(value)} rows of {', '.join(value.colnames)}"
    if isinstance(value, dict) or hasattr(value, "items"):
        return _shortened([f"{key}: {brief(one)}" for key, one in _first(value.items())], len(value)) or "none"
    if isinstance(value, (list, tuple, set, frozenset)) and not hasattr(value, "_fields"):
        return _shortened([brief(one) for one in _first(value)], len(value)) or "none"
    text = f"{value:.6g}" if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _brief_array(array):
    unit = str(getattr(array, "unit", None) or "")
    kind = str(array.dtype).removeprefix("torch.")
    if len(array.shape) == 1 and 0 < len(array) <= _COUNTED and kind.startswith(("float", "int", "uint")):
        low, high = (getattr(end, "value", end) for end in (array.min(), array.max()))
        return f"{len(array)} from {low:.6g} to {high:.6g} {unit}".rstrip()
    if not array.shape:
        return f"{array.item() if not unit else array.value:.6g} {unit}".rstrip() if kind[0] in "fiu" else str(array)
    return f"{tuple(array.shape)} {kind if not kind.startswith('<U') else 'str'} {unit}".rstrip()


def _first(values):
    return [value for value, _ in zip(values, range(_SHOWN), strict=False)]


def _shortened(texts, n):
    return ", ".join(texts + [f"and {n - _SHOWN} more"] * (n > _SHOWN))


def _fields(value):
    fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
    names = getattr(value, "_fields", None) or [f.name for f in fields if f.repr]
    return {name: brief(getattr(value, name)) for name in names if not name.startswith("_")}


def fields_repr(value):
    """One line with the fields of a named tuple or a dataclass, instead of its arrays.

    Examples
    --------
    >>> from specalign.display import fields_repr
    >>> from specalign.instruments.resampling import pixel_edges
    >>> fields_repr(pixel_edges([1.0, 2.0, 3.0]))
    '<PixelEdges: lower 3 from 0.5 to 2.5; upper 3 from 1.5 to 3.5>'
    """
    return f"<{type(value).__name__}: {'; '.join(f'{name} {text}' for name, text in _fields(value).items())}>"


def fields_html(value):
    """The fields of a named tuple or a dataclass as a table.

    Examples
    --------
    >>> from specalign.display import fields_html
    >>> from specalign.instruments.masking import Window
    >>> fields_html(Window(5885.0, 5900.0, "sodium"))[:67]
    '<table><caption>Window</caption><tr><th>lower</th><td>5885</td></tr'
    """
    return html_table(type(value).__name__, _fields(value).items())


class Displayed:
    """What shows itself by its facts; a subclass says which with ``_facts``, a dict of name to text.

    By default they are the fields of a dataclass, or the first line of the docstring where it has none.

    Examples
    --------
    >>> from specalign.display import Displayed
    >>> class Star(Displayed):
    ...     def _facts(self):
    ...         return {"name": "<i>Vega</i>", "Teff": "9600 K"}
    >>> Star()
    <Star: name <i>Vega</i>; Teff 9600 K>
    >>> "&lt;i&gt;Vega" in Star()._repr_html_()
    True
    """

    def _facts(self):
        return _fields(self) or {"rule": next(iter((self.__doc__ or "").splitlines()), "none stated")}

    def __repr__(self):
        return f"<{type(self).__name__}: {'; '.join(f'{name} {text}' for name, text in self._facts().items())}>"

    def _repr_html_(self):
        return html_table(type(self).__name__, self._facts().items())
