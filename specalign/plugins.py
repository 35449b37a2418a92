"""Names to plugins, found through entry points.

A distribution offers a plugin with one line under ``specalign.instruments``,
``specalign.encoders`` or ``specalign.objectives``.  Listing reads metadata only
and imports nothing; code of a plugin runs when it is asked for by name.

>>> from specalign.plugins import KINDS
>>> KINDS
('instruments', 'encoders', 'objectives')
"""

import configparser
import importlib
import inspect
import re
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import entrypoints

from specalign.display import Displayed
from specalign.exceptions import PluginError, PluginWarning, UnknownPluginError

__all__ = ["KINDS", "Plugin", "check_options", "find_plugins", "load_plugin"]

KINDS = ("instruments", "encoders", "objectives")


@dataclass(frozen=True, order=True)
class Plugin(Displayed):
    """One entry point: its name, the distribution that offers it, and where the object is.

    Parameters
    ----------
    name, distribution, module, attribute : str
        ``attribute`` is empty where the entry point names a module alone.

    Examples
    --------
    >>> from specalign.plugins import Plugin
    >>> print(Plugin("weave", "specalign-weave", "specalign_weave", "Weave"))
    weave (specalign-weave: specalign_weave:Weave)
    """

    name: str
    distribution: str
    module: str
    attribute: str

    def __str__(self):
        return f"{self.name} ({self.distribution}: {self.module}:{self.attribute})"


def find_plugins(kind):
    """All plugins of one kind, sorted; a name that two distributions offer occurs twice.

    Nothing is imported.  An entry point that cannot be read is left out, with a
    `~specalign.exceptions.PluginWarning` that names its distribution.

    Parameters
    ----------
    kind : {"instruments", "encoders", "objectives"}

    Returns
    -------
    list of Plugin

    Raises
    ------
    PluginError
        The kind is none of the three.

    Examples
    --------
    >>> from specalign.plugins import find_plugins
    >>> [plugin.name for plugin in find_plugins("encoders") if plugin.distribution == "specalign"]
    ['autoencoder', 'mlp', 'specformer', 'starnet']
    """
    plugins, problems = _read(kind)
    for problem in problems.values():
        warnings.warn(problem, PluginWarning, stacklevel=2)
    return plugins


def load_plugin(kind, name):
    """The object that a plugin offers; no other plugin's code runs.

    Parameters
    ----------
    kind : {"instruments", "encoders", "objectives"}
    name : str

    Raises
    ------
    UnknownPluginError
        No distribution offers the name.
    PluginError
        Two distributions offer it, its entry point cannot be read, or its import fails (the original error is chained).

    Examples
    --------
    >>> from specalign.plugins import load_plugin
    >>> load_plugin("encoders", "starnet").__name__
    'StarNet'
    """
    plugins, problems = _read(kind)
    found = [plugin for plugin in plugins if plugin.name == name]
    if not found and name in problems:
        raise PluginError(problems[name])
    if not found:
        known = ", ".join(sorted({plugin.name for plugin in plugins})) or "none"
        raise UnknownPluginError(
            f"no {kind[:-1]} plugin is called {name!r}; installed: {known}. "
            f"Install the distribution that offers it, or check the spelling."
        )
    if len(found) > 1:
        raise PluginError(
            f"the {kind[:-1]} name {name!r} is offered by {' and by '.join(map(str, found))}; uninstall all but one"
        )
    return _import(found[0])


def check_options(kind, name, factory, given, options):
    """Name the options that a plugin does not have.

    Parameters
    ----------
    kind : {"instruments", "encoders", "objectives"}
    name : str
    factory : callable
        What `load_plugin` gave.
    given : collection of str
        Parameters that the caller gives it in any case.
    options : collection of str

    Raises
    ------
    TypeError
        An option is unknown.

    Examples
    --------
    >>> from specalign.plugins import check_options
    >>> check_options("encoders", "mine", lambda n_pixels, width=8: None, ["n_pixels"], ["widht"])
    Traceback (most recent call last):
    ...
    TypeError: the encoder 'mine' has no option 'widht'; its options: width
    """
    parameters = inspect.signature(factory).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [parameter.name for parameter in parameters if parameter.name not in given]
    if unknown := [repr(option) for option in options if option not in known]:
        raise TypeError(
            f"the {kind[:-1]} {name!r} has no option {', '.join(unknown)}; its options: {', '.join(known) or 'none'}"
        )


def _read(kind):
    """Plugins of one kind, sorted, and the problems met: a message for each unreadable entry point's name."""
    if kind not in KINDS:
        raise PluginError(f"expected a kind of plugin among {', '.join(KINDS)}, got {kind!r}")
    plugins, problems = set(), {}
    for distribution, path in _metadata_files():
        for name, text in _entries(path, f"specalign.{kind}", problems):
            plugin = _parse(name, text, distribution)
            if isinstance(plugin, Plugin):
                plugins.add(plugin)
            else:
                problems[name] = f"the {kind[:-1]} plugin {name!r} of the distribution {distribution!r} {plugin}"
    return sorted(plugins), dict(sorted(problems.items()))


def _metadata_files():
    """One ``entry_points.txt`` a distribution: the first on the path, as an import would choose.

    An egg-info counts only where there is no dist-info: a build leaves one in the working folder, which comes first on
    the path and may be out of date.
    """
    files = {}
    for ending in ("dist-info", "egg-info"):
        for folder in dict.fromkeys(sys.path):
            for path in sorted(Path(folder or ".").glob(f"*.{ending}/entry_points.txt")):
                distribution = entrypoints.Distribution.from_name_version(path.parent.stem)
                files.setdefault(_normalized(distribution.name), path)
    return sorted(files.items())


def _normalized(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def _entries(path, group, problems):
    try:
        text = path.read_text(encoding="utf-8")
        if "specalign." not in text:  # other packages' files are none of our business, broken or not
            return []
        parser = entrypoints.CaseSensitiveConfigParser(delimiters=("=",), interpolation=None)
        parser.read_string(text, source=str(path))
    except (configparser.Error, OSError, UnicodeDecodeError) as error:
        problems[str(path)] = f"plugins listed in {path} cannot be read ({type(error).__name__}: {error})"
        return []
    return list(parser[group].items()) if group in parser else []


def _parse(name, text, distribution):
    """The plugin that one line describes, or what is wrong with the line."""
    try:
        point = entrypoints.EntryPoint.from_string(text, name)
    except entrypoints.BadEntryPoint:
        return f"has an entry point that cannot be read: {text!r}; expected 'module:attribute' without spaces"
    if distribution == "specalign" and point.module_name.split(".")[0] != "specalign":
        return f"points outside the package, to {text!r}; reinstall specalign"
    return Plugin(name, distribution, point.module_name, point.object_name or "")


def _import(plugin):
    try:
        value = importlib.import_module(plugin.module)
        for part in filter(None, plugin.attribute.split(".")):
            value = getattr(value, part)
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"the plugin {plugin} cannot be imported ({type(error).__name__}: {error}); "
            f"update or uninstall the distribution {plugin.distribution!r}"
        ) from error
    return value
