"""What the data models of label catalogues say: identifiers, columns, flags, calibration, solar scale, epoch.

A *label system* is one survey, pipeline and release.  Labels of two systems differ by more than noise, so tables of
two systems are compared or joined only with a declared offset (`specalign.data.offsets`).

>>> from specalign.data.label_systems import NOT_STATED, SYSTEMS
>>> SYSTEMS["aspcap-dr17"].solar_scale, NOT_STATED
('...', 'not stated')
"""

import types
from dataclasses import dataclass, field

from specalign.display import Displayed
from specalign.exceptions import LabelError

__all__ = ["NOT_STATED", "SYSTEMS", "LabelSystem", "check_same_system"]

#: What is said where neither the data model nor the user states a fact.
NOT_STATED = "not stated"

_DEFAULT_SENTINELS = (-9999.0, -9999.99, -999.0, -999.99)


def _frozen(content=()):
    return types.MappingProxyType(dict(content))


@dataclass(frozen=True)
class LabelSystem(Displayed):
    """What the data model of a catalogue says about its columns.

    Column names are given in lower case, and compared without regard to case.

    Parameters
    ----------
    name : str
        Survey, pipeline and release, such as ``"aspcap-dr17"``.
    ids : tuple of str
        Columns that may name the star, the best first.
    data_model : str
        Where all this is written.
    columns : dict of str to str
        Column to label, beyond the names that `specalign.data.labels.read_labels` knows.
    arrays : dict of str to dict of str to int
        Column with several numbers a row to label to place; used where no column of its own gives the label.
    only_named : bool
        If True, a label is read only from ``columns``, ``arrays`` and ``prefix``: the file also has those of another
        system under the usual names.
    prefix : str
        Prefix of its label columns.
    percentiles : tuple of str
        Suffixes of the columns with the 16th and 84th percentiles, half the distance of which is the error.
    units : dict of str to str
        Label to the unit of its column where the file states none, if it is not the one of `label_unit`.
    flags : dict of str to (str, int)
        Label (or "*" for all) to the flag column, and the bits that make it unusable.
    element_flags : int
        Bits of the flag column of each label that make it unusable.
    flag_suffix : str
        The flag column of a label is ``<label><flag_suffix>``.
    sentinels : tuple of float
        Numbers that stand for no value.
    units_known : bool
        If False, every label column must state its unit.
    calibrated : bool or None
        Whether the values were calibrated against others after the fit; None where that is not stated.
    solar_scale : str
        Name of a scale of `specalign.data.abundances.SOLAR_SCALES`, or ``"not stated"``.
    epoch : float or None
        Epoch of ra and dec (Julian year) where the file has no column for it; None where that is not stated.
    error_correlation : float
        Correlation that is assumed between the errors of an abundance, as published, and of [Fe/H].
    notes : str
        What a user should know.

    Examples
    --------
    One's own catalogue, with a short column name and a flag:

    >>> import specalign as sa
    >>> from astropy.table import Table
    >>> from specalign.data.label_systems import LabelSystem
    >>> mine = LabelSystem("mine-v1", ids=("star",), columns={"t": "teff"}, flags={"teff": ("bad", 1)}, epoch=2016.0)
    >>> labels = sa.read_labels(Table({"star": ["a", "b"], "t": [5000.0, 4800.0], "bad": [0, 1]}), system=mine)
    >>> labels["teff"], labels.meta["label_system"]
    (<Quantity [5000.,   nan] K>, 'mine-v1')
    """

    name: str
    ids: tuple
    data_model: str = NOT_STATED
    columns: dict = field(default_factory=_frozen)
    arrays: dict = field(default_factory=_frozen)
    only_named: bool = False
    prefix: str = ""
    percentiles: tuple = ()
    units: dict = field(default_factory=_frozen)
    flags: dict = field(default_factory=_frozen)
    element_flags: int = 0
    flag_suffix: str = "_flag"
    sentinels: tuple = _DEFAULT_SENTINELS
    units_known: bool = True
    calibrated: bool | None = None
    solar_scale: str = NOT_STATED
    epoch: float | None = None
    error_correlation: float = 0.0
    notes: str = ""

    def __post_init__(self):
        if not self.name or not isinstance(self.name, str):
            raise LabelError(f"a label system: expected a name, such as 'aspcap-dr17', got {self.name!r}")
        if isinstance(self.ids, str):
            raise LabelError(f"label system {self.name!r}: ids: expected a tuple of column names, got {self.ids!r}")
        if not -1 <= self.error_correlation <= 1:
            raise LabelError(
                f"label system {self.name!r}: expected a correlation of -1 to 1, got {self.error_correlation}"
            )
        for attribute in ("columns", "arrays", "units", "flags"):
            object.__setattr__(self, attribute, _frozen(getattr(self, attribute)))

    @property
    def facts(self):
        """What a table of its labels says of it in ``meta``."""
        calibrated = NOT_STATED if self.calibrated is None else self.calibrated
        return {"label_system": self.name, "calibrated": calibrated, "solar_scale": self.solar_scale,
                "data_model": self.data_model, "error_correlation": self.error_correlation}  # fmt: skip


def _bits(*numbers):
    return sum(1 << number for number in numbers)


# ASPCAPFLAG: TEFF_BAD 16, LOGG_BAD 17, VMICRO_BAD 18, M_H_BAD 19, ALPHA_M_BAD 20, C_M_BAD 21, N_M_BAD 22, STAR_BAD 23,
# VSINI_BAD 30, NO_ASPCAP_RESULT 31.  Warnings do not mask.
_ASPCAP_FLAGS = {"*": ("aspcapflag", _bits(23, 31))} | {
    label: ("aspcapflag", _bits(bit))
    for label, bit in {"teff": 16, "logg": 17, "vmicro": 18, "m_h": 19, "alpha_m": 20, "c_m": 21, "n_m": 22,
                       "vsini": 30}.items()
}  # fmt: skip
# Flags of an element: GRIDEDGE_BAD 0, CALRANGE_BAD 1, OTHER_BAD 2, FERRE_FAIL 3, PARAM_MISMATCH_BAD 4, TEFF_CUT 6.  The
# masks of DR17's own pipeline (ParamBitMask in sdss/apogee, utils/bitmask.py) call 0, 2, 3 and 6 bad: it leaves the
# columns X_FE empty for these, and publishes values with 1 and 4.  In earlier releases all of these mask.
_DR17_ELEMENT = _bits(0, 2, 3, 6)
_ASPCAP = {"ids": ("apogee_id",), "flags": _ASPCAP_FLAGS, "epoch": 2000.0}
_ASPCAP_NOTES = (
    "Positions are those of 2MASS, observed from 1997 to 2001.  The column of the error of [X/Fe] has that of [X/H], "
    "which is from repeated observations.  Zero points of abundances were shifted so that stars like the Sun near the "
    "Sun have [X/M] of zero, which blurs the meaning of the solar scale."
)
# FLAG_BAD of the pipeline, bit by bit: failures 0-4, Teff and log g at the edge 6 and 8, suspicious or unphysical
# parameters, rotation, microturbulence, chi^2, S/N and velocity scatter 21-27.
_SDSS5_FLAGS = {"*": ("result_flags", _bits(0, 1, 2, 3, 4, 6, 8, *range(21, 28)))} | {
    label: ("result_flags", _bits(bit))
    for label, bit in {"vmicro": 10, "vsini": 12, "m_h": 14, "alpha_m": 16, "c_m": 18, "n_m": 20}.items()
}
_SDSS5_NAMES = {"v_micro": "vmicro", "v_sini": "vsini", "m_h_atm": "m_h", "alpha_m_atm": "alpha_m", "c_m_atm": "c_m",
                "n_m_atm": "n_m"}  # fmt: skip
_SDSS5 = {
    "ids": ("sdss_id", "sdss4_apogee_id"),
    "data_model": "https://github.com/sdss/astra/blob/main/src/astra/models/aspcap.py",
    "flags": _SDSS5_FLAGS,
    "element_flags": _bits(5, 6, 7, 8),  # three reasons for a censored value, and the edge of the grid
    "flag_suffix": "_flags",
    "solar_scale": "grevesse-2007",
}
_LAMOST_MRS = {
    "ids": ("designation", "obsid", "mobsid"),
    "data_model": "https://www.lamost.org/dr9/v1.0/doc/mr-data-production-description",
    "only_named": True,
}
_MRS_ELEMENTS = ("c", "n", "o", "mg", "al", "si", "s", "ca", "ti", "cr", "ni", "cu")
_GAIA = {"ids": ("source_id",), "percentiles": ("_lower", "_upper"), "only_named": True, "epoch": 2016.0}
_GAIA_TABLES = "https://gea.esac.esa.int/archive/documentation/GDR3/Gaia_archive/chap_datamodel/"


def _named(labels, suffix, **more):
    return {f"{label}{suffix}": label for label in labels} | more


_ALL = (
    LabelSystem(
        name="aspcap-dr17",
        data_model="https://data.sdss.org/datamodel/files/APOGEE_ASPCAP/APRED_VERS/ASPCAP_VERS/allStar.html",
        columns={"gaiaedr3_pmra": "pmra", "gaiaedr3_pmdec": "pmdec", "gaiaedr3_parallax": "parallax"},
        element_flags=_DR17_ELEMENT,
        calibrated=True,
        solar_scale="grevesse-2007",
        notes=_ASPCAP_NOTES,
        **_ASPCAP,
    ),
    LabelSystem(
        name="aspcap-dr17-spec",
        data_model="https://data.sdss.org/datamodel/files/APOGEE_ASPCAP/APRED_VERS/ASPCAP_VERS/allStar.html",
        columns={"teff_spec": "teff", "logg_spec": "logg", "gaiaedr3_pmra": "pmra", "gaiaedr3_pmdec": "pmdec",
                 "gaiaedr3_parallax": "parallax"},
        arrays={"fparam": {"teff": 0, "logg": 1, "m_h": 3, "c_m": 4, "n_m": 5, "alpha_m": 6}},
        only_named=True,
        calibrated=False,
        solar_scale="grevesse-2007",
        notes="What the fit gave, before calibration.  No errors are read.  " + _ASPCAP_NOTES,
        **_ASPCAP,
    ),
    LabelSystem(
        name="aspcap-dr16",
        data_model="https://www.sdss4.org/dr16/irspec/abundances/",
        columns={"gaia_pmra": "pmra", "gaia_pmdec": "pmdec", "gaia_parallax": "parallax"},
        element_flags=_bits(0, 1, 2, 3, 4, 6),
        calibrated=True,
        solar_scale="grevesse-2007",
        notes=_ASPCAP_NOTES,
        **_ASPCAP,
    ),
    LabelSystem(
        name="aspcap-dr14",
        data_model="https://www.sdss4.org/dr15/irspec/abundances",
        element_flags=_bits(0, 1, 2, 3, 4),
        calibrated=True,
        notes=_ASPCAP_NOTES,
        **_ASPCAP,
    ),
    LabelSystem(
        name="aspcap-sdss5",
        columns=_SDSS5_NAMES | {"plx": "parallax"},
        calibrated=True,
        notes="Milky Way Mapper (DR19 and later).  The epoch of its positions is not stated.",
        **_SDSS5,
    ),
    LabelSystem(
        name="aspcap-sdss5-raw",
        columns={f"raw_{column}": label for column, label in _SDSS5_NAMES.items()} | {"plx": "parallax"},
        prefix="raw_",
        only_named=True,
        calibrated=False,
        notes="Milky Way Mapper (DR19 and later), before calibration.  The epoch of its positions is not stated.",
        **_SDSS5,
    ),
    LabelSystem(
        name="lamost-lasp",
        ids=("designation", "obsid", "id"),
        data_model="https://www.lamost.org/dr10/v2.0/doc/lr-data-production-description",
        columns={"objra": "ra", "objdec": "dec"},
        prefix="pred_",  # as LASP-CurveFit writes them
        notes="Low resolution, A to K stars.  The data model states no solar scale and no epoch of the positions.",
    ),
    LabelSystem(
        name="lamost-mrs-lasp",
        columns=_named(("teff", "logg", "vsini", "alpha_m"), "_lasp", feh_lasp="fe_h", rv_br1="radial_velocity"),
        notes="Medium resolution.  radial_velocity is RV_BR1, of both arms and with the zero point corrected.",
        **_LAMOST_MRS,
    ),
    LabelSystem(
        name="lamost-mrs-cnn",
        columns=_named(("teff", "logg", "alpha_m"), "_cnn", feh_cnn="fe_h", rv_br1="radial_velocity")
        | {f"{element}_fe": f"{element}_fe" for element in _MRS_ELEMENTS},
        notes="Medium resolution, a network trained on labels of another survey.",
        **_LAMOST_MRS,
    ),
    LabelSystem(
        name="gaia-dr3-gspphot",
        data_model=_GAIA_TABLES,
        columns=_named(("teff", "logg"), "_gspphot", mh_gspphot="m_h", ag_gspphot="a_g", ebpminrp_gspphot="e_bp_rp"),
        calibrated=False,
        notes="From BP and RP spectra, with parallax and magnitude; [M/H] has strong systematic errors.",
        **_GAIA,
    ),
    LabelSystem(
        name="gaia-dr3-gspspec",
        data_model=_GAIA_TABLES,
        columns=_named(("teff", "logg"), "_gspspec", mh_gspspec="m_h", alphafe_gspspec="alpha_fe"),
        calibrated=False,
        notes="From RVS spectra.  The text in flags_gspspec is not applied: select rows by it before reading.",
        **_GAIA,
    ),
    LabelSystem(
        name="specalign-mock", ids=("object_id",), data_model="specalign.mock", calibrated=True, notes="Exact labels."
    ),
)  # fmt: skip

#: The systems that the package knows, by name.
SYSTEMS = types.MappingProxyType({system.name: system for system in _ALL})


def check_same_system(table_a, table_b, what="cannot be compared with those of"):
    """Refuse two tables of labels that state different systems.

    Parameters
    ----------
    table_a, table_b : `~astropy.table.Table`
        A table that states no system in ``meta["label_system"]`` is taken on trust.
    what : str
        Verb of the message.

    Raises
    ------
    LabelError
        Names both systems, and what to do.

    Examples
    --------
    >>> from astropy.table import QTable
    >>> from specalign.data.label_systems import check_same_system
    >>> check_same_system(QTable(meta={"label_system": "mine"}), QTable(meta={"label_system": "mine"}))
    """
    first, second = (table.meta.get("label_system") for table in (table_a, table_b))
    if None not in (first, second) and first != second:
        raise LabelError(
            f"labels of the system {first!r} {what} {second!r}; bring them to one system with a declared offset: "
            f"specalign.data.offsets.measure_offsets, then join_labels"
        )
