"""Read a pickle as data: an interpreter of its instructions that knows no way of importing or calling anything.

A pickle is a program. Here its instructions build records only: a name stays a name (`Global`), an object of an
unknown class becomes a `Standin` that holds its state, a tensor becomes a description of one (`TensorRecord`).
There is no instruction by which a pickle reaches a real class, function or attribute, so that what cannot be read
is refused and named but could not have run either way.
The instruction set: https://docs.python.org/3/library/pickletools.html
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from jobkit import CheckpointError
from records import (
    SAFER,
    Standin,
    StorageRecord,
    TensorRecord,
    admit,
    make_record,
    paired,
    read_storage,
    scalar_items,
    spell,
)


class _Mark:
    """Where a group of values begins on the stack."""


_MARK = _Mark()


@dataclass(frozen=True)
class Pickle:
    """What one pickle describes: its value, and the storages that it refers to, by key."""

    value: Any
    storages: dict[str, StorageRecord]


def read_pickle(stream: BinaryIO) -> Pickle:
    """Read one pickle from `stream` and leave the stream behind it.

    Raises CheckpointError where the pickle is damaged, or names or calls what no checkpoint needs.
    """
    machine = _Machine()
    try:
        for instruction, argument, _ in pickletools.genops(stream):
            machine.execute(instruction.name, argument)
    except CheckpointError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise CheckpointError(
            f"the pickle is damaged or truncated ({type(error).__name__}: {error})", "fetch the file anew"
        ) from None
    return Pickle(value=machine.result, storages=machine.storages)


def _literal(machine: _Machine, value: Any) -> None:
    machine.stack.append(value)


class _Machine:
    """The stack and the memo of one pickle, and what each instruction does to them."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, StorageRecord] = {}
        self.result: Any = None

    def execute(self, name: str, argument: Any) -> None:
        action = _ACTIONS.get(name)
        if action is None:
            raise CheckpointError(f"the pickle uses the instruction {name}, which no checkpoint needs", SAFER)
        action(self, argument)

    def pop_group(self) -> list[Any]:
        group: list[Any] = []
        while (value := self.stack.pop()) is not _MARK:
            group.append(value)
        return group[::-1]

    def drop(self) -> None:
        self.stack.pop()

    def drop_group(self) -> None:
        self.pop_group()

    def new_dictionary(self) -> None:
        values = self.pop_group()
        self.stack.append(scalar_items(paired(values[::2], values[1::2])))

    def pop_tuple(self, count: int) -> None:
        values = tuple(self.stack[len(self.stack) - count :])
        if len(values) < count or any(value is _MARK for value in values):
            raise ValueError("a tuple without its values")
        del self.stack[len(self.stack) - count :]
        self.stack.append(values)

    def memoise(self, index: int | None) -> None:
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def name_global(self, argument: str | None) -> None:
        if argument is None:
            name, module = self.stack.pop(), self.stack.pop()
            if not isinstance(name, str) or not isinstance(module, str):
                raise ValueError("a name that is no text")
        else:
            module, name = argument.split(" ", 1)
        self.stack.append(admit(module, name))

    def call(self, target: Any, arguments: Any) -> None:
        self.stack.append(make_record(target, tuple(arguments)))

    def reduce(self) -> None:
        arguments, target = self.stack.pop(), self.stack.pop()
        if not isinstance(arguments, tuple):
            raise ValueError("a call without a tuple of arguments")
        self.call(target, arguments)

    def new_object(self, named: bool) -> None:
        named_arguments = self.stack.pop() if named else {}
        arguments, target = self.stack.pop(), self.stack.pop()
        if not isinstance(arguments, tuple) or not isinstance(named_arguments, dict):
            raise ValueError("an object without a tuple of arguments")
        self.call(target, (*arguments, *named_arguments.values()))

    def instance(self, argument: str | None) -> None:
        group = self.pop_group()
        target = group.pop(0) if argument is None else admit(*argument.split(" ", 1))
        self.call(target, group)

    def build(self) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Standin):
            self.stack[-1].state = state
        elif not isinstance(self.stack[-1], (dict, list, TensorRecord)):
            raise CheckpointError(f"the pickle sets the state of {spell(self.stack[-1])}", SAFER)

    def append(self, values: list[Any]) -> None:
        target = self.stack[-1]
        (target.elements if isinstance(target, Standin) else _expect(list, target)).extend(values)

    def set_items(self, values: list[Any]) -> None:
        target = self.stack[-1]
        items = target.items if isinstance(target, Standin) else _expect(dict, target)
        items.update(scalar_items(paired(values[::2], values[1::2])))

    def persistent(self, identity: Any) -> None:
        record = read_storage(identity)
        if isinstance(record, StorageRecord) and self.storages.setdefault(record.key, record) != record:
            raise ValueError(f"two storages have the key {record.key}")
        self.stack.append(record)

    def stop(self) -> None:
        self.result = self.stack.pop()
        if self.stack:
            raise ValueError("values are left over at its end")


def _expect(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise ValueError(f"items for {spell(value)}")
    return value


_LITERALS = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
)

_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(_LITERALS, _literal),
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "STOP": lambda machine, _: machine.stop(),
    "NONE": lambda machine, _: machine.stack.append(None),
    "NEWTRUE": lambda machine, _: machine.stack.append(True),
    "NEWFALSE": lambda machine, _: machine.stack.append(False),
    "MARK": lambda machine, _: machine.stack.append(_MARK),
    "POP": lambda machine, _: machine.drop(),
    "POP_MARK": lambda machine, _: machine.drop_group(),
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
    "PUT": lambda machine, index: machine.memoise(index),
    "BINPUT": lambda machine, index: machine.memoise(index),
    "LONG_BINPUT": lambda machine, index: machine.memoise(index),
    "MEMOIZE": lambda machine, _: machine.memoise(None),
    "GET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "BINGET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "LONG_BINGET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "TUPLE1": lambda machine, _: machine.pop_tuple(1),
    "TUPLE2": lambda machine, _: machine.pop_tuple(2),
    "TUPLE3": lambda machine, _: machine.pop_tuple(3),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_group())),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "LIST": lambda machine, _: machine.stack.append(machine.pop_group()),
    "APPEND": lambda machine, _: machine.append([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.pop_group()),
    "EMPTY_SET": lambda machine, _: machine.stack.append([]),
    "FROZENSET": lambda machine, _: machine.stack.append(machine.pop_group()),
    "ADDITEMS": lambda machine, _: machine.append(machine.pop_group()),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "DICT": lambda machine, _: machine.new_dictionary(),
    "SETITEM": lambda machine, _: machine.set_items([machine.stack.pop(-2), machine.stack.pop()]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_group()),
    "GLOBAL": lambda machine, argument: machine.name_global(argument),
    "STACK_GLOBAL": lambda machine, _: machine.name_global(None),
    "REDUCE": lambda machine, _: machine.reduce(),
    "NEWOBJ": lambda machine, _: machine.new_object(named=False),
    "NEWOBJ_EX": lambda machine, _: machine.new_object(named=True),
    "INST": lambda machine, argument: machine.instance(argument),
    "OBJ": lambda machine, _: machine.instance(None),
    "BUILD": lambda machine, _: machine.build(),
    "PERSID": lambda machine, identity: machine.persistent(identity),
    "BINPERSID": lambda machine, _: machine.persistent(machine.stack.pop()),
}
