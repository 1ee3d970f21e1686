"""Names of repositories, tags and hosts, and the words for those that cannot be meant."""

from __future__ import annotations

import pytest

from modelfarm.errors import UsageError
from modelfarm.repository import checked_registry, host, is_part, is_repository, is_tag


@pytest.mark.parametrize(("name", "right"), [
    ("host:5000/farm", True), ("a.b/c_d/e-f", True), ("host", True), ("Host/farm", False), ("host:port/farm", False),
    ("host//farm", False), ("http://host/farm", False), ("host/farm:tag", False), ("", False),
])
def test_names_of_repositories_are_told_from_others(name: str, right: bool) -> None:
    assert is_repository(name) is right


@pytest.mark.parametrize(("name", "right"), [
    ("digits", True), ("yolov5n-0.5-face", True), ("a__b", True), ("a--b", True), ("Digits", False), ("a..b", False),
    ("-a", False), ("a_", False), ("a+b", False), ("", False), ("a/b", False),
])
def test_parts_of_a_path_are_told_from_others(name: str, right: bool) -> None:
    assert is_part(name) is right


@pytest.mark.parametrize(("name", "right"), [
    ("onnx", True), ("tflite-uint8", True), ("onnx-0123456789abcdef", True), ("_x", True), ("Upper.case", True),
    (".hidden", False), ("-x", False), ("a b", False), ("a/b", False), ("", False), ("a" * 128, True),
    ("a" * 129, False),
])
def test_tags_are_told_from_others(name: str, right: bool) -> None:
    assert is_tag(name) is right


@pytest.mark.parametrize(("reference", "named"), [
    ("host:5000/farm/image", "host:5000"), ("a.b/c", "a.b"), ("localhost/c", "localhost"), ("library/debian", ""),
    ("debian", ""), ("", ""),
])
def test_hosts_are_read_as_clients_read_them(reference: str, named: str) -> None:
    assert host(reference) == named


@pytest.mark.parametrize(("name", "said"), [
    ("", "say REGISTRY=host:port/path"),
    ("Host:5000/Farm", "say REGISTRY=host:5000/farm"),
    ("http://host:5000/farm", "say REGISTRY=host:5000/farm"),
    ("host:5000/fa rm", "say REGISTRY=host:port/path"),
    ("host:5000/farm@sha256:1", "say REGISTRY=host:port/path"),
    ("farm", "say REGISTRY=host:port/farm"),
])
def test_names_that_no_registry_takes_are_usage_errors(name: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        checked_registry(name)
    assert caught.value.remedy.startswith(said)


@pytest.mark.parametrize("name", ["host:5000/farm", "127.0.0.1:5000", "registry.invalid/a/b_c", "localhost/farm"])
def test_names_of_registries_are_taken(name: str) -> None:
    assert checked_registry(f"{name}/") == name
