/** The API-machinery part of conformance: discovery, lists, watches, garbage collection, namespaces, admission policies. Webhooks, custom resources and quotas are beside. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { inDiscovery, showLifecycle } from './lifecycle.ts';
import { pod, podSpec, replicationController, workload } from './manifests.ts';
import { startWorld, until, type Json, type World } from './world.ts';

const CHUNKED_LIST_SIZE = 40;

describe('conformance: API machinery', () => {
  let world: World;
  before(async () => {
    world = await startWorld();
  });
  after(async () => world?.stop());

  const configMap = (name: string, { labels = {}, ...data }: Json = {}): Json => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name, labels },
    data,
  });
  const names = async (path: string): Promise<string[]> =>
    (await world.get(path)).items.map(({ metadata }: Json) => metadata.name);

  it('Priority and Fairness FlowSchema API', () =>
    showLifecycle(world, {
      group: 'flowcontrol.apiserver.k8s.io',
      plural: 'flowschemas',
      kind: 'FlowSchema',
      object: () => ({
        spec: {
          matchingPrecedence: 10_000,
          priorityLevelConfiguration: { name: 'global-default' },
          distinguisherMethod: { type: 'ByUser' },
          rules: [
            {
              subjects: [{ kind: 'User', user: { name: 'nobody-of-conformance' } }],
              nonResourceRules: [{ verbs: ['*'], nonResourceURLs: ['*'] }],
            },
          ],
        },
      }),
      status: {
        patch: {
          conditions: [
            {
              type: 'PatchStatusFailed',
              status: 'False',
              reason: 'Patched',
              message: 'Patched',
              lastTransitionTime: '2026-01-01T00:00:00Z',
            },
          ],
        },
        resetsMetadata: true,
      },
    }));

  it('Priority and Fairness PriorityLevelConfiguration API', () =>
    showLifecycle(world, {
      group: 'flowcontrol.apiserver.k8s.io',
      plural: 'prioritylevelconfigurations',
      kind: 'PriorityLevelConfiguration',
      object: () => ({
        spec: {
          type: 'Limited',
          limited: { nominalConcurrencyShares: 2, limitResponse: { type: 'Reject' } },
        },
      }),
      status: {
        patch: {
          conditions: [
            {
              type: 'PatchStatusFailed',
              status: 'False',
              reason: 'Patched',
              message: 'Patched',
              lastTransitionTime: '2026-01-01T00:00:00Z',
            },
          ],
        },
        resetsMetadata: true,
      },
    }));

  it('Aggregated Discovery Interface', async () => {
    const { body } = await world.send('GET /apis', {
      headers: { accept: 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList' },
    });
    const groups = body.items.map(({ metadata }: Json) => metadata.name as string);
    for (const group of [
      'admissionregistration.k8s.io',
      'apiextensions.k8s.io',
      'apiregistration.k8s.io',
      'apps',
      'authentication.k8s.io',
      'authorization.k8s.io',
      'autoscaling',
      'batch',
      'discovery.k8s.io',
      'networking.k8s.io',
      'policy',
      'rbac.authorization.k8s.io',
      'storage.k8s.io',
    ]) {
      assert.ok(groups.includes(group), group);
    }
    // Every resource that the classic documents name is there too, and the other way round.
    for (const { metadata, versions } of body.items) {
      for (const { version, resources } of versions) {
        const classic = (await world.get(`/apis/${metadata.name}/${version}`)).resources
          .map(({ name }: Json) => name as string)
          .toSorted();
        const found = resources.flatMap(({ resource, subresources = [] }: Json) => [
          resource,
          ...subresources.map(({ subresource }: Json) => `${resource}/${subresource}`),
        ]) as string[];
        assert.deepEqual(found.toSorted(), classic, `${metadata.name}/${version}`);
      }
    }
  });

  it('Aggregated Discovery Endpoint Accept Headers', async () => {
    for (const path of ['/api', '/apis']) {
      const accept = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList';
      const { headers, body } = await world.send(`GET ${path}`, { headers: { accept } });
      assert.equal(headers['content-type'], accept);
      assert.equal(body.kind, 'APIGroupDiscoveryList');
      assert.equal(body.apiVersion, 'apidiscovery.k8s.io/v2');
      assert.match(
        (
          await world.send(`GET ${path}`, {
            headers: {
              accept: 'application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList,application/json',
            },
          })
        ).body.kind,
        /^API(Versions|GroupList)$/,
      );
    }
    const { body } = await world.send('GET /api', {
      headers: { accept: 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList' },
    });
    const [{ resources }] = body.items[0].versions;
    for (const name of ['pods', 'services', 'configmaps', 'secrets', 'nodes', 'namespaces'])
      assert.ok(
        resources.some(({ resource }: Json) => resource === name),
        name,
      );
  });

  it('Discovery, confirm the groupVerion and a resourcefrom each apiGroup', async () => {
    const { groups } = await world.get('/apis');
    assert.ok(groups.length > 15);
    for (const { preferredVersion } of groups) {
      const list = await world.get(`/apis/${preferredVersion.groupVersion}`);
      assert.equal(list.kind, 'APIResourceList');
      assert.equal(list.groupVersion, preferredVersion.groupVersion);
      assert.ok(
        list.resources.length > 0 && list.resources[0].name && list.resources[0].kind,
        preferredVersion.groupVersion,
      );
    }
  });

  it('Discovery, confirm the PreferredVersion for each api group', async () => {
    for (const { name } of (await world.get('/apis')).groups) {
      const { preferredVersion, versions } = await world.get(`/apis/${name}`);
      assert.ok(
        versions.some(({ groupVersion }: Json) => groupVersion === preferredVersion.groupVersion),
        name,
      );
    }
  });

  it('Server side field validation, typed object', async () => {
    const path = `/apis/apps/v1/namespaces/${await world.namespace()}/deployments`;
    const text = JSON.stringify(workload('Deployment', 'strict')).replace(
      '"spec":{',
      '"spec":{"unknownField":"bar","paused":false,"paused":true,',
    );
    const { message, reason } = await world.refused(400, `POST ${path}?fieldValidation=Strict`, {
      body: text,
    });
    assert.equal(reason, 'BadRequest');
    assert.match(message, /strict decoding error: /);
    assert.match(message, /unknown field "spec.unknownField"/);
    assert.match(message, /duplicate field "spec.paused"/);
    const { headers, status } = await world.send(`POST ${path}?fieldValidation=Warn`, { body: text });
    assert.equal(status, 201);
    assert.match(
      String(headers['warning']),
      /unknown field \\"spec.unknownField\\".*duplicate field \\"spec.paused\\"|duplicate.*unknown/,
    );
  });

  it('Server side field validation, typed unknown metadata', async () => {
    const path = `/apis/apps/v1/namespaces/${await world.namespace()}/deployments`;
    const body = workload('Deployment', 'strict');
    body.metadata.unknownMeta = 'unknown';
    body.spec.template.metadata.unknownMeta = 'unknown';
    const { message } = await world.refused(400, `POST ${path}?fieldValidation=Strict`, { body });
    assert.match(message, /unknown field "metadata.unknownMeta"/);
    assert.match(message, /unknown field "spec.template.metadata.unknownMeta"/);
  });

  describe('garbage collection', () => {
    let namespace: string;
    let pods: string;
    let controllers: string;
    let deployments: string;
    let replicaSets: string;
    before(async () => {
      namespace = await world.namespace();
      pods = `/api/v1/namespaces/${namespace}/pods`;
      controllers = `/api/v1/namespaces/${namespace}/replicationcontrollers`;
      deployments = `/apis/apps/v1/namespaces/${namespace}/deployments`;
      replicaSets = `/apis/apps/v1/namespaces/${namespace}/replicasets`;
    });
    const podsOf = async (name: string): Promise<Json[]> =>
      (await world.get(`${pods}?labelSelector=app%3D${name}`)).items;
    const startDeployment = async (name: string): Promise<void> => {
      await world.post(deployments, workload('Deployment', name, { replicas: 2 }));
      await until('its pods', async () => (await podsOf(name)).length === 2);
    };
    const startController = async (name: string, replicas: number): Promise<Json> => {
      const made = await world.post(controllers, replicationController(name, { replicas }));
      await until('its pods', async () => (await podsOf(name)).length === replicas);
      return made;
    };

    it('Garbage Collector, delete deployment,  propagation policy background', async () => {
      await startDeployment('background');
      await world.del(`${deployments}/background`, { propagationPolicy: 'Background' });
      await until(
        'nothing left',
        async () =>
          (await names(`${replicaSets}?labelSelector=app%3Dbackground`)).length +
            (await podsOf('background')).length ===
          0,
      );
    });

    it('Garbage Collector, delete replication controller, propagation policy background', async () => {
      await startController('rc-background', 2);
      await world.del(`${controllers}/rc-background`, { propagationPolicy: 'Background' });
      await world.refused(404, `GET ${controllers}/rc-background`);
      await until('no pods', async () => (await podsOf('rc-background')).length === 0);
    });

    it('Garbage Collector, delete replication controller, after owned pods', async () => {
      await startController('rc-foreground', 20);
      const watch = await world.watch(controllers, 'fieldSelector=metadata.name%3Drc-foreground');
      const podWatch = await world.watch(pods, 'labelSelector=app%3Drc-foreground');
      const answer = await world.del(`${controllers}/rc-foreground`, { propagationPolicy: 'Foreground' });
      assert.deepEqual(answer.metadata.finalizers, ['foregroundDeletion']);
      const deleted = await watch.seen('DELETED');
      await until(
        'all deletions seen',
        () => podWatch.events.filter(({ type }) => type === 'DELETED').length === 20,
      );
      for (const { type, object } of podWatch.events) {
        if (type === 'DELETED')
          assert.ok(
            Number(object.metadata.resourceVersion) < Number(deleted.object.metadata.resourceVersion),
            'pods go before their owner',
          );
      }
    });

    it('Garbage Collector, dependency cycle', async () => {
      const made = await Promise.all([1, 2, 3].map((index) => world.post(pods, pod(`cycle-${index}`))));
      for (const [index, owner] of [
        [0, 2],
        [1, 0],
        [2, 1],
      ] as const) {
        const { name, uid } = made[owner].metadata;
        await world.patch(
          `${pods}/${made[index].metadata.name}`,
          {
            metadata: {
              ownerReferences: [
                { apiVersion: 'v1', kind: 'Pod', name, uid, controller: true, blockOwnerDeletion: true },
              ],
            },
          },
          'strategic',
        );
      }
      await world.del(`${pods}/cycle-1`, { propagationPolicy: 'Foreground' });
      for (const index of [1, 2, 3]) await world.gone(`${pods}/cycle-${index}`);
    });

    it('Garbage Collector, multiple owners', async () => {
      await startController('to-be-deleted', 10);
      const stays = await world.post(controllers, { ...replicationController('to-stay', { replicas: 0 }) });
      const half = (await podsOf('to-be-deleted')).slice(0, 5).map(({ metadata }) => metadata.name as string);
      for (const name of half) {
        await world.patch(
          `${pods}/${name}`,
          {
            metadata: {
              ownerReferences: [
                { apiVersion: 'v1', kind: 'ReplicationController', name: 'to-stay', uid: stays.metadata.uid },
              ],
            },
          },
          'strategic',
        );
      }
      await world.del(`${controllers}/to-be-deleted`, { propagationPolicy: 'Foreground' });
      await world.gone(`${controllers}/to-be-deleted`);
      const left = await until('the half of one owner to be gone', async () => {
        const now = await podsOf('to-be-deleted');
        return now.length === 5 ? now : undefined;
      });
      assert.deepEqual(left.map(({ metadata }) => metadata.name as string).toSorted(), half.toSorted());
      assert.ok(left.every(({ metadata }) => metadata.deletionTimestamp === undefined));
      assert.ok(
        left.every(
          ({ metadata }) =>
            metadata.ownerReferences.length === 1 && metadata.ownerReferences[0].uid === stays.metadata.uid,
        ),
      );
    });

    it('Garbage Collector, delete deployment, propagation policy orphan', async () => {
      await startDeployment('orphan');
      await world.del(`${deployments}/orphan`, { propagationPolicy: 'Orphan' });
      await world.gone(`${deployments}/orphan`);
      const [set] = (await world.get(`${replicaSets}?labelSelector=app%3Dorphan`)).items;
      assert.equal(set.metadata.ownerReferences, undefined);
      assert.equal(set.metadata.deletionTimestamp, undefined);
      assert.ok(
        (await podsOf('orphan')).every(
          ({ metadata }) => metadata.ownerReferences[0].uid === set.metadata.uid,
        ),
      );
    });

    it('Garbage Collector, delete replication controller, propagation policy orphan', async () => {
      await startController('rc-orphan', 10);
      await world.del(`${controllers}/rc-orphan`, { propagationPolicy: 'Orphan' });
      await world.gone(`${controllers}/rc-orphan`);
      const left = await podsOf('rc-orphan');
      assert.equal(left.length, 10);
      assert.ok(
        left.every(
          ({ metadata }) =>
            metadata.ownerReferences === undefined && metadata.deletionTimestamp === undefined,
        ),
      );
    });
  });

  describe('admission policies', () => {
    let namespace: string;
    let deployments: string;
    before(async () => {
      namespace = await world.namespace({ policies: 'yes' });
      deployments = `/apis/apps/v1/namespaces/${namespace}/deployments`;
    });
    const policies = '/apis/admissionregistration.k8s.io/v1';
    const matchConstraints = {
      namespaceSelector: { matchLabels: { policies: 'yes' } },
      resourceRules: [
        { apiGroups: ['apps'], apiVersions: ['v1'], operations: ['CREATE'], resources: ['deployments'] },
      ],
    };
    const register = async (verb: 'Validating' | 'Mutating', name: string, spec: Json): Promise<void> => {
      const plural = `${verb.toLowerCase()}admissionpolic`;
      await world.post(`${policies}/${plural}ies`, {
        metadata: { name },
        spec: { matchConstraints, ...spec },
      });
      await world.post(`${policies}/${plural}ybindings`, {
        metadata: { name },
        spec: { policyName: name, ...(verb === 'Validating' ? { validationActions: ['Deny'] } : {}) },
      });
    };
    const unregister = async (verb: 'validating' | 'mutating', name: string): Promise<void> => {
      await world.del(`${policies}/${verb}admissionpolicybindings/${name}`);
      await world.del(`${policies}/${verb}admissionpolicies/${name}`);
    };
    const dryRun = (body: Json): Promise<Json> => world.send(`POST ${deployments}?dryRun=All`, { body });

    it('MutatingAdmissionPolicy', async () => {
      await register('Mutating', 'replicas.example.com', {
        failurePolicy: 'Fail',
        reinvocationPolicy: 'Never',
        mutations: [
          {
            patchType: 'ApplyConfiguration',
            applyConfiguration: {
              expression: 'Object{spec: Object.spec{replicas: object.spec.replicas + 1}}',
            },
          },
        ],
      });
      await until(
        'the policy to work',
        async () => (await dryRun(workload('Deployment', 'marker'))).body.spec.replicas === 2,
      );
      assert.equal(
        (await world.post(deployments, workload('Deployment', 'mutated', { replicas: 3 }))).spec.replicas,
        4,
      );
      await unregister('mutating', 'replicas.example.com');
    });

    it('MutatingAdmissionPolicy', async () => {
      await register('Mutating', 'annotations.example.com', {
        failurePolicy: 'Fail',
        reinvocationPolicy: 'Never',
        mutations: [
          {
            patchType: 'JSONPatch',
            jsonPatch: {
              expression:
                '[JSONPatch{op: "add", path: "/metadata/annotations", value: {"my-annotation": "myvalue"}}]',
            },
          },
        ],
      });
      await until(
        'the policy to work',
        async () =>
          (await dryRun(workload('Deployment', 'marker'))).body.metadata.annotations?.['my-annotation'] ===
          'myvalue',
      );
      assert.equal(
        (await world.post(deployments, workload('Deployment', 'annotated'))).metadata.annotations[
          'my-annotation'
        ],
        'myvalue',
      );
      await unregister('mutating', 'annotations.example.com');
    });

    it('ValidatingAdmissionPolicy', async () => {
      await register('Validating', 'replicas.example.com', {
        validations: [
          {
            expression: 'object.spec.replicas > 1',
            messageExpression: "'wants replicas > 1, got ' + string(object.spec.replicas)",
          },
          {
            expression: 'namespaceObject.metadata.name == object.metadata.namespace',
            message: 'Internal error! Other namespace.',
          },
        ],
      });
      await until(
        'the policy to work',
        async () => (await dryRun(workload('Deployment', 'marker', { replicas: 1 }))).status === 422,
      );
      await world.post(deployments, workload('Deployment', 'replicated', { replicas: 2 }));
      const { message } = await world.refused(422, `POST ${deployments}`, {
        body: workload('Deployment', 'non-replicated'),
      });
      assert.match(
        message,
        /ValidatingAdmissionPolicy 'replicas.example.com' with binding 'replicas.example.com' denied request: wants replicas > 1, got 1/,
      );
      await unregister('validating', 'replicas.example.com');
    });

    it('ValidatingAdmissionPolicy', async () => {
      await register('Validating', 'variables.example.com', {
        variables: [
          { name: 'replicas', expression: 'object.spec.replicas' },
          { name: 'oddReplicas', expression: 'variables.replicas % 2 == 1' },
        ],
        validations: [{ expression: 'variables.replicas > 1' }, { expression: 'variables.oddReplicas' }],
      });
      await until(
        'the policy to work',
        async () => (await dryRun(workload('Deployment', 'marker', { replicas: 1 }))).status === 422,
      );
      await world.post(deployments, workload('Deployment', 'odd', { replicas: 3 }));
      assert.match(
        (
          await world.refused(422, `POST ${deployments}`, {
            body: workload('Deployment', 'even', { replicas: 2 }),
          })
        ).message,
        /failed expression: variables\.oddReplicas/,
      );
      await unregister('validating', 'variables.example.com');
    });

    const policy = (spec: Json) => (): Json => ({
      spec: {
        matchConstraints: { ...matchConstraints, namespaceSelector: { matchLabels: { none: 'such' } } },
        ...spec,
      },
    });
    it('MutatingAdmissionPolicy API', () =>
      showLifecycle(world, {
        group: 'admissionregistration.k8s.io',
        plural: 'mutatingadmissionpolicies',
        kind: 'MutatingAdmissionPolicy',
        object: policy({
          reinvocationPolicy: 'Never',
          mutations: [{ patchType: 'ApplyConfiguration', applyConfiguration: { expression: 'Object{}' } }],
        }),
      }));
    it('MutatingAdmissionPolicyBinding API', () =>
      showLifecycle(world, {
        group: 'admissionregistration.k8s.io',
        plural: 'mutatingadmissionpolicybindings',
        kind: 'MutatingAdmissionPolicyBinding',
        object: () => ({ spec: { policyName: 'none.example.com' } }),
      }));
    it('ValidatingAdmissionPolicy API', () =>
      showLifecycle(world, {
        group: 'admissionregistration.k8s.io',
        plural: 'validatingadmissionpolicies',
        kind: 'ValidatingAdmissionPolicy',
        object: policy({ validations: [{ expression: 'true' }] }),
        status: {
          resetsMetadata: true,
          patch: {
            conditions: [
              {
                type: 'PatchStatusFailed',
                status: 'False',
                reason: 'Patched',
                message: 'Patched',
                lastTransitionTime: '2026-01-01T00:00:00Z',
              },
            ],
          },
        },
      }));
    it('ValidatingadmissionPolicyBinding API', () =>
      showLifecycle(world, {
        group: 'admissionregistration.k8s.io',
        plural: 'validatingadmissionpolicybindings',
        kind: 'ValidatingAdmissionPolicyBinding',
        object: () => ({ spec: { policyName: 'none.example.com', validationActions: ['Deny'] } }),
      }));
  });

  it('Admission webhook, discovery document', async () => {
    for (const plural of ['mutatingwebhookconfigurations', 'validatingwebhookconfigurations'])
      await inDiscovery(world, { group: 'admissionregistration.k8s.io', plural });
  });

  it('Namespace, apply finalizer to a namespace', async () => {
    const name = await world.namespace();
    const read = await world.get(`/api/v1/namespaces/${name}`);
    assert.deepEqual(read.spec.finalizers, ['kubernetes']);
    const updated = await world.put(`/api/v1/namespaces/${name}/finalize`, {
      ...read,
      spec: { finalizers: ['kubernetes', 'e2e.example.com/fakeFinalizer'] },
    });
    assert.deepEqual(updated.spec.finalizers, ['kubernetes', 'e2e.example.com/fakeFinalizer']);
    const removed = await world.put(`/api/v1/namespaces/${name}/finalize`, {
      ...updated,
      spec: { finalizers: ['kubernetes'] },
    });
    assert.deepEqual(removed.spec.finalizers, ['kubernetes']);
  });

  it('Namespace, apply update to a namespace', async () => {
    const name = await world.namespace();
    const read = await world.get(`/api/v1/namespaces/${name}`);
    read.metadata.labels.updated = name;
    assert.equal((await world.put(`/api/v1/namespaces/${name}`, read)).metadata.labels.updated, name);
  });

  it('Namespace, apply changes to a namespace status', async () => {
    const path = `/api/v1/namespaces/${await world.namespace()}/status`;
    assert.equal((await world.get(path)).status.phase, 'Active');
    const patched = await world.patch(path, {
      metadata: { annotations: { patched: 'yes' } },
      status: { conditions: [{ type: 'StatusPatch', status: 'True', reason: 'E2E', message: 'Patched' }] },
    });
    assert.equal(patched.status.conditions[0].reason, 'E2E');
    patched.status.conditions.push({
      type: 'StatusUpdate',
      status: 'True',
      reason: 'E2E',
      message: 'Updated',
    });
    const updated = await world.put(path, patched);
    assert.deepEqual(
      updated.status.conditions.map(({ message }: Json) => message),
      ['Patched', 'Updated'],
    );
    assert.equal(updated.metadata.annotations.patched, 'yes');
  });

  it('namespace-deletion-removes-pods', async () => {
    const name = await world.namespace();
    await world.post(`/api/v1/namespaces/${name}/pods`, pod('test-pod'));
    await world.reaches(
      `/api/v1/namespaces/${name}/pods/test-pod`,
      ({ status }) => status.phase === 'Running',
    );
    await world.del(`/api/v1/namespaces/${name}`);
    await world.gone(`/api/v1/namespaces/${name}`);
    await world.post('/api/v1/namespaces', { metadata: { name } });
    assert.deepEqual(await names(`/api/v1/namespaces/${name}/pods`), []);
  });

  it('namespace-deletion-removes-services', async () => {
    const name = await world.namespace();
    await world.post(`/api/v1/namespaces/${name}/services`, {
      metadata: { name: 'test-service' },
      spec: { ports: [{ port: 80 }], selector: { a: 'b' } },
    });
    await world.del(`/api/v1/namespaces/${name}`);
    await world.gone(`/api/v1/namespaces/${name}`);
    await world.post('/api/v1/namespaces', { metadata: { name } });
    assert.deepEqual(await names(`/api/v1/namespaces/${name}/services`), []);
  });

  it('Namespace patching', async () => {
    const name = await world.namespace();
    await world.patch(
      `/api/v1/namespaces/${name}`,
      { metadata: { labels: { testLabel: 'testValue' } } },
      'strategic',
    );
    assert.equal((await world.get(`/api/v1/namespaces/${name}`)).metadata.labels.testLabel, 'testValue');
  });

  it('Ordered Namespace Deletion', async () => {
    const name = await world.namespace();
    const at = `/api/v1/namespaces/${name}`;
    const held = pod('held');
    held.metadata.finalizers = ['example.com/hold'];
    await world.post(`${at}/pods`, held);
    await world.post(`${at}/configmaps`, configMap('stays-till-then'));
    await world.del(at);
    await world.reaches(`${at}/pods/held`, ({ metadata }) => metadata.deletionTimestamp !== undefined);
    await world.reaches(at, ({ status }) =>
      status.conditions?.some(
        ({ type, status: value, message }: Json) =>
          (type === 'NamespaceDeletionContentFailure' && value === 'False') ||
          (type === 'NamespaceFinalizersRemaining' &&
            value === 'True' &&
            /example\.com\/hold in 1 resource instances/.test(message)),
      ),
    );
    assert.equal((await world.get(`${at}/configmaps/stays-till-then`)).metadata.deletionTimestamp, undefined);
    await world.patch(`${at}/pods/held`, { metadata: { finalizers: null } });
    await world.gone(at);
  });

  describe('lists in chunks', () => {
    let path: string;
    before(async () => {
      path = `/api/v1/namespaces/${await world.namespace()}/podtemplates`;
      await Promise.all(
        Array.from({ length: CHUNKED_LIST_SIZE }, (_, index) =>
          world.post(path, {
            metadata: { name: `template-${String(index).padStart(4, '0')}` },
            template: { spec: podSpec() },
          }),
        ),
      );
    });

    it('API Chunking, server should return chunks of results for list calls', async () => {
      const limit = 17;
      const found: string[] = [];
      let token = '';
      let version = '';
      do {
        const { metadata, items } = await world.get(`${path}?limit=${limit}&continue=${token}`);
        assert.ok(items.length <= limit);
        found.push(...items.map((item: Json) => item.metadata.name));
        version ||= metadata.resourceVersion;
        assert.equal(metadata.resourceVersion, version);
        assert.equal(
          metadata.remainingItemCount,
          found.length === CHUNKED_LIST_SIZE ? undefined : CHUNKED_LIST_SIZE - found.length,
        );
        token = encodeURIComponent(metadata.continue ?? '');
      } while (token);
      assert.deepEqual(
        found,
        Array.from({ length: CHUNKED_LIST_SIZE }, (_, index) => `template-${String(index).padStart(4, '0')}`),
      );
      assert.equal((await world.get(path)).items.length, CHUNKED_LIST_SIZE);
    });

    it('API Chunking, server should support continue listing from the last key even if the original version has been compacted away', async () => {
      const first = await world.get(`${path}?limit=10`);
      await world.patch(`${path}/template-0039`, { metadata: { labels: { changed: 'yes' } } });
      await world.store.compact(world.store.revision);
      const expired = await world.refused(
        410,
        `GET ${path}?limit=10&continue=${encodeURIComponent(first.metadata.continue)}`,
      );
      assert.equal(expired.reason, 'Expired');
      assert.match(
        expired.message,
        /The provided continue parameter is too old to display a consistent list result\. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results\./,
      );
      const found: string[] = first.items.map(({ metadata }: Json) => metadata.name);
      let version = '';
      for (let token: string | undefined = expired.metadata.continue; token;) {
        const { metadata, items }: Json = await world.get(
          `${path}?limit=10&continue=${encodeURIComponent(token)}`,
        );
        version ||= metadata.resourceVersion;
        assert.notEqual(version, first.metadata.resourceVersion);
        assert.equal(metadata.resourceVersion, version);
        found.push(...items.map((item: Json) => item.metadata.name as string));
        assert.equal(metadata.remainingItemCount ?? 0, CHUNKED_LIST_SIZE - found.length);
        token = metadata.continue;
      }
      assert.equal(new Set(found).size, CHUNKED_LIST_SIZE);
    });
  });

  it('API metadata HTTP return', async () => {
    const { reason, message } = await world.refused(406, `GET /api/v1/namespaces/default/configmaps`, {
      headers: { accept: 'application/json;as=Table;g=nothing.example.com;v=v1' },
    });
    assert.equal(reason, 'NotAcceptable');
    assert.match(message, /only the following media types are accepted/);
    // A resource of a server that keeps no objects has no table either.
    await world.refused(406, 'POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews', {
      headers: { accept: 'application/json;as=Table;g=meta.k8s.io;v=v1' },
      body: { spec: { resourceAttributes: { verb: 'get', resource: 'pods', namespace: 'default' } } },
    });
  });

  describe('watches', () => {
    let path: string;
    before(async () => {
      path = `/api/v1/namespaces/${await world.namespace()}/configmaps`;
    });

    it('watch-configmaps-closed-and-restarted', async () => {
      const first = await world.watch(path, 'labelSelector=watch%3Drestarted');
      await world.post(path, configMap('restarted', { labels: { watch: 'restarted' } }));
      await world.patch(`${path}/restarted`, { data: { mutation: '1' } });
      const last = await first.seen('MODIFIED');
      first.close();
      await world.patch(`${path}/restarted`, { data: { mutation: '2' } });
      const second = await world.watch(
        path,
        `labelSelector=watch%3Drestarted&resourceVersion=${last.object.metadata.resourceVersion}`,
      );
      await world.del(`${path}/restarted`);
      await second.seen('DELETED');
      assert.deepEqual(second.words, ['MODIFIED restarted', 'DELETED restarted']);
    });

    it('watch-configmaps-from-resource-version', async () => {
      await world.post(path, configMap('versioned', { labels: { watch: 'versioned' } }));
      const first = await world.patch(`${path}/versioned`, { data: { mutation: '1' } });
      await world.patch(`${path}/versioned`, { data: { mutation: '2' } });
      await world.del(`${path}/versioned`);
      const watch = await world.watch(
        path,
        `labelSelector=watch%3Dversioned&resourceVersion=${first.metadata.resourceVersion}`,
      );
      await watch.seen('DELETED');
      assert.deepEqual(watch.words, ['MODIFIED versioned', 'DELETED versioned']);
      assert.equal(watch.events[0]?.object.data.mutation, '2');
    });

    it('watch-configmaps-with-multiple-watchers', async () => {
      const [a, b, both] = await Promise.all([
        world.watch(path, 'labelSelector=watch%3Dmulti-a'),
        world.watch(path, 'labelSelector=watch%3Dmulti-b'),
        world.watch(path, 'labelSelector=watch%20in%20(multi-a%2Cmulti-b)'),
      ]);
      await world.post(path, configMap('a', { labels: { watch: 'multi-a' } }));
      for (const mutation of ['1', '2']) await world.patch(`${path}/a`, { data: { mutation } });
      await world.del(`${path}/a`);
      await world.post(path, configMap('b', { labels: { watch: 'multi-b' } }));
      await world.del(`${path}/b`);
      await Promise.all([
        a.seen('DELETED'),
        b.seen('DELETED'),
        both.seen('DELETED', ({ metadata }) => metadata.name === 'b'),
      ]);
      const ofA = ['ADDED a', 'MODIFIED a', 'MODIFIED a', 'DELETED a'];
      assert.deepEqual(a.words, ofA);
      assert.deepEqual(b.words, ['ADDED b', 'DELETED b']);
      assert.deepEqual(both.words, [...ofA, 'ADDED b', 'DELETED b']);
    });

    it('watch-configmaps-label-changed', async () => {
      const watch = await world.watch(path, 'labelSelector=watch%3Dlabelled');
      const relabel = (value: string): Promise<Json> =>
        world.patch(`${path}/labelled`, { metadata: { labels: { watch: value } } });
      await world.post(path, configMap('labelled', { labels: { watch: 'labelled' } }));
      await world.patch(`${path}/labelled`, { data: { mutation: '1' } });
      await relabel('other');
      await world.patch(`${path}/labelled`, { data: { mutation: '2' } });
      await relabel('labelled');
      await world.patch(`${path}/labelled`, { data: { mutation: '3' } });
      await world.del(`${path}/labelled`);
      await until('all events', () => watch.events.filter(({ type }) => type === 'DELETED').length === 2);
      assert.deepEqual(
        watch.words.map((word) => word.split(' ')[0]),
        ['ADDED', 'MODIFIED', 'DELETED', 'ADDED', 'MODIFIED', 'DELETED'],
      );
      assert.equal(watch.events[3]?.object.data.mutation, '2');
    });

    it('watch-consistency', async () => {
      const { metadata } = await world.get(path);
      const first = await world.watch(path, `resourceVersion=${metadata.resourceVersion}`);
      const writer = (async () => {
        for (let index = 0; index < 30; index += 1) {
          await world.post(path, configMap(`event-${index}`));
          if (index % 3 === 0) await world.del(`${path}/event-${index}`);
          else if (index % 3 === 1) await world.patch(`${path}/event-${index}`, { data: { mutation: '1' } });
        }
      })();
      const watches = [first];
      const from: number[] = [0];
      for (let index = 0; index < 20; index += 1) {
        const event = await until('the next event', () => first.events[index]);
        watches.push(await world.watch(path, `resourceVersion=${event.object.metadata.resourceVersion}`));
        from.push(index + 1);
      }
      await writer;
      await until('all events', () =>
        watches.every((watch, index) => watch.events.length === 50 - (from[index] ?? 0)),
      );
      const words = first.events.map(({ type, object }) => `${type} ${object.metadata.resourceVersion}`);
      for (const [index, watch] of watches.entries())
        assert.deepEqual(
          watch.events.map(({ type, object }) => `${type} ${object.metadata.resourceVersion}`),
          words.slice(from[index]),
        );
    });
  });

  it('Confirm a server version', async () => {
    const { major, minor } = await world.get('/version');
    assert.match(major, /^\d+$/);
    assert.match(minor, /^\d+$/);
  });
});
