import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import type { Pod } from '#api/types.ts';
import {
  configMaps,
  deployments,
  endpoints,
  endpointSlices,
  namespaces,
  nodes,
  pods,
  replicaSets,
  serviceAccounts,
  services,
} from '#client/refs.ts';
import { controllers } from './list.ts';
import { startTestWorld, type TestWorld } from './testing/world.ts';

describe('all controllers together', () => {
  let world: TestWorld;
  before(async () => {
    world = await startTestWorld(
      controllers({ clusterCIDR: '10.244.0.0/16', rootCA: 'PEM' }).filter(
        ({ featureGate }) => featureGate === undefined,
      ),
    );
  });
  after(() => world.stop());

  it('bring up a deployment behind a service, and delete all of it with its namespace', async () => {
    await world.api.create(nodes, { metadata: { name: 'n1' } });
    const condition = { type: 'Ready', status: 'True' };
    await world.until('node reports', async () => {
      const node = await world.api.get(nodes, { name: 'n1' });
      return world.api.updateStatus(nodes, {
        ...node,
        status: {
          ...node.status,
          conditions: [condition],
          capacity: { cpu: '4', memory: '8Gi', pods: '110' },
        },
      });
    });
    const node = await world.until('node is open', async () => {
      const now = await world.api.get(nodes, { name: 'n1' });
      return now.spec?.podCIDR && !now.spec.taints?.length && now;
    });
    assert.equal(node.spec!.podCIDR, '10.244.0.0/24');

    await world.api.create(namespaces, { metadata: { name: 'shop' } });
    await world.until(
      'namespace is furnished',
      async () =>
        (await world.find(serviceAccounts, { name: 'default', namespace: 'shop' })) &&
        world.find(configMaps, { name: 'kube-root-ca.crt', namespace: 'shop' }),
    );
    const template = {
      metadata: { labels: { app: 'web' } },
      spec: { containers: [{ name: 'c', image: 'web:1' }], terminationGracePeriodSeconds: 0 },
    };
    await world.api.create(deployments, {
      metadata: { name: 'web', namespace: 'shop' },
      spec: { replicas: 2, selector: { matchLabels: { app: 'web' } }, template },
    });
    await world.api.create(services, {
      metadata: { name: 'web', namespace: 'shop' },
      spec: { selector: { app: 'web' }, ports: [{ port: 80 }] },
    });
    const podsOf = async (): Promise<Pod[]> => (await world.api.list(pods, { namespace: 'shop' })).items;
    const [first, second] = await world.until('pods', async () => {
      const list = await podsOf();
      return list.length === 2 && list;
    });
    for (const [index, pod] of [first!, second!].entries()) {
      await world.bind(pod, 'n1');
      await world.setPod(pod, { podIP: `10.244.0.${index + 2}` });
    }
    await world.until(
      'deployment is there',
      async () =>
        (await world.api.get(deployments, { name: 'web', namespace: 'shop' })).status?.availableReplicas ===
        2,
    );
    await world.until('endpoints are ready', async () => {
      const slices = (await world.api.list(endpointSlices, { namespace: 'shop' })).items;
      return (
        slices.length === 1 &&
        slices[0]!.endpoints!.filter(({ conditions }) => conditions?.ready).length === 2
      );
    });
    await world.until(
      'endpoints object',
      async () =>
        (await world.api.get(endpoints, { name: 'web', namespace: 'shop' })).subsets?.[0]?.addresses
          ?.length === 2,
    );

    await world.api.delete(
      deployments,
      { name: 'web', namespace: 'shop' },
      { propagationPolicy: 'Foreground' },
    );
    await world.api.delete(services, { name: 'web', namespace: 'shop' });
    /** Plays the kubelet. */
    const finishPods = async (): Promise<void> => {
      for (const pod of await podsOf()) if (pod.metadata?.deletionTimestamp) await world.finishPod(pod);
    };
    await world.until('collected', async () => {
      await finishPods();
      const left = [
        ...(await podsOf()),
        ...(await world.api.list(replicaSets, { namespace: 'shop' })).items,
        ...(await world.api.list(endpointSlices, { namespace: 'shop' })).items,
      ];
      return left.length === 0 && !(await world.find(deployments, { name: 'web', namespace: 'shop' }));
    });
    await world.api.delete(namespaces, { name: 'shop' });
    await world.until('namespace is gone', async () => !(await world.find(namespaces, { name: 'shop' })));
  });
});

/** Names as in kube-controller-manager --help of 1.36, and why a controller is not here. */
const ABSENT: Readonly<Record<string, string>> = {
  'cloud-node-lifecycle-controller': 'needs a cloud provider: upstream runs it in cloud-controller-manager',
  'clusterrole-aggregation-controller': 'the API server aggregates roles when they are written',
  'kube-apiserver-serving-clustertrustbundle-publisher-controller':
    'ClusterTrustBundle is off by default, and nodes refuse its projections',
  'node-route-controller': 'needs a cloud provider; routes are the pod network of node agents',
  'podcertificaterequest-cleaner-controller': 'nodes refuse pod certificates',
  'resourcepoolstatusrequest-controller': 'alpha, off by default',
  'selinux-warning-controller': 'off by default; nodes do not label volumes for SELinux',
  'service-cidr-controller': 'the API server follows ServiceCIDRs itself',
  'service-lb-controller':
    'needs a cloud provider; load-balancer-controller says on each Service what it lacks',
  'storageversion-garbage-collector-controller': 'its API is alpha and not served',
  'validatingadmissionpolicy-status-controller':
    'expressions are checked by the API server when a policy is written',
};
const UPSTREAM = [
  'bootstrap-signer-controller',
  'certificatesigningrequest-approving-controller',
  'certificatesigningrequest-cleaner-controller',
  'certificatesigningrequest-signing-controller',
  'cronjob-controller',
  'daemonset-controller',
  'deployment-controller',
  'device-taint-eviction-controller',
  'disruption-controller',
  'endpoints-controller',
  'endpointslice-controller',
  'endpointslice-mirroring-controller',
  'ephemeral-volume-controller',
  'garbage-collector-controller',
  'horizontal-pod-autoscaler-controller',
  'job-controller',
  'legacy-serviceaccount-token-cleaner-controller',
  'namespace-controller',
  'node-ipam-controller',
  'node-lifecycle-controller',
  'persistentvolume-attach-detach-controller',
  'persistentvolume-binder-controller',
  'persistentvolume-expander-controller',
  'persistentvolume-protection-controller',
  'persistentvolumeclaim-protection-controller',
  'pod-garbage-collector-controller',
  'podgroup-protection-controller',
  'replicaset-controller',
  'replicationcontroller-controller',
  'resourceclaim-controller',
  'resourcequota-controller',
  'root-ca-certificate-publisher-controller',
  'serviceaccount-controller',
  'serviceaccount-token-controller',
  'statefulset-controller',
  'storage-version-migrator-controller',
  'taint-eviction-controller',
  'token-cleaner-controller',
  'ttl-after-finished-controller',
  'ttl-controller',
  'volumeattributesclass-protection-controller',
];
const OWN = [
  'addon-controller',
  'expired-node-approving-controller',
  'kubelet-serving-approving-controller',
  'leased-endpointslice-controller',
];

it("every controller of upstream's is here, or its absence has a reason", () => {
  const { privateKey: serviceAccountKey } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  const options = { clusterCIDR: '10.244.0.0/16', rootCA: 'PEM', serviceAccountKey };
  const names = controllers(options).map(({ name }) => name);
  assert.deepEqual(names.toSorted(), [...UPSTREAM, ...OWN].toSorted());
  assert.deepEqual(
    Object.keys(ABSENT).filter((name) => names.includes(name)),
    [],
    'a controller that is here has no reason to be absent',
  );
});
