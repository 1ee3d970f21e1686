"""What a pickle may describe: inert records in the place of tensors, storages and objects, and which names pass.

Nothing here imports, looks up or calls what a name names.
"""

from __future__ import annotations

import sys
from _compat_pickle import IMPORT_MAPPING
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobkit import CheckpointError

SAFER = "get the weights as a state dict (torch.save(model.state_dict(), path)) from somebody you trust"

# Of the standard library a checkpoint may name these, which hold plain values.
HARMLESS = frozenset(
    {
        "argparse.Namespace",
        "builtins.bool",
        "builtins.bytearray",
        "builtins.bytes",
        "builtins.complex",
        "builtins.dict",
        "builtins.float",
        "builtins.frozenset",
        "builtins.int",
        "builtins.list",
        "builtins.object",
        "builtins.range",
        "builtins.set",
        "builtins.slice",
        "builtins.str",
        "builtins.tuple",
        "_codecs.encode",
        "collections.Counter",
        "collections.OrderedDict",
        "collections.defaultdict",
        "collections.deque",
        "copyreg.__newobj__",
        "copyreg._reconstructor",
        "datetime.date",
        "datetime.datetime",
        "datetime.time",
        "datetime.timedelta",
        "datetime.timezone",
        "decimal.Decimal",
        "fractions.Fraction",
        "pathlib.Path",
        "pathlib.PosixPath",
        "pathlib.PurePath",
        "pathlib.PurePosixPath",
        "pathlib.PureWindowsPath",
        "pathlib.WindowsPath",
        "pathlib._local.PosixPath",
        "pathlib._local.WindowsPath",
        "types.SimpleNamespace",
        "uuid.UUID",
    }
)

# Functions outside the standard library by which torch and numpy pickle plain values.
MAKERS = frozenset(
    {
        "numpy._core.multiarray._reconstruct",
        "numpy._core.multiarray.scalar",
        "numpy.core.multiarray._reconstruct",
        "numpy.core.multiarray.scalar",
        "numpy.dtype",
        "numpy.ndarray",
        "torch._tensor._rebuild_from_type_v2",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch._utils._rebuild_qtensor",
        "torch._utils._rebuild_sparse_tensor",
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch.device",
    }
)

_LIBRARY = frozenset(sys.stdlib_module_names) | frozenset(IMPORT_MAPPING) | {"exceptions", "nt", "os2", "riscos"}


@dataclass(frozen=True)
class Global:
    """The name of something in a module: never looked up."""

    name: str


@dataclass(eq=False)
class Standin:
    """An inert object in the place of one whose class is not known here."""

    kind: str
    arguments: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)
    elements: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class StorageRecord:
    """A block of numbers elsewhere in the file: torch's name of its type, its key there and how many numbers."""

    kind: str
    key: str
    count: int


@dataclass(frozen=True, eq=False)
class TensorRecord:
    """A tensor as a view of a storage; `offset` and `stride` count numbers, not bytes."""

    storage: StorageRecord
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def spell(value: Any) -> str:
    """Name a value for a message."""
    return value.name if isinstance(value, Global) else value.kind if isinstance(value, Standin) else repr(type(value))


def admit(module: str, name: str) -> Global:
    """Let a name pass as a name, unless it is of the standard library and not known to be harmless."""
    modern = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)
    full = f"{modern}.{name}"
    if full not in HARMLESS and module.split(".")[0] in _LIBRARY:
        raise CheckpointError(
            f"the pickle wants {module}.{name}, which no checkpoint needs: it may be an attack", SAFER
        )
    return Global(name=full)


def make_record(target: Any, arguments: tuple[Any, ...]) -> Any:
    """Make the record of what ``target(*arguments)`` would be, without calling anything.

    By the naming of classes (PEP 8) a capital letter tells a class, whose objects become stand-ins, from a function.
    """
    if not isinstance(target, Global):
        raise CheckpointError(f"the pickle tries to call {spell(target)}", SAFER)
    maker = _RECORDS.get(target.name)
    if maker:
        return maker(arguments)
    last = target.name.rsplit(".", 1)[-1].lstrip("_")
    if target.name in HARMLESS or target.name in MAKERS or last[:1].isupper():
        return Standin(kind=target.name, arguments=arguments)
    raise CheckpointError(f"the pickle tries to call {target.name}: it may be an attack", SAFER)


def read_storage(identity: Any) -> Any:
    """Read a persistent id of torch: ("storage", type, key, device, count, ...), in old files ("module", class, ...).

    Raises CheckpointError for any other.
    """
    if isinstance(identity, tuple) and len(identity) >= 2 and isinstance(identity[1], Global):
        if identity[0] == "module":
            return identity[1]
        if identity[0] == "storage" and len(identity) >= 5:
            _, kind, key, _, count = identity[:5]
            view = identity[5] if len(identity) > 5 else None
            if isinstance(key, str) and isinstance(count, int) and count >= 0 and view is None:
                return StorageRecord(kind=kind.name, key=key, count=count)
    raise CheckpointError("the pickle refers to something outside itself that is no storage of torch", SAFER)


def _tensor(arguments: tuple[Any, ...]) -> TensorRecord:
    storage, offset, shape, stride = arguments[:4]
    numbers = (offset, *shape, *stride)
    whole = all(type(number) is int and number >= 0 for number in numbers)
    if not isinstance(storage, StorageRecord) or not whole or len(shape) != len(stride):
        raise ValueError("a tensor without storage, shape and stride")
    last = offset + sum((size - 1) * step for size, step in paired(shape, stride))
    if 0 not in shape and last >= storage.count:
        raise ValueError(f"a tensor of shape {tuple(shape)} that reaches past its storage of {storage.count}")
    return TensorRecord(storage=storage, offset=offset, shape=tuple(shape), stride=tuple(stride))


def _rebuilt(arguments: tuple[Any, ...]) -> Any:
    function, _, inner = arguments[:3]
    return make_record(function, tuple(inner))


def _reconstructed(arguments: tuple[Any, ...]) -> Any:
    return make_record(arguments[0], ())


def scalar_items(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """Make a dictionary. Weights go by text: a key that is no scalar, a tuple for one, belongs to nothing wanted."""
    return {key: value for key, value in pairs if isinstance(key, (str, int, float, bytes, type(None)))}


def _dictionary(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    pairs = arguments[0] if arguments else ()
    return scalar_items(pairs.items() if isinstance(pairs, dict) else [(key, value) for key, value in pairs])


def _sequence(arguments: tuple[Any, ...]) -> list[Any]:
    return list(arguments[0]) if arguments and isinstance(arguments[0], (list, tuple)) else []


# What torch pickles as calls of functions, and what each of these calls describes.
_RECORDS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda arguments: arguments[0],
    "torch._utils._rebuild_parameter_with_state": lambda arguments: arguments[0],
    "torch._tensor._rebuild_from_type_v2": _rebuilt,
    "copyreg._reconstructor": _reconstructed,
    "copyreg.__newobj__": lambda arguments: make_record(arguments[0], arguments[1:]),
    "collections.OrderedDict": _dictionary,
    "builtins.dict": _dictionary,
    "builtins.list": _sequence,
    "builtins.set": _sequence,
    "builtins.frozenset": _sequence,
    "torch.Size": lambda arguments: tuple(_sequence(arguments)),
}


def paired(one: Sequence[Any], other: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Pair two sequences of one length; raises ValueError where theirs differ."""
    if len(one) != len(other):
        raise ValueError(f"{len(one)} values beside {len(other)}")
    return zip(one, other)  # noqa: B905 - Python 3.8 runs it
