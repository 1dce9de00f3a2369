/* Stands between a process and the disk under one directory, and fails as it is told to.
 *
 * DISK_SHIM_DIR names the directory, DISK_SHIM_FAULT a file that holds the fault: "full" (ENOSPC), "readonly"
 * (EROFS), "broken" (EIO for every write), "unsynced" (EIO for every flush), "killed" (the process ends at a write) or
 * "flushed" (the process ends right after a flush). An empty file, or none: no fault.
 *
 * With a number, such as "full 100", the fault meets only SQLite's write-ahead log, and there only what has written
 * more often than that since the last flush: large transactions fail, and small ones do not.
 * For tests only, preloaded by the dynamic linker. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int is_below(const char *path) {
    const char *dir = getenv("DISK_SHIM_DIR");
    return dir && path && strncmp(path, dir, strlen(dir)) == 0;
}

/* Whether the file is below the directory; `wal` says whether it is a write-ahead log. */
static int is_ours(int fd, int *wal) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    *wal = length > 4 && !strcmp(path + length - 4, "-wal");
    return is_below(path);
}

/* Writes to the write-ahead log since its last flush, or since one of them failed. */
static unsigned long unflushed;

/* Reads the fault that `writes` to the write-ahead log meet now; `word` is empty if none. */
static void fault(char word[32], int wal, unsigned long writes) {
    char text[64] = "";
    unsigned long spared = 0;
    word[0] = 0;
    const char *name = getenv("DISK_SHIM_FAULT");
    if (!name) return;
    int fd = REAL(open)(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    text[length < 0 ? 0 : length] = 0;
    if (sscanf(text, "%31s %lu", word, &spared) == 2 && (!wal || writes <= spared)) word[0] = 0;
}

static void end(void) {
    kill(getpid(), SIGKILL);
}

/* The error that a write, or a change of a file's length, meets now; 0 for none. */
static int write_error(int fd) {
    char word[32];
    int wal, error = 0;
    if (!is_ours(fd, &wal)) return 0;
    fault(word, wal, wal ? ++unflushed : 0);
    if (!strcmp(word, "full")) error = ENOSPC;
    if (!strcmp(word, "readonly")) error = EROFS;
    if (!strcmp(word, "broken")) error = EIO;
    if (!strcmp(word, "killed")) end();
    /* What failed is given up: what comes next is another transaction. */
    if (error && wal) unflushed = 0;
    return error;
}

static int flush(int fd, int (*real)(int)) {
    char word[32];
    int wal;
    if (!is_ours(fd, &wal)) return real(fd);
    fault(word, wal, unflushed);
    if (wal) unflushed = 0;
    if (!strcmp(word, "unsynced") || !strcmp(word, "broken")) {
        errno = EIO;
        return -1;
    }
    int done = real(fd);
    if (!strcmp(word, "flushed")) end();
    return done;
}

#define GUARD(error) do { int found = (error); if (found) { errno = found; return -1; } } while (0)

ssize_t write(int fd, const void *bytes, size_t size) {
    GUARD(write_error(fd));
    return REAL(write)(fd, bytes, size);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    GUARD(write_error(fd));
    return REAL(writev)(fd, parts, count);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at) {
    GUARD(write_error(fd));
    return REAL(pwrite)(fd, bytes, size, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at) {
    GUARD(write_error(fd));
    return REAL(pwrite64)(fd, bytes, size, at);
}

int ftruncate(int fd, off_t length) {
    GUARD(write_error(fd));
    return REAL(ftruncate)(fd, length);
}

int ftruncate64(int fd, off64_t length) {
    GUARD(write_error(fd));
    return REAL(ftruncate64)(fd, length);
}

int fallocate(int fd, int mode, off_t at, off_t length) {
    GUARD(write_error(fd));
    return REAL(fallocate)(fd, mode, at, length);
}

int fsync(int fd) {
    return flush(fd, REAL(fsync));
}

int fdatasync(int fd) {
    return flush(fd, REAL(fdatasync));
}
