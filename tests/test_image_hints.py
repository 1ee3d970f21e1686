"""What tools say in real failures becomes one error that names what would help, and nothing that would not."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelfarm.errors import FarmError, MachineError, RegistryError
from modelfarm.images.hints import build_failure, host, is_gone, is_out_of_reach, last_words, transfer_failure
from modelfarm.images.inputs import Inputs

NAME = "host:5000/farm/onnx@sha256:" + "1" * 64


def failed(*lines: str, block: bool = True, sources: tuple[str, ...] = ("TNN",), **passed_on: str) -> MachineError:
    """Return the error for a build whose failing step said these lines."""
    stamped = "\n".join(f"0.{index:03} {line}" for index, line in enumerate(lines))
    output = f"#5 [2/3] RUN work\n------\n > [2/3] RUN work:\n{stamped}\n------\nDockerfile:2\n" if block else ""
    output += "ERROR: failed to solve: process \"/bin/sh -c work\" did not complete successfully: exit code: 1\n"
    inputs = Inputs(sources={}, passed_on=passed_on)
    return build_failure("the onnx image", output if block else "\n".join(lines), inputs, sources, Path("build.log"))


def test_a_step_shows_its_telling_lines_only() -> None:
    error = failed("Get:1 packages", "12 % done", "fatal: no anvil", "cleaning up")
    assert error.message == "the onnx image cannot be built\n    fatal: no anvil"
    assert failed("one", "two").message == "the onnx image cannot be built\n    one\n    two"
    assert error.remedy.endswith("the whole output is in build.log")


def test_few_lines_are_shown_each_once() -> None:
    error = failed(*[f"error {index // 2}" for index in range(40)])
    assert error.message.splitlines()[1:] == [f"    error {index}" for index in range(14, 20)]


def test_what_buildx_itself_refuses_is_shown() -> None:
    words = last_words("#1 [internal] load\n#2 ERROR: pull access denied\n------\n > [internal] load metadata for x:\n"
                       "------\nERROR: failed to solve: x: pull access denied\n")
    assert words == ["ERROR: failed to solve: x: pull access denied"]


@pytest.mark.parametrize(("lines", "cause", "helps", "not_"), [
    (["Err:1 http://mirror.invalid/debian bookworm InRelease", "  Temporary failure resolving 'mirror.invalid'",
      "E: Unable to locate package python3"],
     "a name of a host is not known", ["APT_MIRROR=", "HTTPS_PROXY="], ["PIP_INDEX_URL", "SOURCE_", "EXTRA_CA"]),
    (["Err:1 http://127.0.0.1:9/debian bookworm InRelease",
      "  Could not connect to 127.0.0.1:9 (127.0.0.1). - connect (111: Connection refused)"],
     "a server cannot be reached", ["APT_MIRROR=", "HTTPS_PROXY="], ["PIP_INDEX_URL", "EXTRA_CA"]),
    (["WARNING: Retrying (Retry(total=0)) after connection broken by 'SSLError(SSLCertVerificationError(1, '[SSL: "
      "CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate')': /simple/numpy/",
      "ERROR: No matching distribution found for numpy==2.4.6"],
     "a certificate is not trusted", ["EXTRA_CA=", "PIP_INDEX_URL=", "WHEELHOUSE="], ["APT_MIRROR", "HTTPS_PROXY"]),
    (["ERROR: Could not find a version that satisfies the requirement torch==2.13.0+cpu (from versions: none)",
      "ERROR: No matching distribution found for torch==2.13.0+cpu"],
     "a package is in no index", ["TORCH_INDEX=", "WHEELHOUSE="], ["HTTPS_PROXY", "EXTRA_CA", "APT_MIRROR"]),
    (["Cloning into 'tnn'...",
      "fatal: unable to access 'https://host/tnn.git/': server certificate verification failed. CAfile: none"],
     "a certificate is not trusted", ["EXTRA_CA=", "SOURCE_TNN="], ["PIP_INDEX_URL", "HTTPS_PROXY"]),
    (["fatal: repository 'https://host/tnn.git/' not found"], "", ["SOURCE_TNN="], ["EXTRA_CA", "HTTPS_PROXY"]),
    (["cp: error writing '/x': No space left on device"], "disk is full", ["docker builder prune"], ["SOURCE_"]),
    (["ERROR: fetch: connection reset by peer"], "a server cannot be reached", ["HTTPS_PROXY="], ["APT_"]),
])
def test_each_failure_names_what_would_help(lines: list[str], cause: str, helps: list[str], not_: list[str]) -> None:
    error = failed(*lines)
    assert cause in error.message
    assert [word for word in helps if word not in error.remedy] == []
    assert [word for word in not_ if word in error.remedy] == []


def test_a_base_that_cannot_be_resolved_asks_for_another() -> None:
    error = failed("#2 ERROR: failed to do request",
                   'ERROR: failed to solve: base:1: failed to resolve source metadata for base:1: request failed: '
                   'Head "https://nowhere.invalid/v2/": dial tcp: lookup nowhere.invalid: no such host', block=False)
    assert "a name of a host is not known" in error.message
    assert "BASE=debootstrap" in error.remedy


def test_a_build_without_sources_of_its_own_names_none() -> None:
    assert "SOURCE_" not in failed("fatal: repository 'https://host/x.git/' not found", sources=()).remedy


def test_a_proxy_that_is_given_is_not_asked_for() -> None:
    lines = ("E: Failed to fetch http://deb/x  Could not connect to proxy:3128 - connect (111: Connection refused)",)
    assert "HTTPS_PROXY= name" in failed(*lines).remedy
    assert "HTTPS_PROXY" not in failed(*lines, http_proxy="http://proxy:3128").remedy
    loopback = failed(*lines, http_proxy="http://user:secret@localhost:3128").remedy
    assert "http_proxy names loopback" in loopback and "NETWORK=host" in loopback
    assert "secret" not in loopback
    assert "loopback" not in failed(*lines, http_proxy="http://localhost:3128", NETWORK="host").remedy


def test_a_certificate_that_is_given_is_doubted() -> None:
    inputs = Inputs(sources={}, passed_on={}, extra_ca=Path("ca.pem"))
    error = build_failure("x", "curl: (60) SSL certificate problem: unable to get local issuer certificate", inputs, (),
                          Path("log"))
    assert error.remedy.startswith("EXTRA_CA=ca.pem does not vouch for that server")


@pytest.mark.parametrize(("said", "words", "remedy"), [
    ('Get "http://host:5000/v2/": dial tcp 127.0.0.1:5000: connect: connection refused', "cannot be reached", "runs"),
    ('Get "https://host:5000/v2/": dial tcp: lookup host: no such host', "cannot be reached", "name and port"),
    ("net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)",
     "cannot be reached", "it runs"),
    ("http: server gave HTTP response to HTTPS client", "speaks plain HTTP", "insecure-registries"),
    ("tls: failed to verify certificate: x509: certificate signed by unknown authority", "does not trust",
     "/etc/docker/certs.d/host:5000/ca.crt"),
    ("no basic auth credentials", "wants a login", "docker login host:5000"),
    ("unauthorized: authentication required", "wants a login", "docker login host:5000"),
    ("pull access denied for farm/onnx, repository does not exist or may require 'docker login': denied",
     "wants a login", "docker login"),
    ("filesystem layer verification failed for digest sha256:2d91", "gave other bytes", "do not use it"),
    ("manifest verification failed for digest sha256:2d91", "gave other bytes", "do not use it"),
    ("unexpected EOF", "gave only a part", "run again"),
    ("unknown blob", "gave only a part", "push the image again"),
    ("read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer", "gave only a part", "run again"),
    (f"manifest for {NAME} not found: manifest unknown: manifest unknown", "has no", "make push"),
    ("received unexpected HTTP status: 503 Service Unavailable", "is in trouble", "later"),
    ("something new", "do not agree on", ""),
])
def test_each_fault_of_a_registry_has_its_own_words(said: str, words: str, remedy: str) -> None:
    error = transfer_failure(f"Error response from daemon: {said}\n", NAME)
    assert isinstance(error, RegistryError)
    assert "host:5000" in error.message and words in error.message and said in error.message
    assert remedy in error.remedy


@pytest.mark.parametrize(("said", "words"), [
    ("Cannot connect to the Docker daemon at unix:///run/x.sock. Is the docker daemon running?", "the engine has gone"),
    ("write /var/lib/x: no space left on device", "the engine's disk is full"),
])
def test_what_the_engine_lacks_is_no_fault_of_the_registry(said: str, words: str) -> None:
    error: FarmError = transfer_failure(said, NAME, "podman")
    assert isinstance(error, MachineError)
    assert words in error.message


def test_the_host_is_read_off_a_name() -> None:
    names = ["host:5000/a", "localhost/a", "a.b/c", "debian", "library/debian", "host:5000/a@sha256:1"]
    assert [host(name) for name in names] == ["host:5000", "localhost", "a.b", "", "", "host:5000"]
    assert transfer_failure("connection refused", "debian@sha256:1").message.startswith("the engine's default registry")


def test_what_is_gone_is_told_from_what_does_not_answer() -> None:
    assert is_gone("manifest unknown") and not is_gone("connection refused")
    assert is_out_of_reach("dial tcp: lookup host: no such host") and not is_out_of_reach("manifest unknown")
