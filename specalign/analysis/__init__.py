"""What embeddings are for: look-alikes, labels, metrics and the baselines that they must beat.

Everything here works on an `~specalign.EmbeddingTable`, whoever made it, or on a table of labels or prepared spectra
that is looked at before.  The names are imported when first used.
"""

import importlib

_MODULES = (
    "baselines",
    "calibration",
    "catalogue",
    "conformal",
    "coverage",
    "labels",
    "metrics",
    "outliers",
    "posterior",
    "response",
    "search",
)
_PUBLIC = {
    "ConformalLabels": "conformal",
    "FluxCalibration": "response",
    "FluxLabelModel": "baselines",
    "LabelModel": "labels",
    "OutlierModel": "outliers",
    "calibration_ranks": "calibration",
    "compare_catalogues": "catalogue",
    "describe_labels": "catalogue",
    "describe_spectra": "coverage",
    "find_duplicates": "catalogue",
    "flux_calibration": "response",
    "interval_coverage": "calibration",
    "rank_uniformity": "calibration",
    "select_spanning": "catalogue",
    "unique_stars": "catalogue",
}

__all__ = [*sorted(_PUBLIC), *_MODULES]


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted([*globals(), *__all__])
