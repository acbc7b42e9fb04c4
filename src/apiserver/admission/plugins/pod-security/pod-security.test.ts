import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KubeObject, Pod, PodSpec } from '#api/types.ts';
import { AdmissionBench } from '../../testing/run-plugins.ts';
import { evaluate, podSecurity } from './pod-security.ts';

const GOOD: PodSpec = {
  securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
  containers: [
    {
      name: 'c',
      securityContext: {
        allowPrivilegeEscalation: false,
        capabilities: { drop: ['ALL'], add: ['NET_BIND_SERVICE'] },
      },
    },
  ],
  volumes: [{ name: 'v', emptyDir: {} }, { name: 'w' }],
};
const BARE: PodSpec = { containers: [{ name: 'c' }] };
const pod = (spec: PodSpec, metadata: Pod['metadata'] = {}): Pod => ({
  metadata: { name: 'p', namespace: 'red', ...metadata },
  spec,
});

function bench(
  labels: Record<string, string>,
  options: Parameters<typeof podSecurity>[0] = {},
): AdmissionBench {
  const made = new AdmissionBench(podSecurity(options));
  made.internal.put(
    { group: '', resource: 'namespaces' },
    {
      metadata: {
        name: 'red',
        labels: Object.fromEntries(
          Object.entries(labels).map(([key, value]) => [`pod-security.kubernetes.io/${key}`, value]),
        ),
      },
    },
  );
  return made;
}

test("restricted refuses a bare pod in upstream's words", async () => {
  await assert.rejects(bench({ enforce: 'restricted' }).run({ resource: 'pods', object: pod(BARE) }), {
    message:
      'pods "p" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), ' +
      'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), ' +
      'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")',
  });
  await bench({ enforce: 'restricted' }).run({ resource: 'pods', object: pod(GOOD) });
  await bench({ enforce: 'baseline' }).run({ resource: 'pods', object: pod(BARE) });
  await bench({}).run({ resource: 'pods', object: pod({ ...BARE, hostNetwork: true }) });
});

test('baseline controls', () => {
  const explain = (spec: PodSpec, metadata: Pod['metadata'] = {}): string[] =>
    evaluate({ spec, metadata }, { level: 'baseline', version: 'latest' }).map(
      ({ reason, detail }) => `${reason} (${detail})`,
    );
  const two = (securityContext: object): PodSpec => ({
    containers: [
      { name: 'a', securityContext },
      { name: 'b', securityContext },
    ],
  });
  assert.deepEqual(explain({ ...BARE, hostNetwork: true, hostPID: true, hostIPC: true }), [
    'host namespaces (hostNetwork=true, hostPID=true, hostIPC=true)',
  ]);
  assert.deepEqual(explain(two({ privileged: true })), [
    'privileged (containers "a", "b" must not set securityContext.privileged=true)',
  ]);
  assert.deepEqual(explain(two({ capabilities: { add: ['NET_ADMIN', 'CHOWN', 'SYS_TIME'] } })), [
    'non-default capabilities (containers "a", "b" must not include "NET_ADMIN", "SYS_TIME" in securityContext.capabilities.add)',
  ]);
  assert.deepEqual(explain({ ...BARE, volumes: [{ name: 'h', hostPath: { path: '/' } }] }), [
    'hostPath volumes (volume "h")',
  ]);
  assert.deepEqual(explain({ containers: [{ name: 'a', ports: [{ containerPort: 1, hostPort: 80 }] }] }), [
    'hostPort (container "a" uses hostPort 80)',
  ]);
  assert.deepEqual(
    explain({
      ...BARE,
      securityContext: {
        sysctls: [
          { name: 'kernel.msgmax', value: '1' },
          { name: 'net.ipv4.tcp_syncookies', value: '1' },
        ],
      },
    }),
    ['forbidden sysctls (kernel.msgmax)'],
  );
  assert.deepEqual(explain({ ...BARE, securityContext: { seLinuxOptions: { type: 'spc_t', user: 'u' } } }), [
    'seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "spc_t"; user may not be set)',
  ]);
  assert.deepEqual(explain({ ...BARE, securityContext: { seccompProfile: { type: 'Unconfined' } } }), [
    'seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")',
  ]);
  assert.deepEqual(explain(two({ procMount: 'Unmasked' })), [
    'procMount (containers "a", "b" must not set securityContext.procMount to "Unmasked")',
  ]);
  assert.deepEqual(
    explain(BARE, { annotations: { 'container.apparmor.security.beta.kubernetes.io/c': 'unconfined' } }),
    [
      'forbidden AppArmor profile (annotation "container.apparmor.security.beta.kubernetes.io/c"="unconfined")',
    ],
  );
  assert.deepEqual(
    explain({
      ...BARE,
      initContainers: [{ name: 'i', securityContext: { windowsOptions: { hostProcess: true } } }],
    }),
    ['hostProcess (container "i" must not set securityContext.windowsOptions.hostProcess=true)'],
  );
});

test('restricted controls', () => {
  const reasons = (spec: PodSpec): string[] =>
    evaluate({ spec, metadata: {} }, { level: 'restricted', version: 'latest' }).map(
      ({ reason, detail }) => `${reason} (${detail})`,
    );
  assert.deepEqual(
    reasons({
      ...GOOD,
      volumes: [
        { name: 'h', hostPath: { path: '/' } },
        { name: 'n', nfs: { server: 's', path: '/' } },
      ],
    }),
    ['restricted volume types (volumes "h", "n" use restricted volume types "hostPath", "nfs")'],
  );
  assert.deepEqual(reasons({ ...GOOD, securityContext: { ...GOOD.securityContext, runAsUser: 0 } }), [
    'runAsUser=0 (pod must not set runAsUser=0)',
  ]);
  assert.deepEqual(reasons({ ...GOOD, securityContext: { ...GOOD.securityContext, runAsNonRoot: false } }), [
    'runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)',
  ]);
  assert.deepEqual(reasons({ ...BARE, os: { name: 'windows' } }), [
    'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true)',
  ]);
});

test('warn speaks of pods and of workloads, and lets them through', async () => {
  const at = bench({ warn: 'baseline' });
  const template = { metadata: {}, spec: { ...BARE, hostPID: true } };
  await at.run({ resource: 'pods', object: pod(template.spec) });
  await at.run({
    resource: 'deployments.apps',
    object: { metadata: { name: 'd', namespace: 'red' }, spec: { template } },
  });
  await at.run({
    resource: 'cronjobs.batch',
    object: { metadata: { name: 'd', namespace: 'red' }, spec: { jobTemplate: { spec: { template } } } },
  });
  assert.deepEqual(
    new Set(at.warnings),
    new Set(['would violate PodSecurity "baseline:latest": host namespaces (hostPID=true)']),
  );
  assert.equal(at.warnings.length, 3);
});

test('updates that change nothing of weight pass, exemptions hold', async () => {
  const at = bench({ enforce: 'restricted' });
  await at.run({
    operation: 'UPDATE',
    resource: 'pods',
    oldObject: pod(BARE),
    object: pod(BARE, { labels: { a: 'b' } }),
  });
  await assert.rejects(
    at.run({
      operation: 'UPDATE',
      resource: 'pods',
      oldObject: pod(BARE),
      object: pod({ containers: [{ name: 'c', image: 'x' }] }),
    }),
    /violates PodSecurity/,
  );
  await bench({ enforce: 'restricted' }, { exemptions: { usernames: ['jane'] } }).run({
    resource: 'pods',
    object: pod(BARE),
  });
  await bench({ enforce: 'restricted' }, { exemptions: { namespaces: ['red'] } }).run({
    resource: 'pods',
    object: pod(BARE),
  });
});

test('labels of a namespace are checked, existing pods are warned about, an unreadable level is the strictest', async () => {
  const at = bench({ enforce: 'nonsense' });
  await assert.rejects(
    at.run({ resource: 'pods', object: pod(BARE) }),
    /violates PodSecurity "restricted:latest"/,
  );
  const namespace = (level: string): KubeObject => ({
    metadata: { name: 'red', labels: { 'pod-security.kubernetes.io/enforce': level } },
  });
  await assert.rejects(at.run({ resource: 'namespaces', object: namespace('strict') }), {
    message:
      'Namespace "red" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict": must be one of privileged, baseline, restricted',
  });
  for (const name of ['a', 'b', 'c'])
    at.internal.put({ group: '', resource: 'pods' }, pod({ ...BARE, hostPID: true }, { name }));
  await at.run({
    operation: 'UPDATE',
    resource: 'namespaces',
    oldObject: namespace('privileged'),
    object: namespace('baseline'),
  });
  assert.deepEqual(at.warnings, [
    'existing pods in namespace "red" violate the new PodSecurity enforce level "baseline:latest"',
    'a (and 2 other pods): host namespaces',
  ]);
});

test('a version has the rules of its time', () => {
  const reasons = (
    level: 'baseline' | 'restricted',
    version: string,
    spec: PodSpec,
    metadata: Pod['metadata'] = {},
  ): string[] => evaluate({ spec, metadata }, { level, version }).map(({ reason }) => reason);
  const cases: readonly {
    readonly what: string;
    readonly level: 'baseline' | 'restricted';
    readonly spec: PodSpec;
    readonly refusedIn: readonly string[];
    readonly allowedIn: readonly string[];
    readonly metadata?: Pod['metadata'];
  }[] = [
    {
      what: 'tcp_rmem',
      level: 'baseline',
      spec: { ...BARE, securityContext: { sysctls: [{ name: 'net.ipv4.tcp_rmem', value: '1' }] } },
      refusedIn: ['v1.0', 'v1.31'],
      allowedIn: ['v1.32', 'v1.999', 'latest'],
    },
    {
      what: 'local_reserved_ports',
      level: 'baseline',
      spec: {
        ...BARE,
        securityContext: { sysctls: [{ name: 'net.ipv4.ip_local_reserved_ports', value: '1' }] },
      },
      refusedIn: ['v1.26'],
      allowedIn: ['v1.27'],
    },
    {
      what: 'container_engine_t',
      level: 'baseline',
      spec: { ...BARE, securityContext: { seLinuxOptions: { type: 'container_engine_t' } } },
      refusedIn: ['v1.30'],
      allowedIn: ['v1.31'],
    },
    {
      what: 'hosts of probes',
      level: 'baseline',
      spec: { containers: [{ name: 'c', livenessProbe: { tcpSocket: { host: '10.0.0.1', port: 1 } } }] },
      refusedIn: ['v1.34', 'latest'],
      allowedIn: ['v1.33'],
    },
    {
      what: 'seccomp fields',
      level: 'baseline',
      spec: { ...BARE, securityContext: { seccompProfile: { type: 'Unconfined' } } },
      refusedIn: ['v1.19'],
      allowedIn: ['v1.18'],
    },
    {
      what: 'seccomp annotations',
      level: 'baseline',
      spec: BARE,
      metadata: { annotations: { 'seccomp.security.alpha.kubernetes.io/pod': 'unconfined' } },
      refusedIn: ['v1.18'],
      allowedIn: ['v1.19'],
    },
    {
      what: 'procMount in a user namespace, restricted',
      level: 'restricted',
      spec: {
        ...GOOD,
        hostUsers: false,
        containers: [
          {
            ...GOOD.containers[0]!,
            securityContext: { ...GOOD.containers[0]!.securityContext, procMount: 'Unmasked' },
          },
        ],
      },
      refusedIn: ['v1.30', 'v1.34', 'v1.35', 'latest'],
      allowedIn: [],
    },
    {
      what: 'procMount in a user namespace',
      level: 'baseline',
      spec: { hostUsers: false, containers: [{ name: 'c', securityContext: { procMount: 'Unmasked' } }] },
      refusedIn: ['v1.34'],
      allowedIn: ['v1.35', 'latest'],
    },
    {
      what: 'all capabilities',
      level: 'restricted',
      spec: { ...GOOD, containers: [{ name: 'c', securityContext: { allowPrivilegeEscalation: false } }] },
      refusedIn: ['v1.22'],
      allowedIn: ['v1.21'],
    },
    {
      what: 'a bare Windows pod',
      level: 'restricted',
      spec: { os: { name: 'windows' }, securityContext: { runAsNonRoot: true }, containers: [{ name: 'c' }] },
      refusedIn: ['v1.24'],
      allowedIn: ['v1.25'],
    },
    {
      what: 'user 0',
      level: 'restricted',
      spec: { ...GOOD, securityContext: { ...GOOD.securityContext, runAsUser: 0 } },
      refusedIn: ['v1.23'],
      allowedIn: ['v1.22'],
    },
    {
      what: 'user 0 in a user namespace',
      level: 'restricted',
      spec: {
        ...GOOD,
        hostUsers: false,
        securityContext: { ...GOOD.securityContext, runAsUser: 0, runAsNonRoot: false },
      },
      refusedIn: ['v1.34'],
      allowedIn: ['v1.35'],
    },
    {
      what: 'escalation',
      level: 'restricted',
      spec: { ...GOOD, containers: [{ name: 'c', securityContext: { capabilities: { drop: ['ALL'] } } }] },
      refusedIn: ['v1.8'],
      allowedIn: ['v1.7'],
    },
    {
      what: 'hostPath',
      level: 'restricted',
      spec: { ...GOOD, volumes: [{ name: 'h', hostPath: { path: '/' } }] },
      refusedIn: ['v1.0', 'latest'],
      allowedIn: [],
    },
    {
      what: 'other capabilities',
      level: 'restricted',
      spec: {
        ...GOOD,
        containers: [{ name: 'c', securityContext: { capabilities: { add: ['SYS_ADMIN'] } } }],
      },
      refusedIn: ['v1.7', 'v1.21', 'v1.22'],
      allowedIn: [],
    },
  ];
  for (const { what, level, spec, refusedIn, allowedIn, metadata } of cases) {
    for (const version of refusedIn)
      assert.notDeepEqual(reasons(level, version, spec, metadata), [], `${what} in ${version}`);
    for (const version of allowedIn)
      assert.deepEqual(reasons(level, version, spec, metadata), [], `${what} in ${version}`);
  }
});

test('what enforce asks for is warned of where warn says nothing', async () => {
  const deployment = {
    resource: 'deployments.apps',
    object: {
      metadata: { name: 'd', namespace: 'red' },
      spec: { template: { metadata: {}, spec: { ...BARE, hostPID: true } } },
    },
  };
  const warnings = async (labels: Record<string, string>, options = {}): Promise<readonly string[]> => {
    const at = bench(labels, options);
    await at.run(deployment);
    return at.warnings.map((text) => text.split(':').slice(0, 2).join(':'));
  };
  assert.deepEqual(await warnings({ enforce: 'baseline', 'enforce-version': 'v1.30' }), [
    'would violate PodSecurity "baseline:v1.30"',
  ]);
  assert.deepEqual(await warnings({ enforce: 'baseline', warn: 'privileged' }), []);
  assert.deepEqual(await warnings({ enforce: 'baseline', 'warn-version': 'v1.29' }), [
    'would violate PodSecurity "baseline:v1.29"',
  ]);
  assert.deepEqual(
    await warnings({}, { defaults: { enforce: { level: 'baseline', version: 'latest' } } }),
    [],
  );
  assert.deepEqual(await warnings({ enforce: 'nonsense' }), []);
});

test('resizing a pod that would not be let in today is allowed, new images are not', async () => {
  const at = bench({ enforce: 'restricted' });
  const resized = pod({ containers: [{ name: 'c', resources: { limits: { cpu: '2' } } }] });
  await at.run({ operation: 'UPDATE', resource: 'pods/resize', oldObject: pod(BARE), object: resized });
  await assert.rejects(
    at.run({
      operation: 'UPDATE',
      resource: 'pods/ephemeralcontainers',
      oldObject: pod(BARE),
      object: pod({ ...BARE, ephemeralContainers: [{ name: 'debug', image: 'x' }] }),
    }),
    /violates PodSecurity/,
  );
});

test('audit events and metrics say what was judged', async () => {
  const plugin = podSecurity({ exemptions: { usernames: ['jane'] } });
  const collectors: (() => string)[] = [];
  plugin.start?.({ metrics: { collect: (collector: () => string) => collectors.push(collector) } } as never);
  const at = new AdmissionBench(plugin);
  at.internal.put(
    { group: '', resource: 'namespaces' },
    {
      metadata: {
        name: 'red',
        labels: {
          'pod-security.kubernetes.io/enforce': 'privileged',
          'pod-security.kubernetes.io/audit': 'baseline',
          'pod-security.kubernetes.io/audit-version': 'v1.99',
          'pod-security.kubernetes.io/warn': 'odd',
        },
      },
    },
  );
  const judged = async (name: string): Promise<Record<string, string>> => {
    const annotations: Record<string, string> = {};
    const attributes = at.attributes({
      resource: 'pods',
      object: pod({ ...BARE, hostPID: true }),
      user: { name, groups: [] },
    });
    await at.runWith({ ...attributes, annotate: (key, value) => void (annotations[key] = value) });
    return annotations;
  };
  assert.deepEqual(await judged('joe'), {
    'pod-security.kubernetes.io/enforce-policy': 'privileged:latest',
    'pod-security.kubernetes.io/error':
      'Failed to parse policy: metadata.labels[pod-security.kubernetes.io/warn]: Invalid value: "odd": must be one of privileged, baseline, restricted',
    'pod-security.kubernetes.io/audit-violations':
      'would violate PodSecurity "baseline:v1.99": host namespaces (hostPID=true)',
  });
  assert.deepEqual(await judged('jane'), { 'pod-security.kubernetes.io/exempt': 'user' });
  assert.deepEqual(
    collectors.flatMap((collector) => collector().split('\n')).filter((line) => !line.startsWith('#')),
    [
      'pod_security_evaluations_total{decision="allow",mode="enforce",policy_level="privileged",policy_version="latest",request_operation="create",resource="pod",subresource=""} 1',
      'pod_security_evaluations_total{decision="deny",mode="audit",policy_level="baseline",policy_version="future",request_operation="create",resource="pod",subresource=""} 1',
      'pod_security_exemptions_total{request_operation="create",resource="pod",subresource=""} 1',
      'pod_security_errors_total{fatal="false",request_operation="create",resource="pod",subresource=""} 1',
    ],
  );
});
