"""How politely and into which folder files are fetched."""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from urllib.parse import urlsplit

import numpy as np

from specalign.config import progress_bar
from specalign.display import Displayed
from specalign.exceptions import FetchError
from specalign.fetch.cache import Cache
from specalign.fetch.settings import conf
from specalign.fetch.transport import PassingFault, open_url

__all__ = ["Session"]

log = logging.getLogger(__name__)

SILENCE = 60.0  # seconds for which a host that did not answer is not tried again
MOST_CONNECTIONS = 4
LONGEST = 86400.0  # seconds


class Stopped(Exception):
    """Another thread was interrupted or failed."""


class Session(Displayed):
    """Limits, cache and clock of a download; each keyword that is not given is that of `specalign.fetch.conf`.

    Parameters
    ----------
    cache : path-like, optional
        Folder of the files; by default ``fetch`` in `specalign.config.get_cache_folder`.
    connections : int, optional
        Files that are fetched at a time.
    delay : float, optional
        Seconds between the starts of two requests to one host.
    retries : int, optional
        How often a request is repeated after a fault that may pass (408, 425, 429, 5xx, a lost connection).
    backoff : float, optional
        Seconds before the first repetition, doubled for each further one, times a random factor of 0.5 to 1.5.
    max_wait : float, optional
        Longest wait in seconds; a server that asks for more (``Retry-After``) is not asked again.
    timeout : float, optional
        Seconds without an answer after which a connection counts as lost.
    progress : bool, optional
        See `specalign.config.wants_progress`.
    seed : int
        The random waits follow from it.
    sleep, clock, now : callable, optional
        How to wait, the seconds of a running clock, and the date: for tests.

    Raises
    ------
    specalign.exceptions.FetchError
        More than 4 connections, or a number that makes no sense as a limit.

    Examples
    --------
    >>> from specalign.fetch import Session
    >>> session = Session(cache="/data/spectra", delay=2)
    >>> session
    Session(cache='/data/spectra', connections=2, delay=2, retries=5, timeout=30.0)
    """

    def __init__(
        self, cache=None, *, connections=None, delay=None, retries=None, backoff=None, max_wait=None, timeout=None,
        progress=None, seed=0, sleep=None, clock=time.monotonic, now=None,
    ):  # fmt: skip
        self.now = now or (lambda: datetime.now(UTC))
        self.cache = Cache(cache, self.now)
        given = {"connections": connections, "delay": delay, "retries": retries, "backoff": backoff}
        given |= {"max_wait": max_wait, "timeout": timeout}
        for name, value in given.items():
            setattr(self, name, getattr(conf, name) if value is None else value)
        self._check()
        self.progress = progress
        self._rng = np.random.default_rng(seed)
        self._sleep, self._clock = sleep, clock
        self._lock, self._here = threading.Lock(), threading.local()
        self._next, self._silent = {}, {}

    def _check(self):
        if self.connections not in range(1, MOST_CONNECTIONS + 1):
            raise FetchError(f"connections: expected 1 to {MOST_CONNECTIONS}, got {self.connections}")
        if not isinstance(self.retries, (int, np.integer)):
            raise FetchError(f"retries: expected a whole number, got {self.retries}")
        for name in ("delay", "retries", "backoff", "max_wait"):
            if not 0 <= getattr(self, name) < np.inf:
                raise FetchError(f"{name}: expected 0 or more, got {getattr(self, name)}")
        if not 0 < self.timeout <= LONGEST:
            raise FetchError(f"timeout: expected more than 0 and at most {LONGEST:.0f}, got {self.timeout}")

    def __repr__(self):
        return f"Session({', '.join(f'{name}={value!r}' for name, value in self._facts().items())})"

    def _facts(self):
        names = ("connections", "delay", "retries", "timeout")
        return {"cache": self.cache.folder.as_posix()} | {name: getattr(self, name) for name in names}

    def run(self, work, jobs, description="fetch"):
        """Do the work for every job, ``connections`` at a time.

        Parameters
        ----------
        work : callable
            ``work(job)`` gives a list of `~specalign.fetch.results.Outcome`.
        jobs : list
        description : str
            Of the progress bar.

        Returns
        -------
        list
            What ``work`` gave, in the order of the jobs.

        Raises
        ------
        KeyboardInterrupt, OSError
            Files that were not complete stay as they are, and are resumed by the next call.
        """
        stop = threading.Event()
        workers = {"thread_name_prefix": "specalign-fetch", "initializer": self._join, "initargs": (stop,)}
        with ThreadPoolExecutor(int(self.connections), **workers) as pool:
            futures = [pool.submit(work, job) for job in jobs]
            with progress_bar(progress=self.progress, total=len(jobs), desc=description, unit="file") as bar:
                try:
                    for future in as_completed(futures):
                        future.result()
                        bar.update()
                except BaseException:
                    stop.set()
                    pool.shutdown(wait=True, cancel_futures=True)
                    raise
        return [future.result() for future in futures]

    def _join(self, stop):
        """What begins in a thread: it learns whether the call that it works for was interrupted."""
        self._here.stop = stop

    def perform(self, make_request, action):
        """Send a request politely, and again after faults that may pass.

        Parameters
        ----------
        make_request : callable
            Gives the ``specalign.fetch.transport.Request`` of each attempt.
        action : callable
            ``action(response, request)`` reads the answer; its result is returned.

        Raises
        ------
        specalign.fetch.transport.PassingFault
            It did not pass.
        specalign.fetch.transport.MissingFile, specalign.fetch.transport.Refusal
        """

        def attempt():
            request = make_request()
            with open_url(request, self.timeout, self.now, self._clock) as response:
                return action(response, request)

        return self.repeat(make_request().url, attempt)

    def repeat(self, url, attempt):
        """Do something that asks a host, in its turn, and again after faults that may pass.

        Parameters
        ----------
        url : str
            Its host is the one that is asked.
        attempt : callable
            Its result is returned.

        Raises
        ------
        specalign.fetch.transport.PassingFault
            It did not pass.
        """
        host = urlsplit(url).netloc
        for number in range(self.retries + 1):
            self._wait_turn(host)
            try:
                result = attempt()
            except PassingFault as fault:
                self._judge(fault, number, host)
            else:
                self._silent.pop(host, None)
                return result

    def _judge(self, fault, attempt, host):
        """Make everybody wait for the host, or give up."""
        wait = self._wait_of(attempt) if fault.wait is None else fault.wait
        if wait > self.max_wait:
            raise PassingFault(f"{fault}, and asks to wait {wait:.0f} s; try again later") from None
        if attempt >= min(self.retries, self.retries if fault.retries is None else fault.retries):
            if not fault.answered:
                self._silent[host] = (str(fault), self._clock())
            raise PassingFault(f"{fault}, {attempt + 1} times; try again later", answered=fault.answered) from None
        log.info("%s; tried again in %.0f s", fault, wait)
        with self._lock:
            self._next[host] = max(self._next.get(host, 0.0), self._clock() + wait)

    def _wait_of(self, attempt):
        with self._lock:
            return min(self.max_wait, self.backoff * 2**attempt * (0.5 + self._rng.random()))

    def _wait_turn(self, host):
        """Wait until the host may be asked again; one that was silent just now, for another file, is not tried."""
        reason, since = self._silent.get(host, ("", -SILENCE))
        if self._clock() - since < SILENCE:
            raise PassingFault(f"not tried, since {reason}", answered=False)
        with self._lock:
            start = max(self._next.get(host, 0.0), self._clock())
            self._next[host] = start + self.delay
            wait = start - self._clock()
        self.pause(wait)

    def pause(self, seconds):
        """Wait, but not after an interruption."""
        if seconds > 0:
            stop = getattr(self._here, "stop", None)
            (self._sleep or (stop.wait if stop else time.sleep))(seconds)
        self.check()

    def check(self):
        """Raise where the call that this thread works for was interrupted: nothing more is begun."""
        stop = getattr(self._here, "stop", None)
        if stop and stop.is_set():
            raise Stopped
