-- Builds the database of the real-input check with the stock `sqlite3` program, run in a folder that holds
-- links `unicode` and `iso` to the data of Debian's unicode-data and iso-codes packages.
--
-- The text files of the Unicode Character Database separate fields with semicolons, end a line's data at `#`
-- and may write a range of code points as `First..Last`; each is imported line by line into a staging table
-- and taken apart in SQL. The JSON files are read whole. Staging tables are dropped, and VACUUM leaves a file
-- whose bytes depend on the input alone.

PRAGMA journal_mode = DELETE;
PRAGMA foreign_keys = ON;
PRAGMA page_size = 4096;

CREATE TABLE category(
    code TEXT PRIMARY KEY,
    major TEXT NOT NULL,
    name TEXT NOT NULL
);
CREATE TABLE block(
    id INTEGER PRIMARY KEY,
    first INTEGER NOT NULL UNIQUE,
    last INTEGER NOT NULL CHECK (last >= first),
    name TEXT NOT NULL UNIQUE
);
CREATE TABLE script_range(
    first INTEGER PRIMARY KEY,
    last INTEGER NOT NULL,
    script TEXT NOT NULL
);
CREATE TABLE age_range(
    first INTEGER PRIMARY KEY,
    last INTEGER NOT NULL,
    version TEXT NOT NULL
);
CREATE TABLE codepoint(
    cp INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    category TEXT NOT NULL REFERENCES category(code),
    combining INTEGER NOT NULL DEFAULT 0,
    bidi TEXT NOT NULL,
    decomposition TEXT,
    digit INTEGER,
    numeric_value TEXT,
    mirrored BOOLEAN NOT NULL,
    old_name TEXT,
    uppercase INTEGER,
    lowercase INTEGER,
    titlecase INTEGER,
    block_id INTEGER REFERENCES block(id)
);
CREATE TABLE alias(
    cp INTEGER NOT NULL REFERENCES codepoint(cp) ON DELETE CASCADE,
    alias TEXT NOT NULL,
    kind TEXT NOT NULL,
    PRIMARY KEY (cp, alias)
);
CREATE TABLE country(
    alpha_2 TEXT PRIMARY KEY,
    alpha_3 TEXT NOT NULL UNIQUE,
    numeric_code INTEGER NOT NULL,
    name TEXT NOT NULL,
    official_name TEXT,
    flag TEXT,
    document TEXT NOT NULL
);
CREATE TABLE subdivision(
    code TEXT PRIMARY KEY,
    country TEXT NOT NULL REFERENCES country(alpha_2),
    parent TEXT,
    name TEXT NOT NULL,
    kind TEXT NOT NULL
);
CREATE TABLE former_country(
    alpha_4 TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    withdrawn DATE NOT NULL,
    comment TEXT
);
CREATE TABLE language(
    alpha_3 TEXT PRIMARY KEY,
    alpha_2 TEXT UNIQUE,
    name TEXT NOT NULL,
    inverted_name TEXT,
    scope TEXT NOT NULL,
    kind TEXT NOT NULL
);
CREATE TABLE currency(
    alpha_3 TEXT PRIMARY KEY,
    numeric_code INTEGER,
    name TEXT NOT NULL
);
CREATE TABLE rename_log(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    cp INTEGER NOT NULL,
    before TEXT NOT NULL,
    after TEXT NOT NULL
);

-- The data, in one transaction: without it every staging line would be synced on its own.
BEGIN;

CREATE TABLE line(text TEXT);
CREATE TABLE raw(cp, name, category, combining, bidi, decomposition, decimal_digit, digit, numeric_value,
                 mirrored, old_name, comment, uppercase, lowercase, titlecase);

-- SQL has no function from hexadecimal text to a number; a table of all code points serves instead.
CREATE TABLE hex(text TEXT PRIMARY KEY, value INTEGER NOT NULL);
WITH RECURSIVE n(value) AS (SELECT 0 UNION ALL SELECT value + 1 FROM n WHERE value < 0x10FFFF)
INSERT INTO hex SELECT printf('%04X', value), value FROM n;

INSERT INTO category(code, major, name) VALUES
    ('Lu', 'Letter', 'Uppercase Letter'), ('Ll', 'Letter', 'Lowercase Letter'),
    ('Lt', 'Letter', 'Titlecase Letter'), ('Lm', 'Letter', 'Modifier Letter'),
    ('Lo', 'Letter', 'Other Letter'), ('Mn', 'Mark', 'Nonspacing Mark'),
    ('Mc', 'Mark', 'Spacing Mark'), ('Me', 'Mark', 'Enclosing Mark'),
    ('Nd', 'Number', 'Decimal Number'), ('Nl', 'Number', 'Letter Number'),
    ('No', 'Number', 'Other Number'), ('Pc', 'Punctuation', 'Connector Punctuation'),
    ('Pd', 'Punctuation', 'Dash Punctuation'), ('Ps', 'Punctuation', 'Open Punctuation'),
    ('Pe', 'Punctuation', 'Close Punctuation'), ('Pi', 'Punctuation', 'Initial Punctuation'),
    ('Pf', 'Punctuation', 'Final Punctuation'), ('Po', 'Punctuation', 'Other Punctuation'),
    ('Sm', 'Symbol', 'Math Symbol'), ('Sc', 'Symbol', 'Currency Symbol'),
    ('Sk', 'Symbol', 'Modifier Symbol'), ('So', 'Symbol', 'Other Symbol'),
    ('Zs', 'Separator', 'Space Separator'), ('Zl', 'Separator', 'Line Separator'),
    ('Zp', 'Separator', 'Paragraph Separator'), ('Cc', 'Other', 'Control'),
    ('Cf', 'Other', 'Format'), ('Cs', 'Other', 'Surrogate'),
    ('Co', 'Other', 'Private Use'), ('Cn', 'Other', 'Unassigned');

-- `First..Last; Value # comment`: one staging table of ranges serves three files.
CREATE TABLE range(file TEXT, first TEXT, last TEXT, value TEXT);
CREATE TRIGGER range_from_line AFTER INSERT ON line
WHEN new.text GLOB '[0-9A-F]*;*'
BEGIN
    INSERT INTO range
    SELECT (SELECT file FROM source),
           CASE WHEN instr(field, '..') THEN substr(field, 1, instr(field, '..') - 1) ELSE field END,
           CASE WHEN instr(field, '..') THEN substr(field, instr(field, '..') + 2) ELSE field END,
           trim(CASE WHEN instr(rest, '#') THEN substr(rest, 1, instr(rest, '#') - 1) ELSE rest END)
    FROM (SELECT trim(substr(new.text, 1, instr(new.text, ';') - 1)) AS field,
                 substr(new.text, instr(new.text, ';') + 1) AS rest);
END;
CREATE TABLE source(file TEXT);
INSERT INTO source VALUES ('blocks');
-- The ascii mode knows no quotation marks, which these files use as ordinary characters.
.mode ascii
.separator "\036" "\n"
.import unicode/Blocks.txt line
UPDATE source SET file = 'scripts';
.import unicode/Scripts.txt line
UPDATE source SET file = 'ages';
.import unicode/DerivedAge.txt line
UPDATE source SET file = 'aliases';
.import unicode/NameAliases.txt line

INSERT INTO block(first, last, name)
SELECT f.value, l.value, r.value FROM range r
JOIN hex f ON f.text = r.first JOIN hex l ON l.text = r.last
WHERE r.file = 'blocks' ORDER BY f.value;
INSERT INTO script_range
SELECT f.value, l.value, r.value FROM range r
JOIN hex f ON f.text = r.first JOIN hex l ON l.text = r.last
WHERE r.file = 'scripts' ORDER BY f.value;
INSERT INTO age_range
SELECT f.value, l.value, r.value FROM range r
JOIN hex f ON f.text = r.first JOIN hex l ON l.text = r.last
WHERE r.file = 'ages' ORDER BY f.value;

.separator ";" "\n"
.import unicode/UnicodeData.txt raw
INSERT INTO codepoint
SELECT h.value, raw.name, raw.category, CAST(raw.combining AS INTEGER), raw.bidi,
       nullif(raw.decomposition, ''), CAST(nullif(raw.digit, '') AS INTEGER), nullif(raw.numeric_value, ''),
       raw.mirrored = 'Y', nullif(raw.old_name, ''),
       (SELECT value FROM hex WHERE text = raw.uppercase),
       (SELECT value FROM hex WHERE text = raw.lowercase),
       (SELECT value FROM hex WHERE text = raw.titlecase),
       (SELECT id FROM block WHERE first <= h.value AND last >= h.value)
FROM raw JOIN hex h ON h.text = raw.cp;
INSERT INTO alias
SELECT h.value, substr(r.value, 1, instr(r.value, ';') - 1), substr(r.value, instr(r.value, ';') + 1)
FROM range r JOIN hex h ON h.text = r.first WHERE r.file = 'aliases';

INSERT INTO country
SELECT value ->> 'alpha_2', value ->> 'alpha_3', CAST(value ->> 'numeric' AS INTEGER), value ->> 'name',
       value ->> 'official_name', value ->> 'flag', value
FROM json_each(readfile('iso/iso_3166-1.json'), '$."3166-1"');
INSERT INTO subdivision
SELECT value ->> 'code', substr(value ->> 'code', 1, 2), value ->> 'parent', value ->> 'name', value ->> 'type'
FROM json_each(readfile('iso/iso_3166-2.json'), '$."3166-2"');
INSERT INTO former_country
SELECT value ->> 'alpha_4', value ->> 'name', value ->> 'withdrawal_date', value ->> 'comment'
FROM json_each(readfile('iso/iso_3166-3.json'), '$."3166-3"');
INSERT INTO language
SELECT value ->> 'alpha_3', value ->> 'alpha_2', value ->> 'name', value ->> 'inverted_name',
       value ->> 'scope', value ->> 'type'
FROM json_each(readfile('iso/iso_639-3.json'), '$."639-3"');
INSERT INTO currency
SELECT value ->> 'alpha_3', CAST(value ->> 'numeric' AS INTEGER), value ->> 'name'
FROM json_each(readfile('iso/iso_4217.json'), '$."4217"');

DROP TABLE line;
DROP TABLE raw;
DROP TABLE range;
DROP TABLE hex;
DROP TABLE source;
COMMIT;

CREATE INDEX codepoint_by_name ON codepoint(name);
CREATE INDEX codepoint_by_category ON codepoint(category, cp);
CREATE INDEX codepoint_by_block ON codepoint(block_id);
CREATE INDEX codepoint_with_case ON codepoint(lowercase) WHERE lowercase IS NOT NULL;
CREATE INDEX subdivision_by_country ON subdivision(country, kind);
CREATE INDEX language_by_name ON language(name COLLATE NOCASE);

CREATE VIEW letter AS
SELECT c.cp, c.name, c.uppercase, c.lowercase, b.name AS block
FROM codepoint c JOIN block b ON b.id = c.block_id JOIN category k ON k.code = c.category
WHERE k.major = 'Letter';

CREATE TRIGGER codepoint_renamed AFTER UPDATE OF name ON codepoint
WHEN old.name <> new.name
BEGIN
    INSERT INTO rename_log(cp, before, after) VALUES (new.cp, old.name, new.name);
END;

PRAGMA foreign_key_check;
VACUUM;
