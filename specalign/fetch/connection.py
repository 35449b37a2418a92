"""Connections that cannot hold us for ever: neither by drops of bytes nor by floods before a file begins.

The timeout of a socket begins anew with every byte.  So a connection also counts as lost that brings less than
``SLOWEST`` bytes a second over a stretch of time, or more than ``HEAD`` bytes before, or instead of, a file: in its
headers, or in the page that comes with a redirect, which `urllib.request` reads to its end.
"""

import functools
import http.client
import io
import urllib.request

__all__ = ["handlers"]

SLOWEST = 1000  # bytes a second
STRETCH = 60.0  # seconds; longer where the server has longer to answer
HEAD = 2**20  # bytes


class _Steady(io.RawIOBase):
    """The bytes of a socket, counted."""

    def __init__(self, raw, stretch, clock):
        self._raw, self._stretch, self._clock = raw, stretch, clock
        self.room = HEAD
        self._since, self._came = None, 0

    def readable(self):
        return True

    def readinto(self, buffer):
        number = self._raw.readinto(buffer)
        if number:
            self._count(number)
        return number

    def _count(self, number):
        if self.room is not None:
            self.room -= number
            if self.room < 0:
                raise http.client.HTTPException(f"more than {HEAD} bytes came that are no file")
        now = self._clock()
        self._since = now if self._since is None else self._since
        self._came += number
        elapsed = now - self._since
        if elapsed >= self._stretch:
            if self._came < SLOWEST * elapsed:
                raise TimeoutError(f"{self._came} bytes came in {elapsed:.0f} s")
            self._since, self._came = now, 0

    def close(self):
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock, *arguments, timeout, clock, **options):
        super().__init__(sock, *arguments, **options)
        sock.settimeout(timeout)
        self._steady = _Steady(self.fp.detach(), max(STRETCH, 2 * timeout), clock)
        self.fp = io.BufferedReader(self._steady)

    def begin(self):
        super().begin()
        if 200 <= self.status < 300:
            self._steady.room = None


class _Watched:
    """What both handlers of `urllib.request` open."""

    def __init__(self, timeout, clock):
        super().__init__()
        self._response_class = functools.partial(_Response, timeout=timeout, clock=clock)

    def do_open(self, http_class, req, **options):
        def make(*arguments, **given):
            connection = http_class(*arguments, **given)
            connection.response_class = self._response_class
            return connection

        return super().do_open(make, req, **options)


class _Http(_Watched, urllib.request.HTTPHandler):
    pass


class _Https(_Watched, urllib.request.HTTPSHandler):
    pass


def handlers(timeout, clock):
    """Handlers of http and https whose connections are watched.

    Parameters
    ----------
    timeout : float
        Seconds without a byte, once the connection stands.
    clock : callable
        Gives the seconds of a running clock.

    Returns
    -------
    list of `urllib.request.BaseHandler`

    Examples
    --------
    >>> import time
    >>> from specalign.fetch.connection import handlers
    >>> len(handlers(30.0, time.monotonic))
    2
    """
    return [_Http(timeout, clock), _Https(timeout, clock)]
