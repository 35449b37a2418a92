"""Public archives to files in a cache: by the names of objects, politely, resumed, and with checksums.

`apogee`, `lamost`, `gaia_xp` and `nirspec` give a `FetchTable` with a row a file; the instruments read its ``paths``.

>>> from specalign.fetch import conf
>>> conf.lamost_url
'https://www.lamost.org/openapi'
"""

from specalign.fetch.datalink import gaia_xp
from specalign.fetch.lamost_api import lamost
from specalign.fetch.mast import nirspec
from specalign.fetch.results import FetchTable
from specalign.fetch.sdss import apogee
from specalign.fetch.session import Session
from specalign.fetch.settings import FetchConf, conf

__all__ = ["FetchConf", "FetchTable", "Session", "apogee", "conf", "gaia_xp", "lamost", "nirspec"]
