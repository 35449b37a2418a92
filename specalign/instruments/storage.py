"""`PreparedSpectra` as one FITS file with checksums, and single rows as spectra.

Extensions: FLUX, IVAR, MASK, QUALITY, NORM (images), GRID, ROWS and REJECTED (tables), and COVSCALE, COVBASIS where
there is correlated noise.  FACTS in the first header holds the rest as JSON.
"""

import json

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.nddata import InverseVariance
from astropy.table import QTable
from specutils import Spectrum

from specalign.exceptions import CorruptFileError, UnknownProductError
from specalign.instruments.axes import spectrum_axis
from specalign.instruments.prepared import InstrumentRecord, PreparedSpectra, empty_rejected, grid_digest
from specalign.io.files import atomic_write
from specalign.io.fits_files import encoded_text, native, open_fits

__all__ = ["read_prepared", "row_to_spectrum", "write_prepared"]

_KIND = "specalign.PreparedSpectra"
_VERSION = 1


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
    hdus = fits.HDUList([fits.PrimaryHDU(header=_header(prepared))])
    for name in ("flux", "ivar", "mask", "quality", "norm"):
        array = getattr(prepared, name)
        hdus.append(fits.ImageHDU(array.astype(np.uint8) if array.dtype == bool else array, name=name.upper()))
    tables = {"GRID": _grid_table(prepared), "ROWS": _rows_table(prepared), "REJECTED": prepared.rejected}
    for name, table in tables.items():
        hdus.append(fits.table_to_hdu(_encoded(table)))
        hdus[-1].name = name
    if prepared.covariance_factor is not None:
        for name, array in zip(("COVSCALE", "COVBASIS"), prepared.covariance_factor, strict=True):
            hdus.append(fits.ImageHDU(np.asarray(array, np.float32), name=name))
    if prepared.lsf_sigma is not None and prepared.lsf_sigma.ndim == 2:
        hdus.append(fits.ImageHDU(prepared.lsf_sigma.to_value(u.AA), name="LSF"))
    with atomic_write(path) as temporary:
        hdus.writeto(temporary, checksum=True, overwrite=True)


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
        "flux_unit": prepared.flux_unit.to_string("generic"),
        "axis_kind": prepared.axis_kind,
    }
    header = fits.Header()
    header["KIND"] = _KIND
    header["FACTS"] = (json.dumps(facts), "")
    return header


def _encoded(table):
    """Text as UTF-8, since FITS knows ASCII only."""
    text = {name: encoded_text(name, table[name]) for name in table.colnames if table[name].dtype.kind == "U"}
    table = table.copy()
    for name, column in text.items():
        table[name] = column
    return table


def _grid_table(prepared):
    table = QTable({"spectral_axis": prepared.spectral_axis})
    if prepared.lsf_sigma is not None and prepared.lsf_sigma.ndim == 1:
        table["lsf_sigma"] = prepared.lsf_sigma
    return table


def _rows_table(prepared):
    table = prepared.catalog.copy()
    table["object_id"], table["spectrum_id"] = prepared.object_id, prepared.spectrum_id
    return table


def read_prepared(path):
    """See `PreparedSpectra.read`."""
    with open_fits(path) as hdus:
        facts = _facts(path, hdus)
        names = [hdu.name for hdu in hdus]
        arrays = {name: native(hdus[name.upper()].data) for name in ("flux", "ivar", "mask", "quality", "norm")}
        grid, rows, rejected = (QTable.read(hdus[name], mask_invalid=False) for name in ("GRID", "ROWS", "REJECTED"))
        covariance = tuple(native(hdus[n].data) for n in ("COVSCALE", "COVBASIS")) if "COVSCALE" in names else None
        lsf = native(hdus["LSF"].data) * u.AA if "LSF" in names else None
    if lsf is None and "lsf_sigma" in grid.colnames:
        lsf = native(grid["lsf_sigma"].value) << grid["lsf_sigma"].unit
    axis = u.Quantity(native(grid["spectral_axis"].value), grid["spectral_axis"].unit)
    if grid_digest(axis) != facts["grid_digest"]:
        raise CorruptFileError(f"{path}: its grid does not have the digest {facts['grid_digest'][:12]} that it states")
    rows = _clean(rows)
    ids = {name: np.asarray(rows[name], dtype=str) for name in ("object_id", "spectrum_id")}
    rows.remove_columns(list(ids))
    record = InstrumentRecord(*(facts[name] for name in ("instrument", "options", "grid_digest", "mask_version")))
    return PreparedSpectra(
        **arrays | {"mask": arrays["mask"] != 0},
        **ids,
        spectral_axis=axis,
        instrument=record,
        catalog=rows,
        quality_bits=facts["quality_bits"],
        lsf_sigma=lsf,
        flux_unit=u.Unit(facts["flux_unit"]),
        axis_kind=facts["axis_kind"],
        covariance_factor=covariance,
        rejected=_clean(rejected) if len(rejected) else empty_rejected(),
    )


def _facts(path, hdus):
    try:
        facts = json.loads(hdus[0].header["FACTS"])
        known = facts["kind"] == _KIND and facts["version"] <= _VERSION
    except (KeyError, TypeError, ValueError):
        known = False
    if not known:
        raise UnknownProductError(f"{path}: expected a file that PreparedSpectra.write of this version or before made")
    return facts


def _clean(table):
    """A table as it was before it was written: text as str, no masks, no header."""
    for name in table.colnames:
        column = table[name]
        if isinstance(column, u.Quantity):
            table[name] = native(column.value) << column.unit
        else:
            column = np.ma.getdata(column)
            table[name] = np.char.decode(column, "utf-8") if column.dtype.kind == "S" else native(column)
    table.meta.clear()
    return table
