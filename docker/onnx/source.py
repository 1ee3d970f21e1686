"""The PyTorch model of a job: its module imported by path, its factory called, its weights loaded."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from checkpoint import Checkpoint, read_checkpoint
from jobkit import SourceError, TorchSource
from weights import Loaded, load_into


@dataclass(frozen=True)
class TorchModel:
    """A model ready for inference in fp32 on the CPU; `checkpoint` and `loaded` are None for random weights."""

    module: torch.nn.Module
    checkpoint: Checkpoint | None
    loaded: Loaded | None

    @property
    def parameters(self) -> int:
        """Count the numbers that training would change."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    def facts(self) -> dict[str, object]:
        """Tell what a manifest should say of the source."""
        return {
            "exporter": f"torch {torch.__version__.split('+')[0]}, torchscript exporter",
            "parameters": self.parameters,
            "weights": self._weights() if self.checkpoint and self.loaded else "random",
        }

    def _weights(self) -> dict[str, object]:
        assert self.checkpoint and self.loaded
        return {
            "reader": self.checkpoint.reader,
            "nesting": self.checkpoint.nesting,
            "prefix": self.loaded.prefix,
            "converted from": list(self.loaded.converted),
            "ignored": list(self.loaded.ignored),
        }

    def run(self, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Run the model once and give its outputs in order.

        Raises SourceError where they are no tensors.
        """
        with torch.inference_mode():
            result = self.module(*inputs)
        outputs = (result,) if isinstance(result, torch.Tensor) else result
        if not isinstance(outputs, (tuple, list)) or not all(isinstance(item, torch.Tensor) for item in outputs):
            raise SourceError(
                f"the model returns a {type(result).__name__}, not a tensor or a tuple of tensors",
                "let forward() return the outputs as a tuple, in the order of the recipe",
            )
        return tuple(outputs)


def make_model(source: TorchSource) -> TorchModel:
    """Make the model that `source` describes.

    Raises SourceError where the module or its factory is wrong, CheckpointError where the weights are.
    """
    checkpoint = read_checkpoint(source.weights) if source.weights else None
    factory = find_factory(import_module(source.module), source.factory)
    torch.manual_seed(source.seed)
    module = call_factory(factory, source)
    loaded = load_into(module, checkpoint) if checkpoint else None
    return TorchModel(module=module.float().eval(), checkpoint=checkpoint, loaded=loaded)


def import_module(path: Path) -> ModuleType:
    """Import the file at `path` under a private name, so that it can hide no other module.

    Raises SourceError with the line that failed.
    """
    name = f"modelfarm_source_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise SourceError(f"{path.name} is no Python module", "name a .py file as source.torch.module in the recipe")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    # Behind everything else: for modules that it brings along, never in the place of installed ones.
    sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise SourceError(
            f"importing {path.name} failed{_place(error, path)}: {type(error).__name__}: {error}",
            "the module may import torch, numpy and the standard library; correct it",
        ) from error
    return module


def find_factory(module: ModuleType, name: str) -> Callable[..., Any]:
    """Look up the factory.

    Raises SourceError with the nearest names where there is none.
    """
    factory = getattr(module, name, None)
    if callable(factory):
        return factory  # type: ignore[no-any-return]
    known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    own = [key for key in known if getattr(getattr(module, key), "__module__", "") == module.__name__]
    nearest = get_close_matches(name, own, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
    file = Path(module.__file__ or "").name
    raise SourceError(f"{file} has no factory {name!r}{hint}", f"it defines {', '.join(sorted(own)) or 'nothing'}")


def call_factory(factory: Callable[..., Any], source: TorchSource) -> torch.nn.Module:
    """Call the factory with the recipe's arguments.

    Raises SourceError where it does not take them, fails, or makes no torch.nn.Module.
    """
    called = f"{source.factory}({', '.join(f'{key}={value!r}' for key, value in source.arguments.items())})"
    signature = inspect.signature(factory)
    try:
        signature.bind(**source.arguments)
    except TypeError as error:
        raise SourceError(f"{called}: {error}", f"its signature is {source.factory}{signature}") from None
    try:
        module = factory(**source.arguments)
    except Exception as error:
        place = _place(error, source.module)
        raise SourceError(f"{called} failed{place}: {type(error).__name__}: {error}", "correct it") from error
    if not isinstance(module, torch.nn.Module):
        raise SourceError(f"{called} made a {type(module).__name__}", "a factory returns a torch.nn.Module")
    return module


def _place(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError):
        return f" at line {error.lineno}"
    trace, line = error.__traceback__, None
    while trace:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f" at line {line}" if line else ""
