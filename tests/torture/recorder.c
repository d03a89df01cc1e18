/* Writes down what one process does to some files, and what it answers on its sockets, in one order.
 *
 * RECORD_FILES names the files it is about: every path that begins so, and the folder they lie in. RECORD_TO names the
 * record. One entry is a line of text, and the data after it where there is any:
 *
 *    write OFFSET LENGTH NAME     with LENGTH bytes of data
 *    truncate LENGTH NAME
 *    sync COUNT NAME              when the call has returned: what the first COUNT entries did to NAME is on the disk;
 *                                 NAME is `/` for the folder
 *    unlink NAME
 *    answer LENGTH                with LENGTH bytes, at most 4096: what was handed to a socket, before it is sent
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { ANSWER_BYTES_MAX = 4096 };

static char files[1024], folder[1024];
static size_t files_length, folder_length;
static int record = -1;
static long long entries;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_send)(int, const void *, size_t, int);
static ssize_t (*real_sendmsg)(int, const struct msghdr *, int);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_unlink)(const char *);

__attribute__((constructor)) static void begin(void) {
  real_write = dlsym(RTLD_NEXT, "write");
  real_writev = dlsym(RTLD_NEXT, "writev");
  real_send = dlsym(RTLD_NEXT, "send");
  real_sendmsg = dlsym(RTLD_NEXT, "sendmsg");
  real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
  real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
  real_fsync = dlsym(RTLD_NEXT, "fsync");
  real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
  real_unlink = dlsym(RTLD_NEXT, "unlink");
  const char *named = getenv("RECORD_FILES"), *path = getenv("RECORD_TO");
  if (!named || !path || !strrchr(named, '/')) return;
  files_length = (size_t)snprintf(files, sizeof files, "%s", named);
  folder_length = (size_t)(strrchr(files, '/') - files);
  memcpy(folder, files, folder_length);
  record = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* The name of the file behind `fd` inside the folder, "/" for the folder itself, NULL where it is not meant. */
static const char *name_of(int fd, char *path, size_t size) {
  char link[64];
  int kept = errno;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, size - 1);
  errno = kept;
  if (record < 0 || n < 0) return NULL;
  path[n] = 0;
  if (!strcmp(path, folder)) return "/";
  return strncmp(path, files, files_length) ? NULL : path + folder_length + 1;
}

static void note(const char *line, const void *data, size_t length) {
  struct iovec parts[] = {{(void *)line, strlen(line)}, {(void *)data, length}};
  entries++;
  if (real_writev(record, parts, 2) < 0) abort();
}

static int is_socket(int fd) {
  struct stat found;
  int kept = errno, is = record >= 0 && !fstat(fd, &found) && S_ISSOCK(found.st_mode);
  errno = kept;
  return is;
}

static void note_answer(const struct iovec *parts, size_t count) {
  char data[ANSWER_BYTES_MAX], line[64];
  size_t length = 0;
  for (size_t i = 0; i < count && length < sizeof data; i++) {
    size_t more = parts[i].iov_len < sizeof data - length ? parts[i].iov_len : sizeof data - length;
    memcpy(data + length, parts[i].iov_base, more);
    length += more;
  }
  snprintf(line, sizeof line, "answer %zu\n", length);
  pthread_mutex_lock(&turn);
  note(line, data, length);
  pthread_mutex_unlock(&turn);
}

ssize_t write(int fd, const void *data, size_t length) {
  struct iovec part = {(void *)data, length};
  if (is_socket(fd)) note_answer(&part, 1);
  return real_write(fd, data, length);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  if (is_socket(fd)) note_answer(parts, (size_t)count);
  return real_writev(fd, parts, count);
}

ssize_t send(int fd, const void *data, size_t length, int flags) {
  struct iovec part = {(void *)data, length};
  if (is_socket(fd)) note_answer(&part, 1);
  return real_send(fd, data, length, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
  if (is_socket(fd)) note_answer(message->msg_iov, message->msg_iovlen);
  return real_sendmsg(fd, message, flags);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off_t start) {
  char path[1024], line[1200];
  const char *name = name_of(fd, path, sizeof path);
  if (!name) return real_pwrite(fd, data, length, start);
  pthread_mutex_lock(&turn);
  ssize_t written = real_pwrite(fd, data, length, start);
  if (written > 0) {
    snprintf(line, sizeof line, "write %lld %zd %s\n", (long long)start, written, name);
    note(line, data, (size_t)written);
  }
  pthread_mutex_unlock(&turn);
  return written;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t start) { return pwrite64(fd, data, length, start); }

int ftruncate64(int fd, off_t length) {
  char path[1024], line[1200];
  const char *name = name_of(fd, path, sizeof path);
  if (!name) return real_ftruncate(fd, length);
  pthread_mutex_lock(&turn);
  int result = real_ftruncate(fd, length);
  if (!result) {
    snprintf(line, sizeof line, "truncate %lld %s\n", (long long)length, name);
    note(line, "", 0);
  }
  pthread_mutex_unlock(&turn);
  return result;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

static int synced(int fd, int (*real)(int)) {
  char path[1024], line[1200];
  const char *name = name_of(fd, path, sizeof path);
  pthread_mutex_lock(&turn);
  long long before = entries;
  pthread_mutex_unlock(&turn);
  int result = real(fd);
  if (name && !result) {
    snprintf(line, sizeof line, "sync %lld %s\n", before, name);
    pthread_mutex_lock(&turn);
    note(line, "", 0);
    pthread_mutex_unlock(&turn);
  }
  return result;
}

int fsync(int fd) { return synced(fd, real_fsync); }

int fdatasync(int fd) { return synced(fd, real_fdatasync); }

int unlink(const char *path) {
  char line[1200];
  int meant = record >= 0 && !strncmp(path, files, files_length);
  if (meant) pthread_mutex_lock(&turn);
  int result = real_unlink(path);
  if (meant) {
    if (!result) {
      snprintf(line, sizeof line, "unlink %s\n", path + folder_length + 1);
      note(line, "", 0);
    }
    pthread_mutex_unlock(&turn);
  }
  return result;
}
