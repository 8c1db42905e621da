"""The schema, its migrations, every SQL statement, connections and wake-ups. Imports nothing of ours."""
