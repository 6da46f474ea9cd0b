-- A correlated subquery in the result and another in the condition.
SELECT c.alpha_2, c.name,
       (SELECT count(*) FROM subdivision s WHERE s.country = c.alpha_2) AS parts
FROM country c
WHERE EXISTS (SELECT 1 FROM subdivision s WHERE s.country = c.alpha_2 AND s.kind LIKE '%province%')
ORDER BY parts DESC, c.alpha_2;
