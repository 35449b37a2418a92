"""What became of every object that was asked for: nothing is lost silently.

>>> from specalign.fetch.results import STATUSES
>>> STATUSES
('downloaded', 'cached', 'missing', 'failed')
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table

from specalign.display import Displayed
from specalign.exceptions import FetchError

__all__ = ["STATUSES", "FetchTable", "Outcome"]

#: What can become of an object.
STATUSES = ("downloaded", "cached", "missing", "failed")
_COLUMNS = ("id", "product", "path", "status", "reason", "size", "sha256", "url")


@dataclass(frozen=True, repr=False)
class Outcome(Displayed):
    """What became of one file.

    Parameters
    ----------
    id : str
        The object, as it was asked for.
    product : str
    status : {"downloaded", "cached", "missing", "failed"}
        Missing: the archive has no such file.  Failed: it may have, and we did not get it.
    path : `~pathlib.Path` or None
        Where the file lies; None unless it was downloaded or cached.
    reason : str
        Why there is no file.
    size : int
        Bytes.
    sha256 : str
    url : str
        Where it came from, without credentials.

    Examples
    --------
    >>> from specalign.fetch.results import Outcome
    >>> Outcome("101001", "lrs", "missing", reason="the archive answered 404 Not Found").status
    'missing'
    """

    id: str
    product: str
    status: str
    path: Path | None = None
    reason: str = ""
    size: int = 0
    sha256: str = ""
    url: str = ""

    @property
    def row(self):
        """The values of a row of `FetchTable`."""
        return (self.id, self.product, str(self.path or ""), self.status, self.reason, self.size, self.sha256, self.url)


class FetchTable(Table):
    """A row a file: id, product, path, status, reason, size, sha256, url.

    Every object that was asked for has at least one row; where it has no file, ``status`` is missing or failed and
    ``reason`` says why.  An APOGEE star that was observed in several fields, or a programme of JWST, has several rows.

    Examples
    --------
    >>> from specalign.fetch.results import FetchTable, Outcome
    >>> found = FetchTable.of([Outcome("1", "lrs", "missing", reason="the archive answered 404 Not Found")])
    >>> found.counts()
    {'downloaded': 0, 'cached': 0, 'missing': 1, 'failed': 0}
    >>> found.paths
    []
    """

    @classmethod
    def of(cls, outcomes):
        """The table of a list of `Outcome`.

        Examples
        --------
        >>> from specalign.fetch.results import FetchTable
        >>> len(FetchTable.of([]))
        0
        """
        rows = [outcome.row for outcome in outcomes]
        columns = list(zip(*rows, strict=True)) if rows else [[]] * len(_COLUMNS)
        types = [np.int64 if name == "size" else str for name in _COLUMNS]
        return cls([np.array(c, dtype=t) for c, t in zip(columns, types, strict=True)], names=_COLUMNS)

    @property
    def paths(self):
        """The files that are there, for ``instrument.read``, `specalign.predict` or ``specalign prepare``.

        Returns
        -------
        list of `~pathlib.Path`
        """
        return [Path(path) for path in self["path"] if path]

    def counts(self):
        """How many files have which status.

        Returns
        -------
        dict
        """
        return {status: int(np.sum(self["status"] == status)) for status in STATUSES}

    def raise_for_failures(self):
        """Do nothing where every object has its file.

        Returns
        -------
        FetchTable
            Itself.

        Raises
        ------
        specalign.exceptions.FetchError
            Objects are missing or failed; the first five are named with their reasons.
        """
        lost = self[[status in ("missing", "failed") for status in self["status"]]]
        if len(lost):
            first = "; ".join(f"{row['id']}: {row['reason']}" for row in lost[:5])
            more = f"; and {len(lost) - 5} more" if len(lost) > 5 else ""
            raise FetchError(f"{len(lost)} of {len(self)} files are not there: {first}{more}. Ask again for those.")
        return self
