"""`EmbeddingTable` in files: FITS with checksums, and tables of other formats with a digest of their content."""

import contextlib
import functools
import hashlib
import json
import warnings

import numpy as np
from astropy.io import fits
from astropy.table import QTable
from astropy.utils.exceptions import AstropyWarning

from specalign.data.embeddings import EmbeddingTable
from specalign.exceptions import MissingExtraError, SpectrumError, UnknownProductError
from specalign.io.files import atomic_write, corrupt, misfits_as_corrupt
from specalign.io.fits_files import encoded_text, open_fits

__all__ = ["READ", "WRITE", "from_table", "to_table"]

#: Written into every file, so that a later layout can be told from this one.
FORMAT = "specalign embeddings 1"

OPTIONAL = ("concentration", "in_domain", *EmbeddingTable._LATENT)


def to_table(table):
    """See `EmbeddingTable.to_table`."""
    names = [*table._TEXT, "vectors", "snr", "good_fraction", *OPTIONAL]
    columns = {name: getattr(table, name) for name in names if getattr(table, name) is not None}
    return QTable(columns, meta={"provenance": table.provenance, "blocks": table.blocks})


def from_table(table):
    """See `EmbeddingTable.from_table`."""
    needed = [*EmbeddingTable._TEXT, "vectors", "snr", "good_fraction"]
    if missing := [name for name in needed if name not in table.colnames]:
        raise SpectrumError(f"expected the columns {', '.join(needed)}; there is no {', '.join(missing)}")
    columns = {name: np.asarray(table[name]) for name in (*needed, *OPTIONAL) if name in table.colnames}
    known = {name: dict(table.meta.get(name, {})) for name in ("provenance", "blocks")}
    return EmbeddingTable(**columns, **known)


def _digest(table):
    """SHA-256 of every row, and of what is known of all of them."""
    digest = hashlib.sha256(_facts(table).encode())
    for name in table._ROWS:
        values = getattr(table, name)
        if values is not None:
            content = "\0".join(values.tolist()).encode() if values.dtype.kind == "U" else values.tobytes()
            digest.update(f"{name} {values.shape} ".encode() + content)
    return digest.hexdigest()


def _write_table(table, path, form):
    if form == "ascii.ecsv":
        _check_lines(table, path)
    rows = to_table(table)
    rows.meta = {"content": FORMAT, "facts": _facts(table), "sha256": _digest(table)}
    with atomic_write(path) as temporary, _parquet_there(path, form):
        rows.write(temporary, format=form)


def _check_lines(table, path):
    """ECSV is lines of text: astropy reads neither a table without rows nor line breaks and blanks at ends."""
    names = [text for name in table._TEXT for text in set(getattr(table, name).tolist())]
    unfit = [text for text in names if text != text.strip() or not text.isprintable()]
    if unfit or not len(table):
        what = f"the text {unfit[0]!r}" if unfit else "a table without rows"
        raise SpectrumError(f"{path}: ECSV does not keep {what}; write FITS or parquet")


def _read_table(path, form):
    with _parquet_there(path, form), misfits_as_corrupt(path):
        rows = _rows_of(path, form)
        if rows.meta.get("content") != FORMAT:
            raise UnknownProductError(
                f"{path}: expected {FORMAT!r} in the header, got {rows.meta.get('content')!r}; read other tables with "
                f"astropy, and make embeddings of them with EmbeddingTable.from_table"
            )
        rows.meta |= json.loads(rows.meta["facts"])
        found = from_table(rows)
        if _digest(found) != rows.meta["sha256"]:
            raise corrupt(path, f"its {len(found)} rows do not have the digest that the header states")
    return found


def _rows_of(path, form):
    from astropy.table.meta import YamlParseError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", AstropyWarning)  # a table of ours has nothing to warn of
            return QTable.read(path, format=form)
    except (AstropyWarning, YamlParseError) as error:  # a header is read with a loader that runs nothing
        raise corrupt(path, f"the header of the table is damaged ({error})") from error


@contextlib.contextmanager
def _parquet_there(path, form):
    try:
        if form == "parquet":
            import pyarrow  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(f"{path}: parquet files need pyarrow: pip install pyarrow") from error
    yield


def _write_fits(table, path):
    hdus = _to_hdus(table)
    with atomic_write(path) as temporary:
        hdus.writeto(temporary, checksum=True)


def _read_fits(path):
    with open_fits(path) as hdus, misfits_as_corrupt(path):
        if hdus[0].header.get("CONTENT") != FORMAT:
            raise UnknownProductError(
                f"{path}: expected {FORMAT!r}, got {hdus[0].header.get('CONTENT')!r}; "
                f"embeddings are written by EmbeddingTable.write"
            )
        return EmbeddingTable(**_from_hdus(hdus))


def _to_hdus(table):
    text = [_text_column(name, getattr(table, name)) for name in table._TEXT]
    columns = [*text, fits.Column("vectors", f"{table.vectors.shape[1]}E", array=table.vectors)]
    for name in table._NUMBERS:
        if getattr(table, name) is not None:
            columns.append(fits.Column(name, "E", array=getattr(table, name)))
    if table.in_domain is not None:
        columns.append(fits.Column("in_domain", "L", array=table.in_domain))
    for name in table._LATENT if table.is_probabilistic else ():
        values = getattr(table, name)
        columns.append(fits.Column(name, f"{values.shape[1]}E", array=values))
    rows = fits.BinTableHDU.from_columns(columns, name="EMBEDDINGS")
    rows.header["DIMENSIO"] = table.vectors.shape[1]
    # JSON as bytes in an HDU of its own: header cards would cut digests and take ASCII only
    meta = fits.ImageHDU(np.frombuffer(_facts(table).encode(), np.uint8), name="META")
    hdus = fits.HDUList([fits.PrimaryHDU(), rows, meta])
    hdus[0].header["CONTENT"], hdus[0].header["NEXTEND"] = FORMAT, 2
    return hdus


def _facts(table):
    try:
        return json.dumps({"provenance": table.provenance, "blocks": table.blocks}, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SpectrumError(f"provenance: expected plain text, numbers, lists and dicts ({error})") from error


def _text_column(name, values):
    encoded = encoded_text(name, values)
    return fits.Column(name, f"{max(1, encoded.dtype.itemsize)}A", array=encoded)


def _from_hdus(hdus):
    """The fields of a table; whatever is missing or cannot be decoded here, `open_fits` reports as damage."""
    raw = hdus["EMBEDDINGS"].data.view(np.ndarray)
    values = {name: np.char.decode(raw[name], "utf-8") for name in EmbeddingTable._TEXT}
    values |= {name: raw[name] for name in EmbeddingTable._NUMBERS if name in raw.dtype.names}
    if "in_domain" in raw.dtype.names:
        values["in_domain"] = raw["in_domain"] == ord("T")
    # a column of one dimension comes back without its second axis
    latent = [name for name in EmbeddingTable._LATENT if name in raw.dtype.names]
    values |= {name: raw[name].reshape(len(raw), *(raw.dtype[name].shape or (1,))) for name in latent}
    vectors = raw["vectors"].reshape(len(raw), hdus["EMBEDDINGS"].header["DIMENSIO"])
    return {**json.loads(hdus["META"].data.tobytes().decode()), **values, "vectors": vectors}


READ = {
    "fits": _read_fits,
    "ecsv": functools.partial(_read_table, form="ascii.ecsv"),
    "parquet": functools.partial(_read_table, form="parquet"),
}
WRITE = {
    "fits": _write_fits,
    "ecsv": functools.partial(_write_table, form="ascii.ecsv"),
    "parquet": functools.partial(_write_table, form="parquet"),
}
