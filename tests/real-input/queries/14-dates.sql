-- Date functions on real dates: years alone, whole dates, differences and modifiers.
SELECT alpha_4, date(withdrawn), strftime('%Y/%m/%d', withdrawn), date(withdrawn, '+1 month', '-1 day'),
       CAST(julianday('2000-01-01') - julianday(withdrawn) AS INTEGER), strftime('%j', withdrawn),
       unixepoch(withdrawn)
FROM former_country
WHERE length(withdrawn) = 10
ORDER BY withdrawn, alpha_4;
