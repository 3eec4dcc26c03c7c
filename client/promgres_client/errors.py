"""What reading and strict clients raise. Recording raises nothing.

```
PromgresError
├── InvalidItem   (also a ValueError)   the call itself is wrong; strict clients only
├── AnswerError                         the server answered, and not with what was asked for
└── Unreachable                         nobody answered
```
"""

from __future__ import annotations


class PromgresError(Exception):
    """Everything that this package raises."""


class InvalidItem(PromgresError, ValueError):
    """A measure or event that no server would store, such as a value of NaN."""


class AnswerError(PromgresError):
    """The server refused a request.

    Attributes:
        status: of the answer.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"the server answered {status}: {reason}")
        self.status = status


class Unreachable(PromgresError):
    """No answer: no connection, or one that broke."""
