"""What checks of encoders and of objectives have in common: both are torch modules that are built by name."""

import contextlib
import copy
import inspect
import json
import random

import numpy as np
import safetensors.torch
import torch

from specalign.alignment.checkpoint import serialized
from specalign.alignment.weights import filled
from specalign.exceptions import CheckpointError, PluginError, SpecalignError
from specalign.plugins import find_plugins, load_plugin
from specalign.testing.children import imported_by_listing
from specalign.testing.contract import fail, skip

__all__ = [
    "Subject",
    "check_close",
    "check_listing",
    "check_options",
    "check_random_states",
    "check_same",
    "check_seeding",
    "clause",
    "config_built",
    "named_tensors",
    "rebuilt",
    "stir",
]

STRANGER = "an_option_that_nobody_has"


class Subject:
    """An encoder or objective that is held to its contract: a name, a class, or one that was built with options.

    Parameters
    ----------
    kind : {"encoders", "objectives"}
    target : str, class or `~torch.nn.Module`
    base : class
        Which it must be.
    seed : int
        Of the initial weights.
    **sizes
        Keywords that it is built with where it is not given as an object.

    Examples
    --------
    >>> from specalign.encoders import Encoder
    >>> from specalign.testing.modules import Subject
    >>> Subject("encoders", "mlp", Encoder, 0, n_pixels=40, embed_dim=4, width=16).fresh().width
    16
    """

    def __init__(self, kind, target, base, seed, **sizes):
        self.kind, self.seed, self.given = kind, seed, None
        self.name = target if isinstance(target, str) else None
        if self.name is not None or inspect.isclass(target):
            self.factory = load_plugin(kind, target) if self.name is not None else target
            self.options = sizes
        else:
            self.factory, self.given, self.options = type(target), target, {}
        made = self.fresh()
        if not isinstance(made, base):
            fail(f"expected one of class {base.__name__}, got {type(made).__name__}")
        self.options = self.options | {key: made.config()[key] for key in sizes if key in made.config()}

    def build(self, seed=None, **options):
        """A new one; the initial weights follow from the seed, and the global random state is left as it is."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed if seed is None else seed)
            return self.factory(**(self.options | options))

    def fresh(self):
        """One that a check may spoil: a copy of what was given, or a new one."""
        return self.build() if self.given is None else copy.deepcopy(self.given)


@contextlib.contextmanager
def clause():
    """Where the package would refuse a plugin, the check fails with the same words."""
    try:
        yield
    except (PluginError, CheckpointError) as error:
        fail(str(error))


def config_built(subject, module):
    """What ``config`` builds, after it went through JSON.

    Raises
    ------
    ContractError
        An option is missing in it, or what it builds has another ``config``.
    """
    config = json.loads(json.dumps(module.config()))
    options = inspect.signature(subject.factory).parameters.values()
    named = [one.name for one in options if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)]
    if lost := [name for name in named if name not in config]:
        fail(f"config() lacks the option {lost[0]!r}, which a loaded aligner would take at its default")
    other = subject.build(**config)
    if json.dumps(other.config()) != json.dumps(config):
        fail(f"config() is {config}, and builds what has the config() {other.config()}")
    return other


def named_tensors(module):
    """What ``state_dict`` gives, without what is no tensor, which is a question of its own."""
    return {key: value for key, value in module.state_dict().items() if isinstance(value, torch.Tensor)}


def rebuilt(subject, module):
    """What a saved aligner would give back of a module: its config through JSON, its tensors through safetensors.

    Raises
    ------
    ContractError
        It cannot be stored, or built again.
    """
    foreign = [key for key, value in module.state_dict().items() if not isinstance(value, torch.Tensor)]
    if foreign:
        fail(f"state_dict() holds {foreign[0]!r}, which is no tensor: it would need a pickle; use buffers or config()")
    try:
        tensors = safetensors.torch.load(serialized(module.state_dict()))
    except RuntimeError as error:
        fail(f"the state cannot be written as safetensors: {error}")
    config = json.loads(json.dumps(module.config()))
    with clause():
        return filled(lambda: subject.factory(**config), tensors)


@torch.no_grad()
def stir(module):
    """Move every parameter a little, as training would."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        spread = 0.02 + 0.1 * float(parameter.std(correction=0))
        parameter.add_(spread * torch.randn(parameter.shape, generator=generator))


def check_close(found, expected, what):
    """Fail unless two tensors agree, each value to 1e-4 of itself: sums in another order differ in the last digits.

    What is left of a difference of large numbers may be off by 1e-6 of the largest value, or of 1.
    """
    if found.shape != expected.shape:
        fail(f"{what}: expected shape {tuple(expected.shape)}, got {tuple(found.shape)}")
    found, expected = found.detach(), expected.detach()
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    far = ~torch.isclose(found, expected, rtol=1e-4, atol=1e-6 * max(1.0, scale))
    if bool(far.any()):
        at = tuple(far.nonzero()[0].tolist())
        fail(f"{what}: expected {float(expected[at]):.7g}, got {float(found[at]):.7g} at {at} of {tuple(found.shape)}")


def check_same(found, expected, what):
    """Fail unless two tensors are the same, bit for bit."""
    if found.shape != expected.shape or not torch.equal(found, expected):
        off = (found - expected).abs().max() if found.shape == expected.shape else torch.tensor(torch.nan)
        fail(f"{what}: expected the same numbers bit for bit, got some that differ by {float(off):.3g}")


def check_random_states(call, what, torch_too=True):
    """Fail if a call moves a global random state: of numpy, of Python and, unless it may train, of torch."""
    with torch.random.fork_rng(devices=[]):
        before = torch.random.get_rng_state(), str(np.random.get_state()), random.getstate()  # noqa: NPY002
        call()
        after = torch.random.get_rng_state(), str(np.random.get_state()), random.getstate()  # noqa: NPY002
    if before[1:] != after[1:] or (torch_too and not torch.equal(before[0], after[0])):
        fail(f"{what}: a global random state was moved; draw from a generator that is seeded by an option")


def check_seeding(subject):
    """Fail if to build one sets the global state of torch, or draws from another one: weights follow from its seed."""
    states = []
    with torch.random.fork_rng(devices=[]):
        for seed in (1, 2):
            torch.default_generator.manual_seed(seed)
            check_random_states(lambda: subject.factory(**subject.options), "to build it", torch_too=False)
            subject.factory(**subject.options)
            states.append(torch.random.get_rng_state())
    if torch.equal(*states):
        fail("to build it sets the global random state of torch, so that every seed gives the same; leave it alone")


def check_options(subject):
    """Fail unless an option that does not exist is refused with its name."""
    try:
        subject.factory(**(subject.options | {STRANGER: 1}))
    except (TypeError, ValueError, SpecalignError) as error:
        if STRANGER in str(error):
            return
        fail(f"an unknown option is refused without its name: {error}")
    fail(f"the unknown option {STRANGER} was taken without a word; leave **kwargs out")


def check_listing(kind, name):
    """Fail if it takes an import to list what is installed, such as of a package's ``__init__`` that lists its own."""
    if name is None:
        skip("it is not installed under a name")
    if imported := imported_by_listing():
        fail(f"to list plugins, {', '.join(imported)} was imported; look for a .pth file or sitecustomize")
    if not [plugin for plugin in find_plugins(kind) if plugin.name == name]:
        fail(f"the list of {kind} does not have {name!r}")
