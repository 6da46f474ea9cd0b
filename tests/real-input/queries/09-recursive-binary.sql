-- A recursive CTE writes numbers in base two, digit by digit.
WITH RECURSIVE bits(cp, rest, text) AS (
    SELECT cp, cp, '' FROM codepoint WHERE cp BETWEEN 0x1F600 AND 0x1F610
    UNION ALL
    SELECT cp, rest / 2, (rest % 2) || text FROM bits WHERE rest > 0
)
SELECT cp, text FROM bits WHERE rest = 0 ORDER BY cp;
