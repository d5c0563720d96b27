/** The page that `rpccall --help` prints, by hand: it has to fit a screen of 24 lines. */

/** What `--help` prints. */
export const HELP = `Examples:
  rpccall localhost mount EXPORT               what does that host export?
  rpccall HOST my.x ADD '{"a": 1, "b": 2}'     call ADD of the program in my.x
  rpccall shell HOST my.x                      a prompt that completes names

Usage: rpccall [options] HOST INTERFACE PROC [JSON]   call; JSON of - reads lines from stdin
       rpccall list | describe INTERFACE [NAME]       what it offers, with its comments
       rpccall template INTERFACE PROC                a skeleton of the arguments (--template PROC)
       rpccall encode | decode INTERFACE TYPE VALUE   one value; decode --rpc: a whole message
       rpccall interfaces                             those that need no file
INTERFACE is a .x file or a name (mount, nfs, rstat ...); PROC may be PROG.VERS.PROC.
  --transport udp|tcp|local  --addr ADDRESS  the service itself: PORT, HOST:PORT or /PATH
  --port PORT            rpcbind's port (default: RPCBIND_PORT, else 111)
  --auth none|sys[:UID:GID,...]              who calls (default: none)
  --timeout SECONDS (5)  --total-time SECONDS (25)
  --repeat N  --concurrency M                call N times, M at a time, and sum up
  --verbose  --hex       the messages, field by field or as bytes
  --opaque base64|hex    how bytes stand in JSON    --compact  one line of JSON
  -D NAME=VALUE  -I DIR  --import MODULE     for the .x, as of rpcgen-ts
  --completion bash|zsh|fish                 the completion script   --debug --version --help
`;
