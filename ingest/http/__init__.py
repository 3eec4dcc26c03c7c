"""HTTP as both ports speak it: connections, their bounds, and what is no HTTP at all."""
