"""Tables of ``docs/results.rst``: units of the labels, figures over seeds, reStructuredText."""

import numpy as np

UNITS = {
    "teff": ("Teff", "K", 0),
    "logg": ("log g", "dex", 3),
    "fe_h": ("[Fe/H]", "dex", 3),
    "alpha_m": ("[α/M]", "dex", 3),
}
#: Those of spectra that nobody corrected, too.
OBSERVED_UNITS = UNITS | {"radial_velocity": ("velocity", "km/s", 1), "a_v": ("A(V)", "mag", 3)}


def spread(values, digits):
    """Mean and half the range."""
    half = (max(values) - min(values)) / 2
    return f"{np.mean(values):.{digits}f}" + (f" ± {half:.{digits}f}" if len(values) > 1 else "")


def list_table(rows):
    """A reStructuredText list-table with a header."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in rows:
        lines += [("   * - " if i == 0 else "     - ") + value.replace(" -> ", " to ") for i, value in enumerate(row)]
    return "\n".join(line.rstrip() for line in lines)
