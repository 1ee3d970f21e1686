"""TensorRT's messages: errors and warnings into the job's log, and the errors kept for what is told of a failure."""

from __future__ import annotations

from typing import Any, List


def make_log(trt: Any) -> Any:
    """Give a logger of TensorRT's module `trt` with the list `errors` and the last of them, `last`."""

    class Log(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: List[str] = []

        def log(self, severity: Any, message: str) -> None:
            """Print what matters; an exception from here would end the process in native code."""
            if severity > trt.ILogger.WARNING:
                return
            print(f"TensorRT {severity.name.lower().replace('_', ' ')}: {message}", flush=True)
            if severity <= trt.ILogger.ERROR:
                self.errors.append(" ".join(message.split()))

        @property
        def last(self) -> str:
            """Give the last error; empty where there was none."""
            return self.errors[-1] if self.errors else ""

    return Log()
