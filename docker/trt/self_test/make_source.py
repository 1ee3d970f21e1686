"""Make the source of the small job, which the ways to TensorRT share."""

import smallnet

smallnet.write()
