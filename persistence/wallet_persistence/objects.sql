-- Every table of the search path with its columns, constraints and indexes, as two texts: a name
-- and a definition in Postgres' own words.  Indexes that carry a constraint are told by it, and
-- of the storage options only the fillfactor: how to vacuum is the operator's to choose.
WITH tables AS (
    SELECT oid, relname, relpersistence, reloptions
    FROM pg_class
    WHERE relkind IN ('r', 'p') AND pg_table_is_visible(oid)
      AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
)
SELECT 'table ' || relname AS name,
       concat_ws(' ', CASE relpersistence WHEN 'p' THEN 'logged' ELSE 'UNLOGGED' END,
                 (SELECT option FROM unnest(reloptions) AS option WHERE option LIKE 'fillfactor=%'))
           AS definition
FROM tables

UNION ALL
SELECT format('column %s.%s', relname, attname),
       concat_ws(' ', format_type(atttypid, atttypmod),
                 (SELECT 'COLLATE ' || quote_ident(collname) FROM pg_collation
                  WHERE oid = attcollation AND collname <> 'default'),
                 CASE WHEN attnotnull THEN 'NOT NULL' END,
                 CASE WHEN attidentity <> '' THEN 'IDENTITY' END,
                 CASE attgenerated WHEN '' THEN 'DEFAULT' ELSE 'GENERATED' END
                     || ' ' || pg_get_expr(adbin, adrelid))
FROM tables
JOIN pg_attribute ON attrelid = tables.oid AND attnum > 0 AND NOT attisdropped
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum

UNION ALL
-- NOT NULL, of which later versions make constraints, is told by the column.
SELECT format('constraint %s.%s', relname, conname), pg_get_constraintdef(pg_constraint.oid)
FROM tables
JOIN pg_constraint ON conrelid = tables.oid AND contype <> 'n'

UNION ALL
SELECT format('index %s.%s', tables.relname, pg_class.relname),
       concat_ws(' ', CASE WHEN indisunique THEN 'UNIQUE' END,
                 substring(pg_get_indexdef(indexrelid) FROM ' USING (.*)$'),
                 CASE WHEN NOT indisvalid THEN 'INVALID' END)
FROM tables
JOIN pg_index ON indrelid = tables.oid
JOIN pg_class ON pg_class.oid = indexrelid
WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
