-- A file of before there were checksums: what is in it has none, whatever its length.
ALTER TABLE entry ADD COLUMN checksum INTEGER;
