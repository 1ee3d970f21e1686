"""Pickles are read as data: whatever they say, nothing runs."""

from __future__ import annotations

import io
import pickle
import random
import subprocess
import sys
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
from attacks import ATTACKS
from jobkit import CheckpointError
from pickles import read_pickle
from records import Global, Standin, StorageRecord, TensorRecord


def read(code: bytes) -> Any:
    return read_pickle(io.BytesIO(code)).value


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_works_on_pickle_itself(name: str, tmp_path: Path) -> None:
    code = ATTACKS[name].code(tmp_path / "canary")
    loader = "import pickle, sys\nclass L(pickle.Unpickler):\n    persistent_load = lambda self, pid: pid\n"
    loader += "L(sys.stdin.buffer).load()"
    subprocess.run([sys.executable, "-c", loader], input=code, capture_output=True)
    limit = time.monotonic() + 5
    while not (tmp_path / "canary").exists():
        assert time.monotonic() < limit, "the control did nothing: this attack proves nothing"
        time.sleep(0.01)


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_by_name_and_runs_nothing(name: str, tmp_path: Path) -> None:
    attack = ATTACKS[name]
    with pytest.raises(CheckpointError) as caught:
        read(attack.code(tmp_path / "canary"))
    assert attack.named in caught.value.message
    assert "state dict" in caught.value.remedy
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name",
    [
        "builtins getattr",
        "builtins __import__",
        "builtins compile",
        "posix system",
        "nt system",
        "os popen",
        "sys settrace",
        "shutil rmtree",
        "socket create_connection",
        "importlib import_module",
        "importlib.util spec_from_file_location",
        "_io FileIO",
        "pickle Unpickler",
        "code InteractiveInterpreter",
        "ctypes CDLL",
        "operator attrgetter",
        "functools partial",
        "types FunctionType",
        "types CodeType",
        "webbrowser open",
        "copyreg add_extension",
        "commands getoutput",
        "cPickle loads",
        "multiprocessing.util spawnv_passfds",
    ],
)
def test_a_dangerous_name_is_refused_even_if_it_is_never_called(name: str) -> None:
    with pytest.raises(CheckpointError, match="may be an attack") as caught:
        read(f"c{name.replace(' ', chr(10))}\n.".encode())
    assert name.replace(" ", ".") in caught.value.message


@pytest.mark.parametrize("name", ["torch.hub load", "torch.storage _load_from_bytes", "numpy load", "__main__ run"])
def test_a_function_of_any_package_is_refused_when_it_is_called(name: str) -> None:
    code = f"c{name.replace(' ', chr(10))}\n".encode()
    assert read(code + b".") == Global(name=name.replace(" ", "."))
    with pytest.raises(CheckpointError, match=f"tries to call {name.replace(' ', '.')}"):
        read(code + b")R.")


def test_an_object_of_an_unknown_class_is_a_standin_with_its_state() -> None:
    value = read(b"\x80\x02cmodels.yolo\nModel\n)\x81}X\x05\x00\x00\x00stateK\x07sb.")
    assert isinstance(value, Standin)
    assert (value.kind, value.state) == ("models.yolo.Model", {"state": 7})


def test_calling_a_class_keeps_its_arguments_and_calls_nothing() -> None:
    value = read(b"\x80\x02cevil\nPayload\nK\x01K\x02\x86R.")
    assert isinstance(value, Standin)
    assert (value.kind, value.arguments) == ("evil.Payload", (1, 2))


def test_an_unknown_kind_of_dictionary_keeps_its_items_and_an_unknown_list_its_elements() -> None:
    items = read(b"\x80\x02cevil\nDict\n)\x81(K\x01K\x02u.")
    elements = read(b"\x80\x02cevil\nList\n)\x81(K\x01K\x02e.")
    assert items.items == {1: 2} and elements.elements == [1, 2]


def test_what_is_no_name_cannot_be_called() -> None:
    for code in (b"X\x01\x00\x00\x00a)R.", b"cevil\nThing\n)\x81)R.", b"})R."):
        with pytest.raises(CheckpointError, match="tries to call"):
            read(b"\x80\x02" + code)


def test_the_state_of_a_name_cannot_be_set() -> None:
    with pytest.raises(CheckpointError, match="sets the state of torch._utils._rebuild_tensor_v2"):
        read(b"ctorch._utils\n_rebuild_tensor_v2\n}b.")


@pytest.mark.parametrize("code", [b"\x82\x01.", b"\x83\x01\x00.", b"\x97.", b"\x98."])
def test_instructions_that_no_checkpoint_needs_are_refused(code: bytes) -> None:
    with pytest.raises(CheckpointError, match="the instruction (EXT|NEXT_BUFFER|READONLY_BUFFER)"):
        read(b"\x80\x05" + code)


@pytest.mark.parametrize(
    "identity", [b"X\x03\x00\x00\x00abc", b"K\x01", b"(X\x04\x00\x00\x00evilctorch\nFloatStorage\nt"]
)
def test_a_persistent_id_that_is_no_storage_is_refused(identity: bytes) -> None:
    with pytest.raises(CheckpointError, match="no storage of torch"):
        read(b"\x80\x02" + identity + b"Q.")


STORAGE = b"(X\x07\x00\x00\x00storagectorch\nHalfStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQ"


def tensor(offset: bytes, shape: bytes, stride: bytes) -> bytes:
    arguments = STORAGE + offset + shape + stride + b"\x89ccollections\nOrderedDict\n)R"
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR."


def test_a_tensor_is_a_view_of_a_storage() -> None:
    value = read(tensor(b"K\x00", b"K\x02K\x03\x86", b"K\x03K\x01\x86"))
    assert isinstance(value, TensorRecord)
    assert value.storage == StorageRecord(kind="torch.HalfStorage", key="0", count=6)
    assert (value.offset, value.shape, value.stride) == (0, (2, 3), (3, 1))


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [
        (b"K\x01", b"K\x02K\x03\x86", b"K\x03K\x01\x86"),
        (b"K\x00", b"K\x02K\x03\x86", b"K\x04K\x01\x86"),
        (b"J\xff\xff\xff\xff", b"K\x01\x85", b"K\x01\x85"),
        (b"K\x00", b"K\x02\x85", b"J\xff\xff\xff\xff\x85"),
        (b"K\x00", b"K\x02K\x03\x86", b"K\x01\x85"),
        (b"G\x00\x00\x00\x00\x00\x00\x00\x00", b"K\x01\x85", b"K\x01\x85"),
    ],
)
def test_a_tensor_that_reaches_outside_its_storage_is_refused(offset: bytes, shape: bytes, stride: bytes) -> None:
    with pytest.raises(CheckpointError, match="damaged"):
        read(tensor(offset, shape, stride))


@pytest.mark.parametrize("protocol", range(5))
def test_plain_values_come_through_every_protocol(protocol: int) -> None:
    plain = {"a": [1, -2, 2**70, 3.5, None, True], "b": ("x", b"bytes", ("deep", ("er",))), "c": {"k": {}}, "ü": ()}
    value = read(pickle.dumps(plain, protocol))
    bytes_of = value["b"][1]
    # Before protocol 3, bytes are a call of a codec: the argument is kept, the codec is not called.
    assert bytes_of == b"bytes" or bytes_of.arguments == ("bytes", "latin1")
    assert {**value, "b": value["b"][2:]} == {**plain, "b": plain["b"][2:]}


@pytest.mark.parametrize("protocol", range(5))
def test_ordered_dictionaries_and_sets_are_plain_ones(protocol: int) -> None:
    value = read(pickle.dumps([OrderedDict(a=1, b=2), {7}, frozenset({8})], protocol))
    assert value == [{"a": 1, "b": 2}, [7], [8]]


def test_keys_that_are_no_scalars_are_left_out() -> None:
    assert read(pickle.dumps({("a", 1): 1, "b": 2})) == {"b": 2}


def test_an_object_that_contains_itself_is_read() -> None:
    endless: list[Any] = []
    endless.append(endless)
    value = read(pickle.dumps(endless))
    assert value[0] is value


def test_a_deep_pickle_does_not_exhaust_the_stack() -> None:
    value = read(b"]" * 100_000 + b"a" * 99_999 + b".")
    assert isinstance(value, list) and len(value) == 1


def test_a_truncated_pickle_is_called_so() -> None:
    code = pickle.dumps({"a": [1, 2, 3], "b": "text"}, 2)
    for length in range(len(code)):
        with pytest.raises(CheckpointError, match="damaged or truncated"):
            read(code[:length])


def test_noise_never_gives_anything_but_a_value_or_a_refusal(tmp_path: Path) -> None:
    chance = random.Random(0)
    good = [tensor(b"K\x00", b"K\x02K\x03\x86", b"K\x03K\x01\x86"), pickle.dumps({"a": [1, (2, "x")]}, 4)]
    good += [attack.code(tmp_path / "canary") for attack in ATTACKS.values()]
    outcomes = {"value": 0, "refusal": 0}
    for _ in range(6000):
        code = bytearray(chance.choice(good))
        for _ in range(chance.randint(1, 4)):
            code[chance.randrange(len(code))] = chance.choice([chance.randrange(256), *b"(.0123)]}tRboQ\x81\x93"])
        try:
            read(bytes(code))
            outcomes["value"] += 1
        except CheckpointError:
            outcomes["refusal"] += 1
    assert min(outcomes.values()) > 50
    assert not list(tmp_path.iterdir())
