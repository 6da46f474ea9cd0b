-- Frames and the remaining window functions, over two windows.
SELECT alpha_2, numeric_code,
       first_value(name) OVER by_number, last_value(alpha_3) OVER by_number, nth_value(name, 3) OVER by_number,
       rank() OVER by_hundred, dense_rank() OVER by_hundred, percent_rank() OVER by_hundred,
       ntile(7) OVER by_number, lead(alpha_2, 2, '--') OVER by_number,
       avg(numeric_code) OVER (ORDER BY numeric_code ROWS BETWEEN 2 PRECEDING AND 2 FOLLOWING)
FROM country
WINDOW by_number AS (ORDER BY numeric_code), by_hundred AS (ORDER BY numeric_code / 100)
ORDER BY numeric_code;
