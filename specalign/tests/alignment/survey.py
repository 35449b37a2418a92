"""Small linear stars seen by two instruments, for tests that train in a second."""

import astropy.units as u
import numpy as np
from astropy.table import QTable

from specalign.testing import stars as stars_of_the_kit
from specalign.testing.stars import star_labels

__all__ = ["PIXELS", "label_table", "observe", "star_labels", "stars"]

PIXELS = {"apogee": 40, "nirspec": 30, "gaia_xp": 25}


def observe(name, star_id, **options):
    """Prepared spectra of some stars: see `specalign.testing.stars.observe`."""
    return stars_of_the_kit.observe(name, star_id, PIXELS[name], **options)


def label_table(star_id):
    """The labels with units and an error column that is none."""
    values = star_labels(star_id)
    return QTable(
        {
            "object_id": np.asarray(star_id, dtype=str),
            "teff": (5000 + 300 * values[:, 0]) * u.K,
            "logg": (3 + values[:, 1]) * u.dex(u.cm / u.s**2),
            "fe_h": (0.3 * values[:, 2]) * u.dex,
            "teff_err": np.full(len(values), 50.0) * u.K,
        }
    )


def stars(n, first=0):
    return [f"star-{i:04d}" for i in range(first, first + n)]
