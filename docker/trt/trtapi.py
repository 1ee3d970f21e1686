"""TensorRT's Python API as one: what versions do otherwise stands here, each version a class, and nowhere else.

Sources: the API references of TensorRT 8.2.5, 10.13 and 11.4, and of TensorRT-RTX 1.7 (docs.nvidia.com/deeplearning).
"""

from __future__ import annotations

import importlib
from typing import Any, Dict, List, Sequence, Tuple

from jobkit import ContractError, OptionError, Tensor
from nodenames import NodeNames

# numpy's names of TensorRT's types, where they are not the same in small letters.
DTYPES = {"float": "float32", "half": "float16", "bf16": "bfloat16", "fp8": "float8_e4m3fn"}

# Which flags of the builder a precision wants; what has no kernel in int8 runs in half precision.
FLAGS = {"fp32": (), "fp16": ("FP16",), "int8": ("INT8", "FP16")}


class Api:
    """TensorRT 10: precisions are flags of the builder, tensors are found by their names."""

    title = "TensorRT"
    # Whether the graph alone says in which precision each layer runs.
    typed = False
    calibrates = True

    def __init__(self, trt: Any) -> None:
        """Wrap TensorRT's module `trt`."""
        self.trt = trt

    @property
    def version(self) -> str:
        """Give TensorRT's version."""
        return str(self.trt.__version__)

    def network(self, builder: Any) -> Any:
        """Make an empty network whose batch is an axis like others."""
        return builder.create_network(0)

    def limit_workspace(self, config: Any, size: int) -> None:
        """Let no layer use more than `size` bytes of scratch memory."""
        config.set_memory_pool_limit(self.trt.MemoryPoolType.WORKSPACE, size)

    def set_precision(self, config: Any, precision: str) -> None:
        """Allow the types of a precision; fp32 is fp32 where TF32 is not asked for."""
        for name in FLAGS[precision]:
            config.set_flag(getattr(self.trt.BuilderFlag, name))

    def set_calibrator(self, config: Any, calibrator: Any) -> None:
        """Let `calibrator` measure the ranges of int8."""
        config.int8_calibrator = calibrator

    def keep_float(self, config: Any, layers: Sequence[Any]) -> None:
        """Let `layers` and what they give stay in fp32, whatever the precision."""
        config.set_flag(self.trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
        for layer in layers:
            layer.precision = self.trt.float32
            for index in range(layer.num_outputs):
                layer.set_output_type(index, self.trt.float32)

    def set_capabilities(self, config: Any, capabilities: Sequence[int]) -> None:
        """Build for GPUs of these compute capabilities. Raises OptionError: only TensorRT-RTX can choose."""
        if capabilities:
            raise OptionError(f"{self.title} {self.version} builds for the GPU that it runs on", "use trt-rtx")

    def culprit(self, error: Any, names: NodeNames) -> Tuple[str, str]:
        """Give the name and the operator of the node that a parser's error is about; empty where it is about none."""
        return str(error.node_name() or ""), str(error.node_operator() or "")

    def tensors(self, engine: Any) -> Tuple[List[Tensor], List[Tensor]]:
        """Give the inputs and outputs of a loaded engine."""
        found: Dict[bool, List[Tensor]] = {True: [], False: []}
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            is_input = engine.get_tensor_mode(name) == self.trt.TensorIOMode.INPUT
            found[is_input].append(self.tensor(name, engine.get_tensor_shape(name), engine.get_tensor_dtype(name)))
        return found[True], found[False]

    def tensor(self, name: str, shape: Any, dtype: Any) -> Tensor:
        """Describe a tensor; a free axis, which TensorRT gives as -1, has a name."""
        sizes = tuple(int(size) if size >= 0 else f"axis_{axis}" for axis, size in enumerate(shape))
        kind = dtype.name.lower()
        return Tensor(name, sizes, DTYPES.get(kind, kind))


class Api8(Api):
    """TensorRT 8.2: tensors are bindings by their numbers, errors tell the number of a node."""

    def network(self, builder: Any) -> Any:
        """Make an empty network whose batch is an axis like others, which is not the usual here."""
        return builder.create_network(1 << int(self.trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))

    def limit_workspace(self, config: Any, size: int) -> None:
        """Let no layer use more than `size` bytes of scratch memory."""
        config.max_workspace_size = size

    def culprit(self, error: Any, names: NodeNames) -> Tuple[str, str]:
        """Give the name and the operator of the node whose number the error has."""
        return names.of(int(error.node()))

    def tensors(self, engine: Any) -> Tuple[List[Tensor], List[Tensor]]:
        """Give the inputs and outputs of a loaded engine, those of its first profile."""
        found: Dict[bool, List[Tensor]] = {True: [], False: []}
        for index in range(engine.num_bindings // max(1, engine.num_optimization_profiles)):
            name, shape, dtype = (
                getattr(engine, f"get_binding_{what}")(index) for what in ("name", "shape", "dtype")
            )
            found[bool(engine.binding_is_input(index))].append(self.tensor(name, shape, dtype))
        return found[True], found[False]


class TypedApi(Api):
    """TensorRT 11: the types of the graph are the types of the layers, and nothing is calibrated."""

    typed = True
    calibrates = False

    def network(self, builder: Any) -> Any:
        """Make an empty network in which each layer runs in the types that the graph states."""
        return builder.create_network(1 << int(self.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))

    def set_precision(self, config: Any, precision: str) -> None:
        """Do nothing: the graph has come in this precision."""

    def set_calibrator(self, config: Any, calibrator: Any) -> None:
        """Refuse: ranges are in the graph. Raises OptionError."""
        raise OptionError(f"{self.title} {self.version} does not calibrate", "give it a graph with Q and DQ nodes")

    def keep_float(self, config: Any, layers: Sequence[Any]) -> None:
        """Refuse: types are in the graph. Raises OptionError."""
        raise OptionError(
            f"{self.title} {self.version} runs each layer in the types of the graph",
            "name the nodes in the recipe: adapt: {float: [...]}",
        )


class RtxApi(TypedApi):
    """TensorRT-RTX: builds on any machine, for the compute capabilities that are asked for."""

    title = "TensorRT-RTX"

    def set_capabilities(self, config: Any, capabilities: Sequence[int]) -> None:
        """Build for GPUs of these compute capabilities, such as 86."""
        config.num_compute_capabilities = len(capabilities)
        for index, capability in enumerate(capabilities):
            config.set_compute_capability(getattr(self.trt.ComputeCapability, f"SM{capability}"), index)


def choose(trt: Any) -> Api:
    """Give the API of TensorRT's module `trt`. Raises ContractError for a version that none of them fits."""
    if hasattr(trt, "ComputeCapability"):
        return RtxApi(trt)
    numbers = [int(part) for part in str(trt.__version__).split(".")[:2]]
    if numbers >= [11]:
        return TypedApi(trt)
    if numbers >= [10]:
        return Api(trt)
    if [8, 2] <= numbers < [8, 4]:
        return Api8(trt)
    raise ContractError(f"TensorRT {trt.__version__} is none that this converter knows", "use 8.2, 10 or 11")


def find(*modules: str) -> Api:
    """Import the first of `modules` that is there, and give its API. Raises ContractError where there is none."""
    for module in modules:
        try:
            return choose(importlib.import_module(module))
        except ModuleNotFoundError:
            continue
    raise ContractError(f"there is no {' and no '.join(modules)}", "install the toolchain anew: its lock names them")
