"""Every error and warning that the package raises.

All errors derive from `SpecalignError`; each one also derives from the built-in
class that Python programmers would try to catch.
"""

__all__ = [
    "CheckpointError",
    "ContractError",
    "ContractWarning",
    "CorruptFileError",
    "EmptySpectrumError",
    "FetchError",
    "FetchWarning",
    "GridMismatchError",
    "LabelError",
    "MatchError",
    "MissingExtraError",
    "MissingFactError",
    "MockModelWarning",
    "NonFiniteLossError",
    "PluginError",
    "PluginWarning",
    "SettingError",
    "SkippedProductWarning",
    "SpecalignError",
    "SpecalignWarning",
    "SpectrumError",
    "SpectrumUnitError",
    "UnknownPluginError",
    "UnknownProductError",
    "UnreliableVelocityWarning",
    "VelocityWarning",
]


class SpecalignError(Exception):
    """Base class of the package's errors.

    Examples
    --------
    >>> import specalign as sa
    >>> from specalign.exceptions import SpecalignError
    >>> try:
    ...     sa.get_instrument("apogge")
    ... except SpecalignError as error:
    ...     print(error)
    no instrument plugin is called 'apogge'; installed: apogee, ...
    """


class SpectrumError(SpecalignError, ValueError):
    """The content of a spectrum is not usable: its axis, shapes, identifiers or values.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> import specalign as sa
    >>> from specalign.exceptions import SpectrumError
    >>> twice = [15000, 16000, 16000, 17000] * u.AA
    >>> try:
    ...     sa.get_instrument("apogee").prepare_arrays(np.ones((1, 4)), spectral_axis=twice, object_id=["a"])
    ... except SpectrumError as error:
    ...     print(error)
    spectral_axis: expected values that are strictly monotonic (sorted, without duplicates), got 16000 Angstrom ...
    """


class EmptySpectrumError(SpectrumError):
    """A spectrum has too few good pixels, or nothing to divide by, so that no vector can stand for it.

    Examples
    --------
    A batch keeps its other rows, and says in ``rejected`` why one is missing.  Alone, or in a training, such a row is
    this error.

    >>> import numpy as np
    >>> import specalign as sa
    >>> from specalign.exceptions import EmptySpectrumError
    >>> apogee = sa.get_instrument("apogee")
    >>> axis = apogee.spectral_axis
    >>> flux = np.stack([np.ones(len(axis)), np.full(len(axis), np.nan)])
    >>> prepared = apogee.prepare_arrays(flux, spectral_axis=axis, object_id=["sound", "empty"])
    >>> len(prepared), prepared.rejected["spectrum_id"].tolist()
    (1, ['empty'])
    >>> issubclass(EmptySpectrumError, ValueError)
    True
    """


class SpectrumUnitError(SpectrumError):
    """A unit is missing, or cannot be converted to the one that was expected.

    Examples
    --------
    >>> import numpy as np
    >>> import specalign as sa
    >>> from specalign.exceptions import SpectrumUnitError
    >>> apogee = sa.get_instrument("apogee")
    >>> try:
    ...     apogee.prepare_arrays(np.ones((1, 3)), spectral_axis=[15000, 16000, 17000], object_id=["a"])
    ... except SpectrumUnitError as error:
    ...     print(error)
    spectral_axis...
    """


class MissingFactError(SpectrumError):
    """A spectrum does not say in which frame or medium it is, how it was normalised, or whose it is.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> import specalign as sa
    >>> from specalign.exceptions import MissingFactError
    >>> from specutils import Spectrum
    >>> bare = Spectrum(flux=np.ones(100) * u.Jy, spectral_axis=np.linspace(15200, 16900, 100) * u.AA)
    >>> try:
    ...     sa.get_instrument("apogee").prepare(bare)
    ... except MissingFactError as error:
    ...     print("object_id" in str(error))
    True
    """


class UnknownProductError(SpecalignError, ValueError):
    """A file is readable, but is not a product that the instrument reads.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import specalign as sa
    >>> from astropy.io import fits
    >>> from specalign.exceptions import UnknownProductError
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "image.fits"
    ...     fits.PrimaryHDU([[1.0]]).writeto(path)
    ...     try:
    ...         sa.get_instrument("apogee").read(path)
    ...     except UnknownProductError as error:
    ...         print("the apogee reader reads aspcapStar" in str(error))
    True
    """


class CorruptFileError(SpecalignError, OSError):
    """A file is truncated, damaged, or fails its checksum.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import specalign as sa
    >>> from specalign.exceptions import CorruptFileError
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "apStar.fits"
    ...     _ = path.write_bytes(b"SIMPLE  =                    T")
    ...     try:
    ...         sa.get_instrument("apogee").read(path)
    ...     except CorruptFileError as error:
    ...         print("truncated or damaged" in str(error))
    True
    """


class PluginError(SpecalignError, RuntimeError):
    """A plugin clashes with another one, fails to import, or breaks the contract.

    Examples
    --------
    >>> from specalign.exceptions import PluginError
    >>> from specalign.plugins import find_plugins
    >>> try:
    ...     find_plugins("telescopes")
    ... except PluginError as error:
    ...     print(error)
    expected a kind of plugin among instruments, encoders, objectives, got 'telescopes'
    """


class ContractError(SpecalignError, AssertionError):
    """A plugin does not do what its contract promises; ``results`` is the table of all checks, where all ran.

    Examples
    --------
    >>> from specalign.exceptions import ContractError
    >>> from specalign.testing import check_objective
    >>> try:
    ...     check_objective("info_nce", expected_failures={"loss_is_a_scalar": "not written yet"})
    ... except (ContractError, ValueError) as error:
    ...     print("loss_is_a_scalar" in str(error))
    True
    """

    results = None


class UnknownPluginError(PluginError, LookupError):
    """No plugin of that name is installed.

    Examples
    --------
    >>> import specalign as sa
    >>> from specalign.exceptions import UnknownPluginError
    >>> try:
    ...     sa.get_encoder("resnet", n_pixels=10)
    ... except UnknownPluginError as error:
    ...     print(error)
    no encoder plugin is called 'resnet'; installed: ...
    """


class GridMismatchError(SpecalignError, ValueError):
    """Spectra, weights or embeddings come from different grids, mask rules or aligners.

    Examples
    --------
    >>> import numpy as np
    >>> import specalign as sa
    >>> from specalign.exceptions import GridMismatchError
    >>> rows = (np.eye(2), ["a", "b"], ["a-1", "b-1"], "apogee", [50, 50], [1, 1])
    >>> one, other = (sa.EmbeddingTable(*rows, provenance={"space": name}) for name in ("first", "second"))
    >>> try:
    ...     one.search(other, k=1)
    ... except GridMismatchError as error:
    ...     print("first" in str(error) and "second" in str(error))
    True
    """


class MatchError(SpecalignError, ValueError):
    """Rows cannot be joined: duplicate identifiers, or nothing in common.

    Examples
    --------
    >>> import specalign as sa
    >>> from astropy.table import Table
    >>> from specalign.exceptions import MatchError
    >>> try:
    ...     sa.match(Table({"object_id": ["a", "b"]}), Table({"object_id": ["c"]}))
    ... except MatchError as error:
    ...     print("a" in str(error) and "c" in str(error))
    True
    """


class LabelError(SpecalignError, ValueError):
    """Labels are missing, have no unit, or belong to another system.

    Examples
    --------
    >>> from astropy.table import QTable
    >>> from specalign.data.columns import label_names
    >>> from specalign.exceptions import LabelError
    >>> try:
    ...     label_names(QTable({"object_id": ["a"], "teff": [5777.0]}))
    ... except LabelError as error:
    ...     print(error)
    teff: expected a unit, such as K, dex(cm / s2) or dex, got none; set table['teff'].unit
    """


class CheckpointError(SpecalignError, ValueError):
    """A saved aligner is incomplete, was changed, or is not one of ours.

    Examples
    --------
    >>> import tempfile
    >>> import specalign as sa
    >>> from specalign.exceptions import CheckpointError
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     try:
    ...         sa.Aligner.load(folder)
    ...     except CheckpointError as error:
    ...         print(folder in str(error))
    True
    """


class NonFiniteLossError(SpecalignError, ArithmeticError):
    """The loss or a gradient became NaN or infinite; no parameter was changed by that step.

    Examples
    --------
    ``fit`` raises it, and the weights stay those of the step before.

    >>> from specalign.exceptions import NonFiniteLossError
    >>> issubclass(NonFiniteLossError, ArithmeticError)
    True
    """


class FetchError(SpecalignError, OSError):
    """An archive does not answer, refuses, or sent something else than what was asked for.

    Examples
    --------
    >>> from specalign.exceptions import FetchError
    >>> from specalign.fetch import FetchTable
    >>> issubclass(FetchError, OSError)  # raised by FetchTable.raise_for_failures, and where an archive does not answer
    True
    """


class SettingError(SpecalignError, TypeError):
    """A setting in ``specalign.cfg`` is not of its kind, or the file is none; the message names both.

    Examples
    --------
    >>> from specalign import conf
    >>> from specalign.exceptions import SettingError
    >>> issubclass(SettingError, TypeError)  # which conf.threads = -1 raises, too
    True
    """


class MissingExtraError(SpecalignError, ImportError):
    """An optional dependency is absent; the message names the extra that brings it.

    Examples
    --------
    >>> from specalign.exceptions import MissingExtraError
    >>> issubclass(MissingExtraError, ImportError)  # such as: pip install 'specalign[plot]'
    True
    """


class SpecalignWarning(UserWarning):
    """Base class of the package's warnings.

    Examples
    --------
    To make every warning of the package an error, and no other:

    >>> import warnings
    >>> from specalign.exceptions import SpecalignWarning
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", SpecalignWarning)
    """


class VelocityWarning(SpecalignWarning):
    """Spectra stay in the frame of the file, because no velocity is known, or velocities disagree.

    Examples
    --------
    A barycentric spectrum whose velocity nobody knows is prepared where it is:

    >>> import warnings
    >>> import numpy as np
    >>> import specalign as sa
    >>> from specalign.exceptions import VelocityWarning
    >>> apogee = sa.get_instrument("apogee")
    >>> axis = apogee.spectral_axis
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     prepared = apogee.prepare_arrays(
    ...         np.ones((1, len(axis))), spectral_axis=axis, object_id=["a"], frame="barycentric"
    ...     )
    >>> [one.category.__name__ for one in caught]
    ['VelocityWarning']
    >>> issubclass(caught[0].category, VelocityWarning)
    True
    """


class SkippedProductWarning(SpecalignWarning):
    """A file holds products beside those that were read; the message names them.

    Examples
    --------
    To read a folder of archives without being told of what else they hold:

    >>> import warnings
    >>> from specalign.exceptions import SkippedProductWarning
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", SkippedProductWarning)
    """


class UnreliableVelocityWarning(VelocityWarning):
    """Measured velocities are not to be trusted; the message names the spectra and says why.

    Examples
    --------
    It is a `VelocityWarning`, and one filter takes both:

    >>> from specalign.exceptions import UnreliableVelocityWarning, VelocityWarning
    >>> issubclass(UnreliableVelocityWarning, VelocityWarning)
    True
    """


class MockModelWarning(SpecalignWarning):
    """A model was made to try the software, for instance from mock spectra: what it predicts is not for science.

    Examples
    --------
    Tests that label spectra with a toy model on purpose say so:

    >>> import warnings
    >>> from specalign.exceptions import MockModelWarning
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", MockModelWarning)
    """


class PluginWarning(SpecalignWarning):
    """A plugin could not be listed or loaded; the others work.

    Examples
    --------
    >>> import warnings
    >>> from specalign.exceptions import PluginWarning
    >>> from specalign.plugins import find_plugins
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", PluginWarning)  # a distribution whose lines cannot be read stops here
    ...     _ = find_plugins("instruments")
    """


class FetchWarning(SpecalignWarning):
    """A file in the cache was changed since it was fetched, and is fetched anew.

    Examples
    --------
    >>> import warnings
    >>> from specalign.exceptions import FetchWarning
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", FetchWarning)  # stop where a cached file was changed
    """


class ContractWarning(PluginWarning):
    """A plugin does not do what its contract promises, as `ContractError` would say.

    Examples
    --------
    >>> import warnings
    >>> from specalign.exceptions import ContractWarning
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", ContractWarning)  # as on_fail="raise" does
    """
