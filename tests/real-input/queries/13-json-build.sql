-- JSON built from rows: an object of arrays.
SELECT json_object('country', country, 'kinds', json_group_array(kind), 'n', count(*))
FROM (SELECT DISTINCT country, kind FROM subdivision ORDER BY country, kind)
GROUP BY country
ORDER BY country
LIMIT 50;
