"""`promgres up`: database, write side and read side as one thing that lives and ends together.

up          the order of things: lock, addresses, database, migrations, children, the end
services    what keeps a service running, and ends it
child       a service that is a `promgres` command
locks       one `up` a data directory; none before the last one's children have ended
addresses   ports that are free now
environment what the children get to know
welcome     what is printed when all is ready
"""

from ingest.supervisor.child import ChildRefused
from ingest.supervisor.up import up

__all__ = ["ChildRefused", "up"]
