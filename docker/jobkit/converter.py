"""The toolchain's half: the converter module that MODELFARM_CONVERTER names."""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Callable, List, Optional, Sequence, Union

from jobkit.errors import ContractError
from jobkit.job import Job
from jobkit.runtime import Inspected, Runtime

VARIABLE = "MODELFARM_CONVERTER"


@dataclass(frozen=True)
class Converter:
    """What a converter module defines.

    ``convert(job)`` makes files under ``job.out`` and gives their names; ``load(files, job)`` opens them in the
    target's runtime, or inspects what this machine cannot run. Optional: ``reference(job)``, the source model in its
    own runtime, in fp32; ``prepare(job)``, which imports the heavy packages that this job needs; ``PACKAGES``, whose
    versions the result records.
    """

    convert: Callable[[Job], Sequence[str]]
    load: Callable[[Sequence[str], Job], Union[Runtime, Inspected]]
    reference: Optional[Callable[[Job], Runtime]]
    prepare: Optional[Callable[[Job], None]]
    packages: Sequence[str]


def find_converter() -> Converter:
    """Import the converter that the environment names.

    Raises ContractError where the variable is unset, the file is absent, or it lacks one of the two functions.
    """
    name = os.environ.get(VARIABLE, "")
    path = Path(name)
    if not name or not path.is_file():
        raise ContractError(f"{VARIABLE} is {name!r}, which is no file", "set it to the path of a converter.py")
    module = _import(path)
    missing: List[str] = [function for function in ("convert", "load") if not hasattr(module, function)]
    if missing:
        raise ContractError(f"{path} defines no {' and no '.join(missing)}", "a converter has convert and load")
    return Converter(
        convert=module.convert,
        load=module.load,
        reference=getattr(module, "reference", None),
        prepare=getattr(module, "prepare", None),
        packages=tuple(getattr(module, "PACKAGES", ())),
    )


def _import(path: Path) -> ModuleType:
    # The modules beside a converter are its own.
    sys.path.insert(0, str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location("converter", path)
    if spec is None or spec.loader is None:
        raise ContractError(f"{path} cannot be imported", "its name must end with .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["converter"] = module
    spec.loader.exec_module(module)
    return module
