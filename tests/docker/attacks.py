"""Pickles that would run something if they were loaded, each of them proven to by a control."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import runpy
import struct
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Attack:
    """`code` gives the pickle that creates the file at a path; `named` is the word that the refusal must hold."""

    code: Callable[[Path], bytes]
    named: str


class _Call:
    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> Any:
        return self.parts[0], self.parts[1:]


def _dumped(make: Callable[[Path], Any], protocol: int = 2) -> Callable[[Path], bytes]:
    return lambda canary: pickle.dumps(make(canary), protocol=protocol)


def _text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def _name(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _touch(canary: Path) -> str:
    return f"touch {canary}"


def _python(canary: Path) -> str:
    return f"open({str(canary)!r}, 'w').close()"


def _calls() -> dict[str, Attack]:
    return {
        "os.system": Attack(code=_dumped(lambda canary: _Call(os.system, _touch(canary))), named="system"),
        "eval": Attack(code=_dumped(lambda canary: _Call(eval, _python(canary))), named="eval"),
        "exec, protocol 4": Attack(code=_dumped(lambda canary: _Call(exec, _python(canary)), 4), named="builtins.exec"),
        "Popen": Attack(code=_dumped(lambda canary: _Call(subprocess.Popen, ["touch", str(canary)])), named="Popen"),
        "open": Attack(code=_dumped(lambda canary: _Call(builtins.open, str(canary), "w")), named="open"),
        "nested pickle": Attack(
            code=_dumped(lambda canary: _Call(pickle.loads, pickle.dumps(_Call(os.system, _touch(canary))))),
            named="loads",
        ),
        "in a list in a dictionary": Attack(
            code=_dumped(lambda canary: {"model": [1, {"deep": _Call(os.system, _touch(canary))}]}), named="system"
        ),
        "runpy": Attack(code=_dumped(lambda canary: _Call(runpy._run_code, _python(canary), {})), named="runpy"),
    }


def _by_hand() -> dict[str, Attack]:
    system, getter = _name("os", "system"), _name("builtins", "getattr")
    importer = _name("builtins", "__import__") + b"(" + _text("os") + b"tR"
    return {
        "INST": Attack(code=lambda canary: f"(S'{_touch(canary)}'\nios\nsystem\n.".encode(), named="os.system"),
        "OBJ": Attack(
            code=lambda canary: (
                b"(" + _name("subprocess", "Popen") + b"(" + _text("touch") + _text(str(canary)) + b"lo."
            ),
            named="subprocess.Popen",
        ),
        "partial": Attack(
            code=lambda canary: _name("functools", "partial") + b"(" + system + _text(_touch(canary)) + b"tR)R.",
            named="functools.partial",
        ),
        "getattr of an import": Attack(
            code=lambda canary: getter + b"(" + importer + _text("system") + b"tR(" + _text(_touch(canary)) + b"tR.",
            named="builtins.getattr",
        ),
        "name of Python 2": Attack(
            code=lambda canary: _name("__builtin__", "eval") + b"(" + _text(_python(canary)) + b"tR.",
            named="__builtin__.eval",
        ),
        "through the module of another package": Attack(
            code=lambda canary: (
                b"\x80\x04"
                + _text("numpy.testing._private.utils")
                + _text("os.system")
                + b"\x93("
                + _text(_touch(canary))
                + b"tR."
            ),
            named="numpy.testing._private.utils.os.system",
        ),
        "in the state of an object": Attack(
            code=lambda canary: (
                b"\x80\x02"
                + _name("argparse", "Namespace")
                + b")\x81}("
                + _text("x")
                + system
                + b"("
                + _text(_touch(canary))
                + b"tRub."
            ),
            named="os.system",
        ),
        "as a method for setting the state": Attack(
            code=lambda canary: (
                b"\x80\x02"
                + _name("argparse", "Namespace")
                + b")\x81}("
                + _text("__setstate__")
                + system
                + b"ub"
                + _text(_touch(canary))
                + b"b."
            ),
            named="os.system",
        ),
        "in a persistent id": Attack(
            code=lambda canary: b"\x80\x02(" + _text("storage") + system + b"(" + _text(_touch(canary)) + b"tRtQ.",
            named="os.system",
        ),
        "as the factory of a dictionary": Attack(
            code=lambda canary: (
                _name("collections", "defaultdict")
                + b"("
                + _name("os", "getcwd")
                + b"tR0"
                + system
                + b"("
                + _text(_touch(canary))
                + b"tR."
            ),
            named="os.getcwd",
        ),
    }


ATTACKS = {**_calls(), **_by_hand()}


def zipped(code: bytes, **entries: bytes) -> bytes:
    """Make a checkpoint in torch's zip format of a pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", code)
        archive.writestr("archive/version", "3\n")
        for name, content in entries.items():
            archive.writestr(f"archive/{name}", content)
    return stream.getvalue()


def legacy(code: bytes) -> bytes:
    """Make a checkpoint in torch's format before zip of a pickle."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, system)]
    return b"".join([*head, code, pickle.dumps([], 2)])
