-- A LEFT JOIN keeps blocks that have no named code point; COALESCE names the emptiness.
SELECT b.name, printf('U+%04X..U+%04X', b.first, b.last), count(c.cp), coalesce(min(c.name), 'none')
FROM block b LEFT JOIN codepoint c ON c.block_id = b.id
GROUP BY b.id
ORDER BY count(c.cp), b.first
LIMIT 60;
