/*
 * Refuses what the Gramine library OS refuses, with the same errors, so that a test needs no Gramine to meet them.
 * Built as a shared library and preloaded (LD_PRELOAD) into a test program:
 *
 *     cc -shared -fPIC -O1 -o librefuse.so refuse.c
 *
 * It sees calls that go through libc's functions, `syscall` among them; what libc does inside itself and what a
 * static binary does passes by. With FL_SOCKET_SHIM_LOG=FILE it appends a line of counters to FILE at exit, the proof
 * that it was there.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define REFUSE(number) do { count(&refused); errno = (number); return -1; } while (0)

static long refused, options, sent_batches, received_batches;

static void count(long *counter) { __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED); }

__attribute__((destructor)) static void log_counters(void) {
    const char *path = getenv("FL_SOCKET_SHIM_LOG");
    if (!path) return;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) return;
    dprintf(fd, "refused=%ld options=%ld sendmmsg=%ld recvmmsg=%ld\n", refused, options, sent_batches, received_batches);
    close(fd);
}

static int socket_fact(int fd, int name) {
    int value = -1;
    socklen_t len = sizeof value;
    int before = errno;
    if (getsockopt(fd, SOL_SOCKET, name, &value, &len)) value = -1;
    errno = before;
    return value;
}

static int is_udp(int fd) {
    int domain = socket_fact(fd, SO_DOMAIN);
    return socket_fact(fd, SO_TYPE) == SOCK_DGRAM && (domain == AF_INET || domain == AF_INET6);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t len) {
    int answer = 0;
    if (level == IPPROTO_IP) answer = socket_fact(fd, SO_DOMAIN) == AF_INET6 ? EOPNOTSUPP : ENOPROTOOPT;
    if (level == IPPROTO_IPV6 && name != IPV6_V6ONLY) answer = ENOPROTOOPT;
    if (level == IPPROTO_UDP) answer = ENOPROTOOPT;
    if (level == SOL_SOCKET) {
        switch (name) {
        case SO_TIMESTAMP: case SO_MARK: case SO_BUSY_POLL: case SO_RCVBUFFORCE: case SO_SNDBUFFORCE: case SO_BINDTODEVICE:
            answer = ENOPROTOOPT;
        }
    }
    if (answer) { count(&options); REFUSE(answer); }
    return NEXT(setsockopt)(fd, level, name, value, len);
}

/* Control messages of the socket level alone pass. */
static int has_foreign_control(const struct msghdr *message) {
    struct msghdr *header = (struct msghdr *)message;
    for (struct cmsghdr *one = CMSG_FIRSTHDR(header); one; one = CMSG_NXTHDR(header, one))
        if (one->cmsg_level != SOL_SOCKET) return 1;
    return 0;
}

static int refused_flags(int fd, int flags) {
    return (flags & (MSG_PEEK | MSG_ERRQUEUE | MSG_WAITFORONE)) && is_udp(fd);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    if (is_udp(fd) && has_foreign_control(message)) REFUSE(EINVAL);
    return NEXT(sendmsg)(fd, message, flags);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
    if (refused_flags(fd, flags)) REFUSE(EOPNOTSUPP);
    ssize_t got = NEXT(recvmsg)(fd, message, flags);
    if (got >= 0 && is_udp(fd)) message->msg_controllen = 0;
    return got;
}

ssize_t recv(int fd, void *buffer, size_t len, int flags) {
    if (refused_flags(fd, flags)) REFUSE(EOPNOTSUPP);
    return NEXT(recv)(fd, buffer, len, flags);
}

ssize_t recvfrom(int fd, void *buffer, size_t len, int flags, struct sockaddr *from, socklen_t *from_len) {
    if (refused_flags(fd, flags)) REFUSE(EOPNOTSUPP);
    return NEXT(recvfrom)(fd, buffer, len, flags, from, from_len);
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned int len, int flags) {
    count(&sent_batches);
    for (unsigned int i = 0; i < len; i++)
        if (has_foreign_control(&messages[i].msg_hdr)) REFUSE(EINVAL);
    return (int)NEXT(syscall)(SYS_sendmmsg, fd, messages, len, flags);
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned int len, int flags, struct timespec *timeout) {
    count(&received_batches);
    if (timeout) REFUSE(EINVAL);
    if (refused_flags(fd, flags)) REFUSE(EOPNOTSUPP);
    int got = (int)NEXT(syscall)(SYS_recvmmsg, fd, messages, len, flags, NULL);
    for (int i = 0; i < got; i++) messages[i].msg_hdr.msg_controllen = 0;
    return got;
}

int statx(int at, const char *path, int flags, unsigned int mask, struct statx *answer) {
    (void)at, (void)path, (void)flags, (void)mask, (void)answer;
    REFUSE(ENOSYS);
}
int flock(int fd, int operation) { (void)fd, (void)operation; REFUSE(ENOSYS); }
int inotify_init(void) { REFUSE(ENOSYS); }
int inotify_init1(int flags) { (void)flags; REFUSE(ENOSYS); }
int timerfd_create(clockid_t clock, int flags) { (void)clock, (void)flags; REFUSE(ENOSYS); }
int memfd_create(const char *name, unsigned int flags) { (void)name, (void)flags; REFUSE(ENOSYS); }
void *mremap(void *old, size_t old_len, size_t len, int flags, ...) {
    (void)old, (void)old_len, (void)len, (void)flags;
    count(&refused);
    errno = ENOSYS;
    return MAP_FAILED;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    if (node && !strcmp(node, "localhost")) { count(&refused); return EAI_NONAME; }
    return NEXT(getaddrinfo)(node, service, hints, found);
}

/* The same by number. */
long syscall(long number, ...) {
    long a[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
    va_end(list);
    switch (number) {
    case SYS_setsockopt: return setsockopt((int)a[0], (int)a[1], (int)a[2], (void *)a[3], (socklen_t)a[4]);
    case SYS_sendmsg: return sendmsg((int)a[0], (void *)a[1], (int)a[2]);
    case SYS_recvmsg: return recvmsg((int)a[0], (void *)a[1], (int)a[2]);
    case SYS_sendmmsg: return sendmmsg((int)a[0], (void *)a[1], (unsigned int)a[2], (int)a[3]);
    case SYS_recvmmsg: return recvmmsg((int)a[0], (void *)a[1], (unsigned int)a[2], (int)a[3], (void *)a[4]);
    case SYS_recvfrom:
        return recvfrom((int)a[0], (void *)a[1], (size_t)a[2], (int)a[3], (void *)a[4], (socklen_t *)a[5]);
    case SYS_statx: case SYS_flock: case SYS_inotify_init1: case SYS_timerfd_create: case SYS_memfd_create: case SYS_mremap:
#ifdef SYS_inotify_init
    case SYS_inotify_init:
#endif
#ifdef SYS_io_uring_setup
    case SYS_io_uring_setup:
#endif
        REFUSE(ENOSYS);
    }
    return NEXT(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
