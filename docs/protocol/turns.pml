/* Holding and turns: who may commit what a scheduler decided, whatever stops, dies or gets no answer, at any step.
 *
 * N masters and one scheduler: a row of a database, with a timer and a state. There are no clocks here: any master may be
 * declared lost at any moment (its lease ended, a clock jumped, the crash hint was wrong), and any may doubt its own lease
 * at any moment, so what is proved holds whatever clocks do. Clocks are in lease.pml.
 *
 * A pause needs no words: between any two steps of one process the others may take any number of theirs.
 * README.md explains both, says which line of the code each step stands for, and lists the mistakes (-D...).
 */
#ifndef N
#define N 2            /* masters */
#endif
#ifndef TICKS
#define TICKS 2        /* due times that the scheduler has to serve, one after another */
#endif
#ifndef OWN
#define OWN 1          /* turns without a timer (a message, background code): they change the state only */
#endif
#ifndef FAULTS
#define FAULTS 2       /* of the masters, the network and the clocks, of any kind, at any moment */
#endif
#ifndef ORDERS
#define ORDERS 1       /* of a person: disable and enable again, or move */
#endif

#define NOBODY 0
#define OLD (N + 1)    /* an incarnation that is over: its row says 'lost', its process is dead or has joined anew */

mtype = { no_tx, tick, own, take, retake, release }

/* ---- the database ------------------------------------------------------------------------------------------------ */

byte holder = NOBODY;  /* schedulers.incarnation: NOBODY, the present one of process 1..N, or OLD */
byte term = 0;         /* schedulers.term */
bool is_enabled = true;/* schedulers.enabled */
byte due = 0;          /* timers.due, counted in ticks */
byte state = 0;        /* scheduler_state: how many turns went into it */
byte made[TICKS];      /* how many buildsets each tick has made */
bool lost[N + 2];      /* masters.state = 'lost', of the present incarnation of process 1..N */
#ifdef KEY_ONLY
bool keyed[TICKS];     /* what a unique index on (scheduler, due time) would refuse */
#endif

/* The transaction that has the scheduler's row locked. There is at most one: that is what a lock is. */
mtype tx = no_tx;
byte tx_inc;           /* its incarnation */
byte tx_term;          /* the term that it names */
byte tx_due, tx_state; /* what its turn was made from */
byte tx_client;        /* the process that waits for its answer; NOBODY: the connection is broken */
bool tx_sent;          /* COMMIT has arrived: the server will carry it out, or not, by itself */

/* ---- the processes ------------------------------------------------------------------------------------------------ */

byte mine[N + 2];      /* the term under which the scheduler is active in that process; 0: it stands by */
bool dead[N + 2];      /* at this moment */
byte gone = 0;         /* how many will never come back */
byte faults = FAULTS;
byte own_left = OWN;
hidden byte ok;        /* these two are used within one step only */
hidden mtype was;

#define IS_FREE   (holder == NOBODY || holder == OLD || lost[holder])
#define OWNED     (holder != NOBODY && holder != OLD && mine[holder] == term && !dead[holder] && is_enabled)
#define ALL_DONE  (due == TICKS)

#ifndef NO_LIVENESS
ltl owned_and_served { ([]<> OWNED) && (<> ALL_DONE) }
#endif

/* ---- transactions ------------------------------------------------------------------------------------------------- */

inline begin(kind, term_) {
  tx = kind; tx_inc = me; tx_term = term_; tx_due = d; tx_state = s; tx_client = me
}

inline roll_back() {
  tx = no_tx; tx_inc = 0; tx_term = 0; tx_due = 0; tx_state = 0; tx_client = NOBODY; tx_sent = false
}

#if defined(KEY_ONLY)
#define CAUSE_IS_THERE(what, d_) (what != tick || !keyed[d_])
#elif defined(CLAIM_ONCE)
#define CAUSE_IS_THERE(what, d_) true
#else
#define CAUSE_IS_THERE(what, d_) (what != tick || due == d_)     /* compare-and-set on the timer */
#endif

/* A turn's effects become durable, and visible to all. */
inline write_turn(what, inc_, term_, d_, s_) {
#ifndef ONLY_TICKS
  assert(holder == inc_ && term == term_ && is_enabled);   /* P2: by its holder, under the present term */
  assert(state == s_);                                  /* P5: made from what the last committed turn left */
#endif
  state++;
  if
  :: what == tick ->
     made[d_]++;
     assert(made[d_] == 1);                             /* P4: no tick twice */
     due = d_ + 1
#ifdef KEY_ONLY
     ; keyed[d_] = true
#endif
  :: else
  fi
}

/* COMMIT is carried out. ok: it did what it was for. */
inline commit() {
  ok = true;
  if
  :: tx == tick || tx == own ->
     if
     :: CAUSE_IS_THERE(tx, tx_due) -> write_turn(tx, tx_inc, tx_term, tx_due, tx_state)
     :: else -> ok = false                              /* CauseGone: rolled back */
     fi
  :: tx == take ->
     assert(is_enabled && IS_FREE);                        /* P1: only what nobody alive holds is taken */
     holder = tx_inc; term++
  :: tx == retake ->
     term++
  :: tx == release ->
     assert(holder == tx_inc && term == tx_term);       /* P1: nobody gives up what another one holds */
     holder = NOBODY; term++
  fi;
  roll_back()
}

/* What the server does by itself, sooner or later. */
proctype Server() {
end_of_work:
  do
  :: atomic { tx != no_tx && tx_client == NOBODY && tx_sent -> commit() }               /* its answer was lost */
  :: d_step { tx != no_tx && tx_client == NOBODY -> roll_back() }                             /* rolled back */
#ifndef NO_TIMEOUT
  :: d_step { tx != no_tx && tx_client != NOBODY && dead[tx_client] -> roll_back() }    /* idle for too long */
#endif
#ifdef PRUNE
  :: keyed[0] -> keyed[0] = false
#endif
  od
}

/* ---- a person ------------------------------------------------------------------------------------------------------ */

#define MOVE_TO(j) d_step { orders > 0 && tx == no_tx && is_enabled && !lost[j] && holder != j -> \
                            orders--; holder = j; term++ }

proctype Person() {
  byte orders = ORDERS;
end_of_orders:
  do
  :: d_step { orders > 0 && tx == no_tx && is_enabled -> orders--; is_enabled = false; holder = NOBODY; term++ };
     d_step { tx == no_tx -> is_enabled = true; term++ }
  :: MOVE_TO(1)
  :: MOVE_TO(2)
#if N > 2
  :: MOVE_TO(3)
#endif
  od
}

/* ---- a master ------------------------------------------------------------------------------------------------------ */

/* Its time with the scheduler is over here: the instance is deactivated, what it had not committed is forgotten. */
inline leave() { mine[me] = 0; d = 0; s = 0; what = no_tx }

/* Join under a new incarnation; the one before is over, in the same transaction. */
inline join() {
  if :: holder == me -> holder = OLD :: else fi;
  if :: tx_inc == me -> tx_inc = OLD :: else fi;
  lost[me] = false; doubt = false
}

/* A connection breaks with its process: what had not sent COMMIT is rolled back. */
inline die() {
  if :: tx_client == me -> tx_client = NOBODY :: else fi;
  leave(); doubt = false; dead[me] = true
}

/* Declare j lost: no fault if its process is dead (the crash hint, or its lease), else a mistake. Then end its sessions. */
#define JUDGE(j) \
  atomic { j != me && !lost[me] && !lost[j] && (dead[j] || faults > 0) -> \
           if :: dead[j] :: else -> faults-- fi; lost[j] = true; \
           if :: tx_client == j && !tx_sent -> roll_back() :: true fi }

inline after_turn() { s++; if :: what == tick -> d++ :: else fi; what = no_tx }

proctype Master(byte me) {
  byte d, s;           /* the timer and the state that were loaded, and what turns did to them since */
  byte t;              /* the term of what is being given up */
  bool doubt = false;  /* the term must be raised before anything else is done */
  mtype what;          /* the cause of the turn that is to be committed */

end_stand:
  do
  /* -- take what nobody alive holds */
  :: atomic { mine[me] == 0 && !doubt && !lost[me] && tx == no_tx && is_enabled && IS_FREE -> begin(take, 0) };
     goto in_transaction
#ifdef LOAD_BEFORE_LOCK
  :: d_step { mine[me] == 0 && !doubt && !lost[me] && is_enabled && IS_FREE && d < due -> d = due; s = state }
#endif

  /* -- a turn, for a tick or for another cause: its code has run, in memory, before its transaction begins */
  :: mine[me] != 0 && d < TICKS -> what = tick; goto turn
  :: d_step { mine[me] != 0 && own_left > 0 -> own_left-- }; what = own; goto turn

  /* -- what the row says and what is here are compared */
#ifndef NO_COMPARE
  :: d_step { mine[me] == 0 && !doubt && holder == me -> doubt = true }
#endif
#ifndef CLAIM_ONCE
  :: d_step { mine[me] != 0 && (holder != me || term != mine[me]) -> leave() }
#endif

  /* -- retake: waits for whatever transaction has the row locked */
  :: atomic {
       doubt && tx == no_tx -> doubt = false;
       if
       :: holder == me && is_enabled -> begin(retake, 0); goto in_transaction
       :: else
       fi
     }

  /* -- give up: deactivate first, then release */
  :: d_step { mine[me] != 0 && faults > 0 -> faults--; t = mine[me]; leave() }; goto give_up

  /* -- a beat tells that others have declared it lost, or it doubts its lease by its own clock: it joins again */
#ifndef NO_REJOIN
  :: d_step { lost[me] -> leave(); join() }
  :: d_step { faults > 0 -> faults--; leave(); join() }
#endif

  /* -- the others' leases */
#ifndef NO_VERDICT
  :: JUDGE(1)
  :: JUDGE(2)
#if N > 2
  :: JUDGE(3)
#endif
#endif
  :: d_step { faults > 0 -> faults--; die() }; goto restart
  :: d_step { faults > 0 && gone < N - 1 -> faults--; gone++; die() }; goto stopped
  od;

turn:
#if defined(NO_FENCE)
  atomic {
    if
    :: CAUSE_IS_THERE(what, d) -> write_turn(what, me, mine[me], d, s); after_turn()
    :: else -> leave(); doubt = true
    fi
  };
  goto end_stand;
#elif defined(FENCE_WITHOUT_LOCK)
  if
  :: holder == me && term == mine[me]
  :: else -> goto refused
  fi;
  atomic {
    if
    :: CAUSE_IS_THERE(what, d) -> write_turn(what, me, mine[me], d, s); after_turn()
    :: else -> goto refused
    fi
  };
  goto end_stand;
#else
  atomic {
    tx == no_tx ->
    if
#ifdef FENCE_WITHOUT_TERM
    :: holder == me -> begin(what, term)
#else
    :: holder == me && term == mine[me] -> begin(what, mine[me])       /* the fence: the row is locked from here on */
#endif
    :: else -> goto refused
    fi
  };
#endif

in_transaction:        /* the statements after the first; the process may stop here, with the row locked */
  if
  :: atomic { tx_client == me ->                                       /* COMMIT, and its answer */
       was = tx; commit();
       if
       :: (was == tick || was == own) && ok -> after_turn()
       :: (was == tick || was == own) && !ok -> goto refused           /* CauseGone */
#ifdef LOAD_BEFORE_LOCK
       :: was == take -> mine[me] = term
#else
       :: was == take -> mine[me] = term; d = due; s = state
#endif
       :: was == retake -> mine[me] = term; d = due; s = state
       :: was == release
       fi }
  :: d_step { tx_client == me && faults > 0 -> faults--; tx_sent = true; tx_client = NOBODY };
     goto unknown                                                      /* COMMIT was sent, and no answer comes */
  :: tx_client != me -> goto unknown                                   /* others have ended this session */
  :: d_step { tx_client == me && faults > 0 -> faults--; roll_back() }; goto unknown     /* or the connection breaks */
  :: d_step { tx_client == me && faults > 0 -> faults--; die() }; goto restart
  :: d_step { tx_client == me && faults > 0 && gone < N - 1 -> faults--; gone++; dead[me] = true; leave() };
     goto stopped                                                      /* frozen for good, with the row locked */
  fi;
  goto end_stand;

give_up:
  if
  :: atomic { tx == no_tx ->
       if
#ifdef RELEASE_BY_NAME
       :: true -> begin(release, t)
#else
       :: holder == me && term == t -> begin(release, t)
       :: else -> t = 0; goto end_stand                                /* it is another's by now: nothing to give up */
#endif
       fi; t = 0 };
     goto in_transaction
  :: d_step { faults > 0 -> faults--; t = 0; die() }; goto restart
  fi;

unknown:
#ifdef NO_RETAKE
  atomic { if :: mine[me] != 0 -> d = due; s = state :: else fi };     /* read anew, and on under the same term */
  goto end_stand;
#endif
refused:               /* the term is over here; whether it can go on under the next is for a retake to find out */
  atomic { leave(); doubt = true };
  goto end_stand;

restart:               /* the new process waits until its predecessor of that name is lost, and joins */
  atomic { lost[me] = true; dead[me] = false; join() };
  goto end_stand;

stopped:
  false
}

init {
  atomic {
    holder = 1; term = 1; mine[1] = 1;                 /* it begins in the middle: 1 is active */
    run Server(); run Person(); run Master(1); run Master(2);
#if N > 2
    run Master(3)
#endif
  }
}
