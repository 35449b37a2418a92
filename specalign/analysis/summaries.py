"""What a study of catalogues and spectra found, as tables that print well in a terminal and in a notebook."""

import html
from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.table import QTable

__all__ = ["CatalogueComparison", "CatalogueSummary", "SpectraSummary"]

_SHOWN = 25  # rows of a table that are printed


class _Study:
    """Prints a title, facts (name to text) and tables with captions; a study says what they are."""

    def __repr__(self):
        facts = self.facts()
        width = max(map(len, facts))
        lines = [f"<{self.title()}", *(f"  {name:{width}}  {text}" for name, text in facts.items())]
        for caption, table in self.tables():
            if len(table):
                units = any(getattr(table[name], "unit", None) for name in table.colnames)
                lines += [f"  {caption}:"]
                lines += [f"  {line}" for line in _shown(table).pformat(max_lines=-1, max_width=-1, show_unit=units)]
                lines += [f"  ... {len(table) - _SHOWN} more"] * (len(table) > _SHOWN)
        return "\n".join(line.rstrip() for line in lines) + ">"

    def _repr_html_(self):
        rows = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in self.facts().items())
        parts = [f"<table><caption>{html.escape(self.title())}</caption>{rows}</table>"]
        for caption, table in self.tables():
            if len(table):
                left = f" (the first {_SHOWN} of {len(table)})" if len(table) > _SHOWN else ""
                lines = _shown(table).pformat(max_lines=-1, max_width=-1, html=True)
                parts.append(f"<p>{html.escape(caption)}{left}</p>" + "".join(lines))
        return "".join(parts)


def _shown(table):
    """The first rows, with four significant digits where nothing else is said."""
    table = table[:_SHOWN].copy()
    for name in table.colnames:
        if table[name].dtype.kind == "f" and not table[name].info.format:
            table[name].info.format = ".4g"
    return table


@dataclass(frozen=True, repr=False)
class CatalogueSummary(_Study):
    """What one catalogue holds; see `~specalign.analysis.catalogue.describe_labels`.

    Parameters
    ----------
    name : str
    system : str or None
        The label system that the table names.
    n_rows, n_stars : int
    n_joined : int
        Equal rows that `~specalign.read_labels` had joined before; they are not among ``n_rows``.
    duplicates : `~astropy.table.QTable`
        Of `~specalign.analysis.catalogue.find_duplicates`.
    labels : `~astropy.table.QTable`
        A row a label: label, unit, n (stars with a value), n_missing, min, p5, median, p95, max (percentiles over the
        stars) and median_err (NaN without a column of errors).

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.table import QTable
    >>> from specalign.analysis.catalogue import describe_labels
    >>> from specalign.analysis.summaries import CatalogueSummary
    >>> summary = describe_labels(QTable({"object_id": ["a", "b"], "teff": [4500, 5000] * u.K}))
    >>> isinstance(summary, CatalogueSummary), summary.n_stars, summary.labels["median"].tolist()
    (True, 2, [4750.0])
    """

    name: str
    system: str | None
    n_rows: int
    n_stars: int
    n_joined: int
    duplicates: QTable
    labels: QTable

    @property
    def n_dropped(self):
        """Rows of stars that have a better row: ``n_rows - n_stars``."""
        return self.n_rows - self.n_stars

    def title(self):
        """What this is a study of."""
        return f"CatalogueSummary {self.name}"

    def tables(self):
        """The tables with their captions."""
        return [("labels", self.labels)]

    def facts(self):
        """The numbers in words: name to text."""
        dropped = self.duplicates[~self.duplicates["kept"]]
        kinds = ", ".join(f"{(dropped['kind'] == k).sum()} {k}" for k in sorted(set(dropped["kind"].tolist())))
        joined = f"; {self.n_joined} equal rows joined when read" if self.n_joined else ""
        return {
            "rows": f"{self.n_rows} of {self.n_stars} stars",
            "rows dropped": f"{self.n_dropped}{f' ({kinds})' if kinds else ''}{joined}",
            **({"label system": self.system or "not stated"} if len(self.labels) else {}),
        }


@dataclass(frozen=True, repr=False)
class CatalogueComparison(_Study):
    """Which stars two catalogues share, and how well their labels agree.

    See `~specalign.analysis.catalogue.compare_catalogues`.

    Parameters
    ----------
    a, b : CatalogueSummary
    n_common : int
        Stars that both have.
    only_a, only_b : `~astropy.table.QTable`
        Stars of one catalogue only, with their labels.
    agreement : `~astropy.table.QTable`
        A row a label that both have, of the differences b - a: label, unit, n, n_missing (common stars that lack it in
        one of them), median, mad_std (median absolute deviation, scaled to a standard deviation), rms, expected (median
        of both errors in quadrature, NaN without errors), largest and the object_id that has it.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.table import QTable
    >>> from specalign.analysis.catalogue import compare_catalogues
    >>> from specalign.analysis.summaries import CatalogueComparison
    >>> one = QTable({"object_id": ["a", "b"], "teff": [4500, 5000] * u.K})
    >>> two = QTable({"object_id": ["b", "c"], "teff": [5040, 6000] * u.K})
    >>> comparison = compare_catalogues(one, two)
    >>> isinstance(comparison, CatalogueComparison), comparison.n_common, comparison.agreement["median"].tolist()
    (True, 1, [40.0])
    """

    a: CatalogueSummary
    b: CatalogueSummary
    n_common: int
    only_a: QTable
    only_b: QTable
    agreement: QTable

    def title(self):
        """What this is a study of."""
        return f"CatalogueComparison of {self.a.name} and {self.b.name}"

    def facts(self):
        """The numbers in words: name to text."""
        facts = {f"{part.name}: {name}": text for part in (self.a, self.b) for name, text in part.facts().items()}
        facts["stars in both"] = str(self.n_common)
        for part, only in ((self.a, self.only_a), (self.b, self.only_b)):
            facts[f"stars in {part.name} only"] = str(len(only))
        if len(self.agreement) and self.a.system != self.b.system:
            facts["note"] = "the label systems differ, and so the differences hold the offset between them"
        return facts

    def tables(self):
        """The tables with their captions."""
        return [
            (f"{self.b.name} minus {self.a.name}", self.agreement),
            (f"in {self.a.name} only", self.only_a),
            (f"in {self.b.name} only", self.only_b),
        ]


@dataclass(frozen=True, repr=False)
class SpectraSummary(_Study):
    """What prepared spectra hold; see `~specalign.analysis.coverage.describe_spectra`.

    Parameters
    ----------
    instrument : str
    n_spectra, n_stars, n_rejected, n_pixels : int
    coverage : `~astropy.units.Quantity` (2,)
        First and last pixel of the grid, vacuum wavelengths.
    good_coverage : `~astropy.units.Quantity` (2,)
        First and last pixel that is good in enough spectra; NaN where there is none.
    step : `~astropy.units.Quantity` (2,)
        Smallest and largest step of the grid, without its breaks.
    good_fraction, median_snr : float
    frames : dict of str to int
        Spectra by frame.
    gaps : `~astropy.table.QTable`
        Stretches without data: begin, end (of the first and the last pixel that is missing; of the pixels beside it for
        a break of the grid), pixels, place ("edge", "gap", or "grid": a break of the grid) and reasons (share of the
        missing pixels that have a named bit).
    reasons : `~astropy.table.QTable`
        A row a quality bit: bit, n_masked (masked pixels that have it), share (of all masked pixels; a pixel may have
        several bits), n_good (good pixels that have it: a warning).

    Examples
    --------
    >>> import numpy as np
    >>> from specalign import get_instrument
    >>> from specalign.analysis.coverage import describe_spectra
    >>> from specalign.analysis.summaries import SpectraSummary
    >>> apogee = get_instrument("apogee")
    >>> flux = np.ones((1, apogee.n_pixels))
    >>> summary = describe_spectra(apogee.prepare_arrays(flux, spectral_axis=apogee.spectral_axis, object_id=["a"]))
    >>> isinstance(summary, SpectraSummary), summary.n_spectra, len(summary.gaps)
    (True, 1, 4)
    """

    instrument: str
    n_spectra: int
    n_stars: int
    n_rejected: int
    n_pixels: int
    coverage: u.Quantity
    good_coverage: u.Quantity
    step: u.Quantity
    good_fraction: float
    median_snr: float
    frames: dict
    gaps: QTable
    reasons: QTable

    def title(self):
        """What this is a study of."""
        return f"SpectraSummary {self.instrument}"

    def facts(self):
        """The numbers in words: name to text."""
        return {
            "spectra": f"{self.n_spectra} of {self.n_stars} stars, {self.n_rejected} rejected",
            "pixels": f"{self.n_pixels}, {100 * self.good_fraction:.1f} % good",
            "grid": f"{_span(self.coverage)}, steps of {_span(self.step, '.3g')}",
            "good": _span(self.good_coverage),
            "signal to noise": f"{self.median_snr:.1f} (median)",
            "frame": ", ".join(f"{name} ({count})" for name, count in self.frames.items()) or "not stated",
        }

    def tables(self):
        """The tables with their captions."""
        return [("without data in most spectra", self.gaps), ("why pixels are missing", self.reasons)]


def _span(pair, form=".1f"):
    low, high = pair.value
    ends = f"{low:{form}}" if low == high else f"{low:{form}} to {high:{form}}"
    return f"{ends} {pair.unit}" if np.isfinite(low) else "nowhere"
