"""Images: toolchains as container images, built here or fetched by digest.

`builds` makes them, `base` what they stand on, `transfers` pushes and pulls, `desk` does so for several; `hints` turns
what the tools say into one clear error.
"""

from modelfarm.images.base import make_base
from modelfarm.images.builds import build
from modelfarm.images.transfers import pull, push
from modelfarm.images.workshop import Workshop, open_workshop

__all__ = ["Workshop", "build", "make_base", "open_workshop", "pull", "push"]
