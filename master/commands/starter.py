"""The file that ``locum init`` writes."""

STARTER = """\
# One master's configuration. The same file on every master: they find each other through the database.
# 'locum check' says everything that is wrong with it; 'locum check --schema' helps editors.

database:
  # SQLite serves masters on one host; the path is relative to this file. For several hosts:
  # url: postgresql://locum@db1,db2/locum?target_session_attrs=read-write
  url: sqlite:///locum.sqlite

cluster:
  lease: 10s        # how long a master that has gone silent keeps its schedulers
  heartbeat: 2s     # how often each master renews its lease
  timezone: UTC     # for schedulers that name none

# master:           # this master's own; names may also come from 'locum start --name' or $LOCUM_MASTER_NAME
#   name: m1
#   roles: [schedulers, tasks]

# plugins: [./my_schedulers.py]     # your own scheduler classes: type my_schedulers.MyClass below

# change_sources:
#   - type: GitPoller
#     name: app
#     repository: https://git.example.org/app.git
#     branches: [main]
#     poll_interval: 60s

# What tasks do, step by step.
builders:
  - name: hello
    steps:
      - shell: [echo, "hello from %(prop:scheduler)s"]
      - shell: echo "revision $LOCUM_PROP_REVISION of branch $LOCUM_PROP_BRANCH"
  - name: tidy
    max_parallel: 1               # in the whole cluster
    steps:
      - shell: echo "tidying up on branch $LOCUM_PROP_BRANCH"
        timeout: 5m

# What decides when they run. Each scheduler is active on exactly one master; the others stand by.
schedulers:
  # Every minute. Try also: locum force minutely --wait
  - type: Periodic
    name: minutely
    periodicBuildTimer: 60
    builderNames: [hello]

  # Each change on the branch main, once the tree has been quiet for ten seconds.
  # Try: locum change add --branch main --revision abc123 --comments "a first change"
  - type: SingleBranchScheduler
    name: quick
    branch: main
    treeStableTimer: 10
    builderNames: [hello]

  - type: Nightly
    name: nightly
    hour: 3
    minute: 0
    timezone: UTC
    builderNames: [tidy]
"""
