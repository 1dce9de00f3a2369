/* Stands between a process and the disk under one directory, and fails as it is told to.
 *
 * DISK_SHIM_DIR names the directory, DISK_SHIM_FAULT a file that holds the fault: "full" (ENOSPC), "readonly"
 * (EROFS), "broken" (EIO for every write) or "unsynced" (EIO for every flush). An empty file, or none: no fault.
 * For tests only, preloaded by the dynamic linker. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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

static int is_ours(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_below(path);
}

static void fault(char *word, size_t size) {
    word[0] = 0;
    const char *name = getenv("DISK_SHIM_FAULT");
    if (!name) return;
    int fd = REAL(open)(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    ssize_t length = read(fd, word, size - 1);
    close(fd);
    word[length < 0 ? 0 : length] = 0;
    word[strcspn(word, "\n")] = 0;
}

/* The error that a write, or a change of a file's length, meets now; 0 for none. */
static int write_error(int fd) {
    char word[32];
    if (!is_ours(fd)) return 0;
    fault(word, sizeof word);
    if (!strcmp(word, "full")) return ENOSPC;
    if (!strcmp(word, "readonly")) return EROFS;
    if (!strcmp(word, "broken")) return EIO;
    return 0;
}

static int sync_error(int fd) {
    char word[32];
    if (!is_ours(fd)) return 0;
    fault(word, sizeof word);
    return strcmp(word, "unsynced") && strcmp(word, "broken") ? 0 : EIO;
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
    GUARD(sync_error(fd));
    return REAL(fsync)(fd);
}

int fdatasync(int fd) {
    GUARD(sync_error(fd));
    return REAL(fdatasync)(fd);
}
