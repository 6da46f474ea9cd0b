-- Compound selects: UNION removes duplicates, INTERSECT keeps what both have.
SELECT alpha_2 AS code FROM country
INTERSECT
SELECT upper(alpha_2) FROM language
UNION
SELECT substr(alpha_3, 1, 2) FROM currency WHERE name LIKE '%dollar%'
ORDER BY code;
