"""Small ONNX graphs for the tflite target, made by hand in its own environment."""

from contextlib import suppress

import numpy as np

with suppress(ImportError):  # the host reads the names alone
    from onnx import TensorProto, helper, numpy_helper

PICTURE = (1, 3, 8, 8)
# Names that TensorFlow would change, that onnx-tf would, and whose order is another one than that of the alphabet.
ODD = ("z/scores:0", "_boxes", "a.b c")


def graph(nodes, weights=(), shape=PICTURE, outputs=("y",), opset=12):
    """Make a graph of `nodes` from the input x; `weights` are arrays by name."""
    free = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs}
    made = helper.make_graph(
        [helper.make_node(kind, inputs, results, name=f"/part/{results[0]}", **more)
         for kind, inputs, results, more in nodes],
        "toy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        list(free.values()),
        [numpy_helper.from_array(np.asarray(array), name) for name, array in dict(weights).items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    return with_shapes(model)


def with_shapes(model):
    """Give the outputs a shape, which the checker wants: as many free axes as they have."""
    from onnx import shape_inference

    bare = helper.make_model(model.graph, opset_imports=model.opset_import, ir_version=7)
    del bare.graph.output[:]
    known = {value.name: value for value in shape_inference.infer_shapes(bare).graph.value_info}
    for value in model.graph.output:
        rank = len(known[value.name].type.tensor_type.shape.dim) if value.name in known else 4
        dtype = known[value.name].type.tensor_type.elem_type if value.name in known else TensorProto.FLOAT
        axes = [f"{value.name}_{axis}" for axis in range(rank)]
        value.CopyFrom(helper.make_tensor_value_info(value.name, dtype, axes))
    return model


def shape_of(model):
    """Give the shape of the input, with one for a free axis."""
    return tuple(dim.dim_value or 1 for dim in model.graph.input[0].type.tensor_type.shape.dim)


def _weights():
    random = np.random.RandomState(0)
    return {
        "_w:0": random.standard_normal((8, 3, 3, 3)).astype(np.float32) / 5,
        "b": random.standard_normal(8).astype(np.float32) / 5,
        "fc": random.standard_normal((5, 128)).astype(np.float32) / 8,
        "fb": random.standard_normal(5).astype(np.float32),
    }


def convolutions(batch=1, opset=12):
    """Make a convolution with a stride, and a layer that scores. A weight has a name that onnx-tf changes at random."""
    return graph(
        [
            ("Conv", ["x", "_w:0", "b"], ["c"], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
            ("Relu", ["c"], ["r"], {}),
            ("Flatten", ["r"], ["f"], {"axis": 1}),
            ("Gemm", ["f", "fc", "fb"], ["g"], {"transB": 1}),
            ("Sigmoid", ["g"], ["y"], {}),
        ],
        _weights(),
        shape=(batch, *PICTURE[1:]),
        opset=opset,
    )


def mixed():
    """Make one output of two columns in hundreds of pixels and two scores."""
    random = np.random.RandomState(1)
    weights = {
        "places": random.uniform(0, 1 / 64, (192, 2)).astype(np.float32),
        "scores": random.standard_normal((192, 2)).astype(np.float32) / 4,
        "size": np.float32(640),
    }
    nodes = [
        ("Flatten", ["x"], ["f"], {"axis": 1}),
        ("MatMul", ["f", "places"], ["p"], {}),
        ("Mul", ["p", "size"], ["pixels"], {}),
        ("MatMul", ["f", "scores"], ["s"], {}),
        ("Sigmoid", ["s"], ["sure"], {}),
        ("Concat", ["pixels", "sure"], ["y"], {"axis": 1}),
    ]
    return graph(nodes, weights)


def pooled(rectified=True):
    """Add a padded pooling, which TFLite has with a padding of the lowest float, to a convolution of itself."""
    random = np.random.RandomState(2)
    weights = {
        "w": random.standard_normal((4, 3, 3, 3)).astype(np.float32) / 5,
        "v": random.standard_normal((4, 4, 3, 3)).astype(np.float32) / 5,
    }
    around = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        ("Conv", ["x", "w"], ["c"], around),
        ("Relu" if rectified else "Identity", ["c"], ["r"], {}),
        ("MaxPool", ["r"], ["m"], {**around, "strides": [2, 2]}),
        ("Conv", ["m", "v"], ["d"], around),
        ("Add", ["m", "d"], ["y"], {}),
    ]
    return graph(nodes, weights)


def odd_names():
    """Make three outputs of one shape: once, twice and three times the input."""
    two, three = np.float32(2), np.float32(3)
    return graph(
        [("Mul", ["x", "two"], [ODD[0]], {}), ("Mul", ["x", "three"], [ODD[1]], {}), ("Neg", ["x"], [ODD[2]], {})],
        {"two": two, "three": three},
        outputs=ODD,
    )


def resized(scale):
    """Resize an odd picture; by 1.5 its size is no whole number, and onnx-tf takes the wrong scale."""
    weights = {"none": np.zeros(0, np.float32), "scales": np.array([1, 1, scale, scale], np.float32)}
    more = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    nodes = [("Relu", ["x"], ["r"], {}), ("Resize", ["r", "none", "scales"], ["y"], more)]
    return graph(nodes, weights, shape=(1, 3, 9, 9))


def padded(mode, pads=(0, 0, 1, 2, 0, 3, 2, 1), opset=12):
    """Pad the picture, by more than one."""
    if opset < 11:
        return graph([("Pad", ["x"], ["y"], {"mode": mode, "pads": pads, "value": 0.5})], opset=opset)
    return graph([("Pad", ["x", "pads", "half"], ["y"], {"mode": mode})],
                 {"pads": np.array(pads), "half": np.array(0.5, np.float32)})


def padded_by_computed_numbers():
    """Pad the picture by a sum."""
    nodes = [("Add", ["pads", "pads"], ["sum"], {}), ("Pad", ["x", "sum"], ["y"], {})]
    return graph(nodes, {"pads": np.array([0, 0, 1, 2, 0, 0, 1, 2])})


def left_out():
    """Pad the picture with zeros: what it is padded with is left out, by an empty name at the end."""
    return graph([("Pad", ["x", "pads", ""], ["y"], {"mode": "constant"})],
                 {"pads": np.array([0, 0, 1, 2, 0, 0, 1, 2])})


def one_number():
    """Make an output of a single number, far from 0, of a sum that runtimes order differently."""
    weights = {"w": np.linspace(-1, 1, 192, dtype=np.float32).reshape(1, 192), "b": np.float32([900])}
    return graph([("Flatten", ["x"], ["f"], {}), ("Gemm", ["f", "w", "b"], ["y"], {"transB": 1})], weights)


def one(kind, outputs=("y",), **more):
    """Make a graph of one operator."""
    return graph([(kind, ["x"], list(outputs), more)])


def unread():
    """Make a graph that does not depend on its input."""
    return graph([("Mul", ["a", "a"], ["y"], {})], {"a": np.ones((1, 4), np.float32)})
