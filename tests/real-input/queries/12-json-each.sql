-- JSON as a table: how many countries have each member, and how long the longest value is.
SELECT member.key, count(*), max(length(member.value))
FROM country, json_each(country.document) AS member
GROUP BY member.key
ORDER BY member.key;
