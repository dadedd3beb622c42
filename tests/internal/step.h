/* One instruction of another process at a time, by ptrace. */
#ifndef STEP_H
#define STEP_H

#include "check.h"

#include <elf.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

/* In the process to be stepped: stop here until the tracer goes on. */
static inline void
step_begin_here(void)
{
    CHECK_EQ(ptrace(PTRACE_TRACEME, 0, NULL, NULL), 0);
    raise(SIGSTOP);
}

/* Wait for it to stop: the signal that it stopped for, or 0 if it has ended. */
static inline int
step_await_stop(pid_t pid)
{
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return WIFSTOPPED(status) ? WSTOPSIG(status) : 0;
}

typedef struct {
    u64 pc, call, argument;   /* the second: of a futex call, what to do */
} step_registers;

static inline step_registers
step_where(pid_t pid)
{
#if defined(__x86_64__)
    struct user_regs_struct r;
    struct iovec v = {&r, sizeof r};
    CHECK_EQ(ptrace(PTRACE_GETREGSET, pid, (void *)NT_PRSTATUS, &v), 0);
    return (step_registers){r.rip, r.rax, r.rsi};
#elif defined(__aarch64__)
    struct user_regs_struct r;
    struct iovec v = {&r, sizeof r};
    CHECK_EQ(ptrace(PTRACE_GETREGSET, pid, (void *)NT_PRSTATUS, &v), 0);
    return (step_registers){r.pc, r.regs[8], r.regs[1]};
#else
#error "which register holds the number of a system call?"
#endif
}

/* Is its next instruction a system call? It is a fork of ours: the text is the same. */
static inline bool
step_is_at_call(const step_registers *r)
{
#if defined(__x86_64__)
    return memcmp((const void *)r->pc, "\x0f\x05", 2) == 0;           /* syscall */
#else
    return memcmp((const void *)r->pc, "\x01\x00\x00\xd4", 4) == 0;   /* svc #0 */
#endif
}

/* Is it in this program's own code? What the C library and the vDSO do between two system calls concerns nobody
 * else (the pool's mutex apart: to stand in the middle of it is to stand before or behind it). */
static inline bool
step_is_at_home(const step_registers *r)
{
    extern const char __executable_start[], etext[];
    return r->pc >= (u64)(uintptr_t)__executable_start && r->pc < (u64)(uintptr_t)etext;
}

static inline bool
step_is_at_futex_wait(const step_registers *r)
{
    return step_is_at_call(r) && r->call == SYS_futex && (r->argument & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET;
}

/* Execute one instruction. False: it stopped for a signal of its own, or ended. */
static inline bool
step_one(pid_t pid)
{
    CHECK_EQ(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
    return step_await_stop(pid) == SIGTRAP;
}

static inline void
step_no_more(pid_t pid)
{
    CHECK_EQ(ptrace(PTRACE_DETACH, pid, NULL, NULL), 0);
}

/* A step costs a switch to the stepped process and back, which is dearer across CPUs. */
static inline void
step_share_one_cpu(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(sched_getcpu(), &set);
    sched_setaffinity(0, sizeof set, &set);
}

/* Does the kernel have it asleep? */
static inline bool
step_is_asleep(pid_t pid)
{
    char path[64], state = '?';
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "re");
    if (f != NULL) {
        int n = fscanf(f, "%*d %*s %c", &state);
        fclose(f);
        return n == 1 && state == 'S';
    }
    return false;
}

#endif
