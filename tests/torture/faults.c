/* Makes the disk and the clock of one process fail on demand: the tests load it with LD_PRELOAD.
 *
 * TORTURE_FILES names the files it is about: every path that begins so. TORTURE_CONTROL names a file of 64 bytes that
 * is mapped and read before every call, so that whoever writes to it rules the process while it runs:
 *
 *    0  int64  clock_ns      added to the wall clock; the monotonic one stays
 *    8  int64  room_bytes    by how much the files may still grow; negative: as much as they like
 *   16  int32  write_errno   writes fail with it, after half of the data; 0: they do not
 *   20  int32  sync_errno    fsync and fdatasync fail with it, and nothing is synced; 0: they do not
 *   24  int32  one_in        of so many such calls one fails; 0 and 1: every one
 *   32  int64  refused       counts what was made to fail
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct control {
  volatile int64_t clock_ns;
  volatile int64_t room_bytes;
  volatile int32_t write_errno;
  volatile int32_t sync_errno;
  volatile int32_t one_in;
  int32_t unused;
  volatile int64_t refused;
  volatile int64_t calls;
};

static struct control quiet = {.room_bytes = -1};
static struct control *control = &quiet;
static char files[1024];
static size_t files_length;

static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
  real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
  real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
  real_fsync = dlsym(RTLD_NEXT, "fsync");
  real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
  real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
  const char *named = getenv("TORTURE_FILES"), *path = getenv("TORTURE_CONTROL");
  if (!named || !path) return;
  snprintf(files, sizeof files, "%s", named);
  files_length = strlen(files);
  int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (mapped != MAP_FAILED) control = mapped;
  close(fd);
}

static int is_meant(int fd) {
  char link[64], path[1024];
  int kept = errno;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, sizeof path - 1);
  errno = kept;
  return files_length && n >= (ssize_t)files_length && !memcmp(path, files, files_length);
}

static int its_turn(void) {
  int64_t call = __sync_add_and_fetch(&control->calls, 1);
  if (control->one_in > 1 && call % control->one_in) return 0;
  __sync_add_and_fetch(&control->refused, 1);
  return 1;
}

static int is_scarce(void) { return control->write_errno || control->room_bytes >= 0; }

/* Takes the room that the file needs to reach to `end`, and returns how many bytes of it are lacking. */
static int64_t lacking(int fd, off_t end) {
  struct stat found;
  if (control->room_bytes < 0 || fstat(fd, &found) || end <= found.st_size) return 0;
  int64_t growth = end - found.st_size, left = __sync_sub_and_fetch(&control->room_bytes, growth);
  if (left >= 0) return 0;
  __sync_add_and_fetch(&control->room_bytes, growth);
  __sync_add_and_fetch(&control->refused, 1);
  return -left;
}

static int fails_to_write(void) {
  int failure = control->write_errno;
  if (!failure || !its_turn()) return 0;
  errno = failure;
  return 1;
}

ssize_t pwrite64(int fd, const void *data, size_t length, off_t start) {
  if (is_scarce() && is_meant(fd)) {
    if (fails_to_write()) {
      int failure = errno;
      real_pwrite(fd, data, length / 2, start);
      errno = failure;
      return -1;
    }
    int64_t missing = lacking(fd, start + (off_t)length);
    if (missing >= (int64_t)length && length) {
      errno = ENOSPC;
      return -1;
    }
    if (missing) {
      length -= (size_t)missing;
      control->room_bytes = 0;
    }
  }
  return real_pwrite(fd, data, length, start);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t start) { return pwrite64(fd, data, length, start); }

int ftruncate64(int fd, off_t length) {
  if (is_scarce() && is_meant(fd)) {
    if (fails_to_write()) return -1;
    if (lacking(fd, length)) {
      errno = ENOSPC;
      return -1;
    }
  }
  return real_ftruncate(fd, length);
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

static int fails_to_sync(int fd) {
  int failure = control->sync_errno;
  if (!failure || !is_meant(fd) || !its_turn()) return 0;
  errno = failure;
  return 1;
}

int fsync(int fd) { return fails_to_sync(fd) ? -1 : real_fsync(fd); }

int fdatasync(int fd) { return fails_to_sync(fd) ? -1 : real_fdatasync(fd); }

int clock_gettime(clockid_t clock, struct timespec *now) {
  if (!real_clock_gettime) real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
  int result = real_clock_gettime(clock, now);
  int64_t moved = control->clock_ns;
  if (!result && moved && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    int64_t total = (int64_t)now->tv_sec * 1000000000 + now->tv_nsec + moved;
    now->tv_sec = total / 1000000000;
    now->tv_nsec = total % 1000000000;
  }
  return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  (void)zone;
  struct timespec exact;
  if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
  now->tv_sec = exact.tv_sec;
  now->tv_usec = exact.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *kept) {
  struct timespec exact;
  if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
  if (kept) *kept = exact.tv_sec;
  return exact.tv_sec;
}
