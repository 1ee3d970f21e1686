"""The image's half of the job contract: standard library and numpy only, Python 3.8 and later.

A converter imports from here what it needs: the job, the runtime that it returns, and the errors that it raises.
"""

from jobkit.errors import (
    CheckpointError,
    ContractError,
    DeviceError,
    EngineError,
    GraphError,
    Interrupted,
    JobError,
    OptionError,
    Refused,
    SandboxError,
    SourceError,
    UnusableError,
    brief,
)
from jobkit.events import Events
from jobkit.job import FileSource, Input, Job, Output, TorchSource
from jobkit.runtime import Device, Inspected, Runtime, Tensor

__all__ = [
    "CheckpointError",
    "ContractError",
    "Device",
    "DeviceError",
    "EngineError",
    "Events",
    "FileSource",
    "GraphError",
    "Input",
    "Inspected",
    "Interrupted",
    "Job",
    "JobError",
    "OptionError",
    "Output",
    "Refused",
    "Runtime",
    "SandboxError",
    "SourceError",
    "Tensor",
    "TorchSource",
    "UnusableError",
    "brief",
]
