"""An artifact as documents: the types of ModelPack, equal for equal artifacts, nothing of the machine."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from modelfarm.artifact import Artifact, Subject
from modelfarm.errors import ArtifactError
from modelfarm.registry.package import Package, pack

# What https://github.com/modelpack/model-spec/blob/main/schema/config-schema.json asks of a configuration, in short.
MODELPACK = {
    "type": "object", "additionalProperties": False, "required": ["descriptor", "config", "modelfs"],
    "properties": {
        "descriptor": {"type": "object", "additionalProperties": False, "properties": {
            name: {"type": "string", "minLength": 1}
            for name in ("name", "version", "title", "description", "family", "revision", "vendor")}},
        "config": {"type": "object", "additionalProperties": False, "properties": {
            name: {"type": "string"} for name in ("architecture", "format", "paramSize", "precision", "quantization")}},
        "modelfs": {"type": "object", "additionalProperties": False, "required": ["type", "diffIds"], "properties": {
            "type": {"enum": ["layers"]}, "diffIds": {"type": "array", "minItems": 1, "items": {"type": "string"}}}},
    }}


def copied(artifact: Artifact, folder: Path) -> Artifact:
    """Copy an artifact, so that a test may change it."""
    shutil.copytree(artifact.folder, folder / artifact.version)
    return Artifact.read(folder / artifact.version, model=artifact.model, variant=artifact.variant,
                         version=artifact.version)


def document(package: Package) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(package.model.data)
    return loaded


def blob(package: Package, digest: str) -> bytes:
    (source,) = {bytes(each.part(0, 1 << 20)) for each in package.blobs if each.descriptor.digest == digest}
    return source


def test_a_model_is_a_modelpack_artifact_with_a_layer_for_each_file(artifact: Artifact) -> None:
    package = pack(artifact)
    manifest = document(package)
    assert manifest["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert manifest["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    (layer,) = manifest["layers"]
    (file,) = artifact.files
    assert layer == {"mediaType": "application/vnd.cncf.model.weight.v1.raw", "digest": f"sha256:{file.sha256}",
                     "size": file.size, "annotations": {"org.cncf.model.filepath": "model.toy",
                                                        "org.opencontainers.image.title": "model.toy"}}
    config = json.loads(blob(package, manifest["config"]["digest"]))
    jsonschema.validate(config, MODELPACK)
    assert config == {"descriptor": {"name": "toy", "version": artifact.version, "title": "toy toy",
                                     "description": "a toy called toy"},
                      "config": {"format": "toy", "precision": "fp32"},
                      "modelfs": {"type": "layers", "diffIds": [f"sha256:{file.sha256}"]}}


def test_annotations_say_what_it_is_and_pin_the_provenance(artifact: Artifact) -> None:
    package = pack(artifact)
    annotations = document(package)["annotations"]
    assert {name.removeprefix("modelfarm."): value for name, value in annotations.items()
            if name.startswith("modelfarm.") and not name.endswith("provenance")} == {
        "model": "toy", "variant": "toy", "target": "toy", "version": artifact.version, "key": artifact.key,
        "verified": "verified"}
    statement = blob(package, annotations["modelfarm.provenance"])
    assert statement == artifact.path("manifest.json").read_bytes()


def test_provenance_and_smoke_report_are_attached_by_digest(artifact: Artifact) -> None:
    package = pack(artifact)
    provenance, smoke = package.attachments
    for each in (provenance, smoke):
        assert each.subject and (each.subject.digest, each.subject.size) == (
            package.model.digest, len(package.model.data))
        assert each.config.media_type == "application/vnd.oci.empty.v1+json"
    assert provenance.artifact_type == "application/vnd.in-toto+json"
    assert [layer.annotations["in-toto.io/predicate-type"] for layer in provenance.layers] == [
        "https://slsa.dev/provenance/v1"]
    assert smoke.artifact_type == "application/vnd.modelfarm.smoke.v1+json"
    assert {layer.annotations["org.opencontainers.image.title"]: layer.media_type for layer in smoke.layers} == {
        "smoke.json": "application/vnd.modelfarm.smoke.v1+json", "smoke.log": "text/plain",
        "reproduce.sh": "text/x-shellscript"}
    assert smoke.annotations == {"org.opencontainers.image.created": artifact.smoke["made_at"]}


def test_every_blob_that_a_manifest_names_is_there_and_nothing_else(artifact: Artifact) -> None:
    package = pack(artifact)
    named = {descriptor.digest for manifest in (package.model, *package.attachments)
             for descriptor in (manifest.config, *manifest.layers)}
    assert {each.descriptor.digest for each in package.blobs} == named
    assert package.size == sum(each.descriptor.size for each in package.blobs)


def test_the_toolchains_log_stays_at_home(artifact: Artifact) -> None:
    log = artifact.path("convert.log").read_bytes()
    assert log and all(each.part(0, 1 << 20) != log for each in pack(artifact).blobs)


def test_another_run_of_the_same_job_is_the_same_artifact_with_another_report(artifact: Artifact,
                                                                             tmp_path: Path) -> None:
    again = copied(artifact, tmp_path)
    smoke = json.loads(again.path("smoke.json").read_text())
    again.path("smoke.json").write_text(json.dumps({**smoke, "made_at": "2030-01-01T00:00:00Z"}))
    first, second = pack(artifact), pack(again)
    assert first.model == second.model
    assert first.attachments[0] == second.attachments[0]
    assert first.attachments[1].digest != second.attachments[1].digest


def test_pictures_go_along_and_an_artifact_without_a_report_has_none(artifact: Artifact, tmp_path: Path) -> None:
    pictured = copied(artifact, tmp_path / "a")
    pictured.path("x.png.overlay.png").write_bytes(b"png")
    layers = pack(pictured).attachments[1].layers
    assert [(each.annotations["org.opencontainers.image.title"], each.media_type) for each in layers][-1] == (
        "x.png.overlay.png", "image/png")
    bare = copied(artifact, tmp_path / "b")
    for name in ("smoke.json", "smoke.log", "reproduce.sh"):
        bare.path(name).unlink()
    assert [each.artifact_type for each in pack(bare).attachments] == ["application/vnd.in-toto+json"]


@pytest.mark.parametrize(("name", "kind"), [
    ("model.onnx", "weight.v1.raw"), ("model.onnx.data", "weight.v1.raw"), ("model.tflite", "weight.v1.raw"),
    ("labels.txt", "weight.config.v1.raw"), ("plan.json", "weight.config.v1.raw"), ("x.yaml", "weight.config.v1.raw"),
    ("reference.npz", "dataset.v1.raw"), ("engines/sm_86.plan", "weight.v1.raw"),
])
def test_each_kind_of_file_has_its_type(artifact: Artifact, name: str, kind: str) -> None:
    file = Subject(name=name, sha256="a" * 64, size=3)
    (layer,) = pack(replace(artifact, files=(file,))).model.layers
    assert layer.media_type == f"application/vnd.cncf.model.{kind}"
    assert layer.annotations["org.cncf.model.filepath"] == name


def test_a_manifest_that_does_not_say_what_it_is_cannot_be_packed(artifact: Artifact) -> None:
    with pytest.raises(ArtifactError, match="does not say what it was made from"):
        pack(replace(artifact, manifest={**artifact.manifest, "predicate": {}}))


def test_what_was_built_and_not_run_says_so(artifact: Artifact) -> None:
    predicate = dict(artifact.manifest["predicate"])
    built = replace(artifact, manifest={**artifact.manifest, "predicate": {
        **predicate, "verification": {**predicate["verification"], "verified": "built, not run"}}})
    assert document(pack(built))["annotations"]["modelfarm.verified"] == "built, not run"
