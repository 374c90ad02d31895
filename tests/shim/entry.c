/*
 * Starts a program with a stand-in for the entry that the Gramine library OS offers to programs that know of it, so that a
 * test needs no Gramine to see one jump there. The program may be static: nothing is preloaded.
 *
 *     cc -O1 -o entry entry.c && ./entry FILE PROGRAM ARGUMENT...
 *
 * The entry's address lies at gs:24 of every thread. As there, number and arguments are where the `syscall` instruction
 * takes them, the address to return to is in rcx, and vector registers do not survive; the question for the base of gs is not
 * understood. FILE begins with the number of jumps, eight bytes, at all times.
 *
 * How: a child of this process watches it become the program, and before the program's first instruction maps FILE, which
 * holds the entry's code, in its name, and points gs at it. Then it lets go. Threads inherit gs.
 */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

/* The mapped page: the counter, the code, and what gs points at. */
enum { PAGE = 4096, CODE = 8, BLOCK = 2048, ENTRY_IN_BLOCK = 24 };

extern const char page_start[], page_end[];
__asm__(".section .rodata\n"
        "page_start:\n"
        "counter: .quad 0\n"
        "lock incq counter(%rip)\n"
        /* The kernel keeps vector registers and overwrites rcx and r11. */
        "movq %rcx, %xmm0\n"
        "syscall\n"
        "movq %xmm0, %rcx\n"
        "pcmpeqd %xmm1, %xmm1\n"
        "pcmpeqd %xmm2, %xmm2\n"
        "pcmpeqd %xmm3, %xmm3\n"
        "pcmpeqd %xmm6, %xmm6\n"
        "pcmpeqd %xmm7, %xmm7\n"
        "pcmpeqd %xmm15, %xmm15\n"
        "movq $-1, %r11\n"
        "jmp *%rcx\n"
        "page_end:\n"
        ".text\n");

static void must(int holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "entry: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Makes the program, which stands still, map the page. */
static long map_in(pid_t pid, int file) {
    struct user_regs_struct before, regs;
    must(!ptrace(PTRACE_GETREGS, pid, 0, &before), "registers");
    errno = 0;
    long text = ptrace(PTRACE_PEEKTEXT, pid, before.rip, 0);
    must(!errno, "code");
    /* syscall; int3 */
    must(!ptrace(PTRACE_POKETEXT, pid, before.rip, (text & ~0xffffffL) | 0xcc050f), "code");
    regs = before;
    regs.rax = SYS_mmap, regs.rdi = 0, regs.rsi = PAGE, regs.rdx = PROT_READ | PROT_WRITE | PROT_EXEC;
    regs.r10 = MAP_SHARED, regs.r8 = file, regs.r9 = 0;
    must(!ptrace(PTRACE_SETREGS, pid, 0, &regs), "registers");
    must(!ptrace(PTRACE_CONT, pid, 0, 0), "going on");
    int status;
    must(waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP, "waiting");
    must(!ptrace(PTRACE_GETREGS, pid, 0, &regs), "registers");
    errno = -regs.rax;
    must((long)regs.rax > 0, "mapping in the program");
    must(!ptrace(PTRACE_POKETEXT, pid, before.rip, text), "code");
    before.gs_base = regs.rax + BLOCK;
    must(!ptrace(PTRACE_SETREGS, pid, 0, &before), "registers");
    return regs.rax;
}

static void watch(pid_t pid, int file, int tell) {
    char *page = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    must(page != MAP_FAILED, "mapping");
    memcpy(page, page_start, page_end - page_start);
    must(!ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL), "watching");
    must(write(tell, "", 1) == 1, "telling");
    int status;
    must(waitpid(pid, &status, __WALL) == pid && status >> 8 == (SIGTRAP | PTRACE_EVENT_EXEC << 8), "becoming");
    /* Out of execve itself, whose answer would overwrite rax. */
    must(!ptrace(PTRACE_SYSCALL, pid, 0, 0) && waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status), "becoming");
    *(long *)(page + BLOCK + ENTRY_IN_BLOCK) = map_in(pid, file) + CODE;
    must(!ptrace(PTRACE_DETACH, pid, 0, 0), "letting go");
    exit(0);
}

int main(int count, char **words) {
    if (count < 3) return 2;
    int file = open(words[1], O_RDWR | O_CREAT | O_TRUNC, 0600);
    must(file >= 0 && !ftruncate(file, PAGE), words[1]);
    int pair[2];
    must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), "pair");
    pid_t program = getpid(), watcher = fork();
    must(watcher >= 0, "fork");
    char go;
    if (!watcher) {
        must(read(pair[1], &go, 1) == 1, "hearing");
        watch(program, file, pair[1]);
    }
    /* Some systems let a process watch only those below it, unless it is named. They who do not know the wish need none. */
    prctl(PR_SET_PTRACER, watcher, 0, 0, 0);
    must(write(pair[0], "", 1) == 1, "telling");
    close(pair[1]);
    must(read(pair[0], &go, 1) == 1, "hearing");

    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_arch_prctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH_GET_GS, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof steps / sizeof *steps, steps};
    must(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "privileges");
    must(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0), "filter");
    execvp(words[2], words + 2);
    must(0, words[2]);
}
