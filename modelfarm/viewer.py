"""The viewer: an artifact's graph in netron, on loopback."""

from __future__ import annotations

import sys
import time
from contextlib import suppress

from modelfarm.artifact import Artifact
from modelfarm.console import Console
from modelfarm.errors import MachineError, UsageError
from modelfarm.settings import positive

_LOOPBACK = "127.0.0.1"
_HIGHEST_PORT = 65535


def view_graph(artifact: Artifact, port: str, console: Console) -> None:
    """Serve the graph until Ctrl-C, and open it in a browser where a person sits at a terminal.

    Raises UsageError for a port that is none, MachineError where the port is taken.
    """
    number = positive(port, "PORT")
    if number > _HIGHEST_PORT:
        raise UsageError(f"PORT={port}: ports end at {_HIGHEST_PORT}")
    # netron takes a while to import, and only this task needs it.
    import netron

    file = artifact.path(artifact.files[0].name)
    try:
        netron.serve(str(file), address=(_LOOPBACK, number), browse=sys.stdout.isatty())
    except OSError as error:
        reason = error.strerror or error
        raise MachineError(f"port {number} cannot be used: {reason}", remedy="PORT= names another") from error
    name = f"{artifact.model}/{artifact.variant} {artifact.version}"
    console.line(f"  {name} at http://{_LOOPBACK}:{number}  (Ctrl-C ends)")
    with suppress(KeyboardInterrupt):  # the usual way to end it
        while netron.status((_LOOPBACK, number)):
            time.sleep(0.5)
    netron.stop((_LOOPBACK, number))
