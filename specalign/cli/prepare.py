"""Put spectra on their instrument's grid: one file of prepared spectra an instrument.

FILE is a file, a folder, or a pattern. Bad pixels are masked, spectra go to the
rest frame and to vacuum wavelengths, and are normalised. Files and rows that
cannot be prepared are listed with their reasons, and written to rejected.ecsv.
"""

from pathlib import Path

from specalign.exceptions import EmptySpectrumError, SpecalignError, SpectrumUnitError

EXAMPLE = """
    specalign prepare spectra/ --output prepared/
    specalign prepare "x1d/*.fits" --instrument nirspec --option disperser=g140h filter=f100lp
"""


def add_arguments(parser):
    """Add the arguments of this verb."""
    from specalign.cli.files import add_instrument

    parser.add_argument("files", nargs="+", metavar="FILE", help="files, folders or patterns")
    add_instrument(parser)
    parser.add_argument(
        "--visits", choices=["combined", "all"], default="combined", help="combined spectra, or every visit"
    )
    parser.add_argument("--output", default="prepared", metavar="FOLDER", help="where the files go")


def run(arguments):
    """Read, prepare and write."""
    from specalign.cli.files import chosen_instruments, expand

    paths = expand(arguments.files)
    spectra, unread = read_all(paths, chosen_instruments(arguments), arguments)
    prepared, refused = prepare_all(spectra)
    rejected = rejected_table([*unread, *refused], prepared)
    write(prepared, rejected, Path(arguments.output))
    n_rows = sum(map(len, prepared.values()))
    print(f"{len(paths)} files: {n_rows} spectra prepared, {len(rejected)} files or spectra rejected")
    if not n_rows:
        raise EmptySpectrumError(f"none of the {len(paths)} files could be prepared; the reasons are above")


def read_all(paths, instruments, arguments):
    """Spectra of all files by instrument, and (file, "", reason) of those that cannot be read."""
    from specalign.cli.files import progress_bar, read_spectra

    spectra, unread = {}, []
    for path in progress_bar(paths, arguments, "reading"):
        try:
            instrument, found = read_spectra(path, instruments, arguments.visits)
        except (SpecalignError, OSError) as error:
            unread.append((str(path), "", " ".join(str(error).split()).removeprefix(f"{path}: ")))
        else:
            spectra.setdefault(instrument.name, (instrument, []))[1].extend(found)
    return spectra, unread


def prepare_all(spectra):
    """`PreparedSpectra` by the name of their file, and what was refused because its spectrum_id was there already."""
    prepared, refused = {}, []
    for name, (instrument, found) in sorted(spectra.items()):
        found = _unique(found, refused)
        try:
            prepared[name] = instrument.prepare(found)
        except SpectrumUnitError:  # a flux in counts and one in Jansky cannot be in one array
            prepared |= {f"{name}-{products}": instrument.prepare(group) for products, group in _by_unit(found).items()}
    return prepared, refused


def _by_unit(spectra):
    """Groups whose fluxes have units of one kind, by the names of their products."""
    groups = {}
    for spectrum in spectra:
        groups.setdefault(str(spectrum.flux.unit.physical_type), []).append(spectrum)
    return {"+".join(sorted({one.meta["product"] for one in group})): group for group in groups.values()}


def _unique(spectra, refused):
    first = {}
    for spectrum in spectra:
        name = spectrum.meta["spectrum_id"]
        if name in first:
            reason = f"spectrum_id occurs twice: in {first[name].meta['path']} and in {spectrum.meta['path']}"
            refused.append((name, spectrum.meta["object_id"], reason))
        first.setdefault(name, spectrum)
    return list(first.values())


def rejected_table(rows, prepared):
    """All that was rejected, while reading and while preparing."""
    from astropy.table import QTable

    rows = [*rows, *((r["spectrum_id"], r["object_id"], r["reason"]) for p in prepared.values() for r in p.rejected)]
    return QTable(rows=[tuple(map(str, row)) for row in rows] or None, names=("spectrum_id", "object_id", "reason"))


def write(prepared, rejected, folder):
    """One FITS file an instrument, and the table of rejected rows."""
    from specalign.io.files import atomic_write

    folder.mkdir(parents=True, exist_ok=True)
    for name, one in prepared.items():
        if len(one):
            path = folder / f"{name}.fits"
            one.write(path)
            print(f"{path}: {one!r}")
    for reason, names in _by_reason(rejected).items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        print(f"rejected: {names[0]}{more}: {reason}")
    with atomic_write(folder / "rejected.ecsv") as temporary:
        rejected.write(temporary, format="ascii.ecsv")


def _by_reason(rejected):
    """Names of the rejected, by reason."""
    names = {}
    for row in rejected:
        names.setdefault(str(row["reason"]), []).append(str(row["spectrum_id"]))
    return names
