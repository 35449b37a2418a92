"""Several encoders into one shared space, or one of them to labels."""

from specalign.alignment.adaptation import adapt
from specalign.alignment.aligner import Aligner
from specalign.alignment.encoder_files import load_encoder, save_encoder
from specalign.alignment.history import AdaptationHistory, History, LabelHistory, PretrainingHistory
from specalign.alignment.objectives import Objective, get_objective
from specalign.alignment.origin import SpectraOrigin
from specalign.alignment.pretraining import pretrain
from specalign.alignment.reconstruction import reconstruct
from specalign.alignment.regressor import LabelRegressor
from specalign.alignment.sharing import export_weights, load_weights, pull_from_hub, push_to_hub

__all__ = [
    "AdaptationHistory",
    "Aligner",
    "History",
    "LabelHistory",
    "LabelRegressor",
    "Objective",
    "PretrainingHistory",
    "SpectraOrigin",
    "adapt",
    "export_weights",
    "get_objective",
    "load_encoder",
    "load_weights",
    "pretrain",
    "pull_from_hub",
    "push_to_hub",
    "reconstruct",
    "save_encoder",
]
