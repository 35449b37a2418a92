"""One request over HTTP: which redirects are followed, which faults pass, and no credentials in what is said of it.

The standard library carries it: `astropy.utils.data.download_file` can neither resume a file nor repeat a request, and
hands no status to its caller.
"""

import contextlib
import email.utils
import http.client
import os
import platform
import re
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode, urlsplit

from specalign import __version__
from specalign.exceptions import FetchError
from specalign.fetch.connection import handlers

__all__ = [
    "MissingFile",
    "PassingFault",
    "RangeRefused",
    "Refusal",
    "Request",
    "chunks",
    "find_token",
    "length_of",
    "open_url",
    "read_all",
]

CHUNK = 2**16  # bytes
PASSING = (408, 425, 429, 500, 502, 503, 504)
ABSENT = (404, 410)
UNREACHED_RETRIES = 2  # of a host to which there is no way; without a network, more of them only cost time
LOOPBACK = ("127.0.0.1", "::1", "localhost")
USER_AGENT = f"specalign/{__version__} Python/{platform.python_version()}"


class MissingFile(Exception):
    """The archive says that it has no such file."""


class Refusal(Exception):
    """The archive does not give the file, or gives something else; asking again does not help."""


class RangeRefused(Refusal):
    """The archive has no bytes behind those that are here: the file changed."""


class PassingFault(Exception):
    """A fault that may pass.

    ``wait`` is how long the server asks to wait, in seconds, or None; ``answered`` says that the host answered at all;
    ``retries`` is how often it makes sense to try again, or None.
    """

    def __init__(self, reason, wait=None, answered=True, retries=None):
        super().__init__(reason)
        self.wait, self.answered, self.retries = wait, answered, retries


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Parameters
    ----------
    url : str
        Without credentials: it is what manifests, tables and messages show.
    domain : str
        Redirects may lead to hosts of this domain; by default only to the same host.
    data : bytes or None
        A form, which makes it a POST.
    headers : dict
    patience : float
        Seconds that the archive may be silent while it makes the answer, where that is longer than the session's
        timeout.
    secret_query, secret_headers : dict
        Credentials, added when the request is sent, and never shown.

    Examples
    --------
    >>> from specalign.fetch.transport import Request
    >>> Request("https://example.org/f", secret_query={"token": "abc"})
    Request(url='https://example.org/f', domain='', data=None, headers={}, patience=0.0)
    """

    url: str
    domain: str = ""
    data: bytes | None = None
    headers: dict = field(default_factory=dict)
    patience: float = 0.0
    secret_query: dict = field(default_factory=dict, repr=False)
    secret_headers: dict = field(default_factory=dict, repr=False)

    def __post_init__(self):
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise FetchError(f"expected an address that begins with https://, got {self.url!r}")
        secret = self.secret_query or self.secret_headers
        if secret and parts.scheme != "https" and parts.hostname not in LOOPBACK:
            raise FetchError(f"{self.url}: a token is only sent over https")

    @property
    def host(self):
        """Host, with the port where one is given."""
        return urlsplit(self.url).netloc

    def clean(self, text):
        """A text without the credentials, plain or as they stand in an address."""
        secrets = [*self.secret_query.values(), *(value.split()[-1] for value in self.secret_headers.values())]
        for secret in filter(None, secrets):
            for shown in {secret, quote(secret, safe=""), urlencode({"": secret})[1:]}:
                text = _without(text, shown)
        return text


def _without(text, secret):
    """A text without a secret, or the beginning of one where a message was cut and ends with dots."""
    text = text.replace(secret, "***")
    for end in range(len(secret) - 1, 3, -1):
        text = text.replace(f"{secret[:end]}...", "***...")
    return text


def find_token(token, variable, url, domain):
    """The token that a call gives, or that of the environment, which only the archive itself gets, and no mirror.

    Parameters
    ----------
    token : str or None
    variable : str
        Of the environment.
    url : str
        Where it would be sent.
    domain : str
        Of the archive.

    Returns
    -------
    str
        Empty where there is none.

    Raises
    ------
    specalign.exceptions.FetchError
        It has characters that no token has (RFC 6750, section 2.1); the message does not show it.

    Examples
    --------
    >>> from specalign.fetch.transport import find_token
    >>> find_token("abc", "LAMOST_TOKEN", "https://mirror.example.org", "lamost.org")
    'abc'
    """
    host = urlsplit(url).hostname or ""
    if token is None:
        token = os.environ.get(variable, "") if host == domain or host.endswith(f".{domain}") else ""
    token = token.strip()  # a file that it was read from ends with a line break
    if not re.fullmatch(r"[\w.~+/-]*=*", token, flags=re.ASCII):
        raise FetchError(f"{variable}: expected letters, digits and - . _ ~ + / =, and the token has other characters")
    return token


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = 5

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        asked = req.specalign
        if not _allowed(req.full_url, newurl, asked.domain):
            raise Refusal(f"the archive redirects to {_origin(newurl)}, where nothing is fetched from")
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        new.specalign = asked
        if urlsplit(newurl).netloc == asked.host:
            for name, value in asked.secret_headers.items():
                new.add_unredirected_header(name, value)
        return new


def _allowed(old, new, domain):
    """The same host or one of the archive's domain, and never from https to http."""
    old, new = urlsplit(old), urlsplit(new)
    if new.scheme not in ("http", "https") or (old.scheme == "https" and new.scheme != "https"):
        return False
    host = new.hostname or ""
    same_host = host == old.hostname and (new.netloc == old.netloc or new.scheme != old.scheme)
    return same_host or bool(domain and (host == domain or host.endswith(f".{domain}")))


def _origin(url):
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}"


@contextlib.contextmanager
def open_url(request, timeout, now, clock=time.monotonic):
    """Open a request.

    Parameters
    ----------
    request : Request
    timeout : float
        Seconds without an answer.
    now : callable
        Gives the time as a `~datetime.datetime` with time zone, for ``Retry-After`` dates.
    clock : callable
        Gives the seconds of a running clock, for connections that are too slow.

    Yields
    ------
    `http.client.HTTPResponse`

    Raises
    ------
    MissingFile, Refusal, PassingFault
    """
    opener = urllib.request.OpenerDirector()  # no file:, ftp: or data: handlers, as build_opener has them
    for handler in handlers(max(timeout, request.patience), clock):
        opener.add_handler(handler)
    for handler in (urllib.request.ProxyHandler, _Redirects):
        opener.add_handler(handler())
    for handler in (urllib.request.HTTPDefaultErrorHandler, urllib.request.HTTPErrorProcessor):
        opener.add_handler(handler())
    with _judged(request, now):
        response = opener.open(_prepared(request), timeout=timeout)
    with response:
        yield response


def _prepared(request):
    url = request.url
    if request.secret_query:
        url += ("&" if "?" in url else "?") + urlencode(request.secret_query)
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **request.headers}
    prepared = urllib.request.Request(url, data=request.data, headers=headers)
    for name, value in request.secret_headers.items():
        prepared.add_unredirected_header(name, value)
    prepared.specalign = request
    return prepared


@contextlib.contextmanager
def _judged(request, now):
    """Errors of the library as one of ours; theirs hold the whole address and are not chained."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        raise _judge_status(request, error, now) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise Refusal(f"the certificate of {request.host} cannot be trusted") from None
        reason = f"{request.host} does not answer ({_say(request, error.reason)})"
        raise PassingFault(reason, answered=False, retries=UNREACHED_RETRIES) from None
    except (OSError, http.client.HTTPException) as error:
        reason = _say(request, error) if str(error) else type(error).__name__
        raise PassingFault(f"the connection to {request.host} was lost ({reason})", answered=False) from None
    except ValueError:  # an address to go to that is none, which the library does not name so
        raise Refusal("the archive redirects to something that is no address") from None


def _say(request, reason):
    return request.clean(" ".join(str(reason).split()))


def _judge_status(request, error, now):
    said = f"the archive answered {error.code} {http.client.responses.get(error.code, '')}".strip()
    if error.code in ABSENT:
        return MissingFile(said)
    if error.code in PASSING:
        return PassingFault(said, wait=_retry_after(error.headers.get("Retry-After"), now))
    if error.code == 416:
        return RangeRefused(said)
    if error.code in (401, 403):
        return Refusal(f"{said}: these data are not public, or need a token")
    return Refusal(said)


def _retry_after(text, now):
    """Seconds of a Retry-After header, which is a number or a date (RFC 9110, section 10.2.3), or None."""
    text = (text or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text)
    try:
        return max(0.0, (email.utils.parsedate_to_datetime(text) - now()).total_seconds())
    except (TypeError, ValueError):
        return None


def chunks(response, request):
    """The body, piece by piece, with the faults of reading as `PassingFault`.

    Parameters
    ----------
    response : `http.client.HTTPResponse`
    request : Request

    Yields
    ------
    bytes
    """
    while True:
        try:
            with _judged(request, None):
                piece = response.read1(CHUNK)  # what is there: no waiting for a full piece
        except PassingFault as fault:
            raise PassingFault(str(fault)) from None
        if not piece:
            return
        yield piece


def read_all(response, request, limit):
    """The whole body, of not more than ``limit`` bytes and of the length that the server states.

    Raises
    ------
    Refusal
        It is longer.
    PassingFault
        It is cut.
    """
    content = bytearray()
    for piece in chunks(response, request):
        content += piece
        if len(content) > limit:
            raise Refusal(f"the answer is longer than {limit} bytes")
    stated = length_of(response)
    if stated not in (None, len(content)):
        raise PassingFault(f"the answer has {len(content)} of {stated} bytes")
    return bytes(content)


def length_of(response):
    """Bytes that an answer has by its own account; None where it does not say it, or comes in chunks.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from specalign.fetch.transport import length_of
    >>> length_of(SimpleNamespace(headers={"Content-Length": "2880"}))
    2880
    """
    stated = (response.headers.get("Content-Length") or "").strip()
    if "Transfer-Encoding" in response.headers or not (stated.isascii() and stated.isdecimal()):
        return None  # chunks count more than a length: RFC 9112, section 6.3
    return int(stated)
