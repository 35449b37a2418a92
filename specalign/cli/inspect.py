"""Say what files hold, and draw a spectrum of each before and after it is prepared.

Printed for each spectrum: product, frame, medium, velocity, resolution, S/N,
how many pixels have which quality bit, and whether it can be prepared. The
figures go to the current folder.
"""

from pathlib import Path

EXAMPLE = """
    specalign inspect aspcapStar-dr17-2M00000002+7417074.fits
    specalign inspect jw01234_x1d.fits --instrument nirspec --option disperser=g235m filter=f170lp
"""


def add_arguments(parser):
    """Add the arguments of this verb."""
    from specalign.cli.files import add_instrument

    parser.add_argument("files", nargs="+", metavar="FILE", help="files, folders or patterns")
    add_instrument(parser)
    parser.add_argument("--visits", choices=["combined", "all"], default="all", help="combined spectra, or every visit")
    parser.add_argument("--row", type=int, default=0, help="which spectrum of each file is drawn")
    parser.add_argument("--output", default=".", metavar="FOLDER", help="where the figures go")


def run(arguments):
    """Read, print, draw."""
    from specalign.cli.files import chosen_instruments, expand, read_spectra

    instruments = chosen_instruments(arguments)
    for path in expand(arguments.files):
        instrument, spectra = read_spectra(path, instruments, arguments.visits)
        print(f"{path}: {len(spectra)} {'spectrum' if len(spectra) == 1 else 'spectra'} of {instrument!r}")
        for number, spectrum in enumerate(spectra):
            print("\n".join([f"[{number}]", *describe(spectrum)]))
        draw(instrument, spectra, arguments.row, Path(arguments.output) / f"{_stem(path)}-inspect.png")


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
