"""Training runs that can be stopped at any moment: the loop, its checkpoints and what it writes down.

Knows a task by protocol (protocols.py) and a module as a torch.nn.Module; imports no other part of nodebench.
"""

from nodebench.records.lock import RunFolderBusyError
from nodebench.records.storage import RunFolderError
from nodebench.training.checkpoints import load_trained_weights
from nodebench.training.loop import train
from nodebench.training.outcome import Outcome, finished_outcome
from nodebench.training.protocols import SolveCounts, StepOutput, Task
from nodebench.training.run_folder import RunFolder
from nodebench.training.seeding import seed_everything
from nodebench.training.settings import TrainingSettings

__all__ = [
    "Outcome",
    "RunFolder",
    "RunFolderBusyError",
    "RunFolderError",
    "SolveCounts",
    "StepOutput",
    "Task",
    "TrainingSettings",
    "finished_outcome",
    "load_trained_weights",
    "seed_everything",
    "train",
]
