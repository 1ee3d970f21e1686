"""TensorRT's API by version: the choice, what each does otherwise, and that the names are those of the real packages.

No version but TensorRT-RTX builds without a GPU. So the names are looked for in the files of NVIDIA's own bindings, and
the calls are recorded by objects that have no other names than these.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jobkit import ContractError, OptionError
from rtxtoys import building, parsing, profiles, trtapi

from modelfarm.settings import from_environment

BUILDER = ["create_network", "create_builder_config", "create_optimization_profile", "build_serialized_network",
           "set_flag", "clear_flag", "TF32", "FP16", "INT8", "add_optimization_profile", "set_shape", "DETAILED",
           "ProfilingVerbosity", "profiling_verbosity", "create_timing_cache", "set_timing_cache", "get_timing_cache",
           "serialize", "OnnxParser", "parse_from_file", "num_errors", "get_error", "ILogger", "INTERNAL_ERROR",
           "num_layers", "get_layer", "num_outputs", "OBEY_PRECISION_CONSTRAINTS", "set_output_type",
           "int8_calibrator", "IInt8EntropyCalibrator2", "get_batch_size"]
# The package is the oldest that PyPI has, 8.6, which still has what 8.2 had.
OLD = ("tensorrt-bindings==8.6.1", [
    *BUILDER, "EXPLICIT_BATCH", "max_workspace_size", "num_bindings", "get_binding_name", "get_binding_shape",
    "get_binding_dtype", "binding_is_input"])
NEW = ("tensorrt-cu12-bindings==10.13.0.35", [
    *BUILDER, "set_memory_pool_limit", "WORKSPACE", "node_name", "node_operator", "num_io_tensors", "get_tensor_name",
    "get_tensor_mode", "TensorIOMode", "get_tensor_shape", "get_tensor_dtype", "STRONGLY_TYPED"])


def native(package: str) -> bytes:
    """Return the native code of a package, fetched once; skip where it cannot be had."""
    folder = from_environment().environments / "test-tensorrt-bindings"
    folder.mkdir(parents=True, exist_ok=True)
    name = package.partition("==")[0].replace("-", "_")
    if not list(folder.glob(f"{name}-*.whl")):
        words = ["download", "-q", "--no-deps", "--only-binary", ":all:", "--python-version", "3.11", "-d", str(folder)]
        done = subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *words, package],
                              capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"{package} cannot be had: {done.stderr.strip().splitlines()[-1:]}")
    (wheel,) = folder.glob(f"{name}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (found,) = [entry for entry in archive.namelist() if entry.endswith(".so")]
        return archive.read(found)


@pytest.mark.parametrize(("package", "names"), [OLD, NEW])
def test_every_name_that_is_used_is_one_of_the_real_package(package: str, names: list[str]) -> None:
    code = native(package)
    assert [name for name in names if name.encode() not in code] == []
    assert b"no_such_name_at_all" not in code


def test_what_the_newer_one_has_not_is_asked_of_the_older_one_alone() -> None:
    code = native(NEW[0])
    assert b"num_bindings" not in code and b"binding_is_input" not in code


# The choice


def module(version: str, **names: Any) -> Any:
    return SimpleNamespace(__version__=version, **names)


@pytest.mark.parametrize(("version", "kind", "typed", "calibrates"), [
    ("8.2.4.2", trtapi.Api8, False, True),
    ("8.3.0", trtapi.Api8, False, True),
    ("10.0.1", trtapi.Api, False, True),
    ("10.13.0.35", trtapi.Api, False, True),
    ("11.4.0.106", trtapi.TypedApi, True, False),
])
def test_the_version_chooses(version: str, kind: type, typed: bool, calibrates: bool) -> None:
    found = trtapi.choose(module(version))
    assert type(found) is kind and found.version == version
    assert (found.typed, found.calibrates) == (typed, calibrates)


def test_tensorrt_rtx_is_known_by_what_it_can_whatever_its_number() -> None:
    found = trtapi.choose(module("1.7.1.116", ComputeCapability=SimpleNamespace(SM86=86)))
    assert type(found) is trtapi.RtxApi and found.title == "TensorRT-RTX" and found.typed and not found.calibrates


@pytest.mark.parametrize("version", ["7.2.3", "8.0.1", "8.5.3", "8.6.1", "9.3.0"])
def test_a_version_that_nobody_knows_is_refused(version: str) -> None:
    with pytest.raises(ContractError, match=f"TensorRT {version} is none that this converter knows"):
        trtapi.choose(module(version))


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(ContractError, match="there is no no_such_trt and no no_other_trt"):
        trtapi.find("no_such_trt", "no_other_trt")


# What each does otherwise


class Recorder:
    """Takes the calls and the attributes that it was told of, and no others."""

    def __init__(self, *calls: str, attributes: tuple[str, ...] = (), answers: Any = None) -> None:
        self.__dict__.update(said=[], calls=calls, attributes=attributes, answers=answers or {})

    def __getattr__(self, name: str) -> Any:
        if name not in self.calls:
            raise AttributeError(name)
        return lambda *words: self.said.append((name, *words)) or self.answers.get(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.attributes:
            raise AttributeError(name)
        self.said.append((name, value))


FLAGS = SimpleNamespace(FP16="fp16", INT8="int8", TF32="tf32", OBEY_PRECISION_CONSTRAINTS="obey")
POOLS = SimpleNamespace(WORKSPACE="workspace")
TRT8 = module("8.2.4.2", BuilderFlag=FLAGS, float32="float", ProfilingVerbosity=SimpleNamespace(DETAILED="all"),
              NetworkDefinitionCreationFlag=SimpleNamespace(EXPLICIT_BATCH=0))
TRT10 = module("10.13.0", BuilderFlag=FLAGS, float32="float", ProfilingVerbosity=SimpleNamespace(DETAILED="all"),
               MemoryPoolType=POOLS)
TRT11 = module("11.4.0", BuilderFlag=FLAGS, ProfilingVerbosity=SimpleNamespace(DETAILED="all"), MemoryPoolType=POOLS,
               NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1))
RTX = module("1.7.1.116", BuilderFlag=FLAGS, ProfilingVerbosity=SimpleNamespace(DETAILED="all"), MemoryPoolType=POOLS,
             NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=0),
             ComputeCapability=SimpleNamespace(SM86="86", SM120="120"))


@pytest.mark.parametrize(("trt", "flags"), [(TRT8, 1), (TRT10, 0), (TRT11, 2), (RTX, 1)])
def test_the_batch_is_an_axis_like_others_in_every_version(trt: Any, flags: int) -> None:
    builder = Recorder("create_network")
    trtapi.choose(trt).network(builder)
    assert builder.said == [("create_network", flags)]


def configured(trt: Any, wish: Any, layers: tuple[Any, ...] = ()) -> list[Any]:
    """Return what the configuration of a version was told."""
    older = ("max_workspace_size",) if trt is TRT8 else ()
    calibrating = ("int8_calibrator",) if trt in (TRT8, TRT10) else ()
    targeted = ("num_compute_capabilities",) if trt is RTX else ()
    newer = () if trt is TRT8 else ("set_memory_pool_limit",)
    config = Recorder("set_flag", "clear_flag", "add_optimization_profile", *newer,
                      *(("set_compute_capability",) if trt is RTX else ()),
                      attributes=("profiling_verbosity", *older, *calibrating, *targeted))
    profile = Recorder("set_shape")
    builder = SimpleNamespace(create_builder_config=lambda: config, create_optimization_profile=lambda: profile)
    network = SimpleNamespace(num_layers=len(layers), get_layer=lambda index: layers[index])
    building.configure(parsing.Parsed(trtapi.choose(trt), None, builder, network, None), wish)
    return [*config.said, *profile.said]


def test_half_precision_and_int8_are_flags_where_the_graph_does_not_say_them() -> None:
    for trt in (TRT8, TRT10):
        assert ("set_flag", "fp16") in configured(trt, building.Wish("fp16"))
        said = configured(trt, building.Wish("int8", calibrator="mine"))
        assert {("set_flag", "int8"), ("set_flag", "fp16"), ("int8_calibrator", "mine")} <= set(said)
        assert not [words for words in configured(trt, building.Wish("fp32")) if words[0] == "set_flag"]
    for trt in (TRT11, RTX):
        assert not [words for words in configured(trt, building.Wish("fp16")) if words[0] == "set_flag"]


@pytest.mark.parametrize("trt", [TRT8, TRT10, TRT11, RTX])
def test_fp32_is_not_tf32_unless_it_is_asked_for(trt: Any) -> None:
    assert ("clear_flag", "tf32") in configured(trt, building.Wish("fp32"))
    assert ("clear_flag", "tf32") not in configured(trt, building.Wish("fp32", tf32=True))


def test_the_workspace_is_limited_in_the_words_of_the_version() -> None:
    wish = building.Wish("fp32", workspace=1 << 30)
    assert ("max_workspace_size", 1 << 30) in configured(TRT8, wish)
    for trt in (TRT10, TRT11, RTX):
        assert ("set_memory_pool_limit", "workspace", 1 << 30) in configured(trt, wish)


def test_a_profile_has_the_least_the_usual_and_the_greatest_shape() -> None:
    wish = building.Wish("fp32", {"x": profiles.Range((1, 3), (4, 3), (8, 3))})
    for trt in (TRT8, TRT10, RTX):
        said = configured(trt, wish)
        assert ("set_shape", "x", (1, 3), (4, 3), (8, 3)) in said
        assert any(words[0] == "add_optimization_profile" for words in said)


def test_compute_capabilities_are_for_tensorrt_rtx_alone() -> None:
    wish = building.Wish("fp32", capabilities=(86, 120))
    said = configured(RTX, wish)
    assert ("num_compute_capabilities", 2) in said
    assert [words[1:] for words in said if words[0] == "set_compute_capability"] == [("86", 0), ("120", 1)]
    for trt in (TRT8, TRT10, TRT11):
        with pytest.raises(OptionError, match="builds for the GPU that it runs on"):
            configured(trt, wish)


def layer(name: str, outputs: int = 1) -> Any:
    recorder = Recorder("set_output_type", attributes=("precision",))
    recorder.__dict__.update(name=name, num_outputs=outputs)
    return recorder


def test_layers_that_stay_in_fp32_keep_what_they_give_in_fp32_too() -> None:
    layers = (layer("first"), layer("head", 2))
    said = configured(TRT8, building.Wish("fp16", floats=("head",)), layers)
    assert ("set_flag", "obey") in said
    assert layers[0].said == []
    assert layers[1].said == [("precision", "float"), ("set_output_type", 0, "float"), ("set_output_type", 1, "float")]


def test_where_the_graph_has_the_types_layers_and_calibrators_are_refused_with_the_way() -> None:
    for trt in (TRT11, RTX):
        with pytest.raises(OptionError, match="runs each layer in the types of the graph") as caught:
            configured(trt, building.Wish("fp16", floats=("head",)), (layer("head"),))
        assert "adapt: {float: [...]}" in caught.value.remedy
        with pytest.raises(OptionError, match="does not calibrate"):
            configured(trt, building.Wish("int8", calibrator="mine"))


# Tensors and errors


KIND = SimpleNamespace
FLOAT, HALF, WHOLE = KIND(name="FLOAT"), KIND(name="HALF"), KIND(name="INT64")


def test_tensors_of_a_loaded_engine_are_told_the_same_by_number_and_by_name() -> None:
    shapes = {"x": ((-1, 3, 8, 8), FLOAT), "size": ((2,), WHOLE), "y": ((-1, 10), HALF)}
    names = list(shapes)
    old = KIND(num_bindings=6, num_optimization_profiles=2, get_binding_name=lambda index: names[index],
               get_binding_shape=lambda index: shapes[names[index]][0],
               get_binding_dtype=lambda index: shapes[names[index]][1], binding_is_input=lambda index: index < 2)
    new = KIND(num_io_tensors=3, get_tensor_name=lambda index: names[index],
               get_tensor_shape=lambda name: shapes[name][0], get_tensor_dtype=lambda name: shapes[name][1],
               get_tensor_mode=lambda name: "in" if name != "y" else "out")
    trt = module("10.13.0", TensorIOMode=KIND(INPUT="in"))
    for api, engine in ((trtapi.choose(TRT8), old), (trtapi.choose(trt), new)):
        inputs, outputs = api.tensors(engine)
        assert [(item.name, item.shape, item.dtype) for item in inputs] == [
            ("x", ("axis_0", 3, 8, 8), "float32"), ("size", (2,), "int64")]
        assert [(item.name, item.shape, item.dtype) for item in outputs] == [("y", ("axis_0", 10), "float16")]


class Names:
    """Stands for the nodes of a file."""

    def of(self, number: int) -> tuple[str, str]:
        return {3: ("head", "Det")}.get(number, ("", ""))


def test_the_node_of_an_error_is_found_by_its_number_or_by_its_name() -> None:
    old, new = KIND(node=lambda: 3), KIND(node_name=lambda: "head", node_operator=lambda: "Det")
    assert trtapi.choose(TRT8).culprit(old, Names()) == trtapi.choose(TRT10).culprit(new, Names()) == ("head", "Det")
    assert trtapi.choose(TRT8).culprit(KIND(node=lambda: -1), Names()) == ("", "")


_NODES = """
import json, sys
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from nodenames import NodeNames
names = NodeNames(Path(sys.argv[1]))
print(json.dumps([names.of(number) for number in (0, 1, 3, 4, -1)]))
"""


def test_the_names_of_nodes_are_read_from_the_file(script: Any, toolchain: Any, tmp_path: Path) -> None:
    from rtxtoys import DOCKER, TRT

    script("rtx_graphs", tmp_path)
    found = toolchain(_NODES, str(tmp_path / "unsupported.onnx"), str(DOCKER), str(TRT))
    assert found == [["first", "Relu"], ["determinant", "Det"], ["last", "Relu"], ["", ""], ["", ""]]
    assert toolchain(_NODES, str(tmp_path / "nameless.onnx"), str(DOCKER), str(TRT))[0] == ["y", "Det"]


@pytest.mark.parametrize(("said", "shown"), [
    ("IBuilder::buildSerializedNetwork: Error Code 1: Myelin ([pass.cpp:337: check_op] Cannot compile operation 'a'. "
     "In compileGraph at /_src/optimizer/x.cpp:2012)", "Cannot compile operation 'a'."),
    ("IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (Network must have an output. In validate at "
     "/_src/network.cpp:3810)", "Network must have an output."),
    ("something else altogether", "something else altogether"),
])
def test_what_tensorrt_says_of_its_own_source_is_left_out(said: str, shown: str) -> None:
    assert building._plain(said) == shown


@pytest.mark.parametrize("said", ["Error Code 2: OutOfMemory (Requested size was 603980159 bytes.)", "std::bad_alloc",
                                  "MyelinCheckException: myelin_tensor.h:47: CHECK(p) failed. "])
def test_out_of_memory_is_told_from_other_failures(said: str) -> None:
    parsed = parsing.Parsed(trtapi.choose(RTX), KIND(errors=["first", said]), None, None, None)
    assert isinstance(building._failure(parsed), MemoryError)
    parsed.log.errors[:] = ["first"]
    failure = building._failure(parsed)
    assert isinstance(failure, building.BuildError) and failure.reason == "first"
