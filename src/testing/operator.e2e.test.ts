/**
 * An operator built on @kubernetes/client-node against a cluster as a user has it: a kind of its own in two versions with a conversion webhook,
 * admission webhooks, status and scale; two instances of which one leads; the cluster is killed under them and comes back.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import {
  AdmissionregistrationV1Api,
  ApiextensionsV1Api,
  AppsV1Api,
  AutoscalingV1Api,
  CoordinationV1Api,
  CoreV1Api,
  CustomObjectsApi,
  KubeConfig,
  KubernetesObjectApi,
  PatchStrategy,
  setHeaderOptions,
  type V1CustomResourceDefinition,
} from '@kubernetes/client-node';
import type { JsonObject } from '#machinery/json.ts';
import { testCluster, until, type TestCluster } from './cluster.ts';
import {
  codeOf,
  FINALIZER,
  gardenOperator,
  GARDENS,
  type Garden,
  type GardenOperator,
} from './garden-operator.ts';
import { startWebhookPeer, type PeerAnswer, type PeerCall, type WebhookPeer } from './webhook-peer.ts';

const namespace = 'default';
const JSON_MERGE = setHeaderOptions('Content-Type', PatchStrategy.MergePatch);

/** Sizes were words once. v1beta1: spec.size "2"; v1: spec.replicas 2. */
function convert({
  request,
}: {
  readonly request: {
    readonly uid: string;
    readonly desiredAPIVersion: string;
    readonly objects: readonly JsonObject[];
  };
}): JsonObject {
  const convertedObjects = request.objects.map((object) => {
    const { size, replicas, ...spec } = (object['spec'] ?? {}) as { size?: string; replicas?: number };
    const resized = request.desiredAPIVersion.endsWith('/v1')
      ? { replicas: Number(size) }
      : { size: String(replicas) };
    return {
      ...object,
      apiVersion: request.desiredAPIVersion,
      spec: size === undefined && replicas === undefined ? spec : { ...spec, ...resized },
    };
  });
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'ConversionReview',
    response: { uid: request.uid, result: { status: 'Success' }, convertedObjects },
  };
}

interface Review {
  readonly request: { readonly uid: string; readonly object: Garden; readonly operation: string };
}

function review({ request }: Review, response: object): PeerAnswer {
  return {
    body: {
      apiVersion: 'admission.k8s.io/v1',
      kind: 'AdmissionReview',
      response: { uid: request.uid, ...response },
    },
  };
}

function mutate(body: Review): PeerAnswer {
  const patch = [
    body.request.object.metadata?.labels
      ? { op: 'add', path: '/metadata/labels/tended', value: 'yes' }
      : { op: 'add', path: '/metadata/labels', value: { tended: 'yes' } },
  ];
  return review(body, {
    allowed: true,
    patchType: 'JSONPatch',
    patch: Buffer.from(JSON.stringify(patch)).toString('base64'),
  });
}

function validate(body: Review): PeerAnswer {
  const isBlack = body.request.object.spec?.color === 'black';
  return review(body, {
    allowed: !isBlack,
    warnings: body.request.object.spec?.color === 'grey' ? ['grey gardens are dull'] : [],
    ...(isBlack ? { status: { code: 403, reason: 'Forbidden', message: 'nothing black grows' } } : {}),
  });
}

function serve({ path, body }: PeerCall): PeerAnswer {
  switch (path.split('?')[0]) {
    case '/convert':
      return { body: convert(body as Parameters<typeof convert>[0]) };
    case '/mutate':
      return mutate(body as Review);
    case '/validate':
      return validate(body as Review);
    default:
      return { status: 404 };
  }
}

function definition(webhook: {
  readonly url: string;
  readonly caBundle: string;
}): V1CustomResourceDefinition {
  const status = {
    type: 'object',
    properties: {
      replicas: { type: 'integer' },
      selector: { type: 'string' },
      phase: { type: 'string' },
      visits: { type: 'integer' },
    },
  };
  const color = { type: 'string', _enum: ['green', 'red', 'grey', 'black'], _default: 'green' };
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: 'gardens.plots.example' },
    spec: {
      group: 'plots.example',
      scope: 'Namespaced',
      names: {
        plural: 'gardens',
        singular: 'garden',
        kind: 'Garden',
        listKind: 'GardenList',
        shortNames: ['gdn'],
        categories: ['plots'],
      },
      conversion: {
        strategy: 'Webhook',
        webhook: { conversionReviewVersions: ['v1'], clientConfig: webhook },
      },
      versions: [
        {
          name: 'v1',
          served: true,
          storage: true,
          subresources: {
            status: {},
            scale: {
              specReplicasPath: '.spec.replicas',
              statusReplicasPath: '.status.replicas',
              labelSelectorPath: '.status.selector',
            },
          },
          additionalPrinterColumns: [
            { name: 'Color', type: 'string', jsonPath: '.spec.color' },
            { name: 'Phase', type: 'string', jsonPath: '.status.phase' },
          ],
          selectableFields: [{ jsonPath: '.spec.color' }],
          schema: {
            openAPIV3Schema: {
              type: 'object',
              required: ['spec'],
              properties: {
                status,
                spec: {
                  type: 'object',
                  properties: { replicas: { type: 'integer', _default: 1, minimum: 0 }, color },
                  x_kubernetes_validations: [
                    {
                      rule: 'self.replicas <= 5',
                      message: 'a garden has five beds at most',
                      fieldPath: '.replicas',
                    },
                    {
                      rule: 'self.color == oldSelf.color',
                      message: 'colors do not change',
                      reason: 'FieldValueForbidden',
                    },
                  ],
                },
              },
            },
          },
        },
        {
          name: 'v1beta1',
          served: true,
          storage: false,
          deprecated: true,
          deprecationWarning: 'sizes are replicas now',
          subresources: { status: {} },
          schema: {
            openAPIV3Schema: {
              type: 'object',
              properties: {
                status,
                spec: { type: 'object', properties: { size: { type: 'string' }, color } },
              },
            },
          },
        },
      ],
    },
  };
}

describe('an operator on @kubernetes/client-node', () => {
  let cluster: TestCluster;
  let peer: WebhookPeer;
  let config: KubeConfig;
  let custom: CustomObjectsApi;
  let apps: AppsV1Api;
  let core: CoreV1Api;
  const fences = new Set<string>();
  const operators: GardenOperator[] = [];

  const at = (name: string) => ({ ...GARDENS, namespace, name });
  const create = (name: string, spec: object, version = 'v1'): Promise<unknown> =>
    custom.createNamespacedCustomObject({
      ...GARDENS,
      version,
      namespace,
      body: { apiVersion: `plots.example/${version}`, kind: 'Garden', metadata: { name }, spec },
    });
  const get = async (name: string): Promise<Garden> =>
    (await custom.getNamespacedCustomObject(at(name))) as Garden;
  const blooms = (name: string, replicas: number): Promise<Garden> =>
    until(`${name} to bloom`, async () => {
      const garden = await get(name);
      return garden.status?.phase === 'Blooming' && garden.status.replicas === replicas && garden;
    });
  const leader = (): Promise<GardenOperator> =>
    until('one leader', () => {
      const leading = operators.filter(({ isLeader }) => isLeader);
      return leading.length === 1 && leading[0];
    });
  const isGone = (read: Promise<unknown>): Promise<boolean> =>
    read.then(
      () => false,
      (error: unknown) => codeOf(error) === 404,
    );

  before(async () => {
    cluster = await testCluster({ runtime: 'simulated', nodes: 1 });
    peer = await startWebhookPeer(serve);
    await cluster.up();
    config = new KubeConfig();
    config.loadFromFile(cluster.kubeconfig);
    custom = config.makeApiClient(CustomObjectsApi);
    apps = config.makeApiClient(AppsV1Api);
    core = config.makeApiClient(CoreV1Api);
  });
  after(async () => {
    await Promise.all(operators.map((operator) => operator.stop()));
    await peer?.stop();
    await cluster?.delete();
  });

  it('registers its kind and its webhooks', async () => {
    const caBundle = Buffer.from(peer.caPem).toString('base64');
    const urlOf = (path: string): string => new URL(path, peer.url).href;
    const extensions = config.makeApiClient(ApiextensionsV1Api);
    await extensions.createCustomResourceDefinition({
      body: definition({ url: urlOf('/convert'), caBundle }),
    });
    await until('the kind to be established', async () =>
      (
        await extensions.readCustomResourceDefinition({ name: 'gardens.plots.example' })
      ).status?.conditions?.some(({ type, status }) => type === 'Established' && status === 'True'),
    );
    const admission = config.makeApiClient(AdmissionregistrationV1Api);
    const webhook = (path: string): object => ({
      name: `${path}.plots.example`,
      clientConfig: { url: urlOf(path), caBundle },
      admissionReviewVersions: ['v1'],
      sideEffects: 'None',
      failurePolicy: 'Fail',
      rules: [
        {
          apiGroups: ['plots.example'],
          apiVersions: ['v1'],
          operations: ['CREATE', 'UPDATE'],
          resources: ['gardens'],
        },
      ],
    });
    const objects = KubernetesObjectApi.makeApiClient(config);
    for (const [kind, path] of [
      ['MutatingWebhookConfiguration', 'mutate'],
      ['ValidatingWebhookConfiguration', 'validate'],
    ] as const) {
      await objects.create({
        apiVersion: 'admissionregistration.k8s.io/v1',
        kind,
        metadata: { name: 'gardens' },
        webhooks: [webhook(path)],
      } as object);
    }
    assert.equal((await admission.listMutatingWebhookConfiguration()).items.length, 1);
    await until('admission webhooks to be called', async () => {
      const made = (await custom.createNamespacedCustomObject({
        ...GARDENS,
        namespace,
        dryRun: 'All',
        body: { apiVersion: 'plots.example/v1', kind: 'Garden', metadata: { name: 'trial' }, spec: {} },
      })) as Garden;
      return made.metadata?.labels?.['tended'] === 'yes';
    });
  });

  it('elects one of two', async () => {
    for (const identity of ['one', 'two'])
      operators.push(gardenOperator(config, { identity, namespace, fences }));
    await Promise.all(operators.map((operator) => operator.start()));
    const { identity } = await leader();
    assert.equal(
      (
        await config
          .makeApiClient(CoordinationV1Api)
          .readNamespacedLease({ namespace, name: 'garden-operator' })
      ).spec?.holderIdentity,
      identity,
    );
  });

  it('brings up what an old version asks for: converted, defaulted, mutated, owned, told', async () => {
    await create('rose', { size: '2' }, 'v1beta1');
    const garden = await blooms('rose', 2);
    assert.deepEqual(garden.spec, { replicas: 2, color: 'green' });
    assert.equal(garden.metadata?.labels?.['tended'], 'yes');
    assert.deepEqual(garden.metadata.finalizers, [FINALIZER]);
    const deployment = await apps.readNamespacedDeployment({ namespace, name: 'rose' });
    assert.equal(deployment.metadata?.ownerReferences?.[0]?.uid, garden.metadata.uid);
    assert.ok(
      deployment.metadata?.managedFields?.some(
        ({ manager, operation }) => manager === 'garden-operator' && operation === 'Apply',
      ),
    );
    await until(
      'the event',
      async () =>
        (
          await core.listNamespacedEvent({
            namespace,
            fieldSelector: 'involvedObject.kind=Garden,reason=Blooming',
          })
        ).items.length > 0,
    );
    const old = (await custom.getNamespacedCustomObject({ ...at('rose'), version: 'v1beta1' })) as {
      readonly apiVersion: string;
      readonly spec: object;
    };
    assert.deepEqual([old.apiVersion, old.spec], ['plots.example/v1beta1', { size: '2', color: 'green' }]);
  });

  it('is refused by schema, rules and webhooks, each in its words', async () => {
    const refusal = async (
      work: Promise<unknown>,
    ): Promise<{ code: number; reason: string; message: string }> => {
      try {
        await work;
      } catch (error) {
        return JSON.parse((error as { body: string }).body) as {
          code: number;
          reason: string;
          message: string;
        };
      }
      assert.fail('it was allowed');
    };
    const messageOf = async (work: Promise<unknown>): Promise<string> => {
      const { code, reason, message } = await refusal(work);
      return `${code} ${reason} ${message}`;
    };
    assert.equal(
      await messageOf(create('big', { replicas: 9 })),
      '422 Invalid Garden.plots.example "big" is invalid: spec.replicas: Invalid value: a garden has five beds at most',
    );
    assert.equal(
      await messageOf(create('blue', { color: 'blue' })),
      '422 Invalid Garden.plots.example "blue" is invalid: [spec.color: Unsupported value: "blue": supported values: "green", "red", "grey", "black", ' +
        '<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation]',
    );
    assert.equal(
      await messageOf(create('night', { color: 'black' })),
      '403 Forbidden admission webhook "validate.plots.example" denied the request: nothing black grows',
    );
    assert.equal(
      await messageOf(
        custom.patchNamespacedCustomObject({ ...at('rose'), body: { spec: { color: 'red' } } }, JSON_MERGE),
      ),
      '422 Invalid Garden.plots.example "rose" is invalid: spec: Forbidden: colors do not change',
    );
  });

  it('scales by its subresource', async () => {
    await custom.patchNamespacedCustomObjectScale(
      { ...at('rose'), body: { spec: { replicas: 3 } } },
      JSON_MERGE,
    );
    await blooms('rose', 3);
    const scale = (await custom.getNamespacedCustomObjectScale(at('rose'))) as { readonly status: object };
    assert.deepEqual(scale.status, { replicas: 3, selector: 'garden=rose' });
    await config.makeApiClient(AutoscalingV1Api).createNamespacedHorizontalPodAutoscaler({
      namespace,
      body: {
        metadata: { name: 'rose' },
        spec: {
          maxReplicas: 4,
          scaleTargetRef: { apiVersion: 'plots.example/v1', kind: 'Garden', name: 'rose' },
        },
      },
    });
  });

  it('loses no status update to a conflict', async () => {
    let conflicts = 0;
    const visit = async (): Promise<void> => {
      for (;;) {
        const garden = await get('rose');
        try {
          await custom.replaceNamespacedCustomObjectStatus({
            ...at('rose'),
            body: { ...garden, status: { ...garden.status, visits: (garden.status?.visits ?? 0) + 1 } },
          });
          return;
        } catch (error) {
          if (codeOf(error) !== 409) throw error;
          conflicts++;
        }
      }
    };
    await Promise.all(Array.from({ length: 8 }, visit));
    assert.ok(conflicts > 0);
    assert.equal((await get('rose')).status?.visits, 8);
    assert.equal((await get('rose')).status?.phase, 'Blooming');
  });

  it('lists by selectable field, and follows both versions by watch', async () => {
    await create('poppy', { color: 'red' });
    const { items } = (await custom.listNamespacedCustomObject({
      ...GARDENS,
      namespace,
      fieldSelector: 'spec.color=red',
    })) as { readonly items: readonly Garden[] };
    assert.deepEqual(
      items.map(({ metadata }) => metadata?.name),
      ['poppy'],
    );
    await blooms('poppy', 1);
  });

  it('goes on when the cluster was killed and came back', async () => {
    await cluster.kill();
    await until('nobody to lead', () => operators.every(({ isLeader }) => !isLeader));
    await cluster.up();
    await leader();
    await create('tulip', { replicas: 1 });
    await blooms('tulip', 1);
    assert.deepEqual((await get('rose')).spec, { replicas: 3, color: 'green' });
    assert.ok(operators.every(({ reconnects }) => reconnects > 0));
  });

  it('passes the lead on', async () => {
    const first = await leader();
    await first.stop();
    await until('the other to lead', () =>
      operators.find(({ isLeader, identity }) => isLeader && identity !== first.identity),
    );
    await create('aster', {});
    await blooms('aster', 1);
    const lease = await config
      .makeApiClient(CoordinationV1Api)
      .readNamespacedLease({ namespace, name: 'garden-operator' });
    assert.notEqual(lease.spec?.holderIdentity, first.identity);
    assert.ok((lease.spec?.leaseTransitions ?? 0) >= 1);
  });

  it('undoes what lies outside before a garden goes, and what it owned goes after it', async () => {
    assert.ok(fences.has('rose'));
    await custom.deleteNamespacedCustomObject(at('rose'));
    await until('the garden to be gone', () => isGone(get('rose')));
    assert.ok(!fences.has('rose'));
    await until('its deployment to be gone', () =>
      isGone(apps.readNamespacedDeployment({ namespace, name: 'rose' })),
    );
    await until(
      'its pods to be gone',
      async () =>
        (await core.listNamespacedPod({ namespace, labelSelector: 'garden=rose' })).items.length === 0,
    );
  });

  it('takes its kind away with all of it', async () => {
    await config
      .makeApiClient(ApiextensionsV1Api)
      .deleteCustomResourceDefinition({ name: 'gardens.plots.example' });
    await until('the kind to be gone', () =>
      isGone(custom.listNamespacedCustomObject({ ...GARDENS, namespace })),
    );
    assert.deepEqual([...fences], []);
    await until(
      'all deployments to be gone',
      async () =>
        (await apps.listNamespacedDeployment({ namespace, labelSelector: 'garden' })).items.length === 0,
    );
  });
});
