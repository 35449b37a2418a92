"""Trained models as folders that other programs can read, and their way to and from a model hub.

``grids``   wavelengths, mask rules and normalisation of an instrument, as plain facts
``config``  everything that ``config.json`` says
``card``    the model card ``README.md``
``folder``  `export_weights` and `load_weights`
``hub``     `push_to_hub` and `pull_from_hub`
"""

from specalign.alignment.sharing.folder import export_weights, load_weights
from specalign.alignment.sharing.hub import pull_from_hub, push_to_hub

__all__ = ["export_weights", "load_weights", "pull_from_hub", "push_to_hub"]
