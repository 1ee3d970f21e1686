"""Lines to registries: plain on loopback, TLS with the right certificate, logins, second attempts, clear faults."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from modelfarm.errors import RegistryError, UsageError
from modelfarm.registry import faults
from modelfarm.registry.line import ATTEMPTS, Line, is_loopback
from modelfarm.registry.oci import describe
from modelfarm.registry.shelf import Shelf
from modelfarm.registry.transfer import Blob, upload
from tests.images.registry import Registry, free_port, running_registry
from tests.registry.relay import Answer, Asked, Cut, relay, self_signed


def tags(line: Line) -> list[str]:
    return list(Shelf(line).tags())


def login(folder: Path, host: str, **entry: str) -> dict[str, str]:
    """Write what `docker login` leaves; return the environment that names it."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"auths": {host: entry}}))
    return {"DOCKER_CONFIG": str(folder)}


def encoded(user: str, secret: str) -> str:
    return base64.b64encode(f"{user}:{secret}".encode()).decode()


@pytest.mark.parametrize(("host", "here"), [
    ("127.0.0.1:5000", True), ("127.0.0.1", True), ("localhost:5000", True), ("a.localhost", True),
    ("[::1]:5000", True), ("[::1]", True), ("10.0.0.1:5000", False), ("registry.invalid", False),
    ("localhost.invalid:5000", False), ("127001.invalid", False),
])
def test_this_machine_is_told_from_others(host: str, here: bool) -> None:
    assert is_loopback(host) is here


def test_loopback_is_spoken_to_in_the_plain(registry: Registry) -> None:
    assert tags(Line(f"{registry.host}/nothing-here")) == []


def test_tls_wants_a_certificate_that_is_trusted(registry: Registry, tmp_path: Path) -> None:
    server, alone = self_signed(tmp_path)
    with relay(registry, certificate=server) as there:
        with pytest.raises(faults.UntrustedError, match=f"the certificate of the registry {there.host} is not "
                                                        "trusted: self-signed certificate") as caught:
            tags(Line(f"{there.host}/x"))
        assert "EXTRA_CA=file" in caught.value.remedy and there.asked == []
        assert tags(Line(f"{there.host}/x", environment={"EXTRA_CA": str(alone)})) == []
    (tmp_path / "none.pem").write_text("nothing")
    with pytest.raises(UsageError, match=r"none.pem holds no certificate"):
        tags(Line(f"{registry.host}/x", environment={"EXTRA_CA": str(tmp_path / "none.pem")}))


def test_a_registry_that_is_down_is_named_at_once() -> None:
    host = f"127.0.0.1:{free_port()}"
    said = f"the registry {host} cannot be reached: Connection refused"
    with pytest.raises(faults.UnreachableError, match=said) as caught:
        tags(Line(f"{host}/x"))
    assert caught.value.code == 8


def test_a_host_that_does_not_exist_is_named() -> None:
    with pytest.raises(faults.UnreachableError, match=r"nowhere\.invalid:5000 cannot be reached: .*not known"):
        tags(Line("nowhere.invalid:5000/x", environment={}))


def test_a_silent_registry_is_not_waited_for_for_ever(registry: Registry) -> None:
    import threading

    end = threading.Event()

    def silent(asked: Asked) -> None:
        if "tags" in asked.path:
            end.wait(10)

    try:
        with relay(registry, before=silent) as there, pytest.raises(faults.CutError, match="says nothing any more"):
            line = Line(f"{there.host}/x", patience=0.3)
            line.ask("GET", "tags/list")
    finally:
        end.set()


def test_a_broken_connection_is_tried_again_and_then_told(registry: Registry) -> None:
    failing = iter([Cut(), Answer(status=503, body=b"busy"), None])
    with relay(registry, before=lambda asked: next(failing) if "tags" in asked.path else None) as there:
        assert tags(Line(f"{there.host}/x")) == []
        assert there.count("GET", "tags") == 3
    with relay(registry, before=lambda asked: Cut() if "tags" in asked.path else None) as there:
        with pytest.raises(faults.CutError, match=f"the connection to the registry {there.host} ended too early"):
            tags(Line(f"{there.host}/x"))
        assert there.count("GET", "tags") == ATTEMPTS


@pytest.mark.parametrize(("status", "body", "kind", "said"), [
    (500, b"oops", faults.TroubleError, "is in trouble: oops"),
    (429, b'{"errors": [{"code": "TOOMANYREQUESTS", "message": "slow down"}]}', faults.TroubleError, "slow down"),
    (403, b'{"errors": [{"code": "DENIED", "message": "not you"}]}', RegistryError, "wants a login, or does not give"),
    (405, b'{"errors": [{"code": "UNSUPPORTED"}]}', faults.RefusedError, "does not take .*: UNSUPPORTED"),
    (400, b"", faults.RefusedError, "status 400"),
    (418, b'{"errors": "odd"}', faults.RefusedError, "odd"),
])
def test_each_answer_has_its_own_words(registry: Registry, status: int, body: bytes, kind: type[RegistryError],
                                       said: str) -> None:
    answer = Answer(status=status, body=body)
    with relay(registry, before=lambda asked: answer if "tags" in asked.path else None) as there:
        with pytest.raises(kind, match=said) as caught:
            tags(Line(f"{there.host}/x"))
        assert there.host in caught.value.message and caught.value.remedy and caught.value.code == 8


def test_an_endless_answer_is_not_swallowed(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelfarm.registry.line._LARGEST", 1000)
    answer = Answer(body=b" " * 1001)
    with relay(registry, before=lambda asked: answer if "tags" in asked.path else None) as there, \
            pytest.raises(RegistryError, match="more than 1000 bytes"):
        tags(Line(f"{there.host}/x"))


def test_an_answer_that_is_no_list_is_told(registry: Registry) -> None:
    with relay(registry, before=lambda asked: Answer(body=b"{}") if "tags" in asked.path else None) as there, \
            pytest.raises(RegistryError, match="lists no tags of"):
        tags(Line(f"{there.host}/x"))


# Logins

@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Return a registry that lets nobody in."""
    with running_registry(tmp_path_factory.mktemp("closed"), password=True) as registry:
        yield registry


def test_a_registry_that_wants_a_login_says_how(closed: Registry, tmp_path: Path) -> None:
    for environment in ({}, login(tmp_path, closed.host, auth=encoded("jo", "wrong"))):
        with pytest.raises(RegistryError, match=f"the registry {closed.host} wants a login") as caught:
            tags(Line(f"{closed.host}/x", environment=environment))
        assert caught.value.remedy == f"docker login {closed.host}"


def guarded(asked: Asked) -> Answer | None:
    """Let in who shows jo's password."""
    if asked.headers.get("Authorization") == f"Basic {encoded('jo', 's3cret')}" or asked.path == "/v2/":
        return None
    return Answer(status=401, headers={"WWW-Authenticate": 'Basic realm="toys"'})


def test_a_password_is_shown_to_the_registry_that_asks_for_it(registry: Registry, tmp_path: Path) -> None:
    with relay(registry, before=guarded) as there:
        line = Line(f"{there.host}/x", environment=login(tmp_path, there.host, auth=encoded("jo", "s3cret")))
        assert tags(line) == [] and tags(line) == []
        assert [("Authorization" in each.headers) for each in there.asked if "tags" in each.path] == [False, True, True]


@pytest.mark.parametrize(("entry", "method"), [({"auth": encoded("jo", "s3cret")}, "GET"),
                                               ({"identitytoken": "refresh"}, "POST"), ({}, "GET")])
def test_a_token_is_asked_for_where_the_registry_says(registry: Registry, tmp_path: Path, entry: dict[str, str],
                                                      method: str) -> None:
    def tokens(asked: Asked) -> Answer | None:
        if asked.path.startswith("/token"):
            fields = parse_qs(asked.body.decode() or urlsplit(asked.path).query)
            assert asked.method == method and fields["scope"] == ["repository:x:pull"] and fields["service"] == ["toys"]
            if "auth" in entry:
                assert asked.headers["Authorization"] == f"Basic {entry['auth']}"
            if "identitytoken" in entry:
                assert (fields["refresh_token"], fields["grant_type"]) == (["refresh"], ["refresh_token"])
            name = "access_token" if method == "POST" else "token"
            return Answer(body=json.dumps({name: "abc"}).encode())
        if asked.headers.get("Authorization") == "Bearer abc" or asked.path == "/v2/":
            return None
        realm = f'Bearer realm="http://{asked.headers["Host"]}/token",service="toys",scope="repository:x:pull"'
        return Answer(status=401, headers={"WWW-Authenticate": realm})

    with relay(registry, before=tokens) as there:
        line = Line(f"{there.host}/x", environment=login(tmp_path, there.host, **entry))
        assert tags(line) == [] and tags(line) == []
        assert there.count(method, "/token") == 1, "one token serves until the registry wants another"


@pytest.mark.parametrize("answer", [Answer(body=b"{}"), Answer(body=b"[]"), Answer(body=b"no"),
                                    Answer(status=401, body=b"who are you")])
def test_a_token_that_is_not_given_is_told(registry: Registry, answer: Answer) -> None:
    def tokens(asked: Asked) -> Answer | None:
        realm = f'Bearer realm="http://{asked.headers["Host"]}/token"'
        refusal = Answer(status=401, headers={"WWW-Authenticate": realm})
        return answer if asked.path.startswith("/token") else refusal if "tags" in asked.path else None

    with relay(registry, before=tokens) as there, pytest.raises(RegistryError, match="gives no token|wants a login"):
        tags(Line(f"{there.host}/x"))


@pytest.mark.parametrize("realm", ["http://auth.invalid/token", "", "ftp://auth.invalid"])
def test_a_login_is_not_shown_in_the_plain(registry: Registry, realm: str) -> None:
    refusal = Answer(status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}"'})
    with relay(registry, before=lambda asked: refusal if "tags" in asked.path else None) as there, \
            pytest.raises(RegistryError, match=f"sends for a token to {realm or 'nowhere'}, which is not TLS"):
        tags(Line(f"{there.host}/x"))


def test_a_login_is_not_shown_to_another_host(registry: Registry, tmp_path: Path) -> None:
    """Blobs often lie elsewhere: the registry sends there, and its password stays here."""
    with relay(registry) as elsewhere:
        def sent_on(asked: Asked) -> Answer | None:
            away = {"Location": f"http://{elsewhere.host}{asked.path}"}
            return guarded(asked) or (Answer(status=307, headers=away) if "/x/tags" in asked.path else None)

        with relay(registry, before=sent_on) as there:
            line = Line(f"{there.host}/x", environment=login(tmp_path, there.host, auth=encoded("jo", "s3cret")))
            assert tags(line) == []
        assert elsewhere.count("GET", "/x/tags") == 1
        assert all("Authorization" not in each.headers for each in elsewhere.asked)


def test_a_login_is_not_shown_where_an_upload_is_sent_elsewhere(registry: Registry, tmp_path: Path) -> None:
    with relay(registry) as elsewhere:
        def sent_on(asked: Asked, answer: Answer) -> Answer:
            headers = {name: value.replace(asked.headers["Host"], elsewhere.host)
                       for name, value in answer.headers.items()}
            return Answer(status=answer.status, body=answer.body, headers=headers)

        with relay(registry, before=guarded, after=sent_on) as there:
            line = Line(f"{there.host}/x", environment=login(tmp_path, there.host, auth=encoded("jo", "s3cret")))
            data = there.host.encode()
            upload(line, Blob(descriptor=describe(data, "text/plain"), source=data))
        assert elsewhere.count("PUT", "/uploads/") == 1
        assert all("Authorization" not in each.headers for each in elsewhere.asked)


def test_a_proxy_is_not_used_for_loopback(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
    assert tags(Line(f"{registry.host}/x")) == []


def test_a_proxy_is_asked_for_others_and_docker_hub_by_its_servers_name(registry: Registry,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy here refuses, as one without a way out does; what it was asked for is what counts."""
    with relay(registry, before=lambda asked: Answer(status=503)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.host}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        for host in ("docker.io", "registry.invalid"):
            with pytest.raises(faults.UnreachableError, match=f"the registry {host} cannot be reached through"):
                tags(Line(f"{host}/x", environment={}))
        assert [each.path for each in proxy.asked if each.method == "CONNECT"] == [
            "registry-1.docker.io:443", "registry.invalid:443"]


def test_a_proxy_that_is_down_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(faults.UnreachableError, match="cannot be reached through the proxy") as caught:
        tags(Line("registry.invalid/x", environment={}))
    assert "NO_PROXY=registry.invalid" in caught.value.remedy
