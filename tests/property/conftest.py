"""How hypothesis runs: the same examples in CI every time, no deadline on a shared machine."""

import os

from hypothesis import settings

settings.register_profile("promgres", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("promgres")
