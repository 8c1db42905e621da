"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "announcements",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic"),
    )
    op.create_table(
        "audit",
        sa.Column("id", _ID, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "builders",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("max_parallel", sa.Integer(), nullable=True),
        sa.Column("on_lost", sa.Text(), server_default="fail", nullable=False),
        sa.Column("archive", sa.Text(), server_default="auto", nullable=False),
        sa.Column("collapses", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "buildset_changes",
        sa.Column("buildset_id", sa.BigInteger(), nullable=False),
        sa.Column("change_number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("buildset_id", "change_number"),
    )
    op.create_index("buildset_changes_by_change", "buildset_changes", ["change_number"], unique=False)
    op.create_table(
        "buildset_sourcestamps",
        sa.Column("buildset_id", sa.BigInteger(), nullable=False),
        sa.Column("sourcestamp_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("buildset_id", "sourcestamp_id"),
    )
    op.create_table(
        "buildsets",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("scheduler_id", sa.BigInteger(), nullable=True),
        sa.Column("scheduler", sa.Text(), nullable=True),
        sa.Column("term", sa.BigInteger(), nullable=True),
        sa.Column("turn", sa.BigInteger(), nullable=True),
        sa.Column("incarnation", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("submitted_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("cause", sa.Text(), nullable=True),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("properties_json", sa.Text(), nullable=False),
        sa.Column("waited_for", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("parent_json", sa.Text(), nullable=True),
        sa.Column("tasks_left", sa.Integer(), nullable=False),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("completed_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_number", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "buildsets_by_finish",
        "buildsets",
        ["finished_number"],
        unique=True,
        postgresql_where=sa.text("finished_number IS NOT NULL"),
        sqlite_where=sa.text("finished_number IS NOT NULL"),
    )
    op.create_index("buildsets_one_per_tick", "buildsets", ["scheduler_id", "due_at"], unique=True)
    op.create_index("buildsets_by_submission", "buildsets", ["submitted_at", "id"], unique=False)
    op.create_table(
        "changes",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("when_at", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("committer", sa.Text(), nullable=True),
        sa.Column("files_json", sa.Text(), nullable=False),
        sa.Column("comments", sa.Text(), nullable=False),
        sa.Column("branch", sa.Text(), nullable=True),
        sa.Column("revision", sa.Text(), nullable=True),
        sa.Column("category", sa.Text(), nullable=True),
        sa.Column("repository", sa.Text(), nullable=False),
        sa.Column("codebase", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("properties_json", sa.Text(), nullable=False),
        sa.Column("revlink", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("request_id"),
    )
    op.create_index("changes_by_codebase", "changes", ["codebase", "number"], unique=False)
    op.create_table(
        "cluster",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("cluster_id", sa.Text(), nullable=False),
        sa.Column("schema_version", sa.Integer(), nullable=False),
        sa.Column("oldest_compatible", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name="cluster_one_row"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "counters",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "masters",
        sa.Column("incarnation", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.Column("lease_s", sa.Integer(), nullable=False),
        sa.Column("beats", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_beat_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_why", sa.Text(), nullable=True),
        sa.Column("roles", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("schema_version", sa.Integer(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("machine_id", sa.Text(), nullable=False),
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("pid_started", sa.BigInteger(), nullable=False),
        sa.Column("crash_key", sa.BigInteger(), nullable=True),
        sa.Column("clock_offset_us", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("running", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('up', 'stopping', 'stopped', 'lost')", name="masters_state"),
        sa.PrimaryKeyConstraint("incarnation"),
    )
    op.create_index("masters_by_state", "masters", ["state"], unique=False)
    op.create_index(
        "masters_one_up",
        "masters",
        ["name"],
        unique=True,
        postgresql_where=sa.text("state = 'up'"),
        sqlite_where=sa.text("state = 'up'"),
    )
    op.create_table(
        "orders",
        sa.Column("id", _ID, nullable=False),
        sa.Column("incarnation", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("answered_at", sa.BigInteger(), nullable=True),
        sa.Column("answer_json", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("orders_by_master", "orders", ["incarnation", "id"], unique=False)
    op.create_table(
        "ownership",
        sa.Column("scheduler_id", sa.BigInteger(), nullable=False),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("incarnation", sa.Text(), nullable=True),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("turns", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("scheduler_id", "term"),
    )
    op.create_table(
        "schedulers",
        sa.Column("id", _ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("disabled_why", sa.Text(), nullable=True),
        sa.Column("enabled_at", sa.BigInteger(), nullable=True),
        sa.Column("incarnation", sa.Text(), nullable=True),
        sa.Column("term", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("active_since", sa.BigInteger(), nullable=True),
        sa.Column("change_start", sa.BigInteger(), nullable=True),
        sa.Column("change_cursor", sa.BigInteger(), nullable=True),
        sa.Column("finished_start", sa.BigInteger(), nullable=True),
        sa.Column("finished_cursor", sa.BigInteger(), nullable=True),
        sa.Column("blocked", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("turns", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("kind IN ('scheduler', 'change_source')", name="schedulers_kind"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("kind", "name", name="schedulers_name"),
        postgresql_with={"fillfactor": 50},
    )
    op.create_index("schedulers_by_holder", "schedulers", ["incarnation"], unique=False)
    op.create_table(
        "sourcestamps",
        sa.Column("id", _ID, nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("codebase", sa.Text(), nullable=False),
        sa.Column("repository", sa.Text(), nullable=False),
        sa.Column("branch", sa.Text(), nullable=True),
        sa.Column("revision", sa.Text(), nullable=True),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("patch_json", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("content"),
    )
    op.create_table(
        "tasks",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("buildset_id", sa.BigInteger(), nullable=True),
        sa.Column("builder_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("priority", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("incarnation", sa.Text(), nullable=True),
        sa.Column("submitted_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("status_line", sa.Text(), server_default="", nullable=False),
        sa.Column("properties_json", sa.Text(), server_default="{}", nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("tasks_by_builder_state", "tasks", ["builder_id", "state"], unique=False)
    op.create_index("tasks_by_buildset", "tasks", ["buildset_id"], unique=False)
    op.create_index("tasks_by_submission", "tasks", ["submitted_at", "id"], unique=False)
    op.create_index(
        "tasks_by_runner",
        "tasks",
        ["incarnation", "state"],
        unique=False,
        postgresql_where=sa.text("incarnation IS NOT NULL"),
        sqlite_where=sa.text("incarnation IS NOT NULL"),
    )
    op.create_index(
        "tasks_waiting",
        "tasks",
        ["builder_id", sa.literal_column("priority DESC"), "submitted_at", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'queued'"),
        sqlite_where=sa.text("state = 'queued'"),
    )
    op.create_table(
        "classifications",
        sa.Column("scheduler_id", sa.BigInteger(), nullable=False),
        sa.Column("change_number", sa.BigInteger(), nullable=False),
        sa.Column("important", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["scheduler_id"], ["schedulers.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("scheduler_id", "change_number"),
    )
    op.create_table(
        "failures",
        sa.Column("scheduler_id", sa.BigInteger(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("detail_json", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("retry_at", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["scheduler_id"], ["schedulers.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("scheduler_id", "cause"),
    )
    op.create_table(
        "descriptions",
        sa.Column("scheduler_id", sa.BigInteger(), nullable=False),
        sa.Column("turn", sa.BigInteger(), nullable=False),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("change_cursor", sa.BigInteger(), nullable=True),
        sa.Column("about_json", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["scheduler_id"], ["schedulers.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("scheduler_id", "turn"),
    )
    op.create_table(
        "log_chunks",
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("task_id", "attempt", "step", "sequence"),
    )
    op.create_table(
        "messages",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("scheduler_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("body_json", sa.Text(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("made_by", sa.Text(), server_default="", nullable=False),
        sa.Column("answered_at", sa.BigInteger(), nullable=True),
        sa.Column("answer_json", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["scheduler_id"], ["schedulers.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("scheduler_id", "key", name="messages_once"),
    )
    op.create_index(
        "messages_waiting",
        "messages",
        ["scheduler_id", "id"],
        unique=False,
        postgresql_where=sa.text("answered_at IS NULL"),
        sqlite_where=sa.text("answered_at IS NULL"),
    )
    op.create_table(
        "scheduler_state",
        sa.Column("scheduler_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value_json", sa.Text(), nullable=False),
        sa.Column("term", sa.BigInteger(), nullable=True),
        sa.Column("turn", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["scheduler_id"], ["schedulers.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("scheduler_id", "key"),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "skips",
        sa.Column("id", _ID, nullable=False),
        sa.Column("scheduler_id", sa.BigInteger(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("term", sa.BigInteger(), nullable=True),
        sa.Column("turn", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["scheduler_id"], ["schedulers.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("skips_by_scheduler", "skips", ["scheduler_id", "id"], unique=False)
    op.create_table(
        "standby",
        sa.Column("scheduler_id", sa.BigInteger(), nullable=False),
        sa.Column("incarnation", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("retry_at", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(["incarnation"], ["masters.incarnation"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["scheduler_id"], ["schedulers.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("scheduler_id", "incarnation"),
    )
    op.create_index("standby_by_incarnation", "standby", ["incarnation"], unique=False)
    op.create_table(
        "steps",
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("why", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("task_id", "attempt", "number"),
    )
    op.create_table(
        "executions",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("schedule_id", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("why", sa.Text(), server_default="", nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("cause IN ('due', 'run now', 'backfill')", name="executions_cause"),
        sa.CheckConstraint("state IN ('waiting', 'started', 'finished', 'dropped')", name="executions_state"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("executions_by_schedule", "executions", ["schedule_id", "id"], unique=False)
    op.create_index("executions_once", "executions", ["schedule_id", "due_at"], unique=True)
    op.create_index(
        "executions_unfinished",
        "executions",
        ["schedule_id", "id"],
        unique=False,
        postgresql_where=sa.text("state IN ('waiting', 'started')"),
        sqlite_where=sa.text("state IN ('waiting', 'started')"),
    )
    op.create_table(
        "schedule_skips",
        sa.Column("id", _ID, nullable=False),
        sa.Column("schedule_id", sa.BigInteger(), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("schedule_skips_by_schedule", "schedule_skips", ["schedule_id", "id"], unique=False)
    op.create_table(
        "schedules",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("rule_json", sa.Text(), nullable=False),
        sa.Column("start_json", sa.Text(), nullable=False),
        sa.Column("metadata_json", sa.Text(), nullable=True),
        sa.Column("catch_up", sa.Text(), nullable=False),
        sa.Column("catch_up_limit", sa.Integer(), nullable=False),
        sa.Column("grace_us", sa.BigInteger(), nullable=True),
        sa.Column("jitter_us", sa.BigInteger(), nullable=False),
        sa.Column("overlap", sa.Text(), nullable=False),
        sa.Column("paused", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("paused_why", sa.Text(), nullable=True),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("examined", sa.BigInteger(), nullable=False),
        sa.Column("next_due", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.CheckConstraint("catch_up IN ('none', 'one', 'all')", name="schedules_catch_up"),
        sa.CheckConstraint("overlap IN ('skip', 'queue', 'allow', 'replace')", name="schedules_overlap"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_index(
        "schedules_by_due",
        "schedules",
        ["next_due", "id"],
        unique=False,
        postgresql_where=sa.text("next_due IS NOT NULL"),
        sqlite_where=sa.text("next_due IS NOT NULL"),
    )
    op.create_table(
        "timers",
        sa.Column("scheduler_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["scheduler_id"], ["schedulers.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("scheduler_id", "key"),
        postgresql_with={"fillfactor": 50},
    )
