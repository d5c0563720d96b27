/** The page that `rpccall --help` prints, by hand: it has to fit a screen of 24 lines. */

/** What `--help` prints. */
export const HELP = `Examples:
  rpccall localhost mount EXPORT             what does that host export?
  rpccall HOST my.x ADD '{"a": 1, "b": 2}'   call ADD of the program in my.x
  rpccall shell HOST my.x                    a prompt that completes names

Usage: rpccall HOST INTERFACE PROC [JSON]     call it; - reads JSON from stdin
       rpccall list INTERFACE                 its procedures
       rpccall describe INTERFACE [NAME]      and types, with their comments
       rpccall template INTERFACE PROC        arguments to fill in (--template)
       rpccall encode INTERFACE TYPE JSON     one value as bytes
       rpccall decode INTERFACE TYPE BYTES    the other way; --rpc: a message
       rpccall interfaces                     those that need no file
INTERFACE is a .x file or a name (mount, nfs...); PROC may be PROG.VERS.PROC.
  --transport udp|tcp|local   --addr PORT|HOST:PORT|/PATH   the service itself
  --port PORT                 rpcbind's port (RPCBIND_PORT, else 111)
  --auth none|sys[:UID:GID,...]           who calls (default: none)
  --retransmit SECONDS (5)    --total-time SECONDS (25)
  --tls-policy off|prefer|require  --tls-ca, --tls-cert, --tls-key FILE
  --repeat N  --concurrency M call N times, M at a time, and sum up
  --verbose --hex  messages by field, as bytes  --opaque base64|hex  --compact
  -D NAME=VALUE  -I DIR  --import MODULE  for the .x, as of rpcgen-ts
  --completion bash|zsh|fish  the completion script  --debug --version --help
`;
