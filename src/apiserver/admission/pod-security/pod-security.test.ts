import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KubeObject, Pod, PodSpec } from '#api/types.ts';
import { AdmissionBench } from '../testing.ts';
import { evaluate, podSecurity } from './pod-security.ts';

const GOOD: PodSpec = {
  securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
  containers: [{ name: 'c', securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'], add: ['NET_BIND_SERVICE'] } } }],
  volumes: [{ name: 'v', emptyDir: {} }, { name: 'w' }],
};
const BARE: PodSpec = { containers: [{ name: 'c' }] };
const pod = (spec: PodSpec, metadata: Pod['metadata'] = {}): Pod => ({ metadata: { name: 'p', namespace: 'red', ...metadata }, spec });

function bench(labels: Record<string, string>, options: Parameters<typeof podSecurity>[0] = {}): AdmissionBench {
  const made = new AdmissionBench(podSecurity(options));
  made.internal.put({ group: '', resource: 'namespaces' }, { metadata: { name: 'red', labels: Object.fromEntries(Object.entries(labels).map(([key, value]) => [`pod-security.kubernetes.io/${key}`, value])) } });
  return made;
}

test('restricted refuses a bare pod in upstream\'s words', async () => {
  await assert.rejects(bench({ enforce: 'restricted' }).run({ resource: 'pods', object: pod(BARE) }), {
    message: 'pods "p" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), '
      + 'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), '
      + 'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")',
  });
  await bench({ enforce: 'restricted' }).run({ resource: 'pods', object: pod(GOOD) });
  await bench({ enforce: 'baseline' }).run({ resource: 'pods', object: pod(BARE) });
  await bench({}).run({ resource: 'pods', object: pod({ ...BARE, hostNetwork: true }) });
});

test('baseline controls', () => {
  const explain = (spec: PodSpec, metadata: Pod['metadata'] = {}): string[] => evaluate({ spec, metadata }, 'baseline').map(({ reason, detail }) => `${reason} (${detail})`);
  const two = (securityContext: object): PodSpec => ({ containers: [{ name: 'a', securityContext }, { name: 'b', securityContext }] });
  assert.deepEqual(explain({ ...BARE, hostNetwork: true, hostPID: true, hostIPC: true }), ['host namespaces (hostNetwork=true, hostPID=true, hostIPC=true)']);
  assert.deepEqual(explain(two({ privileged: true })), ['privileged (containers "a", "b" must not set securityContext.privileged=true)']);
  assert.deepEqual(explain(two({ capabilities: { add: ['NET_ADMIN', 'CHOWN', 'SYS_TIME'] } })), ['non-default capabilities (containers "a", "b" must not include "NET_ADMIN", "SYS_TIME" in securityContext.capabilities.add)']);
  assert.deepEqual(explain({ ...BARE, volumes: [{ name: 'h', hostPath: { path: '/' } }] }), ['hostPath volumes (volume "h")']);
  assert.deepEqual(explain({ containers: [{ name: 'a', ports: [{ containerPort: 1, hostPort: 80 }] }] }), ['hostPort (container "a" uses hostPort 80)']);
  assert.deepEqual(explain({ ...BARE, securityContext: { sysctls: [{ name: 'kernel.msgmax', value: '1' }, { name: 'net.ipv4.tcp_syncookies', value: '1' }] } }), ['forbidden sysctls (kernel.msgmax)']);
  assert.deepEqual(explain({ ...BARE, securityContext: { seLinuxOptions: { type: 'spc_t', user: 'u' } } }), ['seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "spc_t"; user may not be set)']);
  assert.deepEqual(explain({ ...BARE, securityContext: { seccompProfile: { type: 'Unconfined' } } }), ['seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")']);
  assert.deepEqual(explain(two({ procMount: 'Unmasked' })), ['procMount (containers "a", "b" must not set securityContext.procMount to "Unmasked")']);
  assert.deepEqual(explain(BARE, { annotations: { 'container.apparmor.security.beta.kubernetes.io/c': 'unconfined' } }), ['forbidden AppArmor profile (annotation "container.apparmor.security.beta.kubernetes.io/c"="unconfined")']);
  assert.deepEqual(explain({ ...BARE, initContainers: [{ name: 'i', securityContext: { windowsOptions: { hostProcess: true } } }] }), ['hostProcess (container "i" must not set securityContext.windowsOptions.hostProcess=true)']);
});

test('restricted controls', () => {
  const reasons = (spec: PodSpec): string[] => evaluate({ spec, metadata: {} }, 'restricted').map(({ reason, detail }) => `${reason} (${detail})`);
  assert.deepEqual(reasons({ ...GOOD, volumes: [{ name: 'h', hostPath: { path: '/' } }, { name: 'n', nfs: { server: 's', path: '/' } }] }), ['restricted volume types (volumes "h", "n" use restricted volume types "hostPath", "nfs")']);
  assert.deepEqual(reasons({ ...GOOD, securityContext: { ...GOOD.securityContext, runAsUser: 0 } }), ['runAsUser=0 (pod must not set runAsUser=0)']);
  assert.deepEqual(reasons({ ...GOOD, securityContext: { ...GOOD.securityContext, runAsNonRoot: false } }), ['runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)']);
  assert.deepEqual(reasons({ ...BARE, os: { name: 'windows' } }), ['runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true)']);
});

test('warn speaks of pods and of workloads, and lets them through', async () => {
  const at = bench({ warn: 'baseline' });
  const template = { metadata: {}, spec: { ...BARE, hostPID: true } };
  await at.run({ resource: 'pods', object: pod(template.spec) });
  await at.run({ resource: 'deployments.apps', object: { metadata: { name: 'd', namespace: 'red' }, spec: { template } } });
  await at.run({ resource: 'cronjobs.batch', object: { metadata: { name: 'd', namespace: 'red' }, spec: { jobTemplate: { spec: { template } } } } });
  assert.deepEqual(new Set(at.warnings), new Set(['would violate PodSecurity "baseline:latest": host namespaces (hostPID=true)']));
  assert.equal(at.warnings.length, 3);
});

test('updates that change nothing of weight pass, exemptions hold', async () => {
  const at = bench({ enforce: 'restricted' });
  await at.run({ operation: 'UPDATE', resource: 'pods', oldObject: pod(BARE), object: pod(BARE, { labels: { a: 'b' } }) });
  await assert.rejects(at.run({ operation: 'UPDATE', resource: 'pods', oldObject: pod(BARE), object: pod({ containers: [{ name: 'c', image: 'x' }] }) }), /violates PodSecurity/);
  await bench({ enforce: 'restricted' }, { exemptions: { usernames: ['jane'] } }).run({ resource: 'pods', object: pod(BARE) });
  await bench({ enforce: 'restricted' }, { exemptions: { namespaces: ['red'] } }).run({ resource: 'pods', object: pod(BARE) });
});

test('labels of a namespace are checked, existing pods are warned about, an unreadable level is the strictest', async () => {
  const at = bench({ enforce: 'nonsense' });
  await assert.rejects(at.run({ resource: 'pods', object: pod(BARE) }), /violates PodSecurity "restricted:latest"/);
  const namespace = (level: string): KubeObject => ({ metadata: { name: 'red', labels: { 'pod-security.kubernetes.io/enforce': level } } });
  await assert.rejects(at.run({ resource: 'namespaces', object: namespace('strict') }), { message: 'Namespace "red" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict": must be one of privileged, baseline, restricted' });
  for (const name of ['a', 'b', 'c']) at.internal.put({ group: '', resource: 'pods' }, pod({ ...BARE, hostPID: true }, { name }));
  await at.run({ operation: 'UPDATE', resource: 'namespaces', oldObject: namespace('privileged'), object: namespace('baseline') });
  assert.deepEqual(at.warnings, ['existing pods in namespace "red" violate the new PodSecurity enforce level "baseline:latest"', 'a (and 2 other pods): host namespaces']);
});
