-- What the trigger wrote: nothing until names change.
SELECT id, cp, before, after FROM rename_log ORDER BY id;
