"""Names of an ONNX file's nodes: TensorRT 8 tells numbers only."""

from __future__ import annotations

from pathlib import Path
from typing import List, Tuple


class NodeNames:
    """The names and operators of an ONNX file's nodes by their numbers, read when the first is asked for."""

    def __init__(self, file: Path) -> None:
        """Remember the file; only TensorRT 8 needs to ask, and has the onnx package beside it."""
        self.file = file
        self._nodes: List[Tuple[str, str]] = []

    def of(self, number: int) -> Tuple[str, str]:
        """Give a node's name, or that of what it makes, and its operator; empty ones where there is no such node."""
        if not self._nodes:
            import onnx

            graph = onnx.load(str(self.file), load_external_data=False).graph
            self._nodes = [(node.name or "".join(node.output[:1]), node.op_type) for node in graph.node]
        return self._nodes[number] if 0 <= number < len(self._nodes) else ("", "")
