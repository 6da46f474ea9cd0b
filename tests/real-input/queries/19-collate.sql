-- Order and equality by collation, one column's own and one named in the query.
SELECT name, alpha_3 FROM language
WHERE name = 'english' COLLATE NOCASE OR name > 'Zul' COLLATE NOCASE
ORDER BY name COLLATE NOCASE DESC, alpha_3;
