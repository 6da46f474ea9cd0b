-- Fractions as real numbers: text taken apart, cast and divided.
SELECT numeric_value, count(*),
       round(CASE WHEN instr(numeric_value, '/')
            THEN CAST(substr(numeric_value, 1, instr(numeric_value, '/') - 1) AS REAL)
                 / CAST(substr(numeric_value, instr(numeric_value, '/') + 1) AS INTEGER)
            ELSE CAST(numeric_value AS REAL) END, 9) AS value,
       typeof(digit)
FROM codepoint WHERE numeric_value IS NOT NULL
GROUP BY numeric_value, typeof(digit) ORDER BY value, numeric_value, typeof(digit);
