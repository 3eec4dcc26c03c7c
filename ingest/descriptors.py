"""How many files and connections this process may have open."""

from __future__ import annotations

import resource

ENDLESS = 1 << 20
"""What counts as the limit where there is none."""


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files to the hard one, for this process and its children.

    Returns:
        The limit that holds from now on.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):  # macOS names a hard limit that it does not give
            return descriptor_limit()
    return descriptor_limit()


def descriptor_limit() -> int:
    """The limit that holds now."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return ENDLESS if soft == resource.RLIM_INFINITY else min(soft, ENDLESS)
