-- LIKE with both wildcards, and with an escaped one; upper and lower case of ASCII are the same to it.
SELECT cp, name FROM codepoint
WHERE name LIKE '%greek%letter _i%' OR name LIKE '%100\%%' ESCAPE '\' OR name LIKE 'zero_width%'
ORDER BY cp;
