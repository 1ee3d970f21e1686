"""What a build is given is read from the environment; a value that cannot be meant is one clear error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelfarm.errors import UsageError
from modelfarm.images.inputs import known_sources, read_inputs
from modelfarm.target import TOOLCHAINS

KNOWN = ("TNN", "ONNX_TF")


def test_nothing_given_is_nothing_passed_on() -> None:
    inputs = read_inputs(KNOWN, {"PATH": "/bin", "HOME": "/home/x"})
    assert inputs.environment == {}
    assert (inputs.base, inputs.force, inputs.mirror) == ("", False, "")


def test_all_that_is_given_becomes_variables_with_absolute_paths(tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    (tmp_path / "wheels").mkdir()
    (tmp_path / "tnn").mkdir()
    inputs = read_inputs(KNOWN, {
        "EXTRA_CA": "ca.pem", "WHEELHOUSE": "wheels/", "SOURCE_TNN": "tnn", "SOURCE_ONNX_TF": "git@host:a/b.git",
        "TORCH_INDEX": "https://index", "APT_MIRROR": "http://mirror/debian", "https_proxy": "http://proxy:1",
        "NO_PROXY": "", "BASE": "registry", "FORCE": "1"})
    assert inputs.environment == {
        "EXTRA_CA": f"{tmp_path}/ca.pem", "WHEELHOUSE": f"{tmp_path}/wheels", "SOURCE_TNN": f"{tmp_path}/tnn",
        "SOURCE_ONNX_TF": "git@host:a/b.git", "TORCH_INDEX": "https://index", "APT_MIRROR": "http://mirror/debian",
        "https_proxy": "http://proxy:1"}
    assert (inputs.base, inputs.force, inputs.mirror) == ("registry", True, "http://mirror/debian")


def test_a_release_of_tensorrt_and_a_base_for_it_are_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "TensorRT" / "include").mkdir(parents=True)
    (tmp_path / "TensorRT" / "include" / "NvInferVersion.h").touch()
    inputs = read_inputs(KNOWN, {"TENSORRT_ROOT": "TensorRT", "TRT_BASE": "here:5000/cuda:11.4"})
    assert inputs.environment == {"TENSORRT_ROOT": f"{tmp_path}/TensorRT", "TRT_BASE": "here:5000/cuda:11.4"}
    assert 'variable "TENSORRT_ROOT"' in (TOOLCHAINS / "docker-bake.hcl").read_text()


@pytest.mark.parametrize("address", ["https://host/x.git", "git+ssh://git@host/x", "git@host:x.git", "file:///x"])
def test_addresses_are_passed_on_as_they_are(address: str) -> None:
    assert read_inputs(KNOWN, {"SOURCE_TNN": address}).sources == {"TNN": address}


@pytest.mark.parametrize(("name", "value", "said"), [
    ("EXTRA_CA", "nowhere.pem", "EXTRA_CA=nowhere.pem: no such file or directory"),
    ("EXTRA_CA", "folder", "EXTRA_CA=folder: is a directory"),
    ("EXTRA_CA", "der.crt", "EXTRA_CA=der.crt holds no certificate in PEM form"),
    ("WHEELHOUSE", "der.crt", "WHEELHOUSE=der.crt is no folder"),
    ("WHEELHOUSE", "~nobody-at-all/x", "WHEELHOUSE=~nobody-at-all/x: there is no such user"),
    ("SOURCE_TNN", "nowhere", "SOURCE_TNN=nowhere is neither an address nor a folder that exists"),
    ("SOURCE_TNM", "folder", "SOURCE_TNM=folder: no image has a source of this name; did you mean SOURCE_TNN"),
    ("TENSORRT_ROOT", "folder", "TENSORRT_ROOT=folder has no include/NvInferVersion.h: it is no release of"),
    ("TENSORRT_ROOT", "nowhere", "TENSORRT_ROOT=nowhere has no include/NvInferVersion.h"),
    ("BASE", "debotstrap", "BASE=debotstrap is not known; did you mean debootstrap?"),
    ("FORCE", "perhaps", "FORCE=perhaps: expected 1 or 0"),
])
def test_a_value_that_cannot_be_meant_is_one_error(name: str, value: str, said: str, tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "der.crt").write_bytes(b"\x30\x82")
    with pytest.raises(UsageError) as caught:
        read_inputs(KNOWN, {name: value})
    assert caught.value.message.startswith(said)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_certificate_that_cannot_be_read_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    (tmp_path / "ca.pem").chmod(0)
    with pytest.raises(UsageError, match="permission denied"):
        read_inputs(KNOWN, {"EXTRA_CA": str(tmp_path / "ca.pem")})


@pytest.mark.parametrize(("value", "force"), [("1", True), ("yes", True), ("", False), ("0", False), ("No", False)])
def test_force_is_a_switch(value: str, force: bool) -> None:
    assert read_inputs(KNOWN, {"FORCE": value}).force is force


def test_variables_of_others_that_look_alike_are_let_be() -> None:
    environment = {"SOURCE_DATE_EPOCH": "1", "SOURCE_": "x", "RESOURCE_TNX": "y", "SOURCE_TNN": ""}
    assert read_inputs(KNOWN, environment).sources == {}


def test_the_sources_are_those_that_the_bake_file_has_variables_for(tmp_path: Path) -> None:
    (tmp_path / "docker-bake.hcl").write_text('variable "SOURCE_TNN" { default = "" }\n  variable  "SOURCE_A_1" {}\n'
                                              'variable "REVISION" {}\n# SOURCE_NOT\n')
    assert known_sources(tmp_path / "docker-bake.hcl") == {"TNN", "A_1"}
    assert known_sources(tmp_path / "none.hcl") == set()


def test_every_variable_that_is_passed_on_is_one_of_the_projects_bake_file() -> None:
    text = (TOOLCHAINS / "docker-bake.hcl").read_text()
    from modelfarm.images.inputs import PASSED_ON

    assert [name for name in ("EXTRA_CA", "WHEELHOUSE", *PASSED_ON) if f'variable "{name}"' not in text] == []
