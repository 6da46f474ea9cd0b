-- GLOB minds the case and knows character classes.
SELECT cp, name FROM codepoint
WHERE name GLOB 'LATIN SMALL LETTER [A-E]' OR (name GLOB '*ARROW*' AND cp BETWEEN 0x2190 AND 0x21A0)
ORDER BY cp;
