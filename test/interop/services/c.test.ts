/** A C client made by Debian's rpcgen from our .x calls remotedir and kv. */

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeWith, root, sandbox } from '../../support/sandbox.js';

const RLS = `
#include <rpc/rpc.h>
#include <stdio.h>
#include "remotedir.h"
int main(int argc, char **argv) {
  CLIENT *client = clnt_create(argv[1], REMOTEDIR_PROG, REMOTEDIR_V1, argv[2]);
  dir_result *result;
  dir_list node;
  if (client == NULL) { clnt_pcreateerror(argv[1]); return 1; }
  result = dir_readdir_1(&argv[3], client);
  if (result == NULL) { clnt_perror(client, argv[1]); return 1; }
  if (result->status != 0) { printf("error %d\\n", result->status); return 0; }
  for (node = result->dir_result_u.names; node != NULL; node = node->next) printf("%s\\n", node->name);
  return 0;
}
`;

const KV = `
#include <rpc/rpc.h>
#include <stdio.h>
#include <string.h>
#include "kv.h"
static kv_write make(char *key, char *value, bool_t want) {
  kv_write all;
  memset(&all, 0, sizeof all);
  all.key = key;
  all.value.kv_value_val = value;
  all.value.kv_value_len = strlen(value);
  all.want_content = want;
  return all;
}
static void show(const char *what, kv_change_result *result) {
  kv_page *page;
  u_int i;
  printf("%s: %d", what, result->status);
  if (result->status == KV_OK) {
    printf(" revision %lu", (unsigned long) result->kv_change_result_u.changed.revision);
    page = result->kv_change_result_u.changed.content;
    if (page != NULL) for (i = 0; i < page->entries.entries_len; i++)
      printf(" %s=%.*s", page->entries.entries_val[i].key, (int) page->entries.entries_val[i].value.kv_value_len,
        page->entries.entries_val[i].value.kv_value_val);
  }
  printf("\\n");
}
int main(int argc, char **argv) {
  CLIENT *client = clnt_create(argv[1], KV_PROG, KV_V1, argv[2]);
  kv_write one, two, again;
  kv_removal removal;
  kv_range range;
  kv_get_result *got;
  kv_list_result *list;
  kv_statistics *all;
  char *key = "from C", *none = "none";
  if (client == NULL) { clnt_pcreateerror(argv[1]); return 1; }
  one = make(key, "first", FALSE);
  two = make(key, "second", TRUE);
  show("put", kv_put_1(&one, client));
  show("put again", kv_put_1(&one, client));
  show("update", kv_update_1(&two, client));
  again = make(none, "", FALSE);
  show("update of none", kv_update_1(&again, client));
  got = kv_get_1(&key, client);
  printf("get: %d %s=%.*s\\n", got->status, got->kv_get_result_u.entry.key,
    (int) got->kv_get_result_u.entry.value.kv_value_len, got->kv_get_result_u.entry.value.kv_value_val);
  got = kv_get_1(&none, client);
  printf("get of none: %d\\n", got->status);
  memset(&range, 0, sizeof range);
  range.prefix = range.after = "";
  list = kv_list_1(&range, client);
  printf("list: %d, %u entries, more %d\\n", list->status, list->kv_list_result_u.page.entries.entries_len,
    list->kv_list_result_u.page.more);
  all = kv_stat_1(NULL, client);
  printf("stat: %lu entries, %lu bytes\\n", (unsigned long) all->entries, (unsigned long) all->size);
  memset(&removal, 0, sizeof removal);
  removal.key = key;
  show("delete", kv_delete_1(&removal, client));
  show("delete again", kv_delete_1(&removal, client));
  return 0;
}
`;

const KV_SAYS = (revision: number): string => `put: 0 revision ${revision}
put again: 1
update: 0 revision ${revision + 1} from C=second
update of none: 2
get: 0 from C=second
get of none: 2
list: 0, 1 entries, more 0
stat: 1 entries, 12 bytes
delete: 0 revision ${revision + 2}
delete again: 2
`;

let folder = '';

describeWith(['sandbox', 'rpcgen', 'gcc', 'pkg-config', 'rpcinfo'], 'clients of C', () => {
  beforeAll(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'services-c-'));
    await writeFile(path.join(folder, 'rls.c'), RLS);
    await writeFile(path.join(folder, 'ckv.c'), KV);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('call remotedir and kv over UDP and TCP', async () => {
    const { code, stdout, stderr } = await sandbox(
      `
      cp "$ROOT/services/remotedir/remotedir.x" "$ROOT/services/kv/kv.x" "$FOLDER"; cd "$FOLDER"
      rpcgen remotedir.x; rpcgen kv.x
      cflags=$(pkg-config --cflags libtirpc); libs=$(pkg-config --libs libtirpc)
      cc -w $cflags -o crls rls.c remotedir_clnt.c remotedir_xdr.c $libs
      cc -w $cflags -o ckv ckv.c kv_clnt.c kv_xdr.c $libs
      mkdir pub; touch pub/one pub/two pub/été
      node $BIN/rpcbind-ts/main.js > daemon.log 2>&1 &
      wait_for rpcinfo -p 127.0.0.1
      node $BIN/rpcserve/main.js --host 127.0.0.1 --set root=$PWD/pub --set kv-folder=$PWD/store remotedir kv > serve.log 2>&1 &
      wait_for grep -q published serve.log
      for way in udp tcp; do
        ./crls 127.0.0.1 $way $PWD/pub
        ./crls 127.0.0.1 $way $PWD/pub/none
        ./crls 127.0.0.1 $way /etc
        ./ckv 127.0.0.1 $way
      done`,
      60_000,
      { FOLDER: folder, ROOT: root },
    );
    const names = 'one\ntwo\nété\nerror 2\nerror 13\n';
    expect({ code, stdout, stderr }).toEqual({
      code: 0,
      stdout: `${names}${KV_SAYS(1)}${names}${KV_SAYS(4)}`,
      stderr: '',
    });
  });
});
