-- Every column of every row, in key order: a change of a single byte anywhere shows here.
SELECT * FROM codepoint ORDER BY cp;
