"""Say what files hold, and draw a spectrum of each before and after it is prepared.

Printed for each spectrum: product, frame, medium, velocity, resolution, S/N,
how many pixels have which quality bit, and whether it can be prepared. The
figures go to the current folder. With --labels the files are catalogues: their
label system, rows and labels, and how many values were masked and why.
"""

from pathlib import Path

EXAMPLE = """
    specalign inspect aspcapStar-dr17-2M00000002+7417074.fits
    specalign inspect jw01234_x1d.fits --instrument nirspec --option disperser=g235m filter=f170lp
    specalign inspect allStarLite-dr17-synspec_rev1.fits --labels --system aspcap-dr17
"""


def add_arguments(parser):
    """Add the arguments of this verb."""
    from specalign.cli.files import add_instrument

    parser.add_argument("files", nargs="+", metavar="FILE", help="files, folders or patterns")
    add_instrument(parser)
    parser.add_argument("--visits", choices=["combined", "all"], default="all", help="combined spectra, or every visit")
    parser.add_argument("--row", type=int, default=0, help="which spectrum of each file is drawn")
    parser.add_argument("--output", default=".", metavar="FOLDER", help="where the figures go")
    parser.add_argument("--labels", action="store_true", help="the files are catalogues of labels")
    parser.add_argument("--system", metavar="NAME", help="their label system; by default what each file says")


def run(arguments):
    """Read, print, draw."""
    from specalign.cli.files import chosen_instruments, expand, read_spectra

    if arguments.labels:
        return inspect_labels(arguments)
    instruments = chosen_instruments(arguments)
    for path in expand(arguments.files):
        instrument, spectra = read_spectra(path, instruments, arguments.visits)
        print(f"{path}: {len(spectra)} {'spectrum' if len(spectra) == 1 else 'spectra'} of {instrument!r}")
        for number, spectrum in enumerate(spectra):
            print("\n".join([f"[{number}]", *describe(spectrum)]))
        draw(instrument, spectra, arguments.row, Path(arguments.output) / f"{_stem(path)}-inspect.png")


def inspect_labels(arguments):
    """Read catalogues and print what they hold."""
    from specalign.data.labels import read_labels

    for path in map(Path, arguments.files):
        labels = read_labels(path, system=arguments.system, duplicates="keep")
        print("\n".join([f"{path}: {len(labels)} stars or rows of labels", *describe_labels(labels)]))


def describe_labels(labels):
    """Lines with the system of a table of labels, its labels and what was masked."""
    from specalign.data.labels import is_stellar_label

    facts = labels.meta
    conflicts = facts["conflicting_object_ids"]
    return [
        f"  system        {facts['label_system']}",
        f"  data model    {facts['data_model']}",
        f"  calibrated    {facts['calibrated']}",
        f"  solar scale   {facts['solar_scale']}",
        f"  epoch         {facts.get('epoch', 'a column' if 'epoch' in labels.colnames else 'not stated')}",
        f"  labels        {', '.join(name for name in labels.colnames if is_stellar_label(name))}",
        f"  joined        {facts['joined_rows']} equal rows of one star",
        f"  conflicts     {len(conflicts)} stars with rows that differ{_first_names(conflicts)}",
        *(f"  masked        {name}: {_reasons(reasons)}" for name, reasons in facts["masked"].items()),
        f"  not read      {', '.join(facts['ignored_columns']) or 'no column'}",
    ]


def _first_names(names, shown=5):
    return f": {', '.join(names[:shown])}{', ...' if len(names) > shown else ''}" if names else ""


def _reasons(reasons):
    return ", ".join(f"{reason} {count}" for reason, count in reasons.items())


def describe(spectrum):
    """Lines with the facts of a spectrum, and what its quality bits say."""
    facts, axis = spectrum.meta, spectrum.spectral_axis
    power = facts.get("resolving_power")
    return [
        f"  object        {facts['object_id']}",
        f"  spectrum      {facts['spectrum_id']}",
        f"  product       {facts['product']}",
        f"  frame         {facts['frame']}",
        f"  medium        {facts['medium']}",
        f"  normalised    {facts['normalization']}",
        f"  velocity      {_velocity(facts)}",
        f"  resolution    {f'R = {power:.0f}' if power else 'varies'}",
        f"  S/N           {'not stated' if facts['snr'] != facts['snr'] else format(facts['snr'], '.4g')}",
        f"  pixels        {len(axis)}, {axis[0]:.8g} to {axis[-1]:.8g}, {spectrum.mask.sum()} masked"
        f", {facts['n_dropped']} rows of the file dropped",
        f"  flux unit     {str(spectrum.flux.unit) or 'dimensionless'}",
        *(f"  quality       {line}" for line in _bit_counts(facts)),
    ]


def _velocity(facts):
    value = facts["radial_velocity"]
    if value is None:
        return "none stated"
    applied = "already at rest, not applied" if facts["frame"] == "rest" else "applied when prepared"
    return f"{value:.2f} ({facts['velocity_source']}; {applied})"


def _bit_counts(facts):
    counts = {name: int((facts["quality"] >> bit & 1).sum()) for name, bit in facts["quality_bits"].items()}
    return [f"{name}: {count} pixels" for name, count in counts.items() if count] or ["no bit is set"]


def draw(instrument, spectra, row, path):
    """Prepare one spectrum and write the figure of before and after."""
    from specalign.exceptions import SpectrumError
    from specalign.io.files import atomic_write
    from specalign.plots import plot_before_after

    if not 0 <= row < len(spectra):
        raise SpectrumError(f"--row: expected 0 to {len(spectra) - 1}, got {row}")
    prepared = instrument.prepare(spectra[row])
    print(f"prepared [{row}]: {prepared!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        plot_before_after(spectra[row], prepared).savefig(temporary)
    print(f"{path}: before and after")


def _stem(path):
    return path.name.removesuffix(".gz").rpartition(".")[0] or path.name
