"""A server with the archives' layouts, and a session whose clock is not the real one."""

import pytest

from specalign.fetch import Session
from specalign.tests.fetch.server import Clock, Server


@pytest.fixture
def server():
    with Server().running() as running:
        yield running


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make_session(tmp_path, clock):
    """Makes sessions on one cache and one clock."""

    def make(**options):
        options = {"cache": tmp_path / "cache", "delay": 0, "progress": False} | options
        return Session(sleep=clock.sleep, clock=clock, now=clock.now, **options)

    return make


@pytest.fixture
def session(make_session):
    return make_session()
