"""Whatever stands for spectra, as `PreparedSpectra`: each input is in a part, or rejected with a reason."""

import dataclasses
import json
import logging
import os

import numpy as np

from specalign.config import progress_bar
from specalign.exceptions import SpecalignError, SpectrumError, UnknownProductError
from specalign.instruments import get_instrument
from specalign.instruments.prepared import PreparedSpectra
from specalign.instruments.spectra import as_list
from specalign.io.paths import expand

__all__ = ["prepared_parts"]

log = logging.getLogger(__name__)


def prepared_parts(spectra, records, visits="combined", progress=None):
    """Read and prepare.

    Parameters
    ----------
    spectra
        See `specalign.predict`.
    records : dict of str to `~specalign.instruments.prepared.InstrumentRecord`
        How the spectra of each instrument are to be prepared.
    visits : {"combined", "all"}
    progress : bool, optional

    Returns
    -------
    parts : list of `~specalign.PreparedSpectra`
        None of them empty.
    order : list of (N,) int
        Place of each row among all inputs.
    rejected : list of dict
        spectrum_id (or the file's path), object_id and reason.
    """
    intake = _Intake(records, visits, progress)
    intake.take(spectra)
    intake.prepare()
    log.info(
        "%d spectra of %d were prepared, %d files or spectra rejected",
        sum(map(len, intake.parts)),
        intake.count,
        len(intake.rejected),
    )
    return intake.parts, intake.order, intake.rejected


def _facts(record):
    """A record as it comes back from a file."""
    return json.dumps(dataclasses.asdict(record), sort_keys=True)


class _Intake:
    """Inputs on their way to prepared spectra."""

    def __init__(self, records, visits, progress=None):
        self.records, self.progress = records, progress
        self.instruments = {name: get_instrument(record.name, **record.options) for name, record in records.items()}
        self.visits = visits
        self.count, self.first, self.groups = 0, {}, {}
        self.parts, self.order, self.rejected = [], [], []

    def take(self, item):
        """Sort one input, or a sequence of them."""
        if isinstance(item, (str, os.PathLike)):
            for path in self._bar(expand([item])):
                self._read(path)
        elif isinstance(item, PreparedSpectra):
            self._keep(item, [self._place() for _ in range(len(item))])
        elif isinstance(item, (list, tuple)):
            for one in self._bar(item):
                self.take(one)
        else:
            for spectrum in as_list(item):
                self._sort(spectrum)

    def _bar(self, items):
        return progress_bar(items, progress=self.progress, desc="reading", unit="file", delay=1)

    def _place(self):
        self.count += 1
        return self.count - 1

    def _reject(self, spectrum_id, object_id, reason):
        row = {"spectrum_id": spectrum_id, "object_id": object_id, "reason": reason}
        self.rejected.append({name: " ".join(str(value or "").split()) for name, value in row.items()})

    def _read(self, path):
        """The spectra of a file, by the first instrument that knows the product and its setting."""
        reasons = []
        for name, instrument in self.instruments.items():
            try:
                spectra = instrument.read(path, visits=self.visits)
            except (UnknownProductError, SpectrumError) as error:
                reasons.append(str(error))
                continue
            except (SpecalignError, OSError) as error:
                reasons.append(str(error))
                break
            for spectrum in spectra:
                self._group(name, spectrum)
            return
        if not self._read_prepared(path):
            texts = list(dict.fromkeys(text.removeprefix(f"{path}: ") for text in reasons))
            self._reject(path, "", "; ".join(texts))

    def _read_prepared(self, path):
        """Take what `PreparedSpectra.write` wrote, if it was prepared like the training; False for other files."""
        try:
            prepared = PreparedSpectra.read(path)
        except (SpecalignError, OSError):
            return False
        if any(_facts(prepared.instrument) == _facts(record) for record in self.records.values()):
            self._keep(prepared, [self._place() for _ in range(len(prepared))])
        else:
            expected = " or ".join(f"{one.name} with {one.options}" for one in self.records.values())
            came = f"{prepared.instrument.name} with {prepared.instrument.options}"
            self._reject(path, "", f"expected spectra prepared as {expected}, with their grid; got {came}")
        return True

    def _sort(self, spectrum):
        """A spectrum without a file goes to the instrument that it names, or to the only one."""
        stated = (spectrum.meta or {}).get("instrument")
        names = [n for n, one in self.instruments.items() if stated in (None, n, one.name)]
        if len(names) == 1:
            self._group(names[0], spectrum)
            return
        known = ", ".join(self.instruments)
        self._reject(
            spectrum.meta.get("spectrum_id"),
            spectrum.meta.get("object_id"),
            f"it says that it is of {stated!r}, and the model labels {known}; set spectrum.meta['instrument']",
        )

    def _group(self, name, spectrum):
        """Spectra whose fluxes can be in one array go together."""
        place, meta = self._place(), spectrum.meta
        spectrum_id = str(meta.get("spectrum_id") or f"{meta.get('object_id') or 'spectrum'}-{place}")
        if self._is_new(name, spectrum_id, meta.get("object_id"), meta.get("path") or "the list"):
            kind = str(spectrum.flux.unit.physical_type)
            self.groups.setdefault((name, kind), []).append((place, spectrum_id, spectrum))

    def _is_new(self, name, spectrum_id, object_id, where):
        before = self.first.get((name, spectrum_id))
        if before is None:
            self.first[name, spectrum_id] = where
            return True
        self._reject(spectrum_id, object_id, f"spectrum_id occurs twice: in {before} and in {where}")
        return False

    def _keep(self, prepared, places):
        """Rows of prepared spectra whose spectrum_id did not come before."""
        name = prepared.instrument.name
        ids = zip(prepared.spectrum_id.tolist(), prepared.object_id.tolist(), strict=True)
        new = [i for i, (row, star) in enumerate(ids) if self._is_new(name, row, star, "the prepared spectra")]
        for row in prepared.rejected:
            self._reject(row["spectrum_id"], row["object_id"], row["reason"])
        if new:
            self._add(prepared[np.array(new)], [places[i] for i in new])

    def _add(self, prepared, places):
        self.parts.append(prepared)
        self.order.append(np.array(places))

    def prepare(self):
        """Prepare all groups; a spectrum that spoils its group is found by preparing each alone."""
        for (name, _), members in self.groups.items():
            try:
                self._prepare(name, members)
            except SpecalignError:
                for member in members:
                    self._prepare_alone(name, member)

    def _prepare_alone(self, name, member):
        try:
            self._prepare(name, [member])
        except SpecalignError as error:
            self._reject(member[1], member[2].meta.get("object_id"), error)

    def _prepare(self, name, members):
        places, ids, spectra = zip(*members, strict=True)
        prepared = self.instruments[name].prepare(list(spectra), spectrum_id=list(ids), progress=self.progress)
        for row in prepared.rejected:
            self._reject(row["spectrum_id"], row["object_id"], row["reason"])
        if len(prepared):
            place = dict(zip(ids, places, strict=True))
            self._add(prepared, [place[one] for one in prepared.spectrum_id.tolist()])
