"""Record measures and events in Promgres.

```python
from promgres_client import Client

with Client("http://127.0.0.1:9273", key="pmk_…") as client:
    client.measure("checkout_seconds", 0.21, shop="berlin")
    client.event("deployed", version="1.4.2")
```
"""

from promgres_client.client import AsyncClient, Client
from promgres_client.delivery import Refusal
from promgres_client.errors import AnswerError, InvalidItem, PromgresError, Unreachable
from promgres_client.exchange import VERSION as __version__
from promgres_client.fake import FakeAsyncClient, FakeClient
from promgres_client.reading import Event, Measure
from promgres_client.timing import Timed

__all__ = [
    "AnswerError",
    "AsyncClient",
    "Client",
    "Event",
    "FakeAsyncClient",
    "FakeClient",
    "InvalidItem",
    "Measure",
    "PromgresError",
    "Refusal",
    "Timed",
    "Unreachable",
    "__version__",
]
