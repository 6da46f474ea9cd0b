-- Text of a group in one value.
SELECT cp, group_concat(alias, ' / ') FROM (SELECT cp, alias FROM alias ORDER BY cp, alias)
GROUP BY cp HAVING count(*) > 1 ORDER BY cp;
