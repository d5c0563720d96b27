/** rpcgen-ts diff on real interfaces that have two versions. They are found by CORPUS_DIR. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { compileFiles, diff, type Interface } from '../../../rpcgen/index.js';
import { corpusDir } from '../../support/interfaces.js';

const at = (name: string): string => join(corpusDir ?? '', name);
const hasBoth = (...names: readonly string[]): boolean =>
  corpusDir !== undefined && names.every((name) => existsSync(at(name)));
const read = (
  name: string,
  imports: readonly string[] = [],
  defines: Record<string, string> = {},
): Interface => compileFiles([at(name)], { imports: imports.map(at), defines })[0] as Interface;
const said = (before: Interface, after: Interface, level: string): string[] =>
  diff(before, after)
    .filter((change) => change.level === level)
    .map(({ where, what }) => `${where}: ${what}`);

const GLUSTER = ['glusterfs/glusterfs3-xdr.x', 'glusterfs/glusterfs4-xdr.x'] as const;
const NFS = ['nfs-ganesha/nfs4.x', 'nfs4j/nfs4_prot.x', 'nfs4j/nfs42_prot.x'] as const;
/** glusterfs has these in C headers. */
const DATA_TYPES = 'INT UINT DOUBLE STR PTR GFUUID IATT MDATA STR_OLD'.split(' ');

describe.skipIf(!hasBoth(...GLUSTER))('glusterfs 3 to 4', () => {
  it('breaks, since all messages but two are others', () => {
    const defines = Object.fromEntries(DATA_TYPES.map((name, i) => [`GF_DATA_TYPE_${name}`, String(i + 1)]));
    const [old, now] = [read(GLUSTER[0]), read(GLUSTER[1], [GLUSTER[0]], defines)];
    const breaks = said(old, now, 'breaks');
    expect(breaks).toContain('type gfs3_stat_req: is removed');
    expect(breaks.every((each) => each.endsWith(': is removed'))).toBe(true);
    expect(said(old, now, 'extends')).toEqual([]);
    expect(said(old, now, 'ok').filter((each) => each.includes('is renamed'))).toEqual([
      'type gfs3_dirlist: is renamed to gfx_dirlist',
      'type gf_set_lk_ver_req: is renamed to gfx_set_lk_ver_req',
    ]);
  });
});

describe.skipIf(!hasBoth(...NFS))('NFS 4', () => {
  it('to 4.1 extends the callback and breaks where errors and operations went', () => {
    const [old, now] = [read(NFS[0], [], { RPCSEC_GSS: '6' }), read(NFS[1])];
    expect(said(old, now, 'extends')).toContain(
      'type nfsstat4 member NFS4ERR_BADSESSION: is new: old peers refuse the value 10052',
    );
    expect(said(old, now, 'breaks')).not.toContain('program NFS4_PROGRAM: is removed');
  });

  it('to 4.2 extends, but that the file has no NFS4_PROGRAM', () => {
    const [old, now] = [read(NFS[0], [], { RPCSEC_GSS: '6' }), read(NFS[2])];
    expect(said(old, now, 'breaks')).toEqual(['program NFS4_PROGRAM: is removed']);
    expect(said(old, now, 'extends')).toContain(
      'type nfs_cb_argop4 case OP_CB_OFFLOAD: is new: old peers refuse it',
    );
  });

  it('4.1 to 4.2 breaks by the one error that was taken out', () => {
    expect(said(read(NFS[1]), read(NFS[2]), 'breaks')).toEqual([
      'program NFS4_PROGRAM: is removed',
      'type nfsstat4 member NFS4ERR_CONN_BINDING_NOT_ENFORCED: is removed: its value is refused',
    ]);
  });
});
