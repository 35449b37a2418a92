"""List the instruments, their products, grids and options.

Products are the files that an instrument reads; each row states the facts that
its pixels do not tell, and where they are documented.
"""

EXAMPLE = """
    specalign instruments
    specalign instruments apogee
"""


def add_arguments(parser):
    """Add the arguments of this verb."""
    parser.add_argument("names", nargs="*", default=[], metavar="NAME", help="only these instruments")


def run(arguments):
    """Print a paragraph for each instrument; only those that are named, or are built in, are imported."""
    from specalign.instruments import get_instrument
    from specalign.plugins import find_plugins

    plugins = find_plugins("instruments")
    for name in arguments.names or sorted({plugin.name for plugin in plugins}):
        offered = [plugin for plugin in plugins if plugin.name == name]
        if arguments.names or all(plugin.distribution == "specalign" for plugin in offered):
            print("\n".join(describe(get_instrument(name))), end="\n\n")
        else:
            print(f"{' and '.join(map(str, offered))}\n  not loaded; see: specalign instruments {name}\n")


def _origin(instrument):
    """Version and papers, of an instrument that states them."""
    version, citation = (getattr(instrument, name, "") for name in ("version", "citation"))
    return [f"  version {version}; cite {citation}"] if version or citation else []


def describe(instrument):
    """Lines that say what an instrument reads and makes."""
    axis = instrument.spectral_axis
    lines = [
        f"{instrument.name}: {len(axis)} pixels, {axis[0]:.8g} to {axis[-1]:.8g}, mask rules {instrument.mask_version}",
        *_origin(instrument),
        f"  options: {', '.join(f'{key}={value!r}' for key, value in instrument.options.items()) or 'none'}",
    ]
    for product in instrument.products:
        power = f"R = {product.resolving_power:.0f}" if product.resolving_power else "R varies"
        lines.append(
            f"  {product.name}: {product.frame} frame, {product.medium}, normalised: {product.normalization}, {power}"
        )
        lines.append(f"    {product.data_model}")
    return lines
