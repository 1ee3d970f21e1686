"""Weights into a model: compared name by name and shape by shape first, then loaded, all or none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

import torch
from checkpoint import Checkpoint
from jobkit import CheckpointError

# What wrappers put before every name: DataParallel, torch.compile, and models kept as an attribute.
PREFIXES = ("module.", "_orig_mod.", "model.")

# At most so many names of each kind are listed.
LISTED = 10

REMEDY = "check that the recipe's factory and arguments are those of the model that these weights were trained for"


@dataclass(frozen=True)
class Loaded:
    """How the weights went in: what was stripped from the names, the types that became fp32, what was passed over."""

    prefix: str
    converted: tuple[str, ...]
    ignored: tuple[str, ...]


def load_into(model: torch.nn.Module, checkpoint: Checkpoint) -> Loaded:
    """Copy the weights into `model`, converted to its types.

    A model may name constants that it computes itself in an attribute `ignored_keys`, a sequence of patterns such as
    ``"*.anchor_grid"``: these may be absent from the checkpoint and are passed over where they are in it.
    ``num_batches_tracked`` may be absent, as in files older than torch 0.4.1: nothing in inference uses it.

    Raises CheckpointError listing missing and unexpected names, shapes that differ and weights that are not finite;
    nothing is loaded then.
    """
    wanted = model.state_dict()
    state, prefix = strip_prefixes(checkpoint.state, wanted)
    patterns = tuple(getattr(model, "ignored_keys", ()))
    ignored = tuple(name for name in state if _matches(name, patterns))
    given = {name: tensor for name, tensor in state.items() if name not in ignored}
    problems = list(find_problems(given, wanted, patterns))
    if problems:
        raise CheckpointError("the checkpoint does not fit the model:\n" + "\n".join(problems), REMEDY)
    with torch.no_grad():
        for name, tensor in given.items():
            wanted[name].copy_(tensor)
    converted = {_spell(tensor.dtype) for name, tensor in given.items() if tensor.dtype != wanted[name].dtype}
    return Loaded(prefix=prefix, converted=tuple(sorted(converted)), ignored=tuple(sorted(ignored)))


def strip_prefixes(
    state: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], str]:
    """Take wrappers' prefixes off the names where every name has them and none is known with them."""
    stripped = ""
    while state and not state.keys() & wanted.keys():
        prefix = next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in state)), None)
        if prefix is None:
            break
        state = {name[len(prefix) :]: tensor for name, tensor in state.items()}
        stripped += prefix
    return state, stripped


def find_problems(
    given: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], patterns: Sequence[str] = ()
) -> Iterator[str]:
    """Yield what stands against loading `given` into `wanted`, one line for each kind of problem."""
    missing = [name for name in wanted if name not in given and not _optional(name, patterns)]
    unexpected = [name for name in given if name not in wanted]
    common = [name for name in given if name in wanted]
    shapes = [name for name in common if given[name].shape != wanted[name].shape]
    kinds = [name for name in common if given[name].is_floating_point() != wanted[name].is_floating_point()]
    yield from _listing("missing in the checkpoint", [_with_nearest(name, unexpected) for name in missing])
    yield from _listing("unexpected in the checkpoint", [_with_nearest(name, missing) for name in unexpected])
    yield from _listing("of another shape", [f"{name}: {_shapes(given[name], wanted[name])}" for name in shapes])
    yield from _listing("of another type", [f"{name}: {_kinds(given[name], wanted[name])}" for name in kinds])
    if not shapes:
        # A view may pretend to be endlessly large; only one of the model's own shape is worth reading.
        spoilt = [name for name in common if not torch.isfinite(given[name]).all()]
        yield from _listing("not finite (NaN or infinite)", spoilt)


def _listing(what: str, names: list[str]) -> Iterator[str]:
    if names:
        more = f"\n    ... and {len(names) - LISTED} more" if len(names) > LISTED else ""
        yield f"  {len(names)} {what}:" + "".join(f"\n    {name}" for name in names[:LISTED]) + more


def _with_nearest(name: str, others: list[str]) -> str:
    nearest = get_close_matches(name, others, n=1, cutoff=0.75)
    return f"{name} (is it {nearest[0]}?)" if nearest else name


def _optional(name: str, patterns: Sequence[str]) -> bool:
    return name.split(".")[-1] == "num_batches_tracked" or _matches(name, patterns)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _shapes(given: torch.Tensor, wanted: torch.Tensor) -> str:
    return f"checkpoint {tuple(given.shape)}, model {tuple(wanted.shape)}"


def _kinds(given: torch.Tensor, wanted: torch.Tensor) -> str:
    return f"checkpoint {_spell(given.dtype)}, model {_spell(wanted.dtype)}"


def _spell(dtype: torch.dtype) -> str:
    return str(dtype).replace("torch.", "")
