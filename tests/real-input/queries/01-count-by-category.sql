-- GROUP BY over a join, with a HAVING clause on the aggregate.
SELECT k.major, k.name, count(*) AS n, min(c.cp), max(c.cp)
FROM codepoint c JOIN category k ON k.code = c.category
GROUP BY k.major, k.name
HAVING count(*) > 20
ORDER BY n DESC, k.name;
