"""Why a job would be made anew: every change of the key is found, and said in words."""

from __future__ import annotations

import io
import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelfarm.artifact import Artifact
from modelfarm.console import Console
from modelfarm.digest import key_of
from modelfarm.errors import ArtifactError
from modelfarm.job import Job
from modelfarm.why import ABSENT, Change, changes, explain, inside, row
from tests.toys import Toys

ONE, TWO, THREE = ("1" * 64, "2" * 64, "3" * 64)
VENV = {"runner": "venv", "lock": ONE, "python": "3.11.2"}


def found(was: Any, now: Any) -> list[tuple[str, Any, Any]]:
    return [(change.field, change.was, change.now) for change in changes(was, now)]


def materials(was: Any, now: Any) -> list[tuple[str, Any, Any]]:
    return found({"materials": was}, {"materials": now})


@pytest.mark.parametrize(("was", "now", "expected"), [
    ({}, {}, []),
    ({"a": 1}, {"a": 1}, []),
    ({"a": 1}, {"a": 2}, [("a", 1, 2)]),
    ({"a": 1}, {}, [("a", 1, ABSENT)]),
    ({}, {"a": None}, [("a", ABSENT, None)]),
    ({"a": {"b": {"c": 1, "d": 2}}}, {"a": {"b": {"c": 1, "d": 3}}}, [("a.b.d", 2, 3)]),
    ({"a": {"b": 1}}, {"a": {"c": 1}}, [("a.b", 1, ABSENT), ("a.c", ABSENT, 1)]),
    ({"a": {"b": 1}}, {"a": 1}, [("a", {"b": 1}, 1)]),
    ({"a": {}}, {"a": None}, [("a", {}, None)]),
    ({"a": [1, 3]}, {"a": [1, 4]}, [("a", [1, 3], [1, 4])]),
    ({"a": [{"b": 1}, {"b": 2}]}, {"a": [{"b": 1}, {"b": 3}]}, [("a[1].b", 2, 3)]),
    ({"a": [{"b": 1}]}, {"a": [{"b": 1}, {"b": 2}]}, [("a", [{"b": 1}], [{"b": 1}, {"b": 2}])]),
    ({"b": 1, "a": 1}, {"b": 2, "a": 2}, [("a", 1, 2), ("b", 1, 2)]),
])
def test_what_differs_is_named_by_its_path(was: Any, now: Any, expected: list[Any]) -> None:
    assert found(was, now) == expected


@pytest.mark.parametrize(("was", "now"), [(1, 1.0), (1, True), (0, False), (None, ABSENT), ([], {}), ("1", 1)])
def test_what_the_key_tells_apart_is_told_apart_here(was: Any, now: Any) -> None:
    (change,) = changes({"a": was}, {} if now is ABSENT else {"a": now})
    assert (type(change.was), type(change.now)) == (type(was), type(now))


def test_tuples_are_lists_as_in_the_key() -> None:
    assert not found({"a": (1, 2), "materials": (("weights", "a.pt", ONE),)},
                     {"a": [1, 2], "materials": [["weights", "a.pt", ONE]]})


def _value(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.choice(["number", "text", "none"] if depth > 2 else ["number", "text", "list", "table", "tables"])
    if kind == "table":
        return {name: _value(chance, depth + 1) for name in chance.sample("abcd", 2)}
    if kind == "list":
        return [_value(chance, depth + 1) for _ in range(chance.randrange(3))]
    if kind == "tables":
        return [{"a": _value(chance, depth + 2)} for _ in range(chance.randrange(3))]
    return {"number": chance.choice([0, 1, 1.0, True]), "text": chance.choice("xy"), "none": None}[kind]


def _identity(chance: random.Random) -> dict[str, Any]:
    entries = [[chance.choice(["weights", "pictures"]), chance.choice(["a", "b"]), chance.choice([ONE, TWO])]
               for _ in range(chance.randrange(4))]
    toolchain = {name: _value(chance, 2) for name in chance.sample(["runner", "image", "lock"], 2)}
    return {"options": _value(chance), "materials": entries, "toolchain": toolchain}


def test_there_are_changes_where_keys_differ_and_only_there() -> None:
    chance = random.Random(0)
    pairs = [(_identity(chance), _identity(chance)) for _ in range(2000)]
    pairs += [({**one, part: other[part]}, one) for one, other in pairs for part in one]
    equal = [key_of(was) == key_of(now) for was, now in pairs]
    assert 100 < sum(equal) < len(equal)
    for same, (was, now) in zip(equal, pairs, strict=True):
        assert (not found(was, now)) == same, (was, now)


@pytest.mark.parametrize(("was", "now", "expected"), [
    ([["weights", "a.pt", ONE], ["labels", "l", THREE]], [["labels", "l", THREE], ["weights", "a.pt", TWO]],
     [("weights a.pt", ONE, TWO)]),
    ([], [["pictures", "a.png", ONE]], [("pictures a.png", ABSENT, ONE)]),
    ([["pictures", "a.png", ONE]], [], [("pictures a.png", ONE, ABSENT)]),
    ([["weights", "a.pt", ONE]], [["weights", "b.pt", TWO]], [("weights", "a.pt 111111111111", "b.pt 222222222222")]),
    ([["weights", "a.pt", ONE]], [["weights", "b.pt", ONE]], [("weights", "a.pt 111111111111", "b.pt 111111111111")]),
    ([["pictures", "a", ONE], ["pictures", "b", TWO]], [["pictures", "b", TWO], ["pictures", "a", ONE]],
     [("order", ["a", "b"], ["b", "a"])]),
    ([["pictures", "a", ONE], ["pictures", "b", TWO]],
     [["pictures", "c", ONE], ["pictures", "d", TWO], ["pictures", "b", THREE]],
     [("pictures b", TWO, THREE), ("pictures a", ONE, ABSENT), ("pictures c", ABSENT, ONE),
      ("pictures d", ABSENT, TWO)]),
])
def test_materials_are_matched_by_role_and_name(was: Any, now: Any, expected: list[Any]) -> None:
    assert materials(was, now) == [(f"materials: {field}", *values) for field, *values in expected]


def test_a_material_that_is_there_twice_counts_twice() -> None:
    assert materials([["pictures", "a", ONE]] * 2, [["pictures", "a", ONE]]) == [
        ("materials: order", ["a", "a"], ["a"])]


def test_materials_of_another_form_are_compared_as_they_are() -> None:
    assert materials([["weights", "a.pt"]], []) == [("materials", [["weights", "a.pt"]], [])]
    assert found({"materials": []}, {}) == [("materials", [], ABSENT)]


def test_another_runner_is_one_change() -> None:
    assert found({"toolchain": VENV}, {"toolchain": {"image": ONE}}) == [("toolchain.runner", "venv", "an image")]
    assert found({"toolchain": {"image": ONE}}, {"toolchain": VENV}) == [("toolchain.runner", "an image", "venv")]
    assert found({"toolchain": VENV}, {"toolchain": {**VENV, "runner": "other", "lock": TWO}}) == [
        ("toolchain.runner", "venv", "other"), ("toolchain.lock", ONE, TWO)]


def test_within_one_runner_its_fields_are_compared() -> None:
    assert found({"toolchain": VENV}, {"toolchain": {**VENV, "lock": TWO}}) == [("toolchain.lock", ONE, TWO)]
    assert found({"toolchain": {"image": ONE}}, {"toolchain": {"image": TWO}}) == [("toolchain.image", ONE, TWO)]
    assert found({"toolchain": VENV}, {}) == [("toolchain", VENV, ABSENT)]


@pytest.mark.parametrize(("change", "words"), [
    (Change(field="materials: weights a.pt", was=ONE, now=TWO),
     ("materials: weights a.pt", "1" * 12, "2" * 12, "the file")),
    (Change(field="options.opset", was=ABSENT, now=12),
     ("options.opset", "-", "12", "the recipe's `targets:`, OPTIONS= or target.yaml")),
    (Change(field="golden", was=True, now=False), ("golden", "true", "false", "EXPECT=")),
    (Change(field="recipe.inputs.x.shape", was=[1, 3], now=None), ("recipe.inputs.x.shape", "[1, 3]", "null",
                                                                  "model.yaml")),
    (Change(field="toolchain.jobkit", was=ONE, now=TWO),
     ("toolchain.jobkit", "1" * 12, "2" * 12, "the code in docker/jobkit/")),
    (Change(field="unheard.of", was="", now="\n"), ("unheard.of", '""', '"\\n"', "")),
])
def test_a_change_is_said_in_words(change: Change, words: tuple[str, ...]) -> None:
    assert row(change) == words


def test_long_values_are_cut_around_their_first_difference() -> None:
    was, now = "a" * 100 + "b" + "c" * 100, "a" * 100 + "d" + "c" * 100
    _, one, other, _ = row(Change(field="x", was=was, now=now))
    assert one == "..." + "a" * 12 + "b" + "c" * 35 + "..."
    assert other == one.replace("b", "d")
    _, one, other, _ = row(Change(field="x", was=was, now="a" * 100))
    assert one != other
    _, one, other, _ = row(Change(field="x", was="b" * 100, now="a" * 100))
    assert one == "b" * 48 + "..."


def _describe(folder: Path, name: str, **document: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(document))


def test_two_images_are_compared_by_what_they_hold(tmp_path: Path) -> None:
    packages = {"numpy": {"version": "1.0", "sha256": ONE}, "torch": {"version": "2.0", "sha256": ONE}}
    _describe(tmp_path, "a", content=ONE, python="3.11.2", packages=packages, system={"libc6": "2.36"})
    _describe(tmp_path, "b", content=TWO, python="3.11.2", packages={"numpy": {"version": "1.1", "sha256": TWO}},
              system={"libc6": "2.36", "zlib": "1"})
    (tmp_path / "c.json").write_text("{")
    (tmp_path / "d.json").write_text("[]")
    image = Change(field="toolchain.image", was=ONE, now=TWO)
    assert inside(image, tmp_path) == [
        Change(field="packages.numpy", was="1.0", now="1.1"), Change(field="packages.torch", was="2.0", now=ABSENT),
        Change(field="system.zlib", was=ABSENT, now="1")]
    assert inside(replace(image, now=ONE), tmp_path) == []
    assert inside(replace(image, was=THREE), tmp_path) is None
    assert inside(image, tmp_path / "nowhere") is None


# The whole of it, on a store


def why(toys: Toys, variant: str = "", jobs: list[Job] | None = None, **request: str) -> list[str]:
    """Return the lines of `make why`."""
    stream = io.StringIO()
    explain(toys.jobs(**request) if jobs is None else jobs, variant, toys.farm.store, toys.settings.images,
            Console(stream, live=False))
    return stream.getvalue().splitlines()


def make(toys: Toys, **request: str) -> Artifact:
    (job,) = toys.jobs(**request)
    return toys.builder().build(job, Console(io.StringIO())).artifact


def test_nothing_changed_is_said_so(toys: Toys) -> None:
    artifact = make(toys)
    assert why(toys) == [f"  toy/toy {artifact.version}: the latest artifact is what would be made now: cached"]


def test_each_change_is_a_line_with_was_and_now(toys: Toys) -> None:
    artifact = make(toys)
    toys.model(gain=3, more="samples: {random: 3}")
    converter = toys.target.converter
    converter.write_text(converter.read_text() + "# a remark\n")
    (job,) = toys.jobs()
    first, heading, *rows = why(toys)
    assert first == f"  toy/toy {artifact.version}: what would be made now is another, {job.key[:16]}"
    assert heading.split() == ["changed", "was", "now", "look", "at"]
    assert [line.split("  ")[1] for line in rows] == ["materials: weights toy.pt", "recipe.samples.random",
                                                      "toolchain.converter"]
    assert rows[1].split() == ["recipe.samples.random", "2", "3", "model.yaml"]
    assert rows[2].endswith("the code in docker/<target>/")


def test_it_makes_and_changes_nothing(toys: Toys) -> None:
    make(toys)
    before = sorted((path, path.lstat().st_mtime_ns) for path in toys.settings.artifacts.rglob("*"))
    toys.model(gain=3)
    why(toys)
    assert sorted((path, path.lstat().st_mtime_ns) for path in toys.settings.artifacts.rglob("*")) == before


def test_what_an_older_version_already_is_would_be_cached(toys: Toys) -> None:
    make(toys)
    toys.model(gain=3)
    make(toys)
    toys.model(gain=2)
    assert why(toys)[0].endswith(", which the store has: cached")


def test_without_an_artifact_there_is_nothing_to_compare(toys: Toys) -> None:
    with pytest.raises(ArtifactError) as caught:
        why(toys)
    assert (caught.value.code, caught.value.message) == (7, "toy has no toy artifact yet")
    assert caught.value.remedy == "make toy MODEL=toy"
    with pytest.raises(ArtifactError) as caught:
        why(toys, options="rounds=3", weights="random")
    assert caught.value.remedy == "make toy MODEL=toy OPTIONS=rounds=3 WEIGHTS=random"
    with pytest.raises(ArtifactError, match="toy has no toy-rounds5 artifact yet") as caught:
        why(toys, variant="toy-rounds5")
    assert caught.value.remedy == "`make status` lists what there is"


def test_a_damaged_latest_artifact_is_not_cached(toys: Toys) -> None:
    make(toys).path("model.toy").write_text("{}")
    with pytest.raises(ArtifactError, match="is damaged"):
        why(toys)


def test_options_have_a_variant_of_their_own_and_variants_can_be_compared(toys: Toys) -> None:
    make(toys)
    artifact = make(toys, options="rounds=3")
    assert why(toys, options="rounds=3")[0].endswith("cached")
    first, _, *rows = why(toys, variant="toy-rounds3")
    assert first.startswith(f"  toy/toy-rounds3 {artifact.version}: what would be made now is another, ")
    assert [line.split()[:3] for line in rows] == [["options.rounds", "3", "1"]]


def test_all_jobs_are_told_of_before_the_missing_ones_are(toys: Toys, capsys: pytest.CaptureFixture[str]) -> None:
    make(toys)
    (plain,), (other,) = toys.jobs(), toys.jobs(options="rounds=3")
    stream = io.StringIO()
    with pytest.raises(ArtifactError, match="toy has no toy-rounds3 artifact yet"):
        explain([other, plain], "", toys.farm.store, toys.settings.images, Console(stream, live=False))
    assert "cached" in stream.getvalue()


def _in_image(job: Job, content: str) -> Job:
    identity = {**job.identity, "toolchain": {"image": content}}
    return replace(job, identity=identity, key=key_of(identity))


def _made_in(toys: Toys, content: str) -> Job:
    """Leave the toy's artifact as one that was made in an image of that content."""
    artifact, (job,) = make(toys), toys.jobs()
    made = _in_image(job, content)
    document = json.loads(artifact.path("manifest.json").read_text())
    internal = document["predicate"]["buildDefinition"]["internalParameters"]
    internal["key"], internal["identity"] = made.key, made.identity
    artifact.path("manifest.json").write_text(json.dumps(document))
    place = artifact.folder.with_name(made.key[:16])
    artifact.folder.rename(place)
    latest = place.with_name("latest")
    latest.unlink()
    latest.symlink_to(place.name)
    return job


def test_a_change_of_the_runner_is_one_line(toys: Toys) -> None:
    _made_in(toys, ONE)
    assert [line.split("  ")[1] for line in why(toys)[2:]] == ["toolchain.runner"]
    assert "an image" in why(toys)[2] and "venv" in why(toys)[2]


def test_what_changed_inside_an_image_is_told_where_it_is_known(tmp_path: Path, toys: Toys) -> None:
    job = _made_in(toys, ONE)
    toys = replace(toys, cache=tmp_path / "own-cache")
    now = [_in_image(job, TWO)]
    assert why(toys, jobs=now)[-1] == "  . what the images hold is not known here: this machine has not met both"
    images = toys.settings.images
    _describe(images, "a", content=ONE, python="3.11.2", packages={"numpy": {"version": "1.0"}})
    _describe(images, "b", content=TWO, python="3.11.2", packages={"numpy": {"version": "1.1"}})
    said = why(toys, jobs=now)
    assert said[2].split()[:3] == ["toolchain.image", ONE[:12], TWO[:12]]
    assert [line.split() for line in said[3:]] == [["in", "the", "image:"], ["changed", "was", "now"],
                                                   ["packages.numpy", "1.0", "1.1"]]
    shutil.copy(images / "a.json", images / "b.json")
    _describe(images, "b", **{**json.loads((images / "a.json").read_text()), "content": TWO})
    assert "both images have the same packages" in why(toys, jobs=now)[-1]


def test_a_change_in_what_a_job_starts_from_is_told_of_too(toys: Toys) -> None:
    origin, (plain,) = make(toys), toys.jobs()

    def reader(start: Job) -> Job:
        identity = {**plain.identity, "source": {"artifact": start.key}}
        return replace(plain, identity=identity, key=key_of(identity), origin=start)

    made = reader(plain)
    store = toys.farm.store
    document = json.loads(origin.path("manifest.json").read_text())
    document["predicate"]["buildDefinition"]["internalParameters"] |= {"key": made.key, "identity": made.identity}
    with store.lock(made.key), store.stage() as stage:
        (stage.folder / "model.toy").write_bytes(origin.path("model.toy").read_bytes())
        (stage.folder / "manifest.json").write_text(json.dumps(document))
        store.publish(stage, "toy", "read", made.key)
    toys.model(gain=3)
    (changed,) = toys.jobs()
    said = why(toys, variant="read", jobs=[replace(reader(changed), variant="read")])
    assert said[2].split()[0] == "source.artifact"
    assert said[3].startswith(f"  toy/toy {origin.version}: what would be made now is another")
    assert said[5].split()[:3] == ["materials:", "weights", "toy.pt"]
