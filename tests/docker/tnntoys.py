"""TNN's half for tests: its modules, its own words as they were seen, and stand-ins for its three programs."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

from jobfolder import DOCKER

TNN = DOCKER / "tnn"

# Behind everything else, like the other toolchain's modules; converter.py has a namesake and is run, not imported.
sys.path.append(str(TNN))
agreement, conversion, modelcheck, program, testprogram, textfile = map(
    import_module, ("agreement", "conversion", "modelcheck", "jobkit.program", "testprogram", "textfile")
)

SAYS = "D/tnn: TNNWriteProto [File tools/onnx2tnn/src/core/onnx2tnn.cc][Line 330] "
FAILS = "E/tnn: TNNWriteProto [File tools/onnx2tnn/src/core/onnx2tnn.cc][Line 326] error::op convert failed "

GOOD = f"""\
0.----onnx version:1.14.1
algo_optimize 1
onnx_net_opt_path /tmp/tnn-1/model.opt.onnx
1.----onnx_optimizer: /tmp/tnn-1/model.onnx
----load onnx model: /tmp/tnn-1/model.onnx
----export optimized onnx model done
2.----onnx2tnn: /tmp/tnn-1/model.opt.onnx
{SAYS}node:/0/Conv_output_0 onnx:Conv -> tnn:Convolution
{SAYS}node:y onnx:Relu -> tnn:ReLU
3.----onnx2tnn status: 0"""

# Two streams, one of them late: the words of one stand in the middle of the other's.
UNSUPPORTED = f"""\
2.----onnx2tnn: /tmp/tnn-1/model.opt.onnx
{SAYS}node:a onnx:Conv -> tnn:Convolution
D/tnn: get_node_attr_ai [File tools/onnx2tnn/src/core/onnx_utili{FAILS}onnx:GRU

{FAILS}onnx:Mod
{FAILS}onnx:GRU"""

CRASHED = f"""\
2.----onnx2tnn: /tmp/tnn-1/model.opt.onnx
{SAYS}node:a onnx:Conv -> tnn:Convolution
{SAYS}node:/s/GridSample_output_0 onnx:GridSample -> tnn:GridSample"""

# It returned 4096 and wrote both files.
LIED = """\
2.----onnx2tnn: /tmp/tnn-1/model.opt.onnx
E/tnn: Init [File source/tnn/core/default_network.cc][Line 100] Error Init layer /x (err: 4096 or 0x1000)
D/tnn: onnx2tnn_convert [File onnx2tnn_convert.cc][Line 203] ConstFolder Init Error: code: 0x1000 msg: unsupported"""

TIME = f"{'model.tnnproto':45} TNN Benchmark time cost: min = 82.104   ms  |  max = 83.5     ms  |  avg = 82.750   ms "

FAKE_CONVERTER = '''\
"""Stands in for onnx2tnn.py: it takes its command line, and behaves as it was seen to, as MODE says."""

import argparse
import os
import shutil
import signal
import sys
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("model")
for name in ("-version", "-optimize", "-half"):
    parser.add_argument(name, required=True)
parser.add_argument("-o", required=True)
parser.add_argument("-input_shape", nargs="+", required=True)
given = parser.parse_args()
mode = os.environ.get("MODE", "good")
words = {WORDS}
assert given.version == "v1.0" and Path(given.model).is_absolute() and not list(Path(given.o).iterdir())
print(os.environ["SHAPE"] == " ".join(given.input_shape) or sys.exit("the shape is another: %s" % given.input_shape))
print(words.get(mode, words["good"]), flush=True)
stem = Path(given.o) / (Path(given.model).stem + (".opt" if given.optimize == "1" else ""))
if mode in ("segv", "abort"):
    os.kill(os.getpid(), signal.SIGSEGV if mode == "segv" else signal.SIGABRT)
shutil.copy(given.model, str(stem) + ".tnnmodel")
if given.half == "1":
    Path(given.o, "half").touch()
Path(str(stem) + ".tnnproto").write_text("x" * 200 if mode != "small" else "x")
sys.exit(4096 if mode in ("unsupported", "lied") else 0)
'''

FAKE_TEST_PROGRAM = '''\
#!{PYTHON}
"""Stands in for TNNTest: the same files and flags, with ONNX Runtime inside; it ends with 0 whatever happens."""

import os
import signal
import sys

import numpy as np
import onnxruntime

flags = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert flags["-mt"] == "TNN" and flags["-nt"] == "NAIVE" and flags["-dt"] in ("X86", "NAIVE"), flags
mode = os.environ.get("MODE", "good")
if mode == "run crashes":
    os.kill(os.getpid(), signal.SIGSEGV)
if mode == "no instance":
    print("E/tnn: CheckResult [File test/test.cc][Line 270] create instance failed: code: 0x6000 msg: no layer Einsum ")
    sys.exit(0)
session = onnxruntime.InferenceSession(flags["-mp"][:-5] + "model")
value = session.get_inputs()[0]
numbers = np.array(open(flags["-ip"]).read().split(), np.float32)
outputs = session.run(None, {value.name: numbers.reshape(value.shape)})
names = [output.name for output in session.get_outputs()]
with open(flags["-op"], "w") as out:
    print(len(names), file=out)
    for name, array in sorted(zip(names, outputs)):
        if mode == "devices differ" and flags["-dt"] == "X86":
            array = array + 0.25
        print("%s mat_type: 32 dims: %d %s" % (name, array.ndim, " ".join(map(str, array.shape))), file=out)
        out.writelines("%.6f\\n" % number for number in array.ravel().tolist())
print({TIME})
'''

FAKE_CHECK = """\
#!/bin/sh
test -f "$2" && test -f "$4" && test "$5 $6" = "-d X86" && echo "model check pass!"
"""


def fake_programs(home: Path, python: Path) -> Path:
    """Write stand-ins for the three programs into `home`, for the interpreter of a toolchain."""
    home.mkdir(parents=True)
    words = {"good": GOOD, "unsupported": UNSUPPORTED, "segv": CRASHED, "abort": CRASHED, "lied": LIED}
    _write(home / "onnx2tnn.py", FAKE_CONVERTER.replace("{WORDS}", json.dumps(words)))
    test = FAKE_TEST_PROGRAM.replace("{PYTHON}", str(python)).replace("{TIME}", json.dumps(TIME))
    _write(home / "TNNTest", test)
    _write(home / "model_check", FAKE_CHECK)
    return home


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
