-- A join on ranges and on equality together, counted per script.
SELECT s.script, count(*) AS letters, sum(c.uppercase IS NOT NULL) AS with_upper_case
FROM codepoint c JOIN script_range s ON s.first <= c.cp AND s.last >= c.cp
WHERE c.cp < 0x3000 AND c.category IN ('Lu', 'Ll', 'Lo')
GROUP BY s.script
ORDER BY letters DESC, s.script;
