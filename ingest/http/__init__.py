"""HTTP as both ports speak it: connections, their bounds, and what is not HTTP at all."""
