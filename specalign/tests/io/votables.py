"""Small VOTables of XP spectra in the layouts of the Gaia archive, and archives of them."""

import base64
import struct
import zipfile

import numpy as np

from specalign.tests.io import synthetic

CODES = {"long": "q", "short": "h", "float": "f", "double": "d"}
PARTS = (("coefficients", "double"), ("coefficient_errors", "double"), ("coefficient_correlations", "double"))


def document(*tables):
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">'
    )
    return f'{text}\n<RESOURCE type="results">\n' + "\n".join(tables) + "\n</RESOURCE>\n</VOTABLE>\n"


def table(fields, rows, params="", attributes="", plain=False):
    """A table of fields (name, datatype, arraysize or None, unit or None); None in a row is null."""
    declared = "".join(
        f'<FIELD name="{name}" datatype="{datatype}"'
        + (f' arraysize="{size}"' if size else "")
        + (f' unit="{unit}"' if unit else "")
        + "/>\n"
        for name, datatype, size, unit in fields
    )
    data = _tabledata(rows) if plain else _binary2(fields, rows)
    return f"<TABLE{attributes}>\n{params}{declared}<DATA>{data}</DATA>\n</TABLE>"


def _tabledata(rows):
    cells = ["".join(f"<TD>{_text(value)}</TD>" for value in row) for row in rows]
    return "<TABLEDATA>" + "".join(f"<TR>{row}</TR>\n" for row in cells) + "</TABLEDATA>"


def _text(value):
    return "" if value is None else " ".join(map(repr, np.atleast_1d(value).tolist()))


def _binary2(fields, rows):
    stream = b"".join(_row(fields, row) for row in rows)
    return f'<BINARY2>\n<STREAM encoding="base64">\n{base64.encodebytes(stream).decode()}</STREAM>\n</BINARY2>'


def _row(fields, row):
    flags = sum(1 << (7 - i % 8 + 8 * ((len(row) + 7) // 8 - 1 - i // 8)) for i, v in enumerate(row) if v is None)
    parts = [flags.to_bytes((len(row) + 7) // 8, "big")]
    for (_, datatype, size, _), value in zip(fields, row, strict=True):
        values = ([] if size else [0]) if value is None else np.atleast_1d(value).tolist()
        length = struct.pack(">i", len(values)) if size == "*" else b""
        parts.append(length + struct.pack(f">{len(values)}{CODES[datatype]}", *values))
    return b"".join(parts)


def continuous(path, sources=(11, 22), without_bp=(), plain=False, **options):
    fields = [("source_id", "long", None, None)]
    for band in ("bp", "rp"):
        fields.append((f"{band}_n_parameters", "short", None, None))
        fields += [(f"{band}_{part}", datatype, "*", None) for part, datatype in PARTS]
    rows = []
    for source in sources:
        bp, rp = (synthetic.xp_arrays(seed=source + i) for i in range(2))
        rows.append([source, *([None] * 4 if source in without_bp else [55, *bp]), 55, *rp])
    path.write_text(document(table(fields, rows, plain=plain, **options)))


def sampled_table(source=6, unit="W.m**-2.nm**-1", step=2.0, plain=False):
    flux = np.linspace(1, 2, 343) * 1e-16
    fields = [("wavelength", "double", None, "nm"), ("flux", "float", None, unit), ("flux_error", "float", None, unit)]
    params = f'<PARAM name="source_id" datatype="long" value="{source}"/>\n'
    params += '<PARAM name="spatialLocation" datatype="double" arraysize="2" value="1.5 -2.5"/>\n'
    rows = list(zip(336 + step * np.arange(343), flux, flux / 10, strict=True))
    return table(fields, rows, params, plain=plain)


def other_table():
    return table([("teff1", "float", None, "K")], [[5000.0], [5100.0]])


def sampled(path, sources=(6,), **options):
    path.write_text(document(*(sampled_table(source, **options) for source in sources)))


def one_source_fits(path, source="6", unit="W.m**-2.nm**-1"):
    from astropy.io import fits

    flux = np.linspace(1, 2, 343) * 1e-16
    columns = [fits.Column("wavelength", "D", "nm", array=336 + 2.0 * np.arange(343))]
    columns += [fits.Column(name, "E", unit, array=flux * f) for name, f in (("flux", 1), ("flux_error", 0.1))]
    hdu = fits.BinTableHDU.from_columns(columns)
    hdu.header.update(SOURCEID=source, PUBLISHE="ESA/Gaia/DPAC")
    hdu.writeto(path)


def archive(path, members):
    """A zip archive of names and contents (bytes)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in members.items():
            target.writestr(name, content)


def datalink(path, folder, kind="xml"):
    """An archive as DataLink gives it for one source: two XP products, and one of another kind."""
    if kind == "xml":
        continuous(folder / "c.xml", sources=(6,))
        sampled(folder / "s.xml")
        (folder / "m.xml").write_text(document(other_table()))
    else:
        synthetic.xp_continuous_fits(folder / "c.fits", sources=(6,))
        one_source_fits(folder / "s.fits")
        (folder / "m.fits").write_bytes(b"not read")
    names = {"m": "MCMC_MSC", "s": "XP_SAMPLED", "c": "XP_CONTINUOUS"}
    archive(path, {f"{name}-Gaia DR3 6.{kind}": (folder / f"{k}.{kind}").read_bytes() for k, name in names.items()})
