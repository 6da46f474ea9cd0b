-- Five tables in one join, with distinct rows.
SELECT DISTINCT k.name, b.name, s.script, a.kind
FROM alias a
JOIN codepoint c ON c.cp = a.cp
JOIN category k ON k.code = c.category
JOIN block b ON b.id = c.block_id
JOIN script_range s ON s.first <= c.cp AND s.last >= c.cp
ORDER BY 1, 2, 3, 4;
