"""What a job may refuse to do, each kind with the name that the host shows.

A refusal says what happened (``message``) and what to do (``remedy``). Any other exception is a crash: a defect of
the converter or of its toolchain.
"""

from __future__ import annotations


class Refused(Exception):  # noqa: N818 - not every refusal is an error of the program
    """Say that the job cannot be done as asked, and what would help."""

    def __init__(self, message: str, remedy: str = "") -> None:
        """Keep `message` (what happened, what was probably meant) and `remedy` (what to do)."""
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class JobError(Refused):
    """job.json or samples.npz is not what the contract says."""


class ContractError(Refused):
    """The converter broke its half of the contract: a promised file or output is absent."""


class SourceError(Refused):
    """The source model cannot be made: its module, its factory or its file is wrong."""


class CheckpointError(Refused):
    """The weights cannot be read, are unsafe, or do not fit the model."""


class GraphError(Refused):
    """The graph is invalid, or computes something else than the source."""


class UnusableError(Refused):
    """What was made does not load, run or read back in the target's own runtime: it cannot be published."""


class OptionError(Refused):
    """An option of the recipe has a value that this target cannot honour."""


class DeviceError(Refused):
    """This machine lacks the device that the job needs."""


class EngineError(Refused):
    """A file that is code for one machine is damaged, or was made for another machine or runtime."""


class SandboxError(Refused):
    """The job wanted something that the sandbox does not allow: the network, a file elsewhere, more than its share."""


class Interrupted(KeyboardInterrupt):
    """A signal asked the job to end; no ordinary ``except Exception`` swallows it."""


def brief(error: BaseException, most: int = 300) -> str:
    """Give what `error` says in one line of at most `most` characters; native code tells whole stories."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= most else text[: most - 4] + " ..."
