import { join } from 'node:path';
import { mkdtempSync, writeFileSync, rmSync } from 'node:fs';
import { composeApiServer } from '#cmd/apiserver/compose.ts';
import { ensurePki } from '#deploy/pki/pki.ts';
import { realClock } from '#stdx/clock.ts';
import { createLogger } from '#stdx/log.ts';
import { createMemoryStore } from '#storage/drivers/memory.ts';
const dir = mkdtempSync('/tmp/perf-ab/inproc-');
writeFileSync(dir + '/tokens', 'bench,bench,1,bench-admins\nroot,root,2,system:masters\n');
const pki = await ensurePki({
  dir: join(dir, 'pki'),
  nowMs: Date.now(),
  apiServer: { hostName: 'localhost', serviceIP: '10.96.0.1', bindAddresses: ['127.0.0.1'] },
});
const log = createLogger({ level: 'warn' });
const inner = createMemoryStore();
const store = new Proxy(inner, {
  get(t: any, k) {
    if (k === 'newestRevision') return async () => t.revision;
    const v = Reflect.get(t, k, t);
    return typeof v === 'function' ? v.bind(t) : v;
  },
});
const server = await composeApiServer({
  store,
  etcdPrefix: '/c',
  pki,
  settings: { authentication: { tokenFile: dir + '/tokens' } },
  serviceCIDR: '10.96.0.0/16',
  listen: ['127.0.0.1'],
  port: 0,
  advertiseAddress: '127.0.0.1',
  clock: realClock,
  log,
} as any);
await server.ready();
const call = async (method: string, path: string, body?: object, token = 'bench') => {
  const bytes = body && Buffer.from(JSON.stringify(body));
  const r = await server.handler({
    method,
    path,
    query: '',
    headers: {
      authorization: 'Bearer ' + token,
      'content-type': body ? 'application/json' : undefined,
      'content-length': bytes ? String(bytes.length) : undefined,
      'user-agent': 'h2load',
    },
    remoteAddress: '127.0.0.1',
    headerValues: () => [],
    body: async () => bytes,
    onAbort: () => {},
  } as any);
  return r;
};
const CM = {
  kind: 'ConfigMap',
  apiVersion: 'v1',
  metadata: { generateName: 'bench-', labels: { app: 'bench' } },
  data: { value: 'x'.repeat(800) },
};
await call(
  'POST',
  '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings',
  {
    kind: 'ClusterRoleBinding',
    apiVersion: 'rbac.authorization.k8s.io/v1',
    metadata: { name: 'bench' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
    subjects: [{ kind: 'Group', apiGroup: 'rbac.authorization.k8s.io', name: 'bench-admins' }],
  },
  'root',
);
const p = await call('POST', '/api/v1/namespaces/default/configmaps', { ...CM, metadata: { name: 'fixed' } });
console.log(p.status);
const what = process.argv[2];
const once =
  what === 'gets'
    ? () => call('GET', '/api/v1/namespaces/default/configmaps/fixed')
    : () => call('POST', '/api/v1/namespaces/default/configmaps', CM);
const N = what === 'gets' ? 60000 : 15000;
for (let r = 0; r < 4; r++) {
  const a = process.cpuUsage();
  let left = N;
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      while (left-- > 0) {
        const x = await once();
        if (x.status > 201) throw new Error(String(x.status));
      }
    }),
  );
  const b = process.cpuUsage(a);
  console.log(what, ((b.user + b.system) / N).toFixed(1), 'µs');
}
rmSync(dir, { recursive: true });
process.exit(0);
