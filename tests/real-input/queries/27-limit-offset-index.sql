-- A page of an ordered list far down, in both directions, by an index.
SELECT * FROM (SELECT cp, name FROM codepoint ORDER BY name, cp LIMIT 40 OFFSET 20000)
UNION ALL
SELECT * FROM (SELECT cp, name FROM codepoint WHERE category = 'Sm' ORDER BY cp DESC LIMIT 40 OFFSET 100);
