-- A view over three tables, joined once more.
SELECT l.block, count(*), sum(l.uppercase IS NOT NULL), sum(l.lowercase IS NOT NULL)
FROM letter l GROUP BY l.block ORDER BY count(*) DESC, l.block LIMIT 80;
