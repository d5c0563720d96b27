/// <reference types="node" preserve="true" />
/** Services to run and to copy from. The only door of this folder. */

export { encodingNames } from './exec/encoding.js';
export {
  EXEC_PROG,
  EXEC_V1,
  ExecProgV1Client,
  type exec_call,
  exec_end,
  type exec_outcome,
  exec_status,
} from './exec/exec.gen.js';
export {
  type Command,
  type Commands,
  type ExecFunction,
  ExecRefusal,
  type ExecRequest,
  textOutcome,
} from './exec/functions.js';
export type { RunOutcome } from './exec/run.js';
export { createExec, type Exec, type ExecLogEntry, type ExecOptions } from './exec/service.js';
export {
  describeFilesStatus,
  downloadFile,
  nameOf,
  TransferError,
  type TransferOptions,
  uploadFile,
} from './files/client.js';
export { FILES_PROG, FILES_V1, FilesProgV1Client, files_status } from './files/files.gen.js';
export { createFiles, type Files, type FilesOptions } from './files/service.js';
export { KV_PROG, KV_V1, KvProgV1Client, kv_event_kind, type kv_page, kv_status } from './kv/kv.gen.js';
export { createKv, type Kv, type KvOptions } from './kv/service.js';
export { Calculator, createCalculator, DIVISION_BY_ZERO } from './methods/calculator.js';
export { type MethodCall, MethodsClient, type Remote, remoteMethods } from './methods/client.js';
export { clientOf, closeMethods, type MethodsConnectOptions, methods } from './methods/connect.js';
export { MethodFault } from './methods/fault.js';
export { METHODS_PROG, METHODS_V1, methods_code } from './methods/methods.gen.js';
export type { Dispatch, InstanceOptions, MethodOptions, MethodRegistry } from './methods/registry.js';
export { createMethods, type Methods, type MethodsOptions } from './methods/service.js';
export { MAX_MESSAGE, MESSAGEPROG, MESSAGEVERS, MessageprogV1Client } from './printmsg/msg.gen.js';
export { createPrintmsg, type PrintmsgOptions, printable } from './printmsg/service.js';
export { REMOTEDIR_PROG, REMOTEDIR_V1, RemotedirProgV1Client } from './remotedir/remotedir.gen.js';
export { createRemotedir, describeStatus, type RemotedirOptions } from './remotedir/service.js';
export { callingProgram, servedAs } from './support/program.js';
