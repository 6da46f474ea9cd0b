-- What is in one set and not in another, in two spellings, joined by UNION ALL.
SELECT 'no parts', name FROM country WHERE alpha_2 NOT IN (SELECT country FROM subdivision)
UNION ALL
SELECT 'no block', printf('%04X', first) FROM (
    SELECT first FROM script_range WHERE first > 0x10000
    EXCEPT
    SELECT first FROM block
) WHERE first % 16 = 0
ORDER BY 1, 2;
