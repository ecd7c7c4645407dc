"""what a change is about, as bits: 4 bytes a version where a list of names took 33."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# A name's place is its bit and stays so for ever: new names are added at the end, here and in storage/rows.py.
FUNCTIONS = (
    """
    CREATE FUNCTION infrastructor_change_names() RETURNS TEXT[] IMMUTABLE LANGUAGE sql AS $$
        SELECT '{cosmetic,image,env,ports,volumes,networks,health,auth,upstream,service_added,service_removed,other}'
               ::text[]
    $$
    """,
    """
    CREATE FUNCTION infrastructor_change_classes(bits INTEGER) RETURNS TEXT[] IMMUTABLE STRICT LANGUAGE sql AS $$
        SELECT ARRAY(
            SELECT name FROM unnest(infrastructor_change_names()) WITH ORDINALITY AS one (name, place)
            WHERE bits & (1 << place::int - 1) <> 0 ORDER BY place
        )
    $$
    """,
    """
    CREATE FUNCTION infrastructor_change_bits(classes TEXT[]) RETURNS INTEGER IMMUTABLE STRICT LANGUAGE sql AS $$
        SELECT COALESCE(bit_or(1 << place::int - 1), 0)
        FROM unnest(infrastructor_change_names()) WITH ORDINALITY AS one (name, place) WHERE name = ANY(classes)
    $$
    """,
)

# The view and the function keep all that they are but for this column.
CONVERT = """
DO $do$
DECLARE
    shown TEXT := pg_get_viewdef('configuration_snapshots'::regclass);
    keeping TEXT := pg_get_functiondef('infrastructor_keep_versions'::regproc);
    view_now TEXT := replace(shown, '{shown_before}', '{shown_after}');
    keeping_now TEXT := replace(keeping, 'classes {type_before}', 'classes {type_after}');
BEGIN
    IF view_now = shown OR keeping_now = keeping THEN
        RAISE EXCEPTION 'configuration_snapshots or infrastructor_keep_versions is not what revision {known} made';
    END IF;
    DROP VIEW configuration_snapshots;
    ALTER TABLE configuration_versions ALTER COLUMN classes TYPE {type_after} USING {convert}(classes);
    EXECUTE 'CREATE VIEW configuration_snapshots AS ' || view_now;
    EXECUTE keeping_now;
END $do$
"""
PLAIN, NAMED = "version.classes,", "infrastructor_change_classes(version.classes) AS classes,"
UP = {
    "shown_before": PLAIN, "shown_after": NAMED, "type_before": "TEXT[]", "type_after": "INTEGER",
    "convert": "infrastructor_change_bits", "known": "0008",
}  # fmt: skip
DOWN = {
    "shown_before": NAMED, "shown_after": PLAIN, "type_before": "INTEGER", "type_after": "TEXT[]",
    "convert": "infrastructor_change_classes", "known": "0013",
}  # fmt: skip


def upgrade() -> None:
    for statement in (*FUNCTIONS, CONVERT.format(**UP)):
        op.execute(statement)


def downgrade() -> None:
    op.execute(CONVERT.format(**DOWN))
    for function in ("bits", "classes", "names"):
        op.execute(f"DROP FUNCTION infrastructor_change_{function}")
