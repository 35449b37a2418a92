"""Scaling of labels: fitted on what is known, and back with units."""

import astropy.units as u
import numpy as np
import pytest
from astropy.table import MaskedColumn, QTable, Table
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nst

from specalign.data.scaling import METHODS, ColumnScaler, LabelScaling
from specalign.exceptions import LabelError

FLOATS = st.floats(-1e6, 1e6, allow_subnormal=False)


def table():
    return QTable(
        {
            "object_id": ["a", "b", "c", "d"],
            "teff": [4000, 5000, 6000, np.nan] * u.K,
            "logg": [1.0, 2.0, np.nan, 4.0] * u.dex(u.cm / u.s**2),
            "teff_err": [10, 10, 10, 10.0] * u.K,
        }
    )


@pytest.mark.parametrize("method", METHODS)
@given(values=nst.arrays(float, (6, 2), elements=FLOATS), seed=st.integers(0, 99))
def test_the_inverse_leads_back_and_nan_stays_where_it_is(method, values, seed):
    values[2:][np.random.default_rng(seed).random((4, 2)) < 0.4] = np.nan
    scaler = ColumnScaler.fit(values, method)
    scaled = scaler.forward(values)
    assert (np.isnan(scaled) == np.isnan(values)).all()
    np.testing.assert_allclose(scaler.inverse(scaled), values, rtol=1e-9, atol=1e-6)


def test_standard_and_min_max_are_what_they_say():
    values = np.random.default_rng(0).normal(5000, 300, (50, 3))
    values[::7, 1] = np.nan
    standard = ColumnScaler.fit(values, "standard").forward(values)
    np.testing.assert_allclose(
        [np.nanmean(standard, axis=0), np.nanstd(standard, axis=0)], [[0] * 3, [1] * 3], atol=1e-9
    )
    scaled = ColumnScaler.fit(values, "minmax").forward(values)
    np.testing.assert_allclose([np.nanmin(scaled, axis=0), np.nanmax(scaled, axis=0)], [[0] * 3, [1] * 3], atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_constant_columns_stay_finite(method):
    scaler = ColumnScaler.fit(np.full((4, 1), 0.1), method)
    assert scaler.forward(np.full((4, 1), 0.1)) == pytest.approx(0)
    assert scaler.scale == (1.0,)


def test_infinite_values_are_left_out():
    assert ColumnScaler.fit(np.array([[1.0], [3.0], [np.inf]])).centre == (2.0,)


def test_an_unknown_method_and_too_few_values():
    with pytest.raises(ValueError, match="expected one of standard, minmax, got 'robust'"):
        ColumnScaler.fit(np.ones((3, 1)), "robust")
    with pytest.raises(LabelError, match=r"at least two stars .* got 1 for label number 1"):
        ColumnScaler.fit(np.array([[1.0, np.nan], [2.0, 1.0]]))


def test_tables_keep_their_units():
    scaling = LabelScaling.fit(table())
    assert scaling.names == ("teff", "logg")
    back = scaling.inverse(scaling.forward(table()), np.full((4, 2), 0.5))
    assert [back[name].unit for name in back.colnames] == [u.K, u.K, u.dex(u.cm / u.s**2), u.dex]
    np.testing.assert_allclose(back["teff"].value, table()["teff"].value)
    np.testing.assert_allclose(back["teff_err"].value, 0.5 * np.nanstd(table()["teff"].value))


def test_other_units_give_the_same_numbers():
    other = table()
    other["teff"] = other["teff"].to(u.kK)
    scaling = LabelScaling.fit(table())
    np.testing.assert_allclose(scaling.forward(other), scaling.forward(table()))


def test_masked_values_are_unknown():
    masked = Table({"teff": MaskedColumn([4000.0, 5000.0, 6000.0], mask=[False, False, True], unit="K")})
    assert LabelScaling.fit(masked, "minmax").columns.scale == (1000.0,)


def test_a_table_without_labels():
    with pytest.raises(LabelError, match="no column of the table has a unit"):
        LabelScaling.fit(table()[["object_id"]])
