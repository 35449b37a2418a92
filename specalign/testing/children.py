"""Processes of their own, in which plugins are listed, instruments prepare and encoders embed."""

import functools
import importlib
import json
import os
import subprocess
import sys
from multiprocessing.reduction import ForkingPickler

from specalign.testing.contract import fail

__all__ = ["check_importable", "imported_by_listing", "output_of_a_child", "sent_to_a_child", "vectors_of_a_child"]

TIME_LIMIT = 120.0  # seconds, of a process that has to import the package
_THREADS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_CALL = "from specalign.testing.children import answer; answer()"
_LIST = """
import json, sys, warnings
from specalign.plugins import KINDS, find_plugins
warnings.simplefilter("ignore")
found = {plugin.module for kind in KINDS for plugin in find_plugins(kind)}
print(json.dumps(sorted(name for name in found | {"torch", "numpy", "astropy"} if name in sys.modules)))
"""


def output_of_a_child(code, content=b""):
    """What a new process of Python prints that runs some code.

    It finds what this one finds, with another hash seed, and takes one thread, since the two share a machine.

    Parameters
    ----------
    code : str
        Of this package alone.
    content : bytes
        What it can read from its standard input.

    Returns
    -------
    str

    Raises
    ------
    ContractError
        The process fails, with the last line of its errors, or takes more than two minutes.

    Examples
    --------
    >>> from specalign.testing.children import output_of_a_child
    >>> output_of_a_child("print(1 + 1)")
    '2\\n'
    """
    environment = {**os.environ, **dict.fromkeys(_THREADS, "1")}
    environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    environment.pop("PYTHONHASHSEED", None)
    command = [sys.executable, "-c", code]
    try:
        run = subprocess.run(command, input=content, capture_output=True, timeout=TIME_LIMIT, env=environment)
    except subprocess.TimeoutExpired:
        fail(f"expected an answer of another process within {TIME_LIMIT:.0f} s, got none")
    if run.returncode:
        said = run.stderr.decode(errors="replace").strip().splitlines() or ["it ended without a message"]
        fail(f"a new process cannot do it: {said[-1]}")
    return run.stdout.decode(errors="replace")


def imported_by_listing():
    """Modules of plugins, and large libraries, that a new process has imported after it listed all plugins.

    Returns
    -------
    list of str

    Examples
    --------
    >>> from specalign.testing.children import imported_by_listing
    >>> imported_by_listing()
    []
    """
    return json.loads(output_of_a_child(_LIST).splitlines()[-1])


def check_importable(cls):
    """Fail if another process would not find a class by its module and its name."""
    if "<locals>" in cls.__qualname__:
        fail(f"{cls.__qualname__} is defined in a function, where no other process finds it; move it into a module")
    if cls.__module__ == "__main__":
        fail(f"{cls.__qualname__} is defined in a script or a notebook; move it into a module that others can import")


def sent_to_a_child(function, *arguments):
    """What a function of a module makes of arguments that go to a new process, as those of a data loader's do.

    Unlike a process of `multiprocessing`, this one does not run the script again that is running here.

    Parameters
    ----------
    function : callable
        Of a module. It gives what JSON knows.
    *arguments
        Whatever can be sent.

    Returns
    -------
    object

    Raises
    ------
    ContractError
        The arguments cannot be sent, or the process fails.

    Examples
    --------
    >>> import math
    >>> from specalign.testing.children import sent_to_a_child
    >>> sent_to_a_child(math.hypot, 3, 4)
    5.0
    """
    try:
        content = bytes(ForkingPickler.dumps((function, arguments)))
    except Exception as error:
        fail(f"it cannot be sent to another process: {type(error).__name__}: {error}")
    return json.loads(output_of_a_child(_CALL, content).splitlines()[-1])


def answer():
    """The child's part: receive, call, print."""
    function, arguments = ForkingPickler.loads(sys.stdin.buffer.read())
    sys.stdout.write("\n" + json.dumps(function(*arguments)) + "\n")


def vectors_of_a_child(encoder, inputs):
    """What a new process makes of spectra with an encoder that it builds anew, of class, config and tensors.

    Parameters
    ----------
    encoder : Encoder
        In eval mode.
    inputs : dict of str to `~torch.Tensor`
        Keywords of its ``forward``.

    Returns
    -------
    `~torch.Tensor` (n, embed_dim)

    Raises
    ------
    ContractError
        The process fails; the message is the last line of its errors.
    """
    import safetensors.torch
    import torch

    from specalign.alignment.checkpoint import serialized

    check_importable(cls := type(encoder))
    place = cls.__module__, cls.__qualname__, json.dumps(encoder.config())
    tensors = serialized(encoder.state_dict()), serialized(inputs)
    made = sent_to_a_child(embed, *place, *tensors, torch.get_num_threads())
    return safetensors.torch.load(bytes.fromhex(made))["vectors"]


def embed(module, name, config, state, inputs, threads):
    """The child's part: build, fill, embed."""
    import safetensors.torch
    import torch

    from specalign.alignment.checkpoint import serialized

    torch.set_num_threads(threads)
    cls = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    encoder = cls(**json.loads(config))
    encoder.load_state_dict(safetensors.torch.load(state))
    with torch.no_grad():
        return serialized({"vectors": encoder.eval()(**safetensors.torch.load(inputs))}).hex()
