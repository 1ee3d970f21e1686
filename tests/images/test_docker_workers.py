"""Workers with a container engine beside workers without: jobs for containers go to the first alone, or are refused."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from modelfarm.board import Blocks
from modelfarm.console import Console
from modelfarm.containers import Client, Image
from modelfarm.engines.engine import Outcome
from modelfarm.errors import MachineError
from modelfarm.farm import Farm
from modelfarm.plan import Request
from modelfarm.settings import ROOT, from_environment
from tests.end.conftest import INVOKE, Shop
from tests.engines.cluster import Cluster

HAND = "modelfarm.hand"


@pytest.fixture
def shop(tmp_path: Path, onnx_image: Image, onnx_python: Path) -> Shop:
    return Shop(artifacts=tmp_path / "artifacts")


def hire(site: Cluster, shop: Shop, name: str, runner: str) -> None:
    site.hire(name, HAND, RUNNER=runner, ARTIFACTS=str(shop.artifacts))


def convert(site: Cluster, shop: Shop, runner: str) -> Outcome:
    """Convert the digits on the cluster."""
    settings = replace(from_environment(), engine=site.address, runner=runner, artifacts=shop.artifacts)
    farm, console = Farm(settings), Console(io.StringIO(), live=False)
    planner = farm.planner(farm.targets["onnx"], Request(), console)
    (outcome,) = farm.run(list(planner.jobs(farm.recipe("digits"))), Blocks(console), console, at_a_time=None)
    return outcome


def smoke(shop: Shop) -> dict[str, object]:
    found: dict[str, object] = json.loads((shop.latest("digits") / "smoke.json").read_text())
    return found


def test_a_job_for_containers_goes_to_the_worker_that_has_them(site: Cluster, shop: Shop) -> None:
    hire(site, shop, "plain", "venv")
    hire(site, shop, "boxes", "docker")
    assert "onnx (docker)" in site.said("boxes")
    assert "(docker)" not in site.said("plain")
    outcome = convert(site, shop, "docker")
    assert outcome.built and outcome.worker == "boxes", outcome
    assert smoke(shop)["runner"] == "docker"
    outcome = convert(site, shop, "venv")
    assert outcome.built and outcome.worker == "plain"
    assert smoke(shop)["runner"] == "venv"


def test_the_container_makes_what_it_makes_without_a_cluster(site: Cluster, shop: Shop, tmp_path: Path) -> None:
    hire(site, shop, "boxes", "docker")
    far = convert(site, shop, "docker")
    here = Shop(artifacts=tmp_path / "here")
    ran = here.run("convert", "--model", "digits", RUNNER="docker")
    assert ran.code == 0, ran.out + ran.err
    assert far.job and far.built
    assert here.latest("digits").name == far.job.key[:16]
    assert (here.latest("digits") / "manifest.json").read_text() == far.built.artifact.path("manifest.json").read_text()


def test_where_no_worker_has_containers_the_job_is_refused_at_once_by_name(site: Cluster, shop: Shop) -> None:
    hire(site, shop, "plain", "venv")
    outcome = convert(site, shop, "docker")
    assert isinstance(outcome.error, MachineError)
    assert "no connected worker can run digits/onnx" in outcome.error.message
    assert "plain does not offer docker" in outcome.error.message
    assert "make worker" in outcome.error.remedy
    assert not (shop.artifacts / "digits").exists()


def test_a_farm_without_an_engine_of_its_own_is_told_the_same(site: Cluster, shop: Shop, tmp_path: Path) -> None:
    hire(site, shop, "plain", "venv")
    ran = shop.run("convert", "--model", "digits", ENGINE=site.address, RUNNER="docker", DOCKER=str(tmp_path / "none"))
    assert ran.code == 4
    assert "no connected worker offers the onnx toolchain in docker" in ran.err
    assert "onnx (venv)" in ran.err
    hire(site, shop, "boxes", "docker")
    ran = shop.run("convert", "--model", "digits", ENGINE=site.address, RUNNER="docker", DOCKER=str(tmp_path / "none"))
    assert ran.code == 0, ran.out + ran.err
    assert smoke(shop)["runner"] == "docker"


def test_ctrl_c_at_the_farm_removes_the_container_on_the_worker(site: Cluster, shop: Shop, client: Client) -> None:
    hire(site, shop, "boxes", "docker")
    environment = {**shop.environment, "ENGINE": site.address, "RUNNER": "docker"}
    running = subprocess.Popen([*INVOKE, "convert", "--model", "yolov5l-face", "--weights", "random"], cwd=ROOT,
                               env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    end = time.monotonic() + 60
    while not containers(client, site.workers["boxes"].pid):
        assert time.monotonic() < end and running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=60)
    assert running.returncode == 130, out
    assert not containers(client, site.workers["boxes"].pid), "it is gone before the farm is"


def containers(client: Client, owner: int) -> list[str]:
    """Return the names of the containers that a process has started for jobs."""
    listed = client.ask("ps", "--all", "--filter", "label=modelfarm.job", "--format",
                        '{{.Names}} {{.Label "modelfarm.owner"}}').splitlines()
    return [line.partition(" ")[0] for line in listed if f"/{owner}/" in line]
