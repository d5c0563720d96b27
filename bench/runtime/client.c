/* The C client of the bench: one call at a time, as libtirpc's clients make them. */
#include <arpa/inet.h>
#include <rpc/rpc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "load.h"

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec * 1e-9;
}

/* client udp|tcp PORT null|small SECONDS: prints calls a second. */
int main(int count, char **words) {
  if (count != 5) return 2;
  struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(atoi(words[2]))};
  inet_pton(AF_INET, "127.0.0.1", &server.sin_addr);
  int descriptor = RPC_ANYSOCK;
  struct timeval wait = {5, 0};
  CLIENT *client = strcmp(words[1], "tcp") == 0
                       ? clnttcp_create(&server, LOAD_PROGRAM, LOAD_VERSION, &descriptor, 0, 0)
                       : clntudp_create(&server, LOAD_PROGRAM, LOAD_VERSION, wait, &descriptor);
  if (client == NULL) return 1;
  int is_small = strcmp(words[3], "small") == 0;
  small value = {1, 2, 3, "a name of some length"};
  double start = now(), end = start + atof(words[4]);
  long calls = 0;
  while (now() < end) {
    for (int i = 0; i < 100; i++, calls++) {
      if (is_small) {
        small *answer = load_small_1(&value, client);
        if (answer == NULL || answer->id != 2) return 1;
        xdr_free((xdrproc_t)xdr_small, (char *)answer);
      } else if (load_null_1(NULL, client) == NULL) {
        return 1;
      }
    }
  }
  printf("%.0f\n", calls / (now() - start));
  return 0;
}
