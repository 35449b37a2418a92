"""Addresses of the archives and polite limits, as items of astropy's configuration: mirrors and slower habits go here.

The addresses are those that the archives document:
`SAS <https://www.sdss4.org/dr17/data_access/bulk/>`_, `SkyServer <https://skyserver.sdss.org/dr17/en/help/docs/api.aspx>`_,
`LAMOST <https://www.lamost.org/openapi/docs>`_,
`Gaia DataLink <https://www.cosmos.esa.int/web/gaia-users/archive/datalink-products>`_ and
`MAST <https://mast.stsci.edu/api/v0/>`_.
"""

from astropy import config

from specalign.config import Setting
from specalign.display import Displayed

__all__ = ["FetchConf", "conf"]


class _Item(Setting):
    def __init__(self, default, description, cfgtype=None):
        super().__init__(default, description, cfgtype=cfgtype, module="specalign.fetch")


class FetchConf(Displayed, config.ConfigNamespace):
    """Settings of `specalign.fetch`: ``specalign.fetch.conf`` is the one instance.

    Each is set in the section ``[fetch]`` of ``specalign.cfg``, for a session (``conf.delay = 2``) or for a block.

    Examples
    --------
    >>> from specalign.fetch import conf
    >>> with conf.set_temp("sas_url", "https://mirror.example.org/sas"):
    ...     conf.sas_url
    'https://mirror.example.org/sas'
    >>> type(conf).__name__, conf.connections
    ('FetchConf', 2)
    """

    rootname = "specalign"

    sas_url = _Item("https://data.sdss.org/sas", "SDSS Science Archive Server: files of APOGEE.")
    skyserver_url = _Item("https://skyserver.sdss.org", "SDSS SkyServer: fields and telescopes of APOGEE stars.")
    lamost_url = _Item("https://www.lamost.org/openapi", "The programming interface of LAMOST.")
    gaia_url = _Item("https://gea.esac.esa.int", "The Gaia archive of ESA.")
    mast_url = _Item("https://mast.stsci.edu", "The Mikulski Archive for Space Telescopes: JWST.")
    connections = _Item(2, "Files that are fetched at a time.", "integer(min=1, max=4)")
    delay = _Item(0.5, "Seconds between the starts of two requests to one host.", "float(min=0)")
    retries = _Item(5, "How often a request is repeated after a passing fault.", "integer(min=0)")
    backoff = _Item(2.0, "Seconds before the first repetition; each further one waits twice as long.", "float(min=0)")
    max_wait = _Item(300.0, "Longest wait in seconds, whatever the server asks for.", "float(min=0)")
    timeout = _Item(30.0, "Seconds without an answer after which a connection counts as lost.", "float(min=1)")
    max_objects = _Item(1000, "Objects that a call fetches at most, unless it says limit=.", "integer(min=1)")

    def _facts(self):
        return {name: repr(item()) for name, item in self.items()}


#: The settings.
conf = FetchConf()
