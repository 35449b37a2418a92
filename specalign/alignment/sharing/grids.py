"""Wavelengths, mask rules and normalisation of an instrument, as facts that need no program of ours to be read."""

import dataclasses
import inspect
import io
from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.table import QTable

from specalign.alignment.inputs import describe_record, plain_record
from specalign.exceptions import GridMismatchError, SpecalignError
from specalign.instruments import get_instrument
from specalign.instruments.prepared import grid_digest

__all__ = ["Grid", "find_grid"]

MEANING = "in vacuum, in the frame of the prepared spectra"


@dataclass(frozen=True)
class Grid:
    """What is known of the spectra that an encoder takes.

    ``instrument`` is None where its plugin does not give the grid of the record, such as after ``match_resolution``.
    """

    record: object
    spectral_axis: u.Quantity
    axis_kind: str
    lsf_sigma: u.Quantity | None
    quality_bits: dict
    instrument: object

    def ecsv(self):
        """The grid as the bytes of an ECSV file with units."""
        axis = self.spectral_axis
        table = QTable({self.axis_kind: axis.to(u.AA) if axis.unit.is_equivalent(u.AA) else axis})
        if self.lsf_sigma is not None and np.ndim(self.lsf_sigma) == 1:
            table["lsf_sigma"] = self.lsf_sigma
        table.meta = {"instrument": self.record.name, "grid_digest": self.record.grid_digest}
        if self.axis_kind == "wavelength":
            table.meta["wavelengths"] = MEANING
        text = io.StringIO()
        table.write(text, format="ascii.ecsv")
        return text.getvalue().encode()

    def facts(self, file):
        """JSON-like facts of the instrument; ``file`` has the grid."""
        axis = self.spectral_axis.to(u.AA) if self.spectral_axis.unit.is_equivalent(u.AA) else self.spectral_axis
        grid = {
            "file": file,
            "kind": self.axis_kind,
            "unit": axis.unit.to_string(),
            "n_pixels": len(axis),
            "first": float(axis[0].value),
            "last": float(axis[-1].value),
            "digest": self.record.grid_digest,
        }
        if self.axis_kind == "wavelength":
            grid["meaning"] = MEANING
        stated = {key: str(getattr(self.instrument, key, "")) for key in ("version", "citation")}
        return {
            "instrument": self.record.name,
            "options": plain_record(self.record)["options"],
            **{key: text for key, text in stated.items() if text},
            "grid": grid,
            "mask_rules": self._mask_rules(),
            "normalization": self._normalization(),
        }

    def _mask_rules(self):
        facts = {
            "version": self.record.mask_version,
            "bits": dict(self.quality_bits),
            "rule": "a pixel is bad where quality has one of the masking bits; bad pixels have ivar 0",
            "masking": None,
        }
        if self.instrument is None:
            return facts
        rules = self.instrument.rules
        masking = [name for name, bit in self.quality_bits.items() if rules.bad_bits >> bit & 1]
        return facts | _plain(rules) | {"bad_bits": int(rules.bad_bits), "masking": masking}

    def _normalization(self):
        if self.instrument is None:
            return {"rule": None, "words": "not stated: the plugin of the instrument gives another grid than this one"}
        rule = self.instrument.normalization
        words = getattr(rule, "words", (inspect.getdoc(type(rule)) or "not stated").splitlines()[0])
        return {"rule": type(rule).__name__, "words": words, "parameters": _plain(rule)}


def _plain(value):
    """Dataclasses, arrays and tuples as dicts, lists and numbers."""
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value.tolist() if hasattr(value, "tolist") else value


def find_grid(record, prepared=None, origin=None):
    """The `Grid` of a record: from the instrument's plugin, else from spectra, or from what an encoder was trained on.

    Raises
    ------
    GridMismatchError
        The spectra have another grid.
    SpecalignError
        Nothing knows the grid.
    """
    if prepared is not None and prepared.instrument.grid_digest != record.grid_digest:
        raise GridMismatchError(
            f"the model was trained on {describe_record(record)}, prepared= comes from "
            f"{describe_record(prepared.instrument)}"
        )
    instrument = _instrument(record)
    if instrument is not None:
        axis, kind, lsf = instrument.spectral_axis, instrument.axis_kind, instrument.lsf_sigma
        return Grid(record, axis, kind, lsf, instrument.quality_bits, instrument)
    if prepared is not None:
        axis, kind, lsf = prepared.spectral_axis, prepared.axis_kind, prepared.lsf_sigma
        return Grid(record, axis, kind, lsf, prepared.quality_bits, None)
    if origin is not None:
        return Grid(record, origin.spectral_axis, origin.axis_kind, None, {}, None)
    raise SpecalignError(
        f"the wavelengths of {describe_record(record)} cannot be found from its name and options; give prepared= with "
        f"spectra like those of the training"
    )


def _instrument(record):
    """The instrument that the record names, if it has that grid and those mask rules."""
    try:
        instrument = get_instrument(record.name, **record.options)
    except (SpecalignError, TypeError, ValueError):
        return None
    same = (grid_digest(instrument.spectral_axis), instrument.mask_version) == (record.grid_digest, record.mask_version)
    return instrument if same else None
