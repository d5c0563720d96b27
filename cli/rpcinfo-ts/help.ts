/** The page that `rpcinfo-ts --help` prints, by hand: it has to fit a screen of 24 lines. */

/** What `--help` prints. */
export const HELP = `Examples:
  rpcinfo-ts -p localhost         what is registered, as rpcbind version 2 tells
  rpcinfo-ts -t localhost nfs 3   does NFS version 3 answer over TCP?
  rpcinfo-ts --check localhost    does everything that is registered answer?

Usage: rpcinfo-ts [-p | -s | -m] [HOST...]      all services; short; statistics
       rpcinfo-ts -l HOST PROG VERS             all addresses of one service
       rpcinfo-ts [-u|-t|-T NETID] [-n PORT] HOST PROG [VERS]           ping it
       rpcinfo-ts -a UADDR -T NETID PROG [VERS] the same, not asking rpcbind
       rpcinfo-ts -b [-T NETID] PROG VERS       ask all hosts of the network
       rpcinfo-ts -d [-T NETID] PROG VERS       delete a registration
       rpcinfo-ts set PROG VERS NETID UADDR     make one; or unset ...
       rpcinfo-ts --check [-q] [HOST...]        ping all; exit 1 if one is dead
       rpcinfo-ts --watch [SECONDS] [HOST...]   the table live, changes marked
NETID: udp, tcp, udp6, tcp6, local; PROG: a number, 0x... or name; HOST: a,b,c
  --port PORT           rpcbind's port (default: RPCBIND_PORT, else 111)
  --json                one JSON object a line for each host
  --names FILE          names of programs (default: /etc/rpc)
  --retransmit SECONDS  send a datagram again after this long (5; was --timeout)
  --total-time SECONDS  give up after this long (25; of --check: --retransmit)
  --completion SHELL    the completion script for bash, zsh or fish
  --debug  --version  --help
`;

/**
 * The words of a command line, with `option` given its value where the word behind it is not a
 * number: commander would take a host for it.
 */
export function withOptionalNumber(argv: readonly string[], option: string, value: string): string[] {
  return argv.map((word, i) =>
    word === option && !/^\d+(\.\d+)?$/.test(argv[i + 1] ?? '') ? `${option}=${value}` : word,
  );
}
