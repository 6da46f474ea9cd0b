"""Compares two answers in CSV: that of sqlite3 and that of another reader of the same database.

    compare.py EXPECTED ACTUAL

Quotation marks and line ends are the writer's choice, and sqlite3 prints a real number with 15 digits; apart from
that the answers have to be the same, row by row. Prints the first difference and exits with status 1 if there is one.
"""

import csv
import itertools
import sys

csv.field_size_limit(1 << 30)


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        yield from csv.reader(file)


def same(expected, actual):
    if expected == actual:
        return True
    # Only what sqlite3 writes as a real number is compared as one: text such as 007 is not.
    if not any(mark in expected for mark in (".", "e", "Inf")):
        return False
    try:
        return f"{float(expected):.14e}" == f"{float(actual):.14e}"
    except ValueError:
        return False


for number, (expected, actual) in enumerate(itertools.zip_longest(rows(sys.argv[1]), rows(sys.argv[2])), 1):
    if expected is None or actual is None:
        print(f"row {number} is {'one too many' if expected is None else 'missing'}: {actual or expected}"[:300])
        sys.exit(1)
    if len(expected) != len(actual) or not all(map(same, expected, actual)):
        print(f"row {number}: {actual}, wanted {expected}"[:600])
        sys.exit(1)
