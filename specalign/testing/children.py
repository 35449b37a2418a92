"""An encoder in a process of its own, which has nothing but its class, its config and its tensors."""

import functools
import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import safetensors.torch
import torch

from specalign.testing.contract import fail

__all__ = ["vectors_of_a_child"]

CODE = "import sys; from specalign.testing.children import work; work(sys.argv[1])"


def vectors_of_a_child(encoder, inputs):
    """What a new process makes of spectra with an encoder that it builds anew.

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
    cls = type(encoder)
    if "<locals>" in cls.__qualname__:
        fail(f"{cls.__qualname__} is defined in a function, where no other process finds it; move it into a module")
    facts = {"module": cls.__module__, "name": cls.__qualname__, "config": encoder.config()}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "facts.json").write_text(json.dumps(facts | {"threads": torch.get_num_threads()}))
        (place / "state").write_bytes(_bytes(encoder.state_dict()))
        (place / "inputs").write_bytes(_bytes(inputs))
        # the hash seed differs from one process to the next, too
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
        environment.pop("PYTHONHASHSEED", None)
        run = subprocess.run([sys.executable, "-c", CODE, folder], capture_output=True, text=True, env=environment)
        if run.returncode:
            fail(f"a new process cannot use it: {(run.stderr.strip().splitlines() or ['no message'])[-1]}")
        return safetensors.torch.load((place / "vectors").read_bytes())["vectors"]


def _bytes(tensors):
    return safetensors.torch.save({name: value.detach().contiguous() for name, value in tensors.items()})


@torch.no_grad()
def work(folder):
    """The child's part: build, fill, embed, write."""
    place = Path(folder)
    facts = json.loads((place / "facts.json").read_text())
    torch.set_num_threads(facts["threads"])
    cls = functools.reduce(getattr, facts["name"].split("."), importlib.import_module(facts["module"]))
    encoder = cls(**facts["config"])
    encoder.load_state_dict(safetensors.torch.load((place / "state").read_bytes()))
    inputs = safetensors.torch.load((place / "inputs").read_bytes())
    (place / "vectors").write_bytes(_bytes({"vectors": encoder.eval()(**inputs)}))
