-- A running total in the order of the Unicode versions, and what the version before had.
WITH added AS (
    SELECT CAST(version AS REAL) AS version, sum(last - first + 1) AS n FROM age_range GROUP BY version
)
SELECT version, n,
       sum(n) OVER (ORDER BY version ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS total,
       lag(n) OVER (ORDER BY version) AS before
FROM added ORDER BY version;
