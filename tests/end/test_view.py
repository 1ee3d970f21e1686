"""The viewer: netron serves the artifact's graph on loopback, and nowhere else."""

from __future__ import annotations

import signal
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.end.conftest import Shop


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def fetch(url: str) -> bytes:
    for _ in range(100):
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                content: bytes = answer.read()
                return content
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise AssertionError(f"{url} never answered")


def test_the_graph_is_served_on_loopback_until_ctrl_c(stocked: Shop) -> None:
    port = free_port()
    process = stocked.start("view", "--model", "digits", "--port", str(port))
    try:
        assert b"netron" in fetch(f"http://127.0.0.1:{port}/").lower()
        content = (stocked.latest("digits") / "model.onnx").read_bytes()
        assert fetch(f"http://127.0.0.1:{port}/data/model.onnx") == content
        sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
        listening = [fields[1] for fields in sockets if fields[3] == "0A"]
        assert f"0100007F:{port:04X}" in listening
        assert f"00000000:{port:04X}" not in listening
    finally:
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 0, out


def test_a_port_that_is_taken_is_a_clear_error(stocked: Shop) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        ran = stocked.run("view", "--model", "digits", "--port", str(holder.getsockname()[1]))
    assert ran.code == 4, ran.out + ran.err
    assert "PORT= names another" in ran.err
