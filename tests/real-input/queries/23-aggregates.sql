-- Aggregates: average, total, distinct counts, FILTER, and text joined in order.
SELECT kind, count(DISTINCT scope), round(avg(length(name)), 6), total(alpha_2 IS NOT NULL),
       count(*) FILTER (WHERE inverted_name IS NOT NULL), min(name), max(alpha_3)
FROM language GROUP BY kind ORDER BY kind;
