/* The C server of the bench: libtirpc's transports, the dispatch that rpcgen made, a port printed. */
#include <netinet/in.h>
#include <rpc/rpc.h>
#include <stdio.h>
#include <signal.h>
#include <stdlib.h>
#include "load.h"

void load_program_1(struct svc_req *request, SVCXPRT *transport);

void *load_null_1_svc(void *none, struct svc_req *request) {
  static char nothing;
  (void)none;
  (void)request;
  return &nothing;
}

small *load_small_1_svc(small *value, struct svc_req *request) {
  static small answer;
  (void)request;
  answer = *value;
  answer.id += 1;
  return &answer;
}

int main(void) {
  /* A caller that goes with replies outstanding would end the server otherwise. */
  signal(SIGPIPE, SIG_IGN);
  SVCXPRT *udp = svcudp_create(RPC_ANYSOCK);
  SVCXPRT *tcp = svctcp_create(RPC_ANYSOCK, 0, 0);
  if (udp == NULL || tcp == NULL) return 1;
  if (!svc_register(udp, LOAD_PROGRAM, LOAD_VERSION, load_program_1, 0)) return 1;
  if (!svc_register(tcp, LOAD_PROGRAM, LOAD_VERSION, load_program_1, 0)) return 1;
  printf("%d %d\n", udp->xp_port, tcp->xp_port);
  fflush(stdout);
  svc_run();
  return 0;
}
