/*
 * Load on the bench's program, or on rpcbind: a closed loop on one socket that keeps so many calls
 * outstanding. load udp|tcp PORT null|small|getport|getaddr OUTSTANDING SECONDS [PROGRAM]: prints calls a second, p50 and p99 in microseconds, lost calls.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, SLOTS = 1 << 16, SAMPLES = 1 << 22, ROOM = 1 << 18 };

static uint32_t call[64];
static int call_bytes;
static double sent_at[SLOTS];
static unsigned char is_out[SLOTS];
static float samples[SAMPLES];
static long sample_count, answered, lost;
static int outstanding;

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec * 1e-9;
}

static int compare(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

static void put(uint32_t word) { call[call_bytes / 4] = htonl(word), call_bytes += 4; }

/* Version 2 of rpcbind is asked for a port of UDP, version 4 for an address. */
static void prepare_lookup(int is_address, uint32_t program) {
  put(0), put(0), put(2), put(100000), put(is_address ? 4 : 2), put(3);
  put(0), put(0), put(0), put(0);
  put(program), put(2), put(is_address ? 3 : 17), put(is_address ? 0x75647000 : 0);
  if (is_address) put(0), put(0);
}

static void prepare(const char *what, uint32_t program) {
  static const char name[24] = "a name of some length";
  int is_small = !strcmp(what, "small");
  if (!strncmp(what, "get", 3)) {
    prepare_lookup(!strcmp(what, "getaddr"), program);
    return;
  }
  put(0), put(0), put(2), put(0x20004c44), put(1), put(is_small);
  put(0), put(0), put(0), put(0);
  if (!is_small) return;
  put(1), put(2), put(0), put(3), put(21);
  memcpy((char *)call + call_bytes, name, 24);
  call_bytes += 24;
}

static void took(const unsigned char *reply, double at) {
  uint32_t words[6];
  memcpy(words, reply, sizeof words);
  int slot = ntohl(words[0]) & (SLOTS - 1);
  if (!is_out[slot]) return;
  if (words[5] != 0) fprintf(stderr, "refused\n"), exit(1);
  is_out[slot] = 0;
  outstanding -= 1;
  answered += 1;
  if (sample_count < SAMPLES) samples[sample_count++] = at - sent_at[slot];
}

int main(int count, char **words) {
  if (count != 6 && count != 7) return 2;
  int is_tcp = !strcmp(words[1], "tcp"), window = atoi(words[4]);
  if (window < 1 || window > BATCH) return 2;
  struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(atoi(words[2]))};
  inet_pton(AF_INET, "127.0.0.1", &server.sin_addr);
  prepare(words[3], count == 7 ? strtoul(words[6], NULL, 0) : 100000);
  int fd = socket(AF_INET, is_tcp ? SOCK_STREAM : SOCK_DGRAM, 0), one = 1;
  if (connect(fd, (struct sockaddr *)&server, sizeof server)) return perror("connect"), 1;
  if (is_tcp) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  static unsigned char out[BATCH][256], in[BATCH][2048], stream[ROOM];
  struct mmsghdr send_many[BATCH] = {0}, take_many[BATCH] = {0};
  struct iovec out_at[BATCH], in_at[BATCH];
  for (int i = 0; i < BATCH; i++) {
    out_at[i] = (struct iovec){out[i], call_bytes};
    in_at[i] = (struct iovec){in[i], sizeof in[i]};
    send_many[i].msg_hdr = (struct msghdr){.msg_iov = &out_at[i], .msg_iovlen = 1};
    take_many[i].msg_hdr = (struct msghdr){.msg_iov = &in_at[i], .msg_iovlen = 1};
  }
  uint32_t xid = 1;
  int held = 0;
  double start = now(), end = start + atof(words[5]);
  while (now() < end) {
    int room = window - outstanding, used = 0;
    double at = now();
    for (int i = 0; i < room; i++, xid++) {
      uint32_t mark = htonl(0x80000000u | call_bytes);
      call[0] = htonl(xid);
      sent_at[xid & (SLOTS - 1)] = at;
      is_out[xid & (SLOTS - 1)] = 1;
      if (is_tcp) {
        memcpy(stream + ROOM / 2 + used, &mark, 4);
        memcpy(stream + ROOM / 2 + used + 4, call, call_bytes);
        used += 4 + call_bytes;
      } else {
        memcpy(out[i], call, call_bytes);
      }
    }
    outstanding += room;
    if (room > 0 && is_tcp && write(fd, stream + ROOM / 2, used) != used) return perror("write"), 1;
    if (room > 0 && !is_tcp && sendmmsg(fd, send_many, room, 0) != room) return perror("sendmmsg"), 1;
    struct pollfd wait = {fd, POLLIN, 0};
    if (poll(&wait, 1, 200) == 0) {
      lost += outstanding, outstanding = 0;
      memset(is_out, 0, sizeof is_out);
      continue;
    }
    if (is_tcp) {
      int got = read(fd, stream + held, ROOM / 2 - held), from = 0;
      if (got <= 0) return fprintf(stderr, "closed\n"), 1;
      held += got, at = now();
      while (held - from >= 4) {
        uint32_t mark;
        memcpy(&mark, stream + from, 4);
        int size = ntohl(mark) & 0x7fffffff;
        if (held - from < 4 + size) break;
        took(stream + from + 4, at);
        from += 4 + size;
      }
      memmove(stream, stream + from, held - from);
      held -= from;
    } else {
      int got = recvmmsg(fd, take_many, BATCH, MSG_DONTWAIT, NULL);
      at = now();
      for (int i = 0; i < got; i++) took(in[i], at);
    }
  }
  double seconds = now() - start;
  qsort(samples, sample_count, sizeof *samples, compare);
  if (sample_count == 0) return 1;
  printf("%.0f %.1f %.1f %ld\n", answered / seconds, samples[sample_count / 2] * 1e6,
         samples[(long)(sample_count * 0.99)] * 1e6, lost);
  return 0;
}
