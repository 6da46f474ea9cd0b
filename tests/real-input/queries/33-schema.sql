-- The names in the schema, so that a table, an index, a view or a trigger that is lost shows.
SELECT type, name, tbl_name FROM sqlite_schema ORDER BY type, name;
