-- A recursive CTE walks the tree of subdivisions from the top.
WITH RECURSIVE tree(code, name, depth, path) AS (
    SELECT code, name, 0, code FROM subdivision WHERE country IN ('FR', 'GB', 'IT') AND parent IS NULL
    UNION ALL
    SELECT s.code, s.name, t.depth + 1, t.path || '/' || s.code
    FROM subdivision s JOIN tree t ON s.country || '-' || s.parent = t.code OR s.parent = t.code
)
SELECT depth, path, name FROM tree ORDER BY path;
