/**
 * Time of one authorization decision, with many bindings: `node bench/authz.ts [--bindings N] [--seconds N]`. Through the whole chain
 * (system:masters, Node, RBAC) as the pipeline asks it. No sockets, no store.
 */
import { parseArgs } from 'node:util';
import { createAuthorization } from '#apiserver/authz/authorization.ts';
import type { AuthorizationAttributes } from '#machinery/authorization.ts';
import { bootstrapPolicy } from '#apiserver/authz/bootstrap-policy.ts';
import { FakeInternal } from '#apiserver/authz/testing/loopback-client.ts';
import { seededRandom } from '#stdx/random.ts';

const { values } = parseArgs({
  options: { bindings: { type: 'string', default: '10000' }, seconds: { type: 'string', default: '2' } },
});
const bindings = Number(values.bindings),
  seconds = Number(values.seconds);
const GROUP = 'rbac.authorization.k8s.io',
  NAMESPACES = 200,
  USERS = 2000,
  GROUPS = 100,
  ROLES = 100;

const random = seededRandom(1);
const below = (limit: number): number => Math.floor(random() * limit);
const internal = new FakeInternal();
const { authorizer, stop } = createAuthorization({ internal });
await bootstrapPolicy(internal);
for (let role = 0; role < ROLES; role++) {
  internal.put(
    { group: GROUP, resource: 'clusterroles' },
    {
      metadata: { name: `role-${role}` },
      rules: [
        { apiGroups: [''], resources: ['pods', 'configmaps', 'services'], verbs: ['get', 'list', 'watch'] },
        { apiGroups: ['apps'], resources: ['deployments', `kind-${role}`], verbs: ['*'] },
        { apiGroups: [''], resources: ['secrets'], resourceNames: [`secret-${role}`], verbs: ['get'] },
      ],
    },
  );
}
const bind = (index: number, subject: object, namespace: string): void => {
  const roleRef = { apiGroup: GROUP, kind: 'ClusterRole', name: `role-${below(ROLES)}` };
  internal.put(
    { group: GROUP, resource: namespace === '' ? 'clusterrolebindings' : 'rolebindings' },
    {
      metadata: { name: `binding-${index}`, ...(namespace === '' ? {} : { namespace }) },
      roleRef,
      subjects: [subject],
    },
  );
};
for (let index = 0; index < bindings; index++) {
  const subject =
    index % 3 === 0
      ? { kind: 'Group', name: `group-${below(GROUPS)}` }
      : index % 3 === 1
        ? { kind: 'User', name: `user-${below(USERS)}` }
        : { kind: 'ServiceAccount', name: `bot-${below(20)}`, namespace: `ns-${below(NAMESPACES)}` };
  bind(index, subject, index % 20 === 0 ? '' : `ns-${below(NAMESPACES)}`);
}
// One user whom all of as many bindings again concern: nothing spares going through them.
for (let index = 0; index < bindings; index++)
  bind(bindings + index, { kind: 'User', name: 'everywhere' }, '');

const request = (changes: Partial<AuthorizationAttributes>): AuthorizationAttributes => ({
  user: {
    name: `user-${below(USERS)}`,
    groups: [`group-${below(GROUPS)}`, `group-${below(GROUPS)}`, 'system:authenticated'],
  },
  verb: 'get',
  isResourceRequest: true,
  group: '',
  version: 'v1',
  resource: 'pods',
  subresource: '',
  namespace: `ns-${below(NAMESPACES)}`,
  name: 'x',
  path: '',
  ...changes,
});
const many = (make: () => AuthorizationAttributes): AuthorizationAttributes[] =>
  Array.from({ length: 4096 }, make);
const account = (): AuthorizationAttributes['user'] => {
  const namespace = `ns-${below(NAMESPACES)}`;
  return {
    name: `system:serviceaccount:${namespace}:bot-${below(20)}`,
    groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`, 'system:authenticated'],
  };
};

const CASES: Readonly<Record<string, readonly AuthorizationAttributes[]>> = {
  'users, what roles allow': many(() => request({ resource: 'deployments', group: 'apps', verb: 'update' })),
  'users, what nothing allows': many(() => request({ resource: 'nodes', namespace: '' })),
  'service accounts': many(() => request({ user: account() })),
  'a controller (default policy)': many(() =>
    request({
      user: {
        name: 'system:serviceaccount:kube-system:deployment-controller',
        groups: ['system:serviceaccounts', 'system:serviceaccounts:kube-system', 'system:authenticated'],
      },
      group: 'apps',
      resource: 'replicasets',
      verb: 'update',
    }),
  ),
  paths: many(() => request({ isResourceRequest: false, resource: '', namespace: '', path: '/version' })),
  [`one user in ${bindings} bindings, allowed`]: many(() =>
    request({ user: { name: 'everywhere', groups: ['system:authenticated'] } }),
  ),
  [`one user in ${bindings} bindings, not allowed`]: many(() =>
    request({
      user: { name: 'everywhere', groups: ['system:authenticated'] },
      resource: 'nodes',
      namespace: '',
    }),
  ),
};

console.log(`${2 * bindings} bindings in all; microseconds a decision`);
for (const [name, requests] of Object.entries(CASES)) {
  const times: number[] = [];
  const end = performance.now() + (seconds * 1000) / Object.keys(CASES).length;
  let allowed = 0,
    index = 0;
  while (performance.now() < end) {
    const asked = requests[index++ % requests.length]!;
    const before = process.hrtime.bigint();
    const decision = authorizer.authorize(asked);
    times.push(Number(process.hrtime.bigint() - before) / 1000);
    if (!(decision instanceof Promise) && decision.decision === 'allow') allowed++;
  }
  times.sort((left, right) => left - right);
  const at = (share: number): string => (times[Math.floor(times.length * share)] ?? 0).toFixed(2).padStart(8);
  console.log(
    `${name.padEnd(44)} median ${at(0.5)}  p99 ${at(0.99)}  (${times.length} decisions, ${Math.round((allowed / times.length) * 100)} % allowed)`,
  );
}
stop();
