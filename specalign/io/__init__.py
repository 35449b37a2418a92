"""Files to `specutils.Spectrum`: only what specutils' own loaders lack or lose.

Each module has the same names: ``PRODUCTS``, ``QUALITY_BITS``, ``BAD_BITS`` and ``read``.  Importing this package
registers every product with specutils, so that ``Spectrum.read(path, format="specalign aspcapStar")`` works.
"""

from specalign.io import apogee, gaia_xp, lamost, nirspec
from specalign.io.registry import register
from specalign.io.spectra import build_spectrum

__all__ = ["READERS", "build_spectrum"]

_MODULES = (apogee, nirspec, lamost, gaia_xp)
READERS = {module.PRODUCTS[0].instrument: module.read for module in _MODULES}

for _module in _MODULES:
    for _product in _module.PRODUCTS:
        register(_module.read, _product)
