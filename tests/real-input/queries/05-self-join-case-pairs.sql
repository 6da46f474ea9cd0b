-- A self-join: letters whose lower case's upper case is another letter.
SELECT u.cp, u.name, l.cp, l.name, l.uppercase
FROM codepoint u JOIN codepoint l ON l.cp = u.lowercase
WHERE l.uppercase IS NOT u.cp
ORDER BY u.cp;
