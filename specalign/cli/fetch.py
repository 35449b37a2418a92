"""Fetch spectra from public archives by the names of objects: APOGEE, LAMOST, Gaia XP, JWST/NIRSpec.

Files go to a cache, and come once; what was interrupted is resumed by the
same command. At the end every object without a file is listed with its reason,
and the exit code is 1. Tokens, where data are not public, are taken from the
environment variables LAMOST_TOKEN and MAST_API_TOKEN, never from the command line.
"""

EXAMPLE = """
    specalign fetch apogee apo25m.000+02.2M17335483-2753043 --release dr17 --product aspcapStar
    specalign fetch lamost --ids obsids.txt --release dr11 --data-version v2.0 --resolution mrs
    specalign fetch gaia_xp 5937083312263887616 --form sampled
    specalign fetch nirspec --proposal 2609 --disperser g140h --output fetched.ecsv
"""

# Which options an archive has, and the keywords that they are.
_OPTIONS = {
    "apogee": {"release": "release", "product": "product", "catalogue": "catalogue"},
    "lamost": {"release": "release", "data_version": "version", "resolution": "resolution"},
    "gaia_xp": {"form": "form"},
    "nirspec": {
        "product": "product",
        "proposal": "proposal_id",
        "target": "target_name",
        "disperser": "disperser",
        "calib_level": "calib_level",
    },
}


def add_arguments(parser):
    """Add the arguments of this verb."""
    from jsonargparse.typing import PositiveInt

    parser.add_argument("archive", choices=sorted(_OPTIONS), help="where from")
    parser.add_argument("names", nargs="*", default=[], metavar="ID", help="APOGEE IDs, obsids, source_ids or obs_ids")
    parser.add_argument("--ids", metavar="FILE", help="a text file with an id a line; # begins a comment")
    parser.add_argument("--release", help="apogee: dr16, dr17, dr19; lamost: dr10, ...")
    parser.add_argument("--product", help="apogee: aspcapStar, apStar, apVisit, mwmStar; nirspec: x1d, s2d")
    parser.add_argument("--catalogue", metavar="FILE", help="apogee: allStar or allStarLite, which tell the fields")
    parser.add_argument("--data-version", metavar="VERSION", help="lamost: v2.0, ...")
    parser.add_argument("--resolution", choices=["lrs", "mrs"], help="lamost: low or medium")
    parser.add_argument("--form", choices=["continuous", "sampled"], help="gaia_xp: coefficients or fluxes")
    parser.add_argument("--proposal", type=int, metavar="NUMBER", help="nirspec: a programme")
    parser.add_argument("--target", metavar="NAME", help="nirspec: the target, as the observers named it")
    parser.add_argument("--disperser", help="nirspec: g140m, g140h, g235m, g235h, g395m, g395h or prism")
    parser.add_argument("--calib-level", type=int, choices=[2, 3], help="nirspec: each exposure, or all together")
    parser.add_argument("--limit", type=PositiveInt, help="files at most; 1000 unless it says more")
    parser.add_argument("--base-url", metavar="URL", help="of a mirror")
    parser.add_argument("--cache", metavar="FOLDER", help="where the files go; by default the configured folder")
    parser.add_argument("--output", metavar="FILE", help="where the table of results goes: .ecsv or .csv")


def run(arguments):
    """Fetch, print, write, and fail where an object has no file."""
    from specalign import fetch
    from specalign.cli.tables import print_table, write_table

    session = fetch.Session(cache=arguments.cache, progress=None if arguments.progress else False)
    names, options = _names(arguments), _options(arguments)
    found = getattr(fetch, arguments.archive)(
        *names, session=session, limit=arguments.limit, base_url=arguments.base_url, **options
    )
    print_table(found["id", "product", "status", "size", "path", "reason"])
    print(", ".join(f"{number} {status}" for status, number in found.counts().items()))
    if arguments.output:
        write_table(found, arguments.output)
    found.raise_for_failures()


def _names(arguments):
    """The ids as the function's first argument; none where the archive needs none."""
    from pathlib import Path

    from specalign.cli.files import UsageError

    names = list(arguments.names)
    if arguments.ids:
        lines = [line.partition("#")[0].strip() for line in Path(arguments.ids).read_text().splitlines()]
        names += [line for line in lines if line]
    if not names and not (arguments.archive == "nirspec" and (arguments.proposal or arguments.target)):
        raise UsageError(f"{arguments.archive}: expected ids, or --ids FILE")
    return [names] if names else []


def _options(arguments):
    from specalign.cli.files import UsageError

    known = _OPTIONS[arguments.archive]
    every = {option for options in _OPTIONS.values() for option in options}
    given = {option for option in every if getattr(arguments, option) is not None}
    if foreign := sorted(given - set(known)):
        raise UsageError(f"{arguments.archive} has no option --{foreign[0].replace('_', '-')}")
    return {known[option]: getattr(arguments, option) for option in given}
