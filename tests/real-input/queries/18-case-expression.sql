-- CASE with conditions, grouped by its own value.
SELECT CASE
           WHEN cp < 0x80 THEN 'one byte'
           WHEN cp < 0x800 THEN 'two bytes'
           WHEN cp < 0x10000 THEN 'three bytes'
           ELSE 'four bytes'
       END AS width,
       count(*), sum(CASE mirrored WHEN 1 THEN 1 ELSE 0 END)
FROM codepoint GROUP BY width ORDER BY 2;
