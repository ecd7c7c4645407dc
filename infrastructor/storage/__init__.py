"""PostgreSQL: one asyncpg pool, one repository per table family, SQL in `queries/*.sql`."""
