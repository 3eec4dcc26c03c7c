-- The same after a batch has failed: whether there is room for rows, too. What is written here is
-- rolled back, but tables grow at once.
SET LOCAL temp_tablespaces = '';
CREATE TEMP TABLE promgres_ready ON COMMIT DROP AS
SELECT repeat(chr(65 + n % 26), 1000) AS filler FROM generate_series(1, 300) AS n;
