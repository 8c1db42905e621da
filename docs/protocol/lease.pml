/* Leases: when a master trusts its own, and when others may say that it has ended. In seconds.
 *
 * One holder, WATCHERS that judge it, one database. Each has a clock; time passes for all at once, between any two steps,
 * so every message and every process may be late by any time. What is left when clocks are wrong is in turns.pml.
 * README.md explains both, says which line of the code each step stands for, and lists the modes and mistakes (-D...).
 */
#ifndef LEASE
#define LEASE 10       /* cluster.lease, heartbeat and margin: the defaults */
#define HEARTBEAT 2
#endif
#ifdef NO_MARGIN
#define MARGIN 0
#else
#define MARGIN 1
#endif
#define SLACK 1        /* a beat may be so late before anybody suspects anything */
#ifndef WATCHERS
#define WATCHERS 2
#endif
#ifdef STEP
#define LONGEST (LEASE + MARGIN + 2 * HEARTBEAT)
#else
#define LONGEST (LEASE + HEARTBEAT + SLACK)
#endif

#define ENDED 0        /* lease_until < now: what is kept is the seconds left, plus one, until then */

mtype = { idle, asked, carried_out, refused }

/* the database */
byte lease = LEASE + 1;
bool lost = false;
bool away = false;             /* it answers nobody */
byte away_for = 0;
bool was_away = false;         /* once */

/* the holder */
byte trust = LEASE - MARGIN;   /* for so long, by its own clock, it acts */
mtype beat = idle;
byte age = 0;                  /* of the beat that was asked for, by the holder's clock */
byte since_beat = 0;           /* since one was carried out */
bool dead = false;
byte dead_for = 0;
byte clock_rests = 0;          /* how long the holder's clock must go right before it may miss a second again */

/* the watchers */
bool newer[WATCHERS];          /* it has beaten since that watcher looked */
byte silence[WATCHERS];        /* since that watcher saw that it had beaten */
byte looked = 0;               /* since a watcher looked */
bool looking = false;
bool settled[WATCHERS];        /* its own beats are answered since the database was away */

byte i;

#ifdef PUNCTUAL
#define COUNT_SINCE_BEAT grow(since_beat, HEARTBEAT)
#else
#define COUNT_SINCE_BEAT skip
#endif
#ifdef WATCHFUL
#define COUNT_LOOKED grow(looked, HEARTBEAT)
#else
#define COUNT_LOOKED skip
#endif

inline grow(what, most) { if :: what < most -> what++ :: else fi }
inline shrink(what)     { if :: what > 0 -> what-- :: else fi }

/* A second passes. Modes say what may not be late. */
proctype Time() {
end_of_time:
  do
  :: atomic {
#ifdef PUNCTUAL                /* the holder beats in time */
       (away || dead || since_beat < HEARTBEAT) &&
#endif
#ifdef WATCHFUL                /* the first watcher looks in time, and says at once what it concludes */
       looked < HEARTBEAT && !looking &&
#endif
       !lost ->
       COUNT_SINCE_BEAT; COUNT_LOOKED; shrink(lease);
#ifdef WATCHFUL
       if :: dead -> dead_for++; assert(dead_for <= LONGEST) :: else fi;      /* P9: a dead one is noticed in time */
#endif
       if :: away -> grow(away_for, HEARTBEAT) :: else fi;
       i = 0;
       do
       :: i < WATCHERS ->
          grow(silence[i], LEASE + MARGIN);
          if :: away_for == HEARTBEAT -> settled[i] = false :: else fi;
          i++
       :: else -> i = 0; break
       od;
       if
       :: shrink(trust); grow(age, LEASE); shrink(clock_rests)
#ifdef SLOW                    /* the holder's clock loses up to a second in a lease */
       :: clock_rests == 0 -> clock_rests = LEASE + HEARTBEAT
#endif
       fi
     }
  od
}

proctype World() {
end_of_events:
  do
#ifdef STEP                    /* the database's clock jumps: forward, and back */
  :: d_step { !lost -> lease = ENDED }
  :: d_step { !lost -> lease = LEASE + 1 }
#endif
#ifdef AWAY
  :: d_step { !away && !was_away && !lost -> away = true; was_away = true }
  :: d_step { away -> away = false; away_for = 0; since_beat = 0 }
#endif
#ifdef DEATH
  :: d_step { !dead && !lost -> dead = true; trust = 0; beat = idle; age = 0 }
#endif
  :: false
  od
}

proctype Holder() {
end_of_holder:
  do
  :: d_step { !dead && beat == idle && trust > 0 -> beat = asked; age = 0 }
  :: atomic { beat == asked && !away ->
       if
       :: lost -> beat = refused
       :: else ->
          lease = LEASE + 1; since_beat = 0; newer[0] = true;
#if WATCHERS > 1
          newer[1] = true;
#endif
          beat = carried_out
       fi }
  :: d_step { beat == asked || beat == carried_out -> beat = idle; age = 0 }   /* no answer: it asks again */
  :: d_step { beat == carried_out ->                                           /* the answer */
       if
       :: trust == 0                                                           /* too late: it has given up */
#ifdef TRUST_FROM_ANSWER
       :: trust > 0 -> trust = LEASE - MARGIN
#else
       :: trust > 0 && LEASE - MARGIN - age > trust -> trust = LEASE - MARGIN - age
       :: trust > 0 && LEASE - MARGIN - age <= trust
#endif
       fi;
       beat = idle; age = 0 }
  :: d_step { beat == refused -> trust = 0; beat = idle; age = 0 }
  od
}

#ifdef DATABASE_CLOCK_ALONE
#define HEARD_NOTHING true
#else
#define HEARD_NOTHING (silence[me] >= HEARTBEAT + SLACK)
#endif
#ifdef JUDGE_AFTER_OUTAGE
#define MAY_JUDGE true
#else
#define MAY_JUDGE settled[me]
#endif
#ifdef WITHOUT_COMPARE_AND_SET
#define NOT_BEATEN true
#else
#define NOT_BEATEN !newer[me]
#endif

inline verdict() {
  lost = true;
#ifdef PUNCTUAL
  assert(dead);                                        /* who beats in time is never declared lost */
#endif
#ifndef STEP
  assert(trust == 0);                                  /* an owner stops before another one may start */
#endif
#ifdef STEP_IS_SAFE
  assert(trust == 0);
#endif
}

proctype Watcher(byte me) {
  bool beaten, ended, certain;
end_of_watch:
  do
  :: d_step { !away && !lost -> beaten = newer[me]; newer[me] = false; ended = (lease == ENDED); looking = true };
     if
     :: d_step { beaten -> silence[me] = 0; looked = 0 }
     :: d_step { !beaten -> certain = (silence[me] >= LEASE + MARGIN) };
        if
        :: MAY_JUDGE && (certain || (ended && HEARD_NOTHING)) ->
           atomic {
             if
             :: !away && !lost && NOT_BEATEN && (certain || lease == ENDED) -> verdict()
             :: else
             fi;
             looked = 0
           }
        :: else -> looked = 0
        fi
     fi;
     d_step { beaten = false; ended = false; certain = false; looking = false }
  :: d_step { !settled[me] && !away -> settled[me] = true; silence[me] = 0 }   /* its own first answered beat */
  od
}

init {
  atomic {
    settled[0] = true; run Watcher(0);
#if WATCHERS > 1
    settled[1] = true; run Watcher(1);
#endif
    run Time(); run World(); run Holder()
  }
}
