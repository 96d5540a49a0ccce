"""Sequence models: nets that read a time series and say how it goes on."""

from nodebench.models.sequences.latent_ode import LatentODE
from nodebench.models.sequences.latent_rate import LatentRate
from nodebench.models.sequences.rnn import RNN
from nodebench.models.sequences.sequence_model import Losses, SequenceModel

__all__ = ["RNN", "LatentODE", "LatentRate", "Losses", "SequenceModel"]
