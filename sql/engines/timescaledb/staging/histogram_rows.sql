-- A piece of core/staging/move.sql: the table that takes rows of histograms.

histogram
