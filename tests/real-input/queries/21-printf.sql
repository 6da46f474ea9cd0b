-- printf in its main forms, over numbers and text.
SELECT printf('%5d|%-8s|%08.3f|%x|%X|%o|%e|%%|%c', cp, category, cp / 7.0, cp, cp, cp, cp * 1000.0, category),
       printf('%+d %,d %s', cp, cp * 1000, coalesce(numeric_value, 'none'))
FROM codepoint WHERE numeric_value IS NOT NULL ORDER BY cp LIMIT 200;
