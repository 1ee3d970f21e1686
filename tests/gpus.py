"""A machine with GPUs, as far as files and the driver's tool tell: a stand-in, because there is none where tests run.

The words of nvidia-smi are those of a real driver 535 on Linux, with the names and numbers of other cards put in.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelfarm.gpu import Gpu

RTX_3060 = Gpu(index=0, uuid="GPU-5a0c1d9e-7a43-7c1e-9d3b-1f0a3f6c2b11", name="NVIDIA GeForce RTX 3060",
               capability="8.6", driver="535.54.03", cuda="12.2")
RTX_4090 = Gpu(index=1, uuid="GPU-0e2b8f47-51d6-4c3f-8a70-6f2f7b1d4c22", name="NVIDIA GeForce RTX 4090",
               capability="8.9", driver="535.54.03", cuda="12.2")

SMI = """\
#!/bin/sh
case "$1" in
--query-gpu=index,uuid,name,compute_cap,driver_version)
{rows}
;;
*)
cat << 'END'
Wed Nov 25 12:00:00 2026
+---------------------------------------------------------------------------------------+
| NVIDIA-SMI 535.54.03              Driver Version: 535.54.03    CUDA Version: 12.2     |
|-----------------------------------------+----------------------+----------------------+
END
;;
esac
"""
DRIVER = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.54.03  Tue Jun  6 22:20:39 UTC 2023\nGCC version: x\n"


@dataclass(frozen=True)
class Machine:
    """A root of device files, and a folder of programs for the PATH."""

    root: Path

    @property
    def path(self) -> Path:
        return self.root / "bin"

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": f"{self.path}:/usr/bin:/bin"}

    def write(self, name: str, text: str) -> Path:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def program(self, name: str, text: str = "#!/bin/sh\n") -> Path:
        file = self.write(f"bin/{name}", text)
        file.chmod(0o755)
        return file

    def insert(self, *gpus: Gpu) -> None:
        """Put GPUs into the machine, with their driver and its tool."""
        for gpu in gpus:
            self.write(f"dev/nvidia{gpu.index}", "")
        self.write("proc/driver/nvidia/version", DRIVER)
        rows = [f"{gpu.index}, {gpu.uuid}, {gpu.name}, {gpu.capability}, {gpu.driver}" for gpu in gpus]
        self.program("nvidia-smi", SMI.format(rows="\n".join(f"echo '{row}'" for row in rows)))
