"""Other people's programs understand what is published: oras and skopeo pull it, cosign verifies it and signs it.

ci/clients brings them; MODELFARM_CLIENTS= names their folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from modelfarm.artifact import Artifact
from modelfarm.errors import RegistryError
from modelfarm.registry.fetching import Fetcher, Wanted
from modelfarm.registry.keys import PASSWORD, read_private, read_public
from modelfarm.registry.publishing import Publisher
from modelfarm.store import Store
from tests.images.registry import Registry
from tests.registry.conftest import Pair, own_name, quiet
from tests.toys import Toys

_OFFLINE = ("--insecure-ignore-tlog=true", "--private-infrastructure")  # no public log of signatures is in this


def program(name: str) -> str:
    """Return where a client is, or skip."""
    folders = os.pathsep.join(filter(None, [os.environ.get("MODELFARM_CLIENTS"), os.environ["PATH"]]))
    found = shutil.which(name, path=folders)
    if found is None:
        pytest.skip(f'there is no {name} on the PATH; eval "$(ci/clients)" brings it')
    return found


def run(name: str, *words: str | Path, folder: Path, code: int = 0, **settings: str) -> str:
    """Run a client that must end with a code; return what it said."""
    done = subprocess.run([program(name), *words], cwd=folder, capture_output=True, text=True, timeout=120,
                          env={**os.environ, "HOME": str(folder), **settings})
    assert (done.returncode == 0) is (code == 0), done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def home(registry: Registry, request: pytest.FixtureRequest) -> str:
    return f"{registry.host}/{own_name(request)}"


@pytest.fixture
def name(shop: Toys, artifact: Artifact, home: str, pair: Pair) -> str:
    """Publish the toy, signed with a key of openssl's; return its name by digest."""
    key = read_private(str(pair.private))
    return Publisher(store=shop.farm.store, registry=home, key=key).publish(artifact, quiet())


def test_oras_pulls_the_files(name: str, home: str, artifact: Artifact, tmp_path: Path) -> None:
    run("oras", "pull", "--plain-http", f"{home}/toy:toy", folder=tmp_path)
    assert {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in tmp_path.glob("*.toy")} == (
        artifact.subjects)


def test_oras_finds_what_is_attached_and_pulls_it(name: str, home: str, artifact: Artifact, tmp_path: Path) -> None:
    told = json.loads(run("oras", "discover", "--plain-http", "--format", "json", name, folder=tmp_path))
    attached = {entry["artifactType"]: entry["digest"] for entry in told["manifests"]}
    assert set(attached) == {"application/vnd.in-toto+json", "application/vnd.modelfarm.smoke.v1+json"}
    for digest in attached.values():
        run("oras", "pull", "--plain-http", f"{home}/toy@{digest}", folder=tmp_path)
    for file in ("manifest.json", "smoke.json", "smoke.log", "reproduce.sh"):
        assert (tmp_path / file).read_bytes() == artifact.path(file).read_bytes()


def test_skopeo_copies_it_whole(name: str, home: str, artifact: Artifact, tmp_path: Path) -> None:
    run("skopeo", "copy", "--insecure-policy", "--src-tls-verify=false", f"docker://{home}/toy:toy", "dir:copied",
        folder=tmp_path)
    manifest = (tmp_path / "copied" / "manifest.json").read_bytes()
    assert name.endswith(f"@sha256:{hashlib.sha256(manifest).hexdigest()}")
    (file,) = artifact.files
    assert (tmp_path / "copied" / file.sha256).read_bytes() == artifact.path(file.name).read_bytes()


def test_skopeo_moves_it_to_another_registry_where_it_is_fetched(name: str, home: str, artifact: Artifact,
                                                                 empty: Store, tmp_path: Path) -> None:
    """The tags that stand for a digest go along, and with them all that is attached."""
    tags = json.loads(run("skopeo", "list-tags", "--tls-verify=false", f"docker://{home}/toy", folder=tmp_path))["Tags"]
    for tag in [tag for tag in tags if tag != "toy"] + ["toy"]:
        run("skopeo", "copy", "--all", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false",
            f"docker://{home}/toy:{tag}", f"docker://{home}/moved/toy:{tag}", folder=tmp_path)
    fetched = Fetcher(store=empty, registry=f"{home}/moved").fetch(Wanted(model="toy", variant="toy"), quiet())
    assert fetched.subjects == artifact.subjects and fetched.smoke == artifact.smoke


def test_cosign_verifies_what_was_signed_here(name: str, pair: Pair, stranger: Pair, tmp_path: Path) -> None:
    told = run("cosign", "verify", "--key", pair.public, *_OFFLINE, name, folder=tmp_path)
    assert name.partition("@")[2] in told
    run("cosign", "verify", "--key", stranger.public, *_OFFLINE, name, folder=tmp_path, code=1)


def test_a_key_that_cosign_made_signs_here(shop: Toys, artifact: Artifact, home: str, tmp_path: Path) -> None:
    run("cosign", "generate-key-pair", folder=tmp_path, **{PASSWORD: "s3cret"})
    key = read_private(str(tmp_path / "cosign.key"), {PASSWORD: "s3cret"})
    name = Publisher(store=shop.farm.store, registry=home, key=key).publish(artifact, quiet())
    run("cosign", "verify", "--key", "cosign.pub", *_OFFLINE, name, folder=tmp_path)


def test_what_cosign_signed_is_fetched(shop: Toys, artifact: Artifact, home: str, empty: Store, tmp_path: Path) -> None:
    name = Publisher(store=shop.farm.store, registry=home).publish(artifact, quiet())
    run("cosign", "generate-key-pair", folder=tmp_path, **{PASSWORD: ""})
    fetcher = Fetcher(store=empty, registry=home, key=read_public(str(tmp_path / "cosign.pub")))
    with pytest.raises(RegistryError, match="is not signed"):
        fetcher.fetch(Wanted(model="toy", variant="toy"), quiet())
    told = json.loads(run("oras", "discover", "--plain-http", "--format", "json", name, folder=tmp_path))
    for digest in (name.partition("@")[2], *(entry["digest"] for entry in told["manifests"])):
        run("cosign", "sign", "--key", "cosign.key", "--tlog-upload=false", "--yes", f"{home}/toy@{digest}",
            folder=tmp_path, **{PASSWORD: ""})
    assert fetcher.fetch(Wanted(model="toy", variant="toy"), quiet()).subjects == artifact.subjects
