"""The table of what was checked and how it went.

>>> from specalign.testing.results import STATUSES
>>> STATUSES
('passed', 'failed', 'expected', 'skipped')
"""

import html
from collections import Counter

from astropy.table import Table

__all__ = ["STATUSES", "CheckTable"]

#: What can become of a check, in the order in which a table counts them.
STATUSES = ("passed", "failed", "expected", "skipped")


class CheckTable(Table):
    """Checks of one plugin, a row each, in the order in which they ran.

    ``meta`` holds the ``kind`` of plugin, the ``target`` and the ``seed``.

    Attributes
    ----------
    check : column of str
    status : column of str
        ``passed``; ``failed``, also where a failure was expected and did not come; ``expected``: failed, as was
        announced; ``skipped``: has no meaning for this plugin.
    reason : column of str
        Empty where the check passed.

    Examples
    --------
    >>> from specalign.testing import CheckTable
    >>> rows = [("has_a_name", "passed", ""), ("has_a_unit", "failed", "expected a Quantity, got float")]
    >>> table = CheckTable.from_rows(rows, kind="instrument", target="weave", seed=0)
    >>> table
    <CheckTable of the instrument weave: 1 passed, 1 failed>
      check    status             reason
    ---------- ------ ------------------------------
    has_a_name passed
    has_a_unit failed expected a Quantity, got float
    >>> table.counts
    {'passed': 1, 'failed': 1}
    >>> table.failures
    {'has_a_unit': 'expected a Quantity, got float'}
    """

    @classmethod
    def from_rows(cls, rows, *, kind, target, seed):
        """A table of rows (check, status, reason).

        Parameters
        ----------
        rows : sequence of tuple of str
        kind, target : str
        seed : int
        """
        columns = list(zip(*rows, strict=True)) or [(), (), ()]
        names = ("check", "status", "reason")
        return cls(columns, names=names, dtype=(str,) * 3, meta={"kind": kind, "target": target, "seed": seed})

    @property
    def counts(self):
        """dict of str to int: how many checks have each status, without those that none has."""
        found = Counter(str(status) for status in self["status"])
        return {status: found[status] for status in STATUSES if found[status]}

    @property
    def failures(self):
        """dict of str to str: the reason of each check that failed and was not expected to, or the other way round."""
        return {str(row["check"]): str(row["reason"]) for row in self if row["status"] == "failed"}

    def __repr__(self):
        return "\n".join([self._heading(), *(line.rstrip() for line in self._lines())])

    __str__ = __repr__  # of astropy's tables, str leaves out what does not fit

    def _repr_html_(self):
        heading = html.escape(self._heading()[1:-1])
        return "".join([f"<p><em>{heading}</em></p>", *self._lines(html=True)])

    def _lines(self, **options):
        # every row is shown: a check that is left out of the picture is one that nobody reads
        return self.pformat(max_lines=-1, max_width=-1, align=["<"] * len(self.colnames), **options)

    def _heading(self):
        counted = "status" in self.colnames
        counts = ", ".join(f"{number} {status}" for status, number in self.counts.items()) if counted else ""
        return f"<CheckTable of the {self.meta['kind']} {self.meta['target']}: {counts or 'no checks'}>"
