"""What a user sets once: the cache folder, progress bars, threads, and where trainings run.

The items live in astropy's configuration system, in a file of their own, ``specalign.cfg``.

>>> from specalign.config import conf
>>> conf.threads  # as many as the libraries take
0
"""

import contextlib
import sys
import warnings
from pathlib import Path

from astropy import config

from specalign.display import Displayed
from specalign.exceptions import SettingError

__all__ = ["Conf", "conf", "get_cache_folder", "limited_threads", "progress_bar", "wants_progress"]


class Setting(config.ConfigItem):
    """One item of ``specalign.cfg``, which says where a value stands that cannot be taken.

    Examples
    --------
    >>> from specalign.config import Conf, Setting
    >>> isinstance(Conf.threads, Setting), Conf.threads.cfgtype
    (True, 'integer(min=0)')
    """

    rootname = "specalign"

    def __call__(self):
        try:
            return super().__call__()
        except (TypeError, SyntaxError) as error:  # a value of another kind; a file that is no list of settings
            path = Path(config.get_config_dir("specalign")) / "specalign.cfg"
            raise SettingError(
                f"{path}: the setting {self.name!r} cannot be read ({error}); correct the file, or remove it"
            ) from error


class Conf(Displayed, config.ConfigNamespace):
    """Settings of the package: `~specalign.config.conf` is the one instance.

    Each is set in the file ``specalign.cfg``, for a session (``conf.threads = 2``) or for a block
    (``with conf.set_temp("threads", 2):``).

    Examples
    --------
    >>> from specalign import conf
    >>> type(conf).__name__, list(conf)
    ('Conf', ['cache_folder', 'progress', 'threads', 'accelerator'])
    >>> with conf.set_temp("threads", 2):
    ...     conf.threads
    2
    """

    rootname = "specalign"

    cache_folder = Setting(
        "",
        "Folder of downloaded files. Empty: the folder that astropy gives to the package, see get_cache_folder.",
        module="specalign",
    )
    progress = Setting(
        True,
        "Show progress bars in terminals and notebooks, wherever a call does not say it with progress=.",
        module="specalign",
    )
    threads = Setting(
        0,
        "Threads of one call of prepare, fit, embed, search or predict. 0: as many as torch takes, and for prepare one "
        "a processor, four at most.",
        cfgtype="integer(min=0)",
        module="specalign",
    )
    accelerator = Setting(
        "auto",
        "Where a training runs that is given accelerator='auto': a name that Lightning knows, such as cpu or gpu.",
        module="specalign",
    )

    def _facts(self):
        return {name: repr(item()) for name, item in self.items()}


#: The settings.
conf = Conf()


def get_cache_folder():
    """The folder where downloaded files are kept; it may not exist yet.

    Returns
    -------
    `~pathlib.Path`
        ``conf.cache_folder``, where it is set; otherwise astropy's cache folder for the package.

    Examples
    --------
    >>> from specalign.config import conf, get_cache_folder
    >>> with conf.set_temp("cache_folder", "/data/spectra"):
    ...     get_cache_folder().as_posix()
    '/data/spectra'
    """
    return Path(conf.cache_folder or config.get_cache_dir("specalign")).expanduser()


@contextlib.contextmanager
def limited_threads(library, usual=0):
    """Let a library use ``conf.threads`` threads inside a block, and what it used before afterwards.

    Parameters
    ----------
    library : module
        With ``get_num_threads`` and ``set_num_threads``, such as torch.
    usual : int
        Threads where ``conf.threads`` is 0; 0: what the library uses.

    Examples
    --------
    >>> import torch
    >>> from specalign.config import conf, limited_threads
    >>> with conf.set_temp("threads", 1), limited_threads(torch):
    ...     torch.get_num_threads()
    1
    """
    before, wanted = library.get_num_threads(), conf.threads or usual
    if not wanted or wanted == before:
        yield
        return
    library.set_num_threads(wanted)
    try:
        yield
    finally:
        library.set_num_threads(before)


def wants_progress(progress=None):
    """Whether to show a progress bar.

    Parameters
    ----------
    progress : bool, optional
        What a call says: shown or not, wherever the output goes.  By default ``conf.progress``, and only where
        somebody looks on: in a notebook, or where standard error is a terminal.

    Examples
    --------
    >>> from specalign.config import conf, wants_progress
    >>> wants_progress(True), wants_progress(False)
    (True, False)
    >>> with conf.set_temp("progress", False):
    ...     wants_progress()
    False
    """
    if progress is not None:
        return bool(progress)
    return conf.progress and (_in_notebook() or sys.stderr.isatty())


def _in_notebook():
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return "IPKernelApp" in getattr(shell, "config", {})


def progress_bar(items=None, *, progress=None, **options):
    """A `tqdm <https://tqdm.github.io>`_ bar, with widgets in a notebook that has them and as text elsewhere.

    Parameters
    ----------
    items : iterable, optional
        What is gone through; without it, call ``update`` on the bar.
    progress : bool, optional
        See `wants_progress`.
    **options
        Of tqdm: ``desc``, ``unit``, ``total``, ...

    Examples
    --------
    >>> from specalign.config import progress_bar
    >>> sum(progress_bar([1, 2, 3], progress=False))
    6
    """
    with warnings.catch_warnings():
        # without ipywidgets, a notebook shows the bar as text, which needs no warning
        warnings.filterwarnings("ignore", message=".*IProgress not found")
        from tqdm.auto import tqdm

    return tqdm(items, disable=not wants_progress(progress), **options)
