"""The tables. Times are whole microseconds since the epoch, UTC; text columns named ``*_json`` hold JSON.

What must not be is forbidden here (unique and check constraints, partial indexes), not only in code. What a turn
inserts by the thousand (buildsets, tasks) carries no foreign keys: each would be a look-up for every row, and the
rows that they would point to come in the same transaction.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
    true,
)

SCHEMA_VERSION = 1
"""What this release writes; raised by every migration."""
OLDEST_COMPATIBLE = 1
"""The oldest release's version that can work with what this release writes."""

metadata = MetaData()
Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite makes row numbers only for a column of this exact type

# Rows that every turn updates: with room on their pages, PostgreSQL writes the new version beside the old one and leaves the
# indexes alone (measured on 10,000 timers: 0.12 s instead of 0.80 s).
ROOM = {"fillfactor": 50}

cluster = Table(
    "cluster",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("cluster_id", Text, nullable=False),
    Column("schema_version", Integer, nullable=False),
    Column("oldest_compatible", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="cluster_one_row"),
)

# Locking a row until COMMIT numbers things in the order in which they commit; reserving a block needs no such lock.
counters = Table(
    "counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

masters = Table(
    "masters",
    metadata,
    Column("incarnation", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("lease_until", BigInteger, nullable=False),  # by the lease clock
    Column("lease_s", Integer, nullable=False),
    Column("beats", BigInteger, nullable=False, server_default=text("0")),
    Column("last_beat_at", BigInteger, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("ended_why", Text),
    Column("roles", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("schema_version", Integer, nullable=False),
    Column("host", Text, nullable=False),
    Column("machine_id", Text, nullable=False),
    Column("boot_id", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("pid_started", BigInteger, nullable=False),
    Column("crash_key", BigInteger),  # the advisory lock, or NULL where there is no crash hint
    Column("clock_offset_us", BigInteger, nullable=False, server_default=text("0")),
    Column("running", Text),  # the scheduler whose turn was running at the last beat
    CheckConstraint("state IN ('up', 'stopping', 'stopped', 'lost')", name="masters_state"),
)
# A name has one master at a time.
Index(
    "masters_one_up",
    masters.c.name,
    unique=True,
    postgresql_where=masters.c.state == "up",
    sqlite_where=masters.c.state == "up",
)
Index("masters_by_state", masters.c.state)

schedulers = Table(
    "schedulers",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("enabled", Boolean, nullable=False, server_default=true()),
    Column("disabled_why", Text),
    Column("enabled_at", BigInteger),  # when a person enabled it again; NULL: it never was disabled
    Column("incarnation", Text),
    Column("term", BigInteger, nullable=False, server_default=text("0")),
    Column("active_since", BigInteger),
    Column("change_start", BigInteger),  # the newest change when it began to consume them; NULL: it never did
    Column("change_cursor", BigInteger),
    Column("finished_start", BigInteger),
    Column("finished_cursor", BigInteger),
    Column("blocked", Integer, nullable=False, server_default=text("0")),  # how often it blocked its master's reactor
    Column("turns", BigInteger, nullable=False, server_default=text("0")),
    UniqueConstraint("kind", "name", name="schedulers_name"),
    CheckConstraint("kind IN ('scheduler', 'change_source')", name="schedulers_kind"),
    postgresql_with=ROOM,
)
Index("schedulers_by_holder", schedulers.c.incarnation)

standby = Table(
    "standby",
    metadata,
    Column("scheduler_id", BigInteger, ForeignKey("schedulers.id", ondelete="CASCADE"), primary_key=True),
    Column("incarnation", Text, ForeignKey("masters.incarnation", ondelete="CASCADE"), primary_key=True),
    Column("digest", Text, nullable=False),
    Column("retry_at", BigInteger, nullable=False, server_default=text("0")),
)
Index("standby_by_incarnation", standby.c.incarnation)

# Append-only: who held what, under which term (until the next one began), and why it changed hands. A scheduler's turns are
# numbered in the order in which they commit. ``turns`` of them were committed when the term began, so that what says in
# which turn it was written can be told to have been written under the term that it names, whatever clocks say.
ownership = Table(
    "ownership",
    metadata,
    Column("scheduler_id", BigInteger, primary_key=True),
    Column("term", BigInteger, primary_key=True),
    Column("incarnation", Text),
    Column("since", BigInteger, nullable=False),
    Column("turns", BigInteger, nullable=False, server_default=text("0")),
    Column("why", Text, nullable=False),
)

# What a scheduler is, since which turn: for people who ask when it fires, and why a change was not for it. Append-only.
# ``change_cursor``: where what is described began; changes up to there were judged by what it was before.
descriptions = Table(
    "descriptions",
    metadata,
    Column("scheduler_id", BigInteger, ForeignKey("schedulers.id", ondelete="CASCADE"), primary_key=True),
    Column("turn", BigInteger, primary_key=True),
    Column("term", BigInteger, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("change_cursor", BigInteger),
    Column("about_json", Text, nullable=False),
)

scheduler_state = Table(
    "scheduler_state",
    metadata,
    Column("scheduler_id", BigInteger, ForeignKey("schedulers.id", ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value_json", Text, nullable=False),
    Column("term", BigInteger),
    Column("turn", BigInteger),
    postgresql_with=ROOM,
)

timers = Table(
    "timers",
    metadata,
    Column("scheduler_id", BigInteger, ForeignKey("schedulers.id", ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("due", BigInteger, nullable=False),
    postgresql_with=ROOM,
)

classifications = Table(
    "classifications",
    metadata,
    Column("scheduler_id", BigInteger, ForeignKey("schedulers.id", ondelete="CASCADE"), primary_key=True),
    Column("change_number", BigInteger, primary_key=True),
    Column("important", Boolean, nullable=False),
)

changes = Table(
    "changes",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("request_id", Text, nullable=False, unique=True),  # a repeated insert is one change
    Column("received_at", BigInteger, nullable=False),
    Column("when_at", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("committer", Text),
    Column("files_json", Text, nullable=False),
    Column("comments", Text, nullable=False),
    Column("branch", Text),
    Column("revision", Text),
    Column("category", Text),
    Column("repository", Text, nullable=False),
    Column("codebase", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("properties_json", Text, nullable=False),
    Column("revlink", Text, nullable=False),
)
Index("changes_by_codebase", changes.c.codebase, changes.c.number)

sourcestamps = Table(
    "sourcestamps",
    metadata,
    Column("id", Id, primary_key=True),
    Column("content", Text, nullable=False, unique=True),  # a digest of all that follows: content is the key
    Column("codebase", Text, nullable=False),
    Column("repository", Text, nullable=False),
    Column("branch", Text),
    Column("revision", Text),
    Column("project", Text, nullable=False),
    Column("patch_json", Text),
)

buildsets = Table(
    "buildsets",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("scheduler_id", BigInteger),
    Column("scheduler", Text),  # its name, kept when the scheduler itself is pruned
    Column("term", BigInteger),
    Column("turn", BigInteger),
    Column("incarnation", Text),
    Column("reason", Text, nullable=False),
    Column("submitted_at", BigInteger, nullable=False),
    Column("due_at", BigInteger),
    Column("cause", Text),  # of the turn that made it, as in failures; NULL: it was background code's own turn
    Column("external_id", Text),
    Column("properties_json", Text, nullable=False),
    Column("waited_for", Boolean, nullable=False, server_default=false()),
    Column("parent_json", Text),
    Column("tasks_left", Integer, nullable=False),
    Column("result", Text),
    Column("completed_at", BigInteger),
    Column("finished_number", BigInteger),  # the order in which buildsets completed
)
# A tick makes one buildset, whatever goes wrong (promise P4).
Index("buildsets_one_per_tick", buildsets.c.scheduler_id, buildsets.c.due_at, unique=True)
Index("buildsets_by_submission", buildsets.c.submitted_at, buildsets.c.id)
Index(
    "buildsets_by_finish",
    buildsets.c.finished_number,
    unique=True,
    postgresql_where=buildsets.c.finished_number.is_not(None),
    sqlite_where=buildsets.c.finished_number.is_not(None),
)

buildset_sourcestamps = Table(
    "buildset_sourcestamps",
    metadata,
    Column("buildset_id", BigInteger, primary_key=True),
    Column("sourcestamp_id", BigInteger, primary_key=True),
)

buildset_changes = Table(
    "buildset_changes",
    metadata,
    Column("buildset_id", BigInteger, primary_key=True),
    Column("change_number", BigInteger, primary_key=True),
)
Index("buildset_changes_by_change", buildset_changes.c.change_number)

builders = Table(
    "builders",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("max_parallel", Integer),
    Column("on_lost", Text, nullable=False, server_default="fail"),
    Column("archive", Text, nullable=False, server_default="auto"),
    Column("collapses", Boolean, nullable=False, server_default=false()),  # unstarted requests, into the newest
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("buildset_id", BigInteger),
    Column("builder_id", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("result", Text),
    Column("priority", Integer, nullable=False, server_default=text("0")),
    Column("attempt", Integer, nullable=False, server_default=text("0")),
    Column("incarnation", Text),  # its runner
    Column("submitted_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),
    Column("status_line", Text, nullable=False, server_default=""),
    Column("properties_json", Text, nullable=False, server_default="{}"),
)
Index(
    "tasks_waiting",
    tasks.c.builder_id,
    tasks.c.priority.desc(),
    tasks.c.submitted_at,
    tasks.c.id,
    postgresql_where=tasks.c.state == "queued",
    sqlite_where=tasks.c.state == "queued",
)
Index(
    "tasks_by_runner",
    tasks.c.incarnation,
    tasks.c.state,
    postgresql_where=tasks.c.incarnation.is_not(None),
    sqlite_where=tasks.c.incarnation.is_not(None),
)
Index("tasks_by_submission", tasks.c.submitted_at, tasks.c.id)
Index("tasks_by_builder_state", tasks.c.builder_id, tasks.c.state)
Index("tasks_by_buildset", tasks.c.buildset_id)

steps = Table(
    "steps",
    metadata,
    Column("task_id", BigInteger, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),
    Column("exit_code", Integer),
    Column("why", Text),
)

log_chunks = Table(
    "log_chunks",
    metadata,
    Column("task_id", BigInteger, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("text", Text, nullable=False),
)

messages = Table(
    "messages",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("scheduler_id", BigInteger, ForeignKey("schedulers.id", ondelete="CASCADE"), nullable=False),
    Column("key", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("body_json", Text, nullable=False),
    Column("made_at", BigInteger, nullable=False),
    Column("made_by", Text, nullable=False, server_default=""),
    Column("answered_at", BigInteger),
    Column("answer_json", Text),
    UniqueConstraint("scheduler_id", "key", name="messages_once"),
)
Index(
    "messages_waiting",
    messages.c.scheduler_id,
    messages.c.id,
    postgresql_where=messages.c.answered_at.is_(None),
    sqlite_where=messages.c.answered_at.is_(None),
)

# A cause that user code failed to answer: waiting to be tried again, or set aside for a person.
failures = Table(
    "failures",
    metadata,
    Column("scheduler_id", BigInteger, ForeignKey("schedulers.id", ondelete="CASCADE"), primary_key=True),
    Column("cause", Text, primary_key=True),  # 'change:17', 'timer:KEY', 'message:5', 'finished:9', 'activate'
    Column("detail_json", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("first_at", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False),
    Column("retry_at", BigInteger),  # NULL: set aside
    Column("error", Text, nullable=False),
)

# Ticks that came due and were not served, and what was not for a disabled scheduler: silent loss is not ours.
skips = Table(
    "skips",
    metadata,
    Column("id", Id, primary_key=True),
    Column("scheduler_id", BigInteger, ForeignKey("schedulers.id", ondelete="CASCADE"), nullable=False),
    Column("what", Text, nullable=False),  # 'ticks': due times; 'changes', 'finished' (buildsets): numbers
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("term", BigInteger),
    Column("turn", BigInteger),  # NULL: no turn, a person enabled it again
)
Index("skips_by_scheduler", skips.c.scheduler_id, skips.c.id)

# A recurrence made at run time. ``next_due``: when the calendar must look at it (NULL: paused, or over), so that
# those due soon are found without the others. ``version`` rises with everything that a person does to it.
schedules = Table(
    "schedules",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, unique=True),
    Column("rule_json", Text, nullable=False),
    Column("start_json", Text, nullable=False),  # what each firing starts
    Column("metadata_json", Text),
    Column("catch_up", Text, nullable=False),
    Column("catch_up_limit", Integer, nullable=False),
    Column("grace_us", BigInteger),
    Column("jitter_us", BigInteger, nullable=False),
    Column("overlap", Text, nullable=False),
    Column("paused", Boolean, nullable=False, server_default=false()),
    Column("paused_why", Text),
    Column("since", BigInteger, nullable=False),  # made or resumed: what came due before it is caught up with
    Column("examined", BigInteger, nullable=False),  # every nominal time up to here has been served or skipped
    Column("next_due", BigInteger),
    Column("ended_at", BigInteger),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("made_at", BigInteger, nullable=False),
    Column("made_by", Text, nullable=False),
    CheckConstraint("catch_up IN ('none', 'one', 'all')", name="schedules_catch_up"),
    CheckConstraint("overlap IN ('skip', 'queue', 'allow', 'replace')", name="schedules_overlap"),
)
Index(
    "schedules_by_due",
    schedules.c.next_due,
    schedules.c.id,
    postgresql_where=schedules.c.next_due.is_not(None),
    sqlite_where=schedules.c.next_due.is_not(None),
)

# A firing of a schedule; its id is also that of the buildset that it starts. ``due_at``: the nominal time; NULL: a
# person asked for it, at no time of the rule's.
executions = Table(
    "executions",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("schedule_id", BigInteger, nullable=False),  # no foreign key: executions outlive their schedule
    Column("due_at", BigInteger),
    Column("cause", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("result", Text),
    Column("why", Text, nullable=False, server_default=""),
    Column("made_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    CheckConstraint("cause IN ('due', 'run now', 'backfill')", name="executions_cause"),
    CheckConstraint("state IN ('waiting', 'started', 'finished', 'dropped')", name="executions_state"),
)
# One execution a nominal time, whatever goes wrong.
Index("executions_once", executions.c.schedule_id, executions.c.due_at, unique=True)
Index("executions_by_schedule", executions.c.schedule_id, executions.c.id)
Index(
    "executions_unfinished",
    executions.c.schedule_id,
    executions.c.id,
    postgresql_where=executions.c.state.in_(("waiting", "started")),
    sqlite_where=executions.c.state.in_(("waiting", "started")),
)

# Nominal times of schedules that were not served; a run of them is one row.
schedule_skips = Table(
    "schedule_skips",
    metadata,
    Column("id", Id, primary_key=True),
    Column("schedule_id", BigInteger, nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
)
Index("schedule_skips_by_schedule", schedule_skips.c.schedule_id, schedule_skips.c.id)

# What a person asks of a master from any host: 'reconfig', say.
orders = Table(
    "orders",
    metadata,
    Column("id", Id, primary_key=True),
    Column("incarnation", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("made_at", BigInteger, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("answered_at", BigInteger),
    Column("answer_json", Text),
)
Index("orders_by_master", orders.c.incarnation, orders.c.id)

# SQLite only: what has been announced, so that a watcher of the file learns what changed in it.
announcements = Table(
    "announcements",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
)
