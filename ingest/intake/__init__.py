"""A request's payload becomes an `ingest.model.Intake`: decoded, identified, routed."""

from ingest.intake.decoder import Decoder
from ingest.intake.limits import Limits

__all__ = ["Decoder", "Limits"]
