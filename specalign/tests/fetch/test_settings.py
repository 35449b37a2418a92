"""Defaults: the folder, the limits and the addresses."""

import pytest

from specalign import config
from specalign.exceptions import FetchError
from specalign.fetch import Session, conf
from specalign.fetch import cache as cache_module
from specalign.fetch.cache import Cache


def test_the_cache_is_where_the_configuration_says(tmp_path):
    with config.conf.set_temp("cache_folder", str(tmp_path)):
        assert Session().cache.folder == tmp_path / "fetch"


def test_limits_come_from_the_configuration_unless_given():
    with conf.set_temp("delay", 7.0), conf.set_temp("connections", 1):
        session = Session(connections=3)
        assert (session.delay, session.connections) == (7.0, 3)


def test_every_address_is_encrypted():
    addresses = [getattr(conf, name) for name in conf if name.endswith("_url")]
    assert len(addresses) == 5
    assert all(address.startswith("https://") for address in addresses)


@pytest.mark.parametrize("part", ["", ".", "..", ".hidden", "a/b", "a\\b", "C:x", "a\0b", " a"])
def test_no_part_of_a_path_leads_elsewhere(part, tmp_path):
    with pytest.raises(FetchError, match="expected a plain name"):
        Cache(tmp_path, None).path("lamost", part)


@pytest.mark.parametrize("options", [{"connections": 0}, {"connections": 5}, {"delay": -1}, {"timeout": float("nan")}])
def test_limits_that_are_not_polite_or_not_possible(options):
    with pytest.raises(FetchError, match=f"{next(iter(options))}: expected"):
        Session(**options)


def test_a_partial_file_that_was_finished_meanwhile_is_not_written_into(tmp_path, monkeypatch):
    """The lock was got, but of the file that its owner has just given its final name."""
    locked, waits = cache_module._locked, []

    def late(stream):
        if not waits:
            (tmp_path / ".a.fits.part").rename(tmp_path / "a.fits")
        return locked(stream)

    monkeypatch.setattr(cache_module, "_locked", late)
    with Cache(tmp_path, None).only_one(tmp_path / "a.fits", waits.append) as part:
        assert not part.samefile(tmp_path / "a.fits")
    assert len(waits) == 1
