"""A request's payload becomes an `ingest.model.Intake`: decoded, identified, routed."""

from ingest.intake.limits import TimeLimits
from ingest.intake.remote_write import Decoder

__all__ = ["Decoder", "TimeLimits"]
