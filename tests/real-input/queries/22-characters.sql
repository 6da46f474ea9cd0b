-- Numbers to characters and back, over every plane that has names, with quoting and hexadecimal.
SELECT cp, char(cp), unicode(char(cp)), hex(char(cp)), quote(char(cp)), length(char(cp))
FROM codepoint WHERE cp % 97 = 0 AND category NOT IN ('Cs', 'Cc') ORDER BY cp;
