// Constants of rpcmsg.x.
export const RPC_VERSION = 2;
export const MAX_AUTH_BYTES = 400;
export const auth_flavor = { AUTH_NONE: 0, AUTH_SYS: 1, AUTH_SHORT: 2, AUTH_DH: 3, RPCSEC_GSS: 6, AUTH_TLS: 7 } as const;
export type auth_flavor = (typeof auth_flavor)[keyof typeof auth_flavor];
export const msg_type = { CALL: 0, REPLY: 1 } as const;
export type msg_type = (typeof msg_type)[keyof typeof msg_type];
export const reply_stat = { MSG_ACCEPTED: 0, MSG_DENIED: 1 } as const;
export type reply_stat = (typeof reply_stat)[keyof typeof reply_stat];
export const accept_stat = { SUCCESS: 0, PROG_UNAVAIL: 1, PROG_MISMATCH: 2, PROC_UNAVAIL: 3, GARBAGE_ARGS: 4, SYSTEM_ERR: 5 } as const;
export type accept_stat = (typeof accept_stat)[keyof typeof accept_stat];
export const reject_stat = { RPC_MISMATCH: 0, AUTH_ERROR: 1 } as const;
export type reject_stat = (typeof reject_stat)[keyof typeof reject_stat];
export const auth_stat = { AUTH_OK: 0, AUTH_BADCRED: 1, AUTH_REJECTEDCRED: 2, AUTH_BADVERF: 3, AUTH_REJECTEDVERF: 4, AUTH_TOOWEAK: 5, AUTH_INVALIDRESP: 6, AUTH_FAILED: 7 } as const;
export type auth_stat = (typeof auth_stat)[keyof typeof auth_stat];
