"""The workflows for CI services are valid, call the script that the tests run, and pin what they use."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from modelfarm.pins import read_pins
from modelfarm.settings import ROOT

GITHUB, GITLAB = ROOT / "ci" / "github" / "nightly.yml", ROOT / "ci" / "gitlab" / "nightly.yml"
_STEPS = {"ci/nightly images", "ci/nightly run", "ci/nightly report", "ci/nightly publish"}


def tool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a tool of this environment."""
    program, *rest = words
    return subprocess.run([Path(sys.executable).parent / program, *rest], capture_output=True, text=True, timeout=120)


def github() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(GITHUB.read_text())
    return document


def gitlab() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(GITLAB.read_text())
    return document


def steps() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, job in github()["jobs"].items():
        yield from ((name, step) for step in job["steps"])


def valid(schema: str, document: dict[Any, Any], folder: Path) -> bool:
    """Say whether a workflow is as a service's published schema wants it."""
    file = folder / "workflow.yml"
    file.write_text(yaml.safe_dump(document))
    more = ["--data-transform", "gitlab-ci"] if "gitlab" in schema else []
    return tool("check-jsonschema", "--builtin-schema", schema, *more, file).returncode == 0


def test_github_would_take_its_workflow(tmp_path: Path) -> None:
    assert tool("check-jsonschema", "--builtin-schema", "vendor.github-workflows", GITHUB).returncode == 0
    broken = github()
    broken["jobs"]["cpu"]["timeout"] = 3
    assert not valid("vendor.github-workflows", broken, tmp_path)


def test_gitlab_would_take_its_workflow(tmp_path: Path) -> None:
    """The schema leaves hidden jobs alone, so what others take from one is checked as theirs."""
    assert tool("check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", GITLAB).returncode == 0
    hidden = gitlab().pop(".night")
    jobs = {name: {key: value for key, value in {**hidden, **job}.items() if key != "extends"}
            for name, job in gitlab().items() if name != ".night"}
    assert valid("vendor.gitlab-ci", jobs, tmp_path)
    jobs["night"]["artifacts"] = {**hidden["artifacts"], "when": "sometimes"}
    assert not valid("vendor.gitlab-ci", jobs, tmp_path)


def test_a_reader_of_attacks_finds_nothing() -> None:
    done = tool("zizmor", "--offline", "--no-progress", "--persona=auditor", GITHUB)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No findings" in done.stdout + done.stderr


def test_every_action_is_pinned_by_commit_and_its_release_is_said() -> None:
    uses = re.findall(r"uses: *(.*)", GITHUB.read_text())
    assert len(uses) >= 6
    assert [line for line in uses if not re.fullmatch(r"actions/[a-z/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []
    pins: dict[str, set[str]] = {}
    for line in uses:
        action, _, pin = line.partition("@")
        pins.setdefault("/".join(action.split("/")[:2]), set()).add(pin)
    assert all(len(commits) == 1 for commits in pins.values()), "one release of each action"


def test_both_call_every_step_of_the_script_and_nothing_else() -> None:
    called = [step["run"] for _, step in steps() if "run" in step]
    assert set(called) == _STEPS
    told = [line for job in gitlab().values() for part in ("before_script", "script", "after_script")
            for line in job.get(part, [])]
    assert {line for line in told if line.startswith("ci/")} == _STEPS


def test_the_report_and_the_store_are_kept_whatever_the_night_brought() -> None:
    for job in ("cpu", "gpu"):
        named = {step.get("name") or step.get("uses", "").partition("@")[0]: step for name, step in steps()
                 if name == job}
        kept = [step for name, step in named.items() if "upload" in name or name.startswith(("report", "keep"))]
        assert len(kept) >= 2
        assert {step["if"] for step in kept} == {"${{ !cancelled() }}"}
    hidden = gitlab()[".night"]
    assert hidden["artifacts"]["when"] == hidden["cache"]["when"] == "always"


def test_what_is_restored_is_what_is_saved() -> None:
    restored, saved = (next(step["with"] for _, step in steps() if f"cache/{what}@" in step.get("uses", ""))
                       for what in ("restore", "save"))
    assert restored["path"] == saved["path"] and restored["key"] == saved["key"]
    assert saved["key"].startswith(restored["restore-keys"])
    assert gitlab()["publish"]["cache"]["key"] == "night", "the cache of the job of that name"


def test_the_gpu_is_asked_for_by_a_label_and_then_nothing_may_be_skipped() -> None:
    job = github()["jobs"]["gpu"]
    assert job["runs-on"] == "${{ vars.GPU_RUNNER }}" and job["if"] == "${{ vars.GPU_RUNNER != '' }}"
    assert job["env"]["STRICT"] == gitlab()["night-gpu"]["variables"]["STRICT"] == "1"
    assert gitlab()["night-gpu"]["tags"] == ["$GPU_TAG"]
    assert all("$GPU_TAG" in rule["if"] for rule in gitlab()["night-gpu"]["rules"])


def test_secrets_reach_only_the_steps_that_need_them() -> None:
    assert "secrets." not in yaml.safe_dump({name: {**job, "steps": []} for name, job in github()["jobs"].items()})
    given = {step["run"]: set(step["env"]) for _, step in steps() if "secrets." in str(step.get("env"))}
    assert given == {"ci/nightly images": {"REGISTRY_USER", "REGISTRY_PASSWORD"},
                     "ci/nightly publish": {"REGISTRY_USER", "REGISTRY_PASSWORD", "SIGN_KEY_PEM", "COSIGN_PASSWORD"}}
    assert github()["permissions"] == {"contents": "read"}
    assert "pull_request" not in GITHUB.read_text()


def test_gitlabs_image_is_the_base_that_the_lock_pins() -> None:
    base = read_pins(ROOT / "docker" / "images.lock").bases["bookworm"]
    assert gitlab()[".night"]["image"] == base.reference


def test_the_guide_names_every_variable_that_the_workflows_and_the_script_take() -> None:
    guide = (ROOT / "docs" / "ci.md").read_text()
    named = set(re.findall(r"(?:vars|secrets)\.([A-Z_]+)", GITHUB.read_text()))
    named |= set(re.findall(r"\$\{([A-Z_]+):[-+]", (ROOT / "ci" / "nightly").read_text()))
    services = {"CI", "GITHUB_STEP_SUMMARY", "DOCKER"}
    assert {name for name in named - services if f"`{name}`" not in guide} == set()
