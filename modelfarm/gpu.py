"""The GPU: which one this machine has, and where none works, what was looked at."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from modelfarm.command import output
from modelfarm.errors import MachineError, UsageError

VARIABLE = "GPU"  # which of several
SMI = "nvidia-smi"
TOOLKIT = ("nvidia-ctk", "nvidia-container-runtime", "nvidia-container-cli")
CDI = ("etc/cdi", "var/run/cdi")

_DRIVER = "proc/driver/nvidia/version"
_PATIENCE = 20.0  # seconds; a GPU that slept takes a few
# https://docs.nvidia.com/deploy/nvidia-smi/: these names of fields are kept from version to version.
_FIELDS = ("index", "uuid", "name", "compute_cap", "driver_version")
_CUDA = re.compile(r"CUDA Version: *([0-9]+\.[0-9]+)")


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU as its driver tells of it.

    `capability` is its compute capability, such as 8.6; `cuda` the newest CUDA that the driver takes, empty where it
    does not say.
    """

    index: int
    uuid: str
    name: str
    capability: str
    driver: str
    cuda: str

    @property
    def architecture(self) -> str:
        """Return the architecture as compilers name it, such as sm_86."""
        return f"sm_{self.capability.replace('.', '')}"

    @property
    def identity(self) -> dict[str, str]:
        """Return what an engine depends on: all but which of several equal GPUs it is."""
        return {name: value for name, value in asdict(self).items() if name not in ("index", "uuid")}

    def container_options(self, engine: str) -> tuple[tuple[str, str], ...]:
        """Return what gives a container this GPU: docker's own option, or podman's for a device in the words of CDI.

        https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/cdi-support.html
        """
        podman = engine == "podman"
        device = ("--device", f"nvidia.com/gpu={self.uuid}") if podman else ("--gpus", f"device={self.uuid}")
        # Images of Debian do not say what they want of the driver, NVIDIA's do.
        return device, ("--env", "NVIDIA_DRIVER_CAPABILITIES=compute,utility")

    def __str__(self) -> str:
        cuda = f", CUDA {self.cuda}" if self.cuda else ""
        return f"{self.name} ({self.architecture}), driver {self.driver}{cuda}"


def devices(system: Path = Path("/")) -> list[str]:
    """Return the names of the device files of GPUs; that of WSL stands for all that it has."""
    found = sorted(file.name for file in (system / "dev").glob("nvidia[0-9]*"))
    return found or [file.name for file in (system / "dev").glob("dxg")]


def container_specifications(system: Path = Path("/")) -> list[Path]:
    """Return the files of CDI (the Container Device Interface) that tell an engine how containers get a GPU."""
    return [file for folder in CDI for file in sorted((system / folder).glob("*nvidia*"))]


def require(what: str, otherwise: str = "", *, system: Path = Path("/"),
            environment: Mapping[str, str] = os.environ) -> Gpu:
    """Return the GPU that jobs are to use: the first, or the one that GPU= names.

    `what` needs it; `otherwise` says what can be done without one. Raises MachineError where none works, naming what
    was looked at, and UsageError where GPU= names none of them.
    """
    if devices(system):
        found = _ask(what, environment)
        if found:
            return _chosen(found, environment.get(VARIABLE, ""))
    looked = "".join(f"\n    {line}" for line in examined(system, environment))
    remedy = "run it on a machine with an NVIDIA GPU and its driver"
    raise MachineError(f"{what} needs an NVIDIA GPU, and this machine has none that works{looked}",
                       remedy="; ".join(part for part in (remedy, otherwise) if part))


def examined(system: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Yield what is there of a GPU and what is not, one line for each thing that was looked at."""
    found = devices(system)
    yield f"device files: {', '.join(f'/dev/{name}' for name in found) or 'no /dev/nvidia0'}"
    driver = system / _DRIVER
    yield f"driver: {_first_line(driver) or f'not loaded, there is no /{_DRIVER}'}"
    path = environment.get("PATH")
    yield f"driver's tool: {shutil.which(SMI, path=path) or f'no {SMI} on the PATH'}"
    tools = [tool for name in TOOLKIT if (tool := shutil.which(name, path=path))]
    specified = [f"/{file.relative_to(system)}" for file in container_specifications(system)]
    yield ("container toolkit: "
           + (", ".join([*tools, *specified]) or f"no {TOOLKIT[0]} on the PATH, and no CDI file in "
              + " or ".join(f"/{folder}" for folder in CDI)))


def _first_line(file: Path) -> str:
    try:
        return file.read_text(errors="replace").partition("\n")[0].strip()
    except OSError:
        return ""


def _ask(what: str, environment: Mapping[str, str]) -> list[Gpu]:
    """Ask the driver's tool for all GPUs; nothing where there is no such tool."""
    program = shutil.which(SMI, path=environment.get("PATH"))
    if program is None:
        return []
    answer = output([program, f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader"], seconds=_PATIENCE)
    if answer.code:
        said = (answer.out.strip() or answer.err.strip()).partition("\n")[0]
        raise MachineError(f"{what} needs a GPU, and {SMI} cannot tell of any: {said}",
                           remedy="see that the driver is loaded and not older than 510, which tells the compute "
                                  "capability")
    cuda = _CUDA.search(output([program], seconds=_PATIENCE).out)
    return [_gpu(line, cuda[1] if cuda else "") for line in answer.out.splitlines() if line.strip()]


def _gpu(line: str, cuda: str) -> Gpu:
    values = [value.strip() for value in line.split(",")]
    try:
        index, uuid, name, capability, driver = values
        if not re.fullmatch(r"[0-9]+\.[0-9]+", capability):
            raise ValueError(f"{capability!r} is no compute capability")
        return Gpu(index=int(index), uuid=uuid, name=name, capability=capability, driver=driver, cuda=cuda)
    except ValueError as error:
        raise MachineError(f"{SMI} tells of a GPU in other words than expected: {line!r}: {error}",
                           remedy="update the driver") from error


def _chosen(found: list[Gpu], wanted: str) -> Gpu:
    if not wanted:
        return found[0]
    for gpu in found:
        if wanted in (str(gpu.index), gpu.uuid):
            return gpu
    listed = ", ".join(f"{gpu.index} ({gpu.name})" for gpu in found)
    raise UsageError(f"{VARIABLE}={wanted}: there is no such GPU", remedy=f"this machine has {listed}")
