"""`PreparedSpectra` as one FITS file with checksums, and single rows as spectra.

Extensions: FLUX, IVAR, MASK, QUALITY, NORM (images), ROWS, GRID and REJECTED (tables), and COVSCALE, COVBASIS where
there is correlated noise, LSF where it differs from row to row.  FACTS in the first header holds the rest as JSON.
"""

import contextlib
import json

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.nddata import InverseVariance
from astropy.table import QTable
from specutils import Spectrum

from specalign.exceptions import SpectrumError, UnknownProductError
from specalign.instruments.axes import spectrum_axis
from specalign.instruments.prepared import InstrumentRecord, PreparedSpectra, empty_rejected, grid_digest
from specalign.io.files import atomic_write, corrupt, misfits_as_corrupt
from specalign.io.fits_files import native, open_fits
from specalign.io.fits_tables import read_table_hdu, table_hdu, unit_text

__all__ = ["read_prepared", "row_to_spectrum", "write_prepared"]

_KIND = "specalign.PreparedSpectra"
_VERSION = 1
_STATED = {"instrument": str, "options": dict, "grid_digest": str, "quality_bits": dict, "flux_unit": str}


def row_to_spectrum(prepared, i, absolute):
    """See `PreparedSpectra.to_spectrum`."""
    factor = prepared.norm[i].astype(float) if absolute else 1.0
    unit = prepared.flux_unit if absolute else u.dimensionless_unscaled
    meta = {name: _plain(prepared.catalog[name][i]) for name in prepared.catalog.colnames}
    meta |= {
        "object_id": str(prepared.object_id[i]),
        "spectrum_id": str(prepared.spectrum_id[i]),
        "instrument": prepared.instrument.name,
        "medium": "vacuum",
        "normalization": "none" if absolute else prepared.instrument.options.get("normalization", "none"),
        "quality": prepared.quality[i].copy(),
        "quality_bits": dict(prepared.quality_bits),
        "axis_kind": prepared.axis_kind,
    }
    return Spectrum(
        flux=prepared.flux[i] * factor << unit,
        spectral_axis=spectrum_axis(prepared.spectral_axis),
        uncertainty=InverseVariance(prepared.ivar[i] / np.square(factor) << unit**-2),
        mask=prepared.mask[i].copy(),
        meta=meta,
    )


def _plain(value):
    return value if isinstance(value, u.Quantity) else getattr(value, "item", lambda: value)()


def write_prepared(prepared, path):
    """See `PreparedSpectra.write`."""
    hdus = fits.HDUList([fits.PrimaryHDU(header=_header(prepared)), *_images(prepared)])
    tables = {"ROWS": _rows_table(prepared), "GRID": _grid_table(prepared), "REJECTED": _rejected_table(prepared)}
    hdus += [table_hdu(name, table) for name, table in tables.items()]
    if prepared.covariance_factor is not None:
        for name, array in zip(("COVSCALE", "COVBASIS"), prepared.covariance_factor, strict=True):
            hdus.append(fits.ImageHDU(array, name=name))
    if prepared.lsf_sigma is not None and prepared.lsf_sigma.ndim == 2:
        hdus.append(fits.ImageHDU(prepared.lsf_sigma.value, name="LSF"))
        hdus[-1].header["BUNIT"] = unit_text("lsf_sigma", prepared.lsf_sigma.unit)
    with atomic_write(path) as temporary:
        hdus.writeto(temporary, checksum=True, overwrite=True)


def _images(prepared):
    hdus = []
    for name in ("flux", "ivar", "mask", "quality", "norm"):
        array = getattr(prepared, name)
        hdus.append(fits.ImageHDU(array.astype(np.uint8) if array.dtype == bool else array, name=name.upper()))
    with contextlib.suppress(ValueError):  # for other programs, where FITS knows the unit; FACTS has it always
        hdus[-1].header["BUNIT"] = prepared.flux_unit.to_string("fits")
    return hdus


def _header(prepared):
    record = prepared.instrument
    facts = {
        "kind": _KIND,
        "version": _VERSION,
        "instrument": record.name,
        "options": record.options,
        "grid_digest": record.grid_digest,
        "mask_version": record.mask_version,
        "quality_bits": prepared.quality_bits,
        "flux_unit": unit_text("flux_unit", prepared.flux_unit),
        "axis_kind": prepared.axis_kind,
        "meta": {"catalog": dict(prepared.catalog.meta), "rejected": dict(prepared.rejected.meta)},
    }
    header = fits.Header()
    header["KIND"] = _KIND
    header["FACTS"] = (_as_json(facts), "")
    return header


def _as_json(facts):
    try:
        return json.dumps(facts)
    except (TypeError, ValueError) as error:
        raise SpectrumError(
            f"instrument.options, quality_bits, catalog.meta and rejected.meta: a file keeps text, numbers, lists and "
            f"dicts ({error})"
        ) from error


def _grid_table(prepared):
    table = QTable({"spectral_axis": prepared.spectral_axis})
    if prepared.lsf_sigma is not None and prepared.lsf_sigma.ndim == 1:
        table["lsf_sigma"] = prepared.lsf_sigma
    return table


def _rows_table(prepared):
    table, names = prepared.catalog.copy(), ("object_id", "spectrum_id")
    for name in names:
        ids = getattr(prepared, name)
        if name in table.colnames and np.asarray(table[name], str).tolist() != ids.tolist():
            raise SpectrumError(f"catalog: its column {name} differs from the spectra's {name}; rename or remove it")
        table[name] = ids
    return table[[*names, *(name for name in table.colnames if name not in names)]]


def _rejected_table(prepared):
    """Reasons without blanks at their ends, which FITS does not keep: an error's words may end with a line break."""
    table = prepared.rejected.copy()
    table["reason"] = np.char.rstrip(np.asarray(table["reason"], dtype=str))
    return table


def read_prepared(path):
    """See `PreparedSpectra.read`."""
    with open_fits(path) as hdus, misfits_as_corrupt(path):
        facts = _facts(path, hdus)
        fields = _arrays(hdus) | _tables(hdus, facts.get("meta", {}))
        if grid_digest(fields["spectral_axis"]) != facts["grid_digest"]:
            raise corrupt(path, f"its grid does not have the digest {facts['grid_digest'][:12]} that it states")
        record = InstrumentRecord(*(facts[name] for name in ("instrument", "options", "grid_digest", "mask_version")))
        return PreparedSpectra(
            **fields,
            instrument=record,
            quality_bits=facts["quality_bits"],
            flux_unit=u.Unit(facts["flux_unit"]),
            axis_kind=facts["axis_kind"],
        )


def _facts(path, hdus):
    try:
        facts = json.loads(hdus[0].header["FACTS"])
        known = facts["kind"] == _KIND and facts["version"] <= _VERSION
    except (KeyError, TypeError, ValueError):
        known = False
    if not known:
        raise UnknownProductError(f"{path}: expected a file that PreparedSpectra.write of this version or before made")
    for name, kind in _STATED.items():
        if not isinstance(facts.get(name), kind):
            raise corrupt(path, f"its FACTS do not state {name} ({kind.__name__})")
    return facts


def _arrays(hdus):
    arrays = {name: native(hdus[name.upper()].data) for name in ("flux", "ivar", "mask", "quality", "norm")}
    arrays["mask"] = arrays["mask"] != 0
    if "COVSCALE" in hdus:
        arrays["covariance_factor"] = tuple(native(hdus[name].data) for name in ("COVSCALE", "COVBASIS"))
    if "LSF" in hdus:
        arrays["lsf_sigma"] = native(hdus["LSF"].data) << u.Unit(hdus["LSF"].header.get("BUNIT", "Angstrom"))
    return arrays


def _tables(hdus, meta):
    grid, rows, rejected = (read_table_hdu(hdus[name]) for name in ("GRID", "ROWS", "REJECTED"))
    fields = {name: u.Quantity(grid[name]) for name in grid.colnames if name in ("spectral_axis", "lsf_sigma")}
    fields |= {name: np.asarray(rows[name], dtype=str) for name in ("object_id", "spectrum_id")}
    rows.remove_columns(["object_id", "spectrum_id"])
    rejected.keep_columns([*dict.fromkeys([*empty_rejected().colnames, *rejected.colnames])])  # an error if one is lost
    fields |= {"catalog": rows, "rejected": rejected if len(rejected) else empty_rejected()}
    for name in ("catalog", "rejected"):
        fields[name].meta.update(meta.get(name, {}))
    return fields
