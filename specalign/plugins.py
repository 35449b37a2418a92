"""Names to plugins, found through entry points.

A distribution offers a plugin with one line under ``specalign.instruments``,
``specalign.encoders`` or ``specalign.objectives``.  Listing reads metadata only
and imports nothing; code of a plugin runs when it is asked for by name.
"""

import importlib
import warnings
from dataclasses import dataclass

import entrypoints

from specalign.exceptions import PluginError, PluginWarning, UnknownPluginError

__all__ = ["KINDS", "Plugin", "find_plugins", "load_plugin"]

KINDS = ("instruments", "encoders", "objectives")


@dataclass(frozen=True, order=True)
class Plugin:
    """One entry point: its name, the distribution that offers it, and where the object is."""

    name: str
    distribution: str
    module: str
    attribute: str

    def __str__(self):
        return f"{self.name} ({self.distribution}: {self.module}:{self.attribute})"


def find_plugins(kind):
    """All plugins of one kind, sorted; a name that two distributions offer occurs twice.

    Parameters
    ----------
    kind : {"instruments", "encoders", "objectives"}

    Returns
    -------
    list of Plugin

    Examples
    --------
    >>> from specalign.plugins import find_plugins
    >>> [plugin.name for plugin in find_plugins("encoders") if plugin.distribution == "specalign"]
    ['mlp', 'starnet']
    """
    if kind not in KINDS:
        raise PluginError(f"expected a kind of plugin among {', '.join(KINDS)}, got {kind!r}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        points = entrypoints.get_group_all(f"specalign.{kind}")
    for problem in caught:
        warnings.warn(f"an entry point for specalign.{kind} cannot be read: {problem.message}", PluginWarning)
    return sorted({_plugin(point) for point in points})


def _plugin(point):
    distribution = point.distro.name if point.distro else "(unknown distribution)"
    return Plugin(point.name, distribution.replace("_", "-").lower(), point.module_name, point.object_name or "")


def load_plugin(kind, name):
    """The object that a plugin offers.

    Parameters
    ----------
    kind : {"instruments", "encoders", "objectives"}
    name : str

    Raises
    ------
    UnknownPluginError
        No distribution offers the name.
    PluginError
        Two distributions offer it, or its import fails; the original error is chained.
    """
    plugins = find_plugins(kind)
    found = [plugin for plugin in plugins if plugin.name == name]
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


def _import(plugin):
    try:
        value = importlib.import_module(plugin.module)
        for part in filter(None, plugin.attribute.split(".")):
            value = getattr(value, part)
    except Exception as error:
        raise PluginError(
            f"the plugin {plugin} cannot be imported ({type(error).__name__}: {error}); "
            f"update or uninstall the distribution {plugin.distribution!r}"
        ) from error
    return value
