"""The part of tflite-support that is for metadata.

Its modules are linked against libusb, of which they use nothing: where the system has none, that of libusb-package is
in the process already when the linker looks for the name.
"""

from __future__ import annotations

import ctypes

import libusb_package

ctypes.CDLL(str(libusb_package.get_library_path()), ctypes.RTLD_GLOBAL)

from tensorflow_lite_support.metadata import metadata_schema_py_generated as schema  # noqa: E402
from tensorflow_lite_support.metadata.cc.python import _pywrap_metadata_version as versions  # noqa: E402
from tensorflow_lite_support.metadata.python.metadata import MetadataDisplayer, MetadataPopulator  # noqa: E402

__all__ = ["MetadataDisplayer", "MetadataPopulator", "schema", "versions"]
