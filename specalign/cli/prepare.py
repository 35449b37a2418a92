"""Put spectra on their instrument's grid: one file of prepared spectra an instrument.

FILE is a file, a folder, or a pattern. Bad pixels are masked, spectra go to the
rest frame and to vacuum wavelengths, and are normalised. Files and rows that
cannot be prepared are listed with their reasons, and written to rejected.ecsv.
"""

from pathlib import Path

from specalign.exceptions import EmptySpectrumError, SpecalignError, SpectrumError, SpectrumUnitError

EXAMPLE = """
    specalign prepare spectra/ --output prepared/
    specalign prepare "x1d/*.fits" --instrument nirspec --option disperser=g140h filter=f100lp
    specalign prepare "x1d/*.fits" --velocity measure --templates templates/nirspec.fits
"""


def add_arguments(parser):
    """Add the arguments of this verb."""
    from specalign.cli.files import add_instrument

    parser.add_argument("files", nargs="+", metavar="FILE", help="files, folders or patterns")
    add_instrument(parser)
    parser.add_argument(
        "--visits", choices=["combined", "all"], default="combined", help="combined spectra, or every visit"
    )
    parser.add_argument(
        "--velocity",
        choices=["stated", "measure", "ignore"],
        default="stated",
        help="velocities that the files state, or measured ones; a measured one that fails rejects its spectrum; "
        "ignore: spectra stay in the frame of their file",
    )
    parser.add_argument(
        "--templates",
        nargs="+",
        default=[],
        metavar="FILE",
        help="prepared spectra at rest to measure against, one file for each instrument to measure",
    )
    parser.add_argument(
        "--within", nargs=2, type=float, metavar="ANGSTROM", help="vacuum wavelengths between which is measured"
    )
    parser.add_argument("--output", default="prepared", metavar="FOLDER", help="where the files go")


def run(arguments):
    """Read, prepare and write."""
    from specalign.cli.files import chosen_instruments, expand

    requests = velocity_requests(arguments)
    paths = expand(arguments.files)
    spectra, unread = read_all(paths, chosen_instruments(arguments), arguments)
    prepared, refused = prepare_all(spectra, requests)
    rejected = rejected_table([*unread, *refused], prepared)
    write(prepared, rejected, Path(arguments.output))
    n_rows = sum(map(len, prepared.values()))
    print(f"{len(paths)} files: {n_rows} spectra prepared, {len(rejected)} files or spectra rejected")
    if not n_rows:
        raise EmptySpectrumError(f"none of the {len(paths)} files could be prepared; the reasons are above")


def velocity_requests(arguments):
    """What ``prepare`` is given as the velocity, by instrument: a `MeasuredVelocity`, NaN, or nothing."""
    import collections

    import astropy.units as u
    import numpy as np

    from specalign.cli.files import UsageError
    from specalign.instruments.measured import MeasuredVelocity
    from specalign.instruments.prepared import PreparedSpectra

    if (arguments.velocity == "measure") != bool(arguments.templates):
        raise UsageError("--velocity measure and --templates FILE need each other")
    if arguments.within and not arguments.templates:
        raise UsageError("--within needs --velocity measure")
    within = None if arguments.within is None else arguments.within * u.AA
    nothing = np.nan * u.km / u.s if arguments.velocity == "ignore" else None
    requests = collections.defaultdict(lambda: nothing)
    for path in arguments.templates:
        templates = PreparedSpectra.read(path)
        name = templates.instrument.name
        if name in requests:
            raise UsageError(f"--templates: {path} is a second file for {name}; give one file an instrument")
        requests[name] = MeasuredVelocity(templates, within=within)
    return requests


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


def prepare_all(spectra, requests):
    """`PreparedSpectra` by the name of their file, and what was refused because its spectrum_id was there already."""
    if unused := sorted(set(requests) - set(spectra)):
        raise SpectrumError(f"--templates: there is no spectrum of {', '.join(unused)} to measure; leave out that file")
    prepared, refused = {}, []
    for name, (instrument, found) in sorted(spectra.items()):
        found, options = _unique(found, refused), {"radial_velocity": requests[name]}
        try:
            prepared[name] = instrument.prepare(found, **options)
        except SpectrumUnitError:  # a flux in counts and one in Jansky cannot be in one array
            groups = _by_unit(found).items()
            prepared |= {f"{name}-{products}": instrument.prepare(group, **options) for products, group in groups}
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
            one.write(path, overwrite=True)
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
