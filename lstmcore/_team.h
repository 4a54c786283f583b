/* The threads of one parallel region: they wait for each other, take pieces of work by number, and
 * leave together when the call is to end before its time.
 *
 * OpenMP starts and ends the region. Its barriers stay out of it: at those of libgomp the last
 * thread always makes a system call, which a step of a recurrence is too short to pay for. Here a
 * thread spins for as long as a meeting usually takes, then offers its processor each time it
 * looks: beside a busy process the one waited for may be queued behind it.
 */
#ifndef LSTMCORE_TEAM_H
#define LSTMCORE_TEAM_H

#include "_vector.h"

#ifdef _WIN32
#include <windows.h>
LSTMCORE_INLINE void team_yield(void) { SwitchToThread(); }
LSTMCORE_INLINE int64_t team_clock(void) { return (int64_t)GetTickCount64(); }
#else
#include <sched.h>
#include <time.h>
LSTMCORE_INLINE void team_yield(void) { sched_yield(); }
/* Milliseconds since some moment. */
LSTMCORE_INLINE int64_t team_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
#endif

#ifdef _OPENMP
#include <omp.h>
LSTMCORE_INLINE int team_size(void) { return omp_get_num_threads(); }
#else
LSTMCORE_INLINE int team_size(void) { return 1; }
#endif

typedef struct {
    char before[64];            /* a cache line for each: who spins must not slow who counts */
    unsigned turn;              /* how often all have met */
    int ended;                  /* what `end` was when all last met */
    char between[56];
    int arrived;
    int next;                   /* the number of the next piece */
    int end;                    /* the call is to end before its time */
    int done;                   /* how many have nothing left to do */
    char after[48];
} Team;

#if defined(__GNUC__) || defined(__clang__)

#if defined(__x86_64__)
LSTMCORE_INLINE void team_pause(void) { _mm_pause(); }
#elif defined(__aarch64__)
LSTMCORE_INLINE void team_pause(void) { __asm__ volatile("yield"); }
#else
LSTMCORE_INLINE void team_pause(void) { }
#endif

#define TEAM_SPINS 64           /* about a microsecond */

/* Wait until all of the team are here; the numbers of pieces then begin at 0 again.
 *
 * `ended` changes while all are here and at no other time, so whatever they decide by it before
 * they meet again, all decide alike: nobody is left waiting for one who has gone. */
static void team_meet(Team *team, int size)
{
    unsigned turn = __atomic_load_n(&team->turn, __ATOMIC_RELAXED);
    int looks = 0;
    if (__atomic_add_fetch(&team->arrived, 1, __ATOMIC_ACQ_REL) == size) {
        __atomic_store_n(&team->arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&team->next, 0, __ATOMIC_RELAXED);
        team->ended = __atomic_load_n(&team->end, __ATOMIC_RELAXED);
        __atomic_store_n(&team->turn, turn + 1, __ATOMIC_RELEASE);
        return;
    }
    while (__atomic_load_n(&team->turn, __ATOMIC_ACQUIRE) == turn)
        if (++looks < TEAM_SPINS)
            team_pause();
        else
            team_yield();
}

LSTMCORE_INLINE int team_take(Team *team)
{ return __atomic_fetch_add(&team->next, 1, __ATOMIC_RELAXED); }

LSTMCORE_INLINE void team_end(Team *team) { __atomic_store_n(&team->end, 1, __ATOMIC_RELAXED); }
LSTMCORE_INLINE int team_ends(Team *team) { return __atomic_load_n(&team->end, __ATOMIC_RELAXED); }
LSTMCORE_INLINE void team_leave(Team *team)
{ __atomic_add_fetch(&team->done, 1, __ATOMIC_RELAXED); }
LSTMCORE_INLINE int team_left(Team *team) { return __atomic_load_n(&team->done, __ATOMIC_RELAXED); }

#else

#include <intrin.h>
static void team_meet(Team *team, int size)
{
    (void)size;
#pragma omp barrier
#pragma omp single
    {
        team->next = 0;
        team->ended = team->end;
    }                           /* and a barrier behind it */
}

LSTMCORE_INLINE int team_take(Team *team)
{ return (int)_InterlockedIncrement((volatile long *)&team->next) - 1; }

LSTMCORE_INLINE void team_end(Team *team) { *(volatile int *)&team->end = 1; }
LSTMCORE_INLINE int team_ends(Team *team) { return *(volatile int *)&team->end; }
LSTMCORE_INLINE void team_leave(Team *team) { _InterlockedIncrement((volatile long *)&team->done); }
LSTMCORE_INLINE int team_left(Team *team) { return *(volatile int *)&team->done; }

#endif

LSTMCORE_INLINE int team_has_ended(Team *team) { return team->ended; }

#endif
