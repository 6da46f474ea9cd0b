-- Changes that are made to the file with sqlite3 and to the cluster alike: after them every query has to give the
-- same answer on both again. They reach the trigger, the foreign keys, an upsert, a savepoint and the schema.
PRAGMA foreign_keys = ON;

UPDATE codepoint SET name = replace(name, 'GREEK', 'HELLENIC') WHERE name LIKE 'GREEK%';
UPDATE codepoint SET name = name WHERE cp < 128;

DELETE FROM codepoint WHERE block_id IN (SELECT id FROM block WHERE name LIKE '%Egyptian%' OR name = 'Basic Latin');
DELETE FROM subdivision WHERE country IN ('AQ', 'LI', 'MT');

INSERT INTO currency(alpha_3, numeric_code, name) VALUES ('EUR', 978, 'Euro (again)'), ('ZZZ', NULL, 'None')
ON CONFLICT (alpha_3) DO UPDATE SET name = excluded.name;
INSERT OR IGNORE INTO currency VALUES ('USD', 1, 'never written');

BEGIN;
INSERT INTO language VALUES ('q01', NULL, 'Öne', NULL, 'I', 'C'), ('q02', NULL, 'it''s "two"', NULL, 'I', 'C');
SAVEPOINT inner;
DELETE FROM language WHERE kind = 'L';
ROLLBACK TO inner;
RELEASE inner;
UPDATE language SET name = upper(name) WHERE alpha_3 LIKE 'z%';
COMMIT;
BEGIN;
DELETE FROM country WHERE alpha_2 = 'no such country';
DELETE FROM alias;
ROLLBACK;

ALTER TABLE former_country ADD COLUMN note TEXT DEFAULT 'from ISO 3166-3';
DROP INDEX language_by_name;
CREATE INDEX language_by_kind ON language(kind, scope, name);
CREATE TABLE block_size AS
SELECT b.id AS id, b.name AS name, b.last - b.first + 1 AS size, count(c.cp) AS used
FROM block b LEFT JOIN codepoint c ON c.block_id = b.id GROUP BY b.id;
CREATE UNIQUE INDEX block_size_by_id ON block_size(id);
INSERT INTO block_size SELECT 10000 + value, 'filler ' || value, value * value, 0
FROM (WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 5000) SELECT value FROM n);
DELETE FROM block_size WHERE id > 10000 AND id % 3 = 0;
