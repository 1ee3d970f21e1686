"""The manifest: an in-toto statement, equal for equal builds, with no time and no path."""

from __future__ import annotations

import hashlib
import io
import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelfarm import __version__
from modelfarm.artifact import Artifact
from modelfarm.console import Console
from modelfarm.digest import key_of
from modelfarm.errors import ArtifactError
from modelfarm.manifest import Origin, read_origin
from tests.toys import Toys, make_toys

LIMITS = "limits: [{unit: relative, limit: 0.5, because: tens}, {unit: px, limit: 9, because: x, precision: fp16}]"


def artifact(toys: Toys, **request: str) -> Artifact:
    (job,) = toys.jobs(**request)
    return toys.builder().build(job, Console(io.StringIO())).artifact


def statement(toys: Toys, **request: str) -> Any:
    return json.loads(artifact(toys, **request).path("manifest.json").read_text())


def words(value: Any) -> list[str]:
    """Return every string in a document, keys included."""
    if isinstance(value, dict):
        return [*value, *(word for item in value.values() for word in words(item))]
    if isinstance(value, list):
        return [word for item in value for word in words(item)]
    return [value] if isinstance(value, str) else []


def test_it_has_the_shape_of_a_statement_with_provenance(toys: Toys) -> None:
    found = artifact(toys)
    document = json.loads(found.path("manifest.json").read_text())
    assert document["_type"] == "https://in-toto.io/Statement/v1"
    assert document["predicateType"] == "https://slsa.dev/provenance/v1"
    content = found.path("model.toy").read_bytes()
    assert document["subject"] == [{"name": "model.toy", "digest": {"sha256": hashlib.sha256(content).hexdigest()},
                                    "annotations": {"size": len(content)}}]
    definition, details = document["predicate"]["buildDefinition"], document["predicate"]["runDetails"]
    assert definition["externalParameters"]["model"] == "toy"
    assert definition["externalParameters"]["options"] == {"rounds": 1}
    assert definition["externalParameters"]["randomWeights"] is False
    assert definition["internalParameters"]["key"] == found.key == details["metadata"]["invocationId"]
    assert details["builder"]["id"] == "urn:modelfarm:runner:venv"
    assert details["builder"]["version"]["modelfarm"] == __version__
    assert details["builder"]["version"]["toy"] == "1.0"


def test_the_key_can_be_worked_out_from_it(toys: Toys) -> None:
    internal = statement(toys)["predicate"]["buildDefinition"]["internalParameters"]
    text = json.dumps(internal["identity"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == internal["key"]


def test_its_materials_have_the_digests_of_the_files(toys: Toys) -> None:
    dependencies = statement(toys)["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert [entry["annotations"]["role"] for entry in dependencies] == ["module", "weights"]
    for entry in dependencies:
        content = (toys.settings.models / "toy" / entry["name"]).read_bytes()
        assert entry["digest"]["sha256"] == hashlib.sha256(content).hexdigest()


def test_equal_builds_give_equal_bytes_in_other_places_and_at_other_times(tmp_path: Path, toys: Toys) -> None:
    other = make_toys(tmp_path / "elsewhere", toys.cache)
    other.model()
    one = artifact(toys).path("manifest.json").read_bytes()
    time.sleep(1.1)
    assert artifact(other).path("manifest.json").read_bytes() == one


def test_it_holds_no_path_and_no_time(toys: Toys) -> None:
    year = time.strftime("%Y")
    for word in words(statement(toys)):
        assert str(toys.folder) not in word
        assert str(toys.cache) not in word
        assert not word.startswith("/")
        assert not re.search(rf"{year}-\d\d|\d\d:\d\d:\d\d", word)


def test_it_is_sorted_and_ends_with_a_line(toys: Toys) -> None:
    text = artifact(toys).path("manifest.json").read_text()
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n"


def test_what_the_gates_said_is_in_it(toys: Toys) -> None:
    toys.model(error=2e-7)
    verification = statement(toys)["predicate"]["verification"]
    assert verification["gates"] == {"complete": "passed", "signature": "passed", "finite": "passed",
                                     "parity": "passed", "predictions": "skipped", "golden": "skipped",
                                     "device": "passed"}
    assert set(verification["reasons"]) == {"predictions", "golden"}
    assert verification["facts"] == {"rounds": 1}
    assert re.fullmatch(r"\d(\.0)?e-\d+|0\.0|\d+\.\d", repr(verification["worstError"]["relative"]))


def test_only_the_widened_limits_of_this_precision_are_in_it(toys: Toys) -> None:
    toys.model(more=LIMITS, error=0.2)
    verification = statement(toys)["predicate"]["verification"]
    assert verification["widenedLimits"] == [
        {"unit": "relative", "measure": "max", "limit": 0.5, "because": "tens"}]
    assert 0 < verification["worstError"]["relative"] < 0.5


@pytest.mark.parametrize(("request_", "random", "reason"), [
    ({"weights": "random"}, True, "the weights are random: they can find nothing"),
    ({"expect": "none"}, False, "waived on the command line"),
])
def test_random_weights_and_waived_expectations_are_said(toys: Toys, request_: dict[str, str], random: bool,
                                                         reason: str) -> None:
    predicate = statement(toys, **request_)["predicate"]
    assert predicate["buildDefinition"]["externalParameters"]["randomWeights"] is random
    assert predicate["verification"]["reasons"]["golden"] == reason


def test_what_the_command_line_changes_is_a_variant_of_its_own(toys: Toys) -> None:
    parameters = statement(toys, options="rounds=3")["predicate"]["buildDefinition"]["externalParameters"]
    assert (parameters["variant"], parameters["options"]) == ("toy-rounds3", {"rounds": 3})


def test_what_is_known_of_the_toolchain_is_in_it_beside_the_key(toys: Toys) -> None:
    (job,) = toys.jobs()
    known = {"runner": "docker", "image": "sha256:1", "repositories": ["host/toy@sha256:2"],
             "base": "debootstrap bookworm"}
    document = json.loads(toys.builder().build(replace(job, provenance=known), Console(io.StringIO()))
                          .artifact.path("manifest.json").read_text())
    internal = document["predicate"]["buildDefinition"]["internalParameters"]
    assert internal["toolchain"] == known
    assert internal["key"] == job.key == key_of(internal["identity"])
    assert "base" not in internal["identity"]["toolchain"]


def test_a_job_in_an_environment_says_so(toys: Toys) -> None:
    internal = statement(toys)["predicate"]["buildDefinition"]["internalParameters"]
    assert internal["toolchain"] == {"runner": "venv"}


def test_what_an_artifact_was_made_from_can_be_read_back(toys: Toys) -> None:
    (job,) = toys.jobs(options="rounds=3", expect="none")
    assert read_origin(artifact(toys, options="rounds=3", expect="none")) == Origin(
        identity=json.loads(json.dumps(job.identity)), target="toy", precision="fp32", options={"rounds": 3},
        materials={(material.role, material.name): material.sha256 for material in job.materials},
        random_weights=False, golden_waived=True, runner="venv", toolchain={"runner": "venv"})
    assert read_origin(artifact(toys, weights="random")).random_weights


def _harmed(document: Any, path: str) -> Any:
    """Take a part out of a document, or replace it where the path ends with a value."""
    *way, last = path.partition("=")[0].split(".")
    table = document["predicate"]
    for name in way:
        table = table[name]
    if "=" in path:
        table[last] = json.loads(path.partition("=")[2])
    else:
        del table[last]
    return document


@pytest.mark.parametrize("path", [
    "buildDefinition", "buildDefinition.internalParameters.identity", "runDetails.builder.id",
    "buildDefinition.internalParameters.identity.precision", "buildDefinition.internalParameters.identity=[]",
    "buildDefinition.internalParameters.identity=null", 'buildDefinition.internalParameters.identity.model="other"',
])
def test_a_manifest_that_does_not_say_it_is_an_artifact_error(toys: Toys, path: str) -> None:
    made = artifact(toys)
    harmed = replace(made, manifest=_harmed(json.loads(json.dumps(made.manifest)), path))
    with pytest.raises(ArtifactError, match="does not say what it was made from"):
        read_origin(harmed)


def test_what_the_toolchain_told_can_be_read_back_and_is_nothing_where_the_manifest_is_silent(toys: Toys) -> None:
    found = artifact(toys)
    assert found.facts == found.manifest["predicate"]["verification"]["facts"]
    for silent in ({}, {"predicate": {}}, {"predicate": {"verification": {"facts": None}}}):
        assert replace(found, manifest=silent).facts == {}


def test_a_manifest_of_an_earlier_farm_has_no_toolchain(toys: Toys) -> None:
    made = artifact(toys)
    older = _harmed(json.loads(json.dumps(made.manifest)), "buildDefinition.internalParameters.toolchain")
    assert read_origin(replace(made, manifest=older)).toolchain == {}
