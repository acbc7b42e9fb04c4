/** A small object that every kind's validation takes, by 'group/plural' of the storage version: what fuzzing mutates, and what property tests start from. */
import type { KubeObject } from '#machinery/object.ts';
import { RESOURCES } from '#resources/registry.ts';
import type { Resource } from '#resources/resource.ts';

const podSpec = {
  containers: [
    {
      name: 'c',
      image: 'i',
      ports: [{ containerPort: 80, name: 'http' }],
      env: [{ name: 'A', value: 'b' }],
      resources: { requests: { cpu: '1m' } },
    },
  ],
  volumes: [{ name: 'v', emptyDir: {} }],
};
const template = { metadata: { labels: { app: 'a' } }, spec: podSpec };
const selector = { matchLabels: { app: 'a' } };
const jobTemplate = { ...template, spec: { ...podSpec, restartPolicy: 'Never' } };
const csr =
  'MIHJMHECAQAwDzENMAsGA1UEAwwEamFuZTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABPTLHsuVYkHuIKhkYJqxxI4x/mhNcTsTYJ8/dZQk1CN/qhbQ1TXTDsdxE/vGq03bwtErwTJC4ZhBa/xlMst/6OigADAKBggqhkjOPQQDAgNIADBFAiEA39u5Pzp9dJFHH3Q9p3sjhQ6Asr7wPyU1+azj9HQPSOwCIGQqhtvGgXV7tIx6580rmVzrKVYbftJjCzKxi8BQGazX';
const webhook = {
  name: 'a.example.com',
  clientConfig: { url: 'https://127.0.0.1:1/x' },
  sideEffects: 'None',
  admissionReviewVersions: ['v1'],
  rules: [{ apiGroups: ['none'], apiVersions: ['v1'], resources: ['none'], operations: ['CREATE'] }],
};
const matched = {
  resourceRules: [{ apiGroups: ['none'], apiVersions: ['v1'], resources: ['none'], operations: ['CREATE'] }],
};
const claimSpec = { devices: { requests: [{ name: 'r', exactly: { deviceClassName: 'c', count: 2 } }] } };

/** Without apiVersion, kind, name and namespace. */
const SEEDS: Readonly<Record<string, object>> = {
  '/configmaps': { data: { a: 'b', 'c.d': 'é' }, binaryData: { e: 'AAEC' } },
  '/endpoints': { subsets: [{ addresses: [{ ip: '10.1.2.3' }], ports: [{ port: 80, name: 'http' }] }] },
  '/events': {
    involvedObject: { kind: 'Pod', name: 'a', namespace: 'default' },
    reason: 'R',
    message: 'm',
    type: 'Normal',
    count: 1,
  },
  '/limitranges': { spec: { limits: [{ type: 'Pod', max: { cpu: '100' } }] } },
  '/namespaces': {},
  '/nodes': { spec: { podCIDR: '10.9.0.0/24', taints: [{ key: 'a', effect: 'NoSchedule' }] } },
  '/persistentvolumeclaims': {
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
  },
  '/persistentvolumes': {
    spec: { capacity: { storage: '1Gi' }, accessModes: ['ReadWriteOnce'], hostPath: { path: '/x' } },
  },
  '/pods': { spec: podSpec },
  '/podtemplates': { template },
  '/replicationcontrollers': { spec: { replicas: 1, selector: { app: 'a' }, template } },
  '/resourcequotas': { spec: { hard: { 'count/widgets.none': '5' } } },
  '/secrets': { type: 'Opaque', data: { a: 'AAEC' } },
  '/serviceaccounts': {},
  '/services': { spec: { selector: { app: 'a' }, ports: [{ port: 80, targetPort: 'http', name: 'http' }] } },
  'admissionregistration.k8s.io/mutatingadmissionpolicies': {
    spec: {
      matchConstraints: matched,
      reinvocationPolicy: 'Never',
      mutations: [{ patchType: 'ApplyConfiguration', applyConfiguration: { expression: 'Object{}' } }],
    },
  },
  'admissionregistration.k8s.io/mutatingadmissionpolicybindings': { spec: { policyName: 'p' } },
  'admissionregistration.k8s.io/mutatingwebhookconfigurations': { webhooks: [webhook] },
  'admissionregistration.k8s.io/validatingadmissionpolicies': {
    spec: { matchConstraints: matched, validations: [{ expression: 'object.metadata.name != "x"' }] },
  },
  'admissionregistration.k8s.io/validatingadmissionpolicybindings': {
    spec: { policyName: 'p', validationActions: ['Deny'] },
  },
  'admissionregistration.k8s.io/validatingwebhookconfigurations': { webhooks: [webhook] },
  'apiregistration.k8s.io/apiservices': {
    spec: {
      group: 'example.com',
      version: 'v1',
      groupPriorityMinimum: 1,
      versionPriority: 1,
      service: { name: 's', namespace: 'absent' },
      insecureSkipTLSVerify: true,
    },
  },
  'apps/controllerrevisions': { revision: 1, data: { a: [1, { b: null }] } },
  'apps/daemonsets': { spec: { selector, template } },
  'apps/deployments': { spec: { replicas: 1, selector, template } },
  'apps/replicasets': { spec: { replicas: 1, selector, template } },
  'apps/statefulsets': {
    spec: {
      serviceName: 's',
      selector,
      template,
      volumeClaimTemplates: [
        {
          metadata: { name: 'd' },
          spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1' } } },
        },
      ],
    },
  },
  'authentication.k8s.io/tokenreviews': { spec: { token: 'x' } },
  'authentication.k8s.io/selfsubjectreviews': {},
  'authorization.k8s.io/localsubjectaccessreviews': {
    spec: { user: 'u', resourceAttributes: { namespace: 'default', verb: 'get', resource: 'pods' } },
  },
  'authorization.k8s.io/selfsubjectaccessreviews': {
    spec: { nonResourceAttributes: { path: '/x', verb: 'get' } },
  },
  'authorization.k8s.io/selfsubjectrulesreviews': { spec: { namespace: 'default' } },
  'authorization.k8s.io/subjectaccessreviews': {
    spec: {
      user: 'u',
      resourceAttributes: {
        verb: 'get',
        resource: 'pods',
        labelSelector: { requirements: [{ key: 'a', operator: 'Exists' }] },
      },
    },
  },
  'autoscaling/horizontalpodautoscalers': {
    spec: {
      scaleTargetRef: { kind: 'Deployment', name: 'd', apiVersion: 'apps/v1' },
      maxReplicas: 3,
      metrics: [
        {
          type: 'Resource',
          resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 50 } },
        },
      ],
    },
  },
  'batch/cronjobs': { spec: { schedule: '*/5 * * * *', jobTemplate: { spec: { template: jobTemplate } } } },
  'batch/jobs': { spec: { template: jobTemplate } },
  'certificates.k8s.io/certificatesigningrequests': {
    spec: {
      request: Buffer.from(
        `-----BEGIN CERTIFICATE REQUEST-----\n${csr}\n-----END CERTIFICATE REQUEST-----\n`,
      ).toString('base64'),
      signerName: 'example.com/s',
      usages: ['client auth'],
    },
  },
  'coordination.k8s.io/leases': {
    spec: { holderIdentity: 'h', leaseDurationSeconds: 5, renewTime: '2026-01-02T03:04:05.000006Z' },
  },
  'coordination.k8s.io/leasecandidates': {
    spec: {
      leaseName: 'l',
      binaryVersion: '1.36.0',
      emulationVersion: '1.36.0',
      strategy: 'OldestEmulationVersion',
      renewTime: '2026-01-02T03:04:05.000006Z',
    },
  },
  'discovery.k8s.io/endpointslices': {
    addressType: 'IPv4',
    endpoints: [{ addresses: ['10.1.2.3'], conditions: { ready: true } }],
    ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
  },
  'events.k8s.io/events': {
    regarding: { kind: 'Pod', name: 'a', namespace: 'default' },
    reason: 'R',
    action: 'A',
    type: 'Normal',
    eventTime: '2026-01-02T03:04:05.000006Z',
    reportingController: 'x.y/z',
    reportingInstance: 'i',
  },
  'flowcontrol.apiserver.k8s.io/flowschemas': {
    spec: {
      priorityLevelConfiguration: { name: 'global-default' },
      matchingPrecedence: 9999,
      rules: [
        {
          subjects: [{ kind: 'User', user: { name: 'u' } }],
          nonResourceRules: [{ verbs: ['get'], nonResourceURLs: ['/x'] }],
        },
      ],
    },
  },
  'flowcontrol.apiserver.k8s.io/prioritylevelconfigurations': {
    spec: {
      type: 'Limited',
      limited: {
        nominalConcurrencyShares: 1,
        limitResponse: { type: 'Queue', queuing: { queues: 4, handSize: 2, queueLengthLimit: 5 } },
      },
    },
  },
  'internal.apiserver.k8s.io/storageversions': {
    status: { storageVersions: [{ apiServerID: 'a', encodingVersion: 'v1', decodableVersions: ['v1'] }] },
  },
  'networking.k8s.io/ingressclasses': { spec: { controller: 'example.com/c' } },
  'networking.k8s.io/ingresses': {
    spec: {
      rules: [
        {
          host: 'a.example.com',
          http: {
            paths: [
              { path: '/', pathType: 'Prefix', backend: { service: { name: 's', port: { number: 80 } } } },
            ],
          },
        },
      ],
    },
  },
  'networking.k8s.io/ipaddresses': {
    spec: { parentRef: { resource: 'services', name: 's', namespace: 'default' } },
  },
  'networking.k8s.io/networkpolicies': {
    spec: {
      podSelector: {},
      ingress: [
        { from: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] } }], ports: [{ port: 80 }] },
      ],
    },
  },
  'networking.k8s.io/servicecidrs': { spec: { cidrs: ['10.200.0.0/24'] } },
  'node.k8s.io/runtimeclasses': { handler: 'runc' },
  'policy/poddisruptionbudgets': { spec: { minAvailable: '50%', selector } },
  'rbac.authorization.k8s.io/clusterrolebindings': {
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'r' },
    subjects: [{ kind: 'User', name: 'u', apiGroup: 'rbac.authorization.k8s.io' }],
  },
  'rbac.authorization.k8s.io/clusterroles': {
    rules: [{ verbs: ['get'], apiGroups: [''], resources: ['pods'] }],
  },
  'rbac.authorization.k8s.io/rolebindings': {
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'r' },
    subjects: [{ kind: 'ServiceAccount', name: 's', namespace: 'default' }],
  },
  'rbac.authorization.k8s.io/roles': { rules: [{ verbs: ['get'], apiGroups: [''], resources: ['pods'] }] },
  'resource.k8s.io/deviceclasses': {
    spec: { selectors: [{ cel: { expression: 'device.driver == "d.example.com"' } }] },
  },
  'resource.k8s.io/resourceclaims': { spec: claimSpec },
  'resource.k8s.io/resourceclaimtemplates': { spec: { spec: claimSpec } },
  'resource.k8s.io/resourceslices': {
    spec: {
      driver: 'd.example.com',
      nodeName: 'n',
      pool: { name: 'p', generation: 1, resourceSliceCount: 1 },
      devices: [{ name: 'd', attributes: { a: { string: 'x' } }, capacity: { c: { value: '1' } } }],
    },
  },
  'resource.k8s.io/devicetaintrules': {
    spec: {
      deviceSelector: { driver: 'd.example.com' },
      taint: { key: 'k', effect: 'NoSchedule', timeAdded: '2026-01-02T03:04:05Z' },
    },
  },
  'resource.k8s.io/resourcepoolstatusrequests': { spec: { driver: 'd.example.com' } },
  'scheduling.k8s.io/podgroups': { spec: { schedulingPolicy: { basic: {} } } },
  'scheduling.k8s.io/priorityclasses': { value: 7 },
  'scheduling.k8s.io/workloads': {
    spec: { podGroupTemplates: [{ name: 'g', schedulingPolicy: { basic: {} } }] },
  },
  'storage.k8s.io/csidrivers': { spec: { attachRequired: true } },
  'storage.k8s.io/csinodes': {
    spec: { drivers: [{ name: 'd.example.com', nodeID: 'n', topologyKeys: ['k'] }] },
  },
  'storage.k8s.io/csistoragecapacities': { storageClassName: 's', capacity: '1Gi' },
  'storage.k8s.io/storageclasses': { provisioner: 'example.com/p' },
  'storage.k8s.io/volumeattachments': {
    spec: { attacher: 'example.com', nodeName: 'n', source: { persistentVolumeName: 'p' } },
  },
  'storage.k8s.io/volumeattributesclasses': { driverName: 'd.example.com', parameters: { a: 'b' } },
  'storagemigration.k8s.io/storageversionmigrations': {
    spec: { resource: { group: '', resource: 'configmaps' } },
  },
};

/** Names that some kinds must have. */
const NAMES: Readonly<Record<string, string>> = {
  'apiregistration.k8s.io/apiservices': 'v1.example.com',
  'networking.k8s.io/ipaddresses': '10.96.200.1',
  'apiextensions.k8s.io/customresourcedefinitions': 'widgets.fuzz.example.com',
  'internal.apiserver.k8s.io/storageversions': 'apps.deployments',
};

const widget = {
  type: 'object',
  properties: {
    spec: {
      type: 'object',
      required: ['size'],
      'x-kubernetes-validations': [{ rule: 'self.size < 100', message: 'too big' }],
      properties: {
        size: { type: 'integer', minimum: 0 },
        color: { type: 'string', enum: ['red', 'blue'], default: 'red' },
        pattern: { type: 'string', pattern: '^(a+)+$', maxLength: 200 },
        parts: {
          type: 'array',
          maxItems: 50,
          items: {
            type: 'object',
            required: ['name'],
            properties: {
              name: { type: 'string', maxLength: 50 },
              n: { 'x-kubernetes-int-or-string': true },
            },
          },
          'x-kubernetes-list-type': 'map',
          'x-kubernetes-list-map-keys': ['name'],
        },
        set: {
          type: 'array',
          maxItems: 20,
          items: { type: 'string', maxLength: 50 },
          'x-kubernetes-list-type': 'set',
        },
        free: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
        map: { type: 'object', additionalProperties: { type: 'number', nullable: true } },
        at: { type: 'string', format: 'date-time' },
      },
    },
    status: { type: 'object', properties: { replicas: { type: 'integer' } } },
  },
};

/** Custom resources with all that a schema may ask. */
export const WIDGETS: KubeObject = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: 'widgets.fuzz.example.com' },
  spec: {
    group: 'fuzz.example.com',
    scope: 'Namespaced',
    names: { plural: 'widgets', singular: 'widget', kind: 'Widget', listKind: 'WidgetList' },
    versions: [
      {
        name: 'v1',
        served: true,
        storage: true,
        schema: { openAPIV3Schema: widget },
        subresources: {
          status: {},
          scale: { specReplicasPath: '.spec.size', statusReplicasPath: '.status.replicas' },
        },
        selectableFields: [{ jsonPath: '.spec.color' }],
      },
      {
        name: 'v2',
        served: true,
        storage: false,
        schema: { openAPIV3Schema: widget },
        subresources: { status: {} },
      },
    ],
  },
};

export const WIDGET_SEED = {
  spec: {
    size: 3,
    parts: [
      { name: 'a', n: 1 },
      { name: 'b', n: '2%' },
    ],
    set: ['x'],
    free: { a: [1] },
    map: { a: 1.5 },
  },
};

interface Seed {
  readonly resource: Resource;
  readonly object: KubeObject;
}

/** Of the storage version, with a name; without a namespace. Undefined where there is none: bindings, component statuses. */
export function seedOf(resource: Resource): Seed | undefined {
  const path = `${resource.group}/${resource.plural}`;
  const given: object | undefined =
    resource.plural === 'customresourcedefinitions' ? { spec: WIDGETS['spec'] } : SEEDS[path];
  if (!given) return undefined;
  return {
    resource,
    object: {
      apiVersion: resource.storageApiVersion,
      kind: resource.kind,
      metadata: { name: NAMES[path] ?? 'a' },
      ...structuredClone(given),
    },
  };
}

export const allSeeds: readonly Seed[] = RESOURCES.flatMap((resource) => seedOf(resource) ?? []);
