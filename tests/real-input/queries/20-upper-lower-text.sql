-- Text functions count characters, not bytes, and change the case of ASCII letters alone.
SELECT upper(name), lower(name), length(name), length(CAST(name AS BLOB)), substr(name, -3), instr(name, 'a'),
       replace(name, 'a', '*'), trim(name, 'AZaz'), hex(substr(name, 1, 2))
FROM country WHERE length(name) <> length(CAST(name AS BLOB)) ORDER BY alpha_2;
