-- Window functions: numbering, ranking and a share of the whole, by country.
SELECT country, kind, n,
       row_number() OVER (PARTITION BY country ORDER BY n DESC, kind) AS place,
       sum(n) OVER (PARTITION BY country) AS in_country
FROM (SELECT country, kind, count(*) AS n FROM subdivision GROUP BY country, kind)
ORDER BY country, place;
