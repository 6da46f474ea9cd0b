-- A small table in whole, with expressions over columns that may be NULL.
SELECT alpha_3, numeric_code, name, numeric_code IS NULL, ifnull(numeric_code, -1) + 1, iif(numeric_code > 500, 'high', 'low')
FROM currency ORDER BY alpha_3;
