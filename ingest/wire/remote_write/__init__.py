"""Remote write as bytes: both messages behind one interface, no further read than needed."""
