"""Figures and the report: the only place that imports matplotlib.

Every function returns a `matplotlib.figure.Figure` and needs no display; `figure.savefig(path)` writes it.  The names
are imported when first used; without matplotlib that is a `~specalign.exceptions.MissingExtraError`.
"""

import importlib

_PUBLIC = {
    "Section": "report",
    "plot_abundance": "catalogue",
    "plot_before_after": "spectra",
    "plot_calibration": "calibration",
    "plot_corner": "catalogue",
    "plot_density": "catalogue",
    "plot_embedding": "space",
    "plot_histogram": "catalogue",
    "plot_history": "training",
    "plot_kiel": "labels",
    "plot_label_bins": "labels",
    "plot_labels": "labels",
    "plot_neighbour_labels": "neighbours",
    "plot_neighbour_map": "neighbours",
    "plot_neighbours": "spectra",
    "plot_outliers": "outliers",
    "plot_overlay": "stars",
    "plot_prepared": "spectra",
    "plot_retrieval": "space",
    "plot_selected": "stars",
    "plot_similarity": "neighbours",
    "plot_training": "training",
    "plot_retrieved": "neighbours",
    "plot_transferred": "transfer",
    "project": "projection",
    "write_report": "report",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name):
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted([*globals(), *_PUBLIC])
