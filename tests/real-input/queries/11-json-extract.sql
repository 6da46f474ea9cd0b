-- JSON: members by path and by operator, the type of a member, and its absence.
SELECT alpha_2, json_extract(document, '$.name'), document ->> '$.official_name',
       json_type(document, '$.common_name'), document -> 'alpha_3', json_valid(document)
FROM country WHERE numeric_code < 100 ORDER BY numeric_code;
