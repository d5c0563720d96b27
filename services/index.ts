/// <reference types="node" preserve="true" />
/** Services to run and to copy from. The only door of this folder. */

export { MAX_MESSAGE, MESSAGEPROG, MESSAGEVERS, MessageprogV1Client } from './printmsg/msg.gen.js';
export { createPrintmsg, type PrintmsgOptions, printable } from './printmsg/service.js';
