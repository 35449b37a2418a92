"""Small files in the surveys' own layouts, so that every reader is tested without real data."""

import numpy as np
from astropy.io import fits

N_APOGEE = 300
N_LAMOST = 200
STAR = "2M00000000+0000000"


def flux_and_error(n, seed=0):
    rng = np.random.default_rng(seed)
    return 100 + rng.normal(size=n), np.full(n, 2.0)


def log_axis(header):
    header.update(CRVAL1=4.179, CDELT1=6e-6, CRPIX1=1, CTYPE1="LOG-LINEAR")
    return header


def apstar(path, visits=2, flags=None, header=None, hdus=10, rows=None, **options):
    """An apStar: two sums come before the visits where there are several; one row where there is one."""
    rows = rows or (visits + 2 if visits > 1 else 1)
    stack = np.stack([flux_and_error(N_APOGEE, i)[0] for i in range(rows)])
    error = np.full(stack.shape, 2.0)
    error[0, 7] = 1e10
    mask = np.zeros(stack.shape, dtype=np.int16) if flags is None else flags
    primary = fits.PrimaryHDU()
    primary.header.update(OBJID=STAR, NVISITS=visits, VHELIO=-270.2, VRAD=0.0, SNR=95.0)
    for i in range(1, visits + 1):
        primary.header.update({f"SFILE{i}": f"apVisit-{i}.fits", f"VHELIO{i}": -270.0 - i, f"SNRVIS{i}": 40.0 + i})
    primary.header.update(header or {})
    images = [fits.ImageHDU(np.squeeze(array)) for array in (stack.astype("f4"), error.astype("f4"), mask)]
    for image in images:
        log_axis(image.header)
    images[0].header["BUNIT"] = "Flux (10^-17 erg/s/cm^2/Ang)"
    rest = [fits.ImageHDU(np.zeros(3)) for _ in range(hdus - 4)]
    fits.HDUList([primary, *images, *rest]).writeto(path, **options)
    return stack


def aspcapstar(path, header=None, first=None, **options):
    flux = (flux_and_error(N_APOGEE)[0] / 100).astype("f4")
    error = np.full(N_APOGEE, 0.01, dtype="f4")
    flux[:3] = error[:3] = 0  # before the first detector
    primary = fits.PrimaryHDU()
    primary.header.update(OBJ=STAR, FERRE="v461a", SNR=148.8, VRAD=0.0, VHELIO=10.0)
    primary.header.update(header or {})
    images = [fits.ImageHDU(array) for array in (flux, error, flux)]
    for image in images:
        log_axis(image.header)
    images[0].header.update(first or {})
    table = fits.BinTableHDU.from_columns([fits.Column("FPARAM", "9E", array=np.zeros((1, 9)))])
    fits.HDUList([primary, *images, table]).writeto(path, **options)
    return flux


def apvisit(path, header=None, flags=None, profile=None, n=60, hdus=12, **options):
    """An apVisit of DR13 to DR16: a row a detector, red, green, blue, each with decreasing wavelengths."""
    ends = ((16955, 16473), (16436, 15857), (15811, 15143))
    wavelength = np.stack([np.linspace(*end, n) for end in ends])
    flux = flux_and_error(3 * n)[0].reshape(3, n) if profile is None else profile(wavelength)
    error = np.full(flux.shape, 2.0)
    error[1, 7] = 1e10
    flags = np.zeros(flux.shape, dtype=np.int16) if flags is None else flags
    primary = fits.PrimaryHDU()
    primary.header.update(OBJID=STAR, PLATE="5095", MJD5=55844, FIBERID=128, V_APRED="0.12.4", SNR=45.0)
    primary.header.update(BC=11.25, VRAD=-44.5, VHELIO=-33.25, CCPEAK=0.3)
    primary.header.update(header or {})
    images = [fits.ImageHDU(array) for array in (flux.astype("f4"), error.astype("f4"), flags, wavelength)]
    units = ("Flux (10^-17 erg/s/cm^2/Ang)", "Flux Error (10^-17 erg/s/cm^2/Ang)", "Flag Mask (bitwise)")
    for image, unit in zip(images, (*units, "Wavelength (Ang)"), strict=True):
        image.header.update(CTYPE1="Pixel", CTYPE2="Chip", BUNIT=unit)
    rest = [fits.ImageHDU(np.zeros((3, 5))) for _ in range(6)]
    column = fits.Column("FILE", "31A", array=["apVisit-r12-5095-55844-128.fits"])
    table = fits.BinTableHDU.from_columns([column])
    fits.HDUList([primary, *images, *rest, table][:hdus]).writeto(path, **options)
    return wavelength, flux


def mwmstar(path, telescopes=("apo25m",), header=None, extra=(), n=N_APOGEE, **options):
    """An mwmStar of DR19: tables of BOSS and APOGEE spectra, north and south, most of them without a row."""
    primary = fits.PrimaryHDU()
    primary.header.update(V_ASTRA="0.6.0", SDSS_ID=99560000, N_BOSS=0, N_APOGEE=3)
    primary.header.update(header or {})
    north = [name for name in telescopes if name != "lco25m"]
    south = [name for name in telescopes if name == "lco25m"]
    parts = {"BOSS/APO": [], "BOSS/LCO": [], "APOGEE/APO": north, "APOGEE/LCO": south}
    tables = [_mwm_table(name, rows, extra, n) for name, rows in parts.items()]
    fits.HDUList([primary, *tables]).writeto(path, **options)
    return mwm_flux(n)


def mwm_flux(n):
    return flux_and_error(n, seed=5)[0].astype("f4")


def _mwm_table(name, telescopes, extra, n_pixels):
    n, p = len(telescopes), f"{n_pixels}E"
    flags = np.zeros(n_pixels, dtype="i8")
    flags[20:22] = 2**0, 2**12
    ivar = np.full(n_pixels, 0.25)
    ivar[:3] = 0
    wavelength = 10 ** (4.179 + 6e-6 * np.arange(n_pixels))
    arrays = {"wavelength": wavelength, "flux": mwm_flux(n_pixels), "ivar": ivar}
    columns = [fits.Column(key, p, array=np.tile(array, (n, 1))) for key, array in arrays.items()]
    columns += [
        fits.Column("pixel_flags", f"{n_pixels}K", array=np.tile(flags, (n, 1))),
        fits.Column("sdss_id", "K", array=np.full(n, 99560000)),
        fits.Column("obj", "18A", array=np.array([STAR] * n, dtype="U18")),
        fits.Column("telescope", "6A", array=np.array(telescopes, dtype="U6")),
        fits.Column("snr", "E", array=np.full(n, 120.5)),
        fits.Column("v_rad", "E", array=np.full(n, 115.5)),
        *(fits.Column(key, "J", array=np.full(n, 59680)) for key in ("min_mjd", "max_mjd", *extra)),
    ]
    table = fits.BinTableHDU.from_columns(columns, name=name)
    table.header.update(INSTRMNT=name[:-4], CRVAL=4.179, CDELT=6e-6, CRPIX=1, CTYPE="LOG-LINEAR")
    table.header.update(CUNIT="Angstrom (Vacuum)", NPIXELS=n_pixels)
    return table


def x1d(path, sources=1, unit="um", flux_unit="Jy", header=None, dq=None, asdf=True, **options):
    n = 50
    wavelength = np.linspace(1.0, 1.8, n)
    flux, error = flux_and_error(n)
    error[3] = np.nan
    dq = np.zeros(n, dtype=np.uint32) if dq is None else dq
    columns = [
        fits.Column("WAVELENGTH", "D", unit, array=wavelength),
        fits.Column("FLUX", "D", flux_unit, array=flux),
        fits.Column("FLUX_ERROR", "D", flux_unit, array=error),
        fits.Column("DQ", "J", bzero=2**31, array=dq),
    ]
    primary = fits.PrimaryHDU()
    primary.header.update(TELESCOP="JWST", INSTRUME="NIRSPEC", DATAMODL="MultiSpecModel", FILENAME="jw01_s1_x1d.fits")
    primary.header.update(header or {})
    tables = [fits.BinTableHDU.from_columns(columns, name="EXTRACT1D") for _ in range(sources)]
    for i, table in enumerate(tables):
        table.header.update(SRCNAME=f"2609_{i + 1}", EXTVER=i + 1)
    last = [fits.BinTableHDU.from_columns([fits.Column("ASDF_METADATA", "9B", array=np.zeros((1, 9)))], name="ASDF")]
    fits.HDUList([primary, *tables, *(last if asdf else [])]).writeto(path, **options)
    return wavelength, flux


def spec1d(path, traces=1, n_zero=10, detector=True, header=None, **options):
    n = 80
    wavelength = np.linspace(9700.0, 18000.0, n)
    wavelength[30 : 30 + n_zero] = 0
    good = np.ones(n, dtype=bool)
    good[[2, 5]] = False
    flux, _ = flux_and_error(n)
    columns = [
        fits.Column("OPT_WAVE", "D", array=wavelength),
        fits.Column("OPT_COUNTS", "D", array=flux),
        fits.Column("OPT_COUNTS_IVAR", "D", array=np.full(n, 0.25)),
        fits.Column("OPT_MASK", "L", array=good),
    ]
    primary = fits.PrimaryHDU()
    primary.header.update(DMODCLS="SpecObjs", PYP_SPEC="jwst_nirspec", TARGET="2609_12", NSPEC=traces)
    primary.header.update(FILENAME="jw01_00002_nrs1_rate.fits", INSTRUME="NIRSPEC")
    primary.header.update(header or {})
    tables = []
    for i in range(traces):
        tables.append(fits.BinTableHDU.from_columns(columns, name=f"SPAT00{i + 10}-SLIT0012-MSC01"))
        tables[-1].header.update(DMODCLS="SpecObj", DET="MSC01", S2N=47.0)
    last = [fits.ImageHDU(np.zeros(3), name="MSC01-DETECTOR")] if detector else []
    fits.HDUList([primary, *tables, *last]).writeto(path, **options)
    return wavelength, flux


def msaexp(path, units=("um", "uJy", "uJy"), header=None, last=True, columns=None, **options):
    """Zeros before, between and after the detectors, and one error that is implausibly small."""
    n = 90
    wavelength = np.linspace(0.68, 1.9, n)
    flux, error = flux_and_error(n)
    error[7] = 0.1
    for outside in (slice(0, 5), slice(40, 52), slice(85, None)):
        flux[outside] = error[outside] = 0
    arrays = zip(("wave", "flux", "err"), units, (wavelength, flux, error), strict=True)
    all_columns = [fits.Column(name, "D", unit, array=array) for name, unit, array in arrays]
    table = fits.BinTableHDU.from_columns(columns or all_columns, name="SPEC1D")
    table.header.update(TOMUJY=1.0, BUNIT="mJy", GRATING="G140H", FILTER="F100LP", SRCNAME="nebula_s200a1", SRCID=1)
    table.header.update(header or {})
    images = [fits.ImageHDU(np.zeros((3, n)), name=name) for name in ("SCI", "WHT", "PROFILE")]
    profile = fits.BinTableHDU.from_columns([fits.Column("pix", "D", array=np.arange(3.0))], name="PROF1D")
    fits.HDUList([fits.PrimaryHDU(), table, *images, *([profile] if last else [])]).writeto(path, **options)
    return wavelength, flux, error


def _lamost_header(header):
    header.update(TELESCOP="LAMOST", OBSID=95008071, DESIG="LAMOST J100844.60+024356.7", Z=1e-4, SNRG=21.8)
    header.update(LMJD=56286, PLANID="HD10", SPID=8, FIBERID=71, VACUUM=True, HELIO=True)
    return header


def _lamost_arrays():
    flux, _ = flux_and_error(N_LAMOST)
    ivar = np.full(N_LAMOST, 0.25)
    ivar[4] = 0
    wavelength = 10 ** (3.5682 + 1e-4 * np.arange(N_LAMOST))
    and_mask, or_mask = np.zeros((2, N_LAMOST))
    and_mask[10], or_mask[10], or_mask[11], or_mask[12] = 1, 1, 8, 64
    return np.stack([flux, ivar, wavelength, and_mask, or_mask])


def lamost_coadd(path, header=None, unit=None, wavelength=None, **options):
    arrays = _lamost_arrays()
    arrays[2] = arrays[2] if wavelength is None else wavelength
    names = ("FLUX", "IVAR", "WAVELENGTH", "ANDMASK", "ORMASK")
    units = {"WAVELENGTH": unit}
    dtype = f"{N_LAMOST}D" if wavelength is not None else f"{N_LAMOST}E"
    columns = [
        fits.Column(name, dtype, units.get(name), array=row[None]) for name, row in zip(names, arrays, strict=True)
    ]
    primary = fits.PrimaryHDU()
    _lamost_header(primary.header).update(header or {})
    table = fits.BinTableHDU.from_columns(columns, name="COADD")
    fits.HDUList([primary, table]).writeto(path, **options)
    return arrays


def lamost_image(path, header=None, **options):
    arrays = _lamost_arrays()
    primary = fits.PrimaryHDU(arrays.astype("f4"))
    _lamost_header(primary.header).update(header or {})
    primary.writeto(path, **options)
    return arrays


def lamost_mrs(path, arms=("B", "R"), exposures=2, coadds=True, header=None, **options):
    """A medium-resolution file: sums, then the exposures, of which red ones have decreasing wavelengths."""
    primary = fits.PrimaryHDU()
    _lamost_header(primary.header).update({"EXTNAME": "Information"} | (header or {}))
    for key in ("Z", "SNRG"):
        del primary.header[key]
    names = [f"COADD_{arm}" for arm in arms] if coadds else []
    names += [f"{arm}-8390601{i}" for arm in arms for i in range(exposures)]
    primary.header["N_EXTEN"] = 1 + len(names)
    fits.HDUList([primary, *map(_mrs_table, names)]).writeto(path, **options)


def _mrs_table(name):
    flux, ivar, _, and_mask, or_mask = _lamost_arrays()
    step = -1 if name.startswith("R-") else 1
    loglam = (3.8 if "R" in name else 3.69) + 1e-5 * np.arange(N_LAMOST)
    masks = {"ANDMASK": and_mask, "ORMASK": or_mask} if name.startswith("COADD") else {"PIXMASK": 4 * and_mask}
    values = {"FLUX": flux, "IVAR": ivar, "LOGLAM": loglam}
    columns = [fits.Column(key, "E", array=array[::step]) for key, array in values.items()]
    columns += [fits.Column(key, "I", array=mask[::step]) for key, mask in masks.items()]
    table = fits.BinTableHDU.from_columns(columns, name=name)
    table.header["SNR"] = 41.38
    return table


def xp_arrays(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=55), rng.uniform(1, 2, size=55), rng.uniform(-0.1, 0.1, size=1485)


def xp_continuous_csv(path, sources=(11, 22), without_bp=()):
    names = ["source_id"]
    parts = ("coefficients", "coefficient_errors", "coefficient_correlations")
    for band in ("bp", "rp"):
        names += [f"{band}_n_parameters", *(f"{band}_{part}" for part in parts)]
    lines = [",".join(names)]
    for source in sources:
        cells = [str(source)]
        for i, band in enumerate(("bp", "rp")):
            empty = band == "bp" and source in without_bp
            cells += ["" if empty else "55"]
            cells += ["" if empty else _cell(array) for array in xp_arrays(seed=source + i)]
        lines.append(",".join(cells))
    path.write_text("\n".join(lines) + "\n")


def _cell(array):
    return '"(' + ", ".join(map(repr, array.tolist())) + ')"'


def xp_continuous_fits(path, sources=(11, 22), without_bp=(), **options):
    columns = [fits.Column("source_id", "K", array=np.array(sources))]
    for i, band in enumerate(("bp", "rp")):
        rows = [xp_arrays(seed=source + i) for source in sources]
        empty = [band == "bp" and source in without_bp for source in sources]
        counts = np.array([-32768 if no else 55 for no in empty])
        columns.append(fits.Column(f"{band}_n_parameters", "I", array=counts))
        for part, name in enumerate(("coefficients", "coefficient_errors", "coefficient_correlations")):
            ragged = np.empty(len(rows), dtype=object)
            ragged[:] = [np.zeros(0) if no else row[part] for row, no in zip(rows, empty, strict=True)]
            columns.append(fits.Column(f"{band}_{name}", "PD()", array=ragged))
    fits.BinTableHDU.from_columns(columns).writeto(path, **options)


def xp_combined_fits(path, sources=(11, 22), **options):
    columns = [fits.Column("source_id", "K", array=np.array(sources))]
    for part, prefix in enumerate(("", "e_")):
        for i, band in enumerate(("bp", "rp")):
            values = np.stack([xp_arrays(seed=source + i)[part] for source in sources])
            columns += [fits.Column(f"{prefix}{band}_coeff_{k}", "D", array=values[:, k]) for k in range(55)]
    fits.BinTableHDU.from_columns(columns).writeto(path, **options)


def xp_sampled_fits(path, unit="W.m**-2.nm**-1", **options):
    flux = np.linspace(1, 2, 343)[None] * 1e-16
    columns = [
        fits.Column("source_id", "K", array=np.array([6])),
        fits.Column("flux", "343E", unit, array=flux),
        fits.Column("flux_error", "343E", unit, array=flux / 10),
    ]
    fits.BinTableHDU.from_columns(columns).writeto(path, **options)


def xp_sampled_csv(path):
    flux = np.linspace(1, 2, 343) * 1e-16
    path.write_text(f"source_id,ra,flux,flux_error\n6,217.4,{_cell(flux)},{_cell(flux / 10)}\n")


WRITERS = {
    "apstar.fits": ("apogee", apstar),
    "aspcapstar.fits": ("apogee", aspcapstar),
    "apvisit.fits": ("apogee", apvisit),
    "mwmstar.fits": ("apogee", mwmstar),
    "x1d.fits": ("nirspec", x1d),
    "spec1d.fits": ("nirspec", spec1d),
    "msaexp.spec.fits": ("nirspec", msaexp),
    "coadd.fits": ("lamost", lamost_coadd),
    "coadd.fits.gz": ("lamost", lamost_coadd),
    "image.fits": ("lamost", lamost_image),
    "mrs.fits": ("lamost", lamost_mrs),
    "xp_continuous.fits": ("gaia_xp", xp_continuous_fits),
    "xp_combined.fits": ("gaia_xp", xp_combined_fits),
    "xp_sampled.fits": ("gaia_xp", xp_sampled_fits),
    "xp_continuous.csv": ("gaia_xp", xp_continuous_csv),
    "xp_sampled.csv": ("gaia_xp", xp_sampled_csv),
}
FITS = [name for name in WRITERS if ".fits" in name]
