/**
 * The RBAC roles that exist in every Kubernetes 1.36 cluster, as facts. bootstrap-policy.ts turns them into objects.
 *
 * One rule is one string: 'VERBS RESOURCES[@GROUPS][ #NAMES]' or 'VERBS =PATHS', lists separated by commas. Without '@' the group
 * is the core group; an empty entry after '@' is the core group too.
 */

/** Roles that gather the rules of others by label; their own rules are written by aggregation. */
export const AGGREGATED_ROLES: Readonly<Record<string, { readonly aggregatesInto?: string }>> = {
  admin: {},
  edit: { aggregatesInto: 'admin' },
  view: { aggregatesInto: 'edit' },
};

/** Aggregation labels of the roles in CLUSTER_ROLES. */
export const AGGREGATES_INTO: Readonly<Record<string, string>> = {
  'system:aggregate-to-admin': 'admin',
  'system:aggregate-to-edit': 'edit',
  'system:aggregate-to-view': 'view',
};

export const CLUSTER_ROLES: Readonly<Record<string, readonly string[]>> = {
  'cluster-admin': ['* *@*', '* =*'],
  'system:aggregate-to-admin': [
    'create localsubjectaccessreviews@authorization.k8s.io',
    'create,delete,deletecollection,get,list,patch,update,watch rolebindings,roles@rbac.authorization.k8s.io',
  ],
  'system:aggregate-to-edit': [
    'get,list,watch pods/attach,pods/exec,pods/portforward,pods/proxy,secrets,services/proxy',
    'impersonate serviceaccounts',
    'create,delete,deletecollection,patch,update pods,pods/attach,pods/exec,pods/portforward,pods/proxy',
    'create pods/eviction',
    'create,delete,deletecollection,patch,update configmaps,persistentvolumeclaims,replicationcontrollers,replicationcontrollers/scale,secrets,serviceaccounts,services,services/proxy',
    'create serviceaccounts/token',
    'create,delete,deletecollection,patch,update events@,events.k8s.io',
    'create,delete,deletecollection,patch,update daemonsets,deployments,deployments/rollback,deployments/scale,replicasets,replicasets/scale,statefulsets,statefulsets/scale@apps',
    'create,delete,deletecollection,patch,update horizontalpodautoscalers@autoscaling',
    'create,delete,deletecollection,patch,update cronjobs,jobs@batch',
    'create,delete,deletecollection,patch,update daemonsets,deployments,deployments/rollback,deployments/scale,ingresses,networkpolicies,replicasets,replicasets/scale,replicationcontrollers/scale@extensions',
    'create,delete,deletecollection,patch,update poddisruptionbudgets@policy',
    'create,delete,deletecollection,patch,update ingresses,networkpolicies@networking.k8s.io',
    'create,delete,deletecollection,get,list,patch,update,watch leases@coordination.k8s.io',
    'create,delete,deletecollection,patch,update resourceclaims,resourceclaimtemplates@resource.k8s.io',
  ],
  'system:aggregate-to-view': [
    'get,list,watch configmaps,endpoints,persistentvolumeclaims,persistentvolumeclaims/status,pods,replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,services/status',
    'get,list,watch bindings,limitranges,namespaces/status,pods/log,pods/status,replicationcontrollers/status,resourcequotas,resourcequotas/status',
    'get,list,watch namespaces',
    'get,list,watch events@,events.k8s.io',
    'get,list,watch endpointslices@discovery.k8s.io',
    'get,list,watch controllerrevisions,daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,replicasets,replicasets/scale,replicasets/status,statefulsets,statefulsets/scale,statefulsets/status@apps',
    'get,list,watch horizontalpodautoscalers,horizontalpodautoscalers/status@autoscaling',
    'get,list,watch cronjobs,cronjobs/status,jobs,jobs/status@batch',
    'get,list,watch daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,ingresses,ingresses/status,networkpolicies,replicasets,replicasets/scale,replicasets/status,replicationcontrollers/scale@extensions',
    'get,list,watch poddisruptionbudgets,poddisruptionbudgets/status@policy',
    'get,list,watch ingresses,ingresses/status,networkpolicies@networking.k8s.io',
    'get,list,watch resourceclaims,resourceclaims/status,resourceclaimtemplates@resource.k8s.io',
  ],
  'system:auth-delegator': [
    'create tokenreviews@authentication.k8s.io',
    'create subjectaccessreviews@authorization.k8s.io',
  ],
  'system:basic-user': [
    'create selfsubjectaccessreviews,selfsubjectrulesreviews@authorization.k8s.io',
    'create selfsubjectreviews@authentication.k8s.io',
  ],
  'system:certificates.k8s.io:certificatesigningrequests:nodeclient': [
    'create certificatesigningrequests/nodeclient@certificates.k8s.io',
  ],
  'system:certificates.k8s.io:certificatesigningrequests:selfnodeclient': [
    'create certificatesigningrequests/selfnodeclient@certificates.k8s.io',
  ],
  'system:certificates.k8s.io:kube-apiserver-client-approver': [
    'approve signers@certificates.k8s.io #kubernetes.io/kube-apiserver-client',
  ],
  'system:certificates.k8s.io:kube-apiserver-client-kubelet-approver': [
    'approve signers@certificates.k8s.io #kubernetes.io/kube-apiserver-client-kubelet',
  ],
  'system:certificates.k8s.io:kubelet-serving-approver': [
    'approve signers@certificates.k8s.io #kubernetes.io/kubelet-serving',
  ],
  'system:certificates.k8s.io:legacy-unknown-approver': [
    'approve signers@certificates.k8s.io #kubernetes.io/legacy-unknown',
  ],
  'system:discovery': [
    'get =/api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,/openapi/*,/readyz,/version,/version/',
  ],
  'system:heapster': ['get,list,watch events,namespaces,nodes,pods', 'get,list,watch deployments@extensions'],
  'system:kube-aggregator': ['get,list,watch endpoints,services'],
  'system:kube-controller-manager': [
    'create,patch,update events@,events.k8s.io',
    'create leases@coordination.k8s.io',
    'get,update leases@coordination.k8s.io #kube-controller-manager',
    'create secrets,serviceaccounts',
    'delete secrets',
    'get configmaps,namespaces,secrets,serviceaccounts',
    'update secrets,serviceaccounts',
    'create tokenreviews@authentication.k8s.io',
    'create subjectaccessreviews@authorization.k8s.io',
    'list,watch *@*',
    'create serviceaccounts/token',
  ],
  'system:kube-dns': ['list,watch endpoints,services'],
  'system:kube-scheduler': [
    'create,patch,update events@,events.k8s.io',
    'create leases@coordination.k8s.io',
    'get,list,update,watch leases@coordination.k8s.io #kube-scheduler',
    'create,delete,deletecollection,get,list,patch,update,watch leasecandidates@coordination.k8s.io',
    'get,list,watch nodes',
    'delete,get,list,watch pods',
    'create bindings,pods/binding',
    'patch,update pods/status',
    'get,list,watch replicationcontrollers,services',
    'get,list,watch replicasets@apps,extensions',
    'get,list,watch statefulsets@apps',
    'get,list,watch poddisruptionbudgets@policy',
    'get,list,watch persistentvolumeclaims,persistentvolumes',
    'create tokenreviews@authentication.k8s.io',
    'create subjectaccessreviews@authorization.k8s.io',
    'get,list,watch csinodes@storage.k8s.io',
    'get,list,watch volumeattachments@storage.k8s.io',
    'get,list,watch namespaces',
    'get,list,watch csidrivers@storage.k8s.io',
    'get,list,watch csistoragecapacities@storage.k8s.io',
    'get,list,watch deviceclasses@resource.k8s.io',
    'get,list,patch,update,watch resourceclaims@resource.k8s.io',
    'get,list,patch,update,watch resourceclaims/status@resource.k8s.io',
    'update pods/finalizers',
    'get,list,watch resourceslices@resource.k8s.io',
    'create,delete resourceclaims@resource.k8s.io',
    'patch,update resourceclaims/binding@resource.k8s.io',
  ],
  'system:kubelet-api-admin': [
    'get,list,watch nodes',
    'proxy nodes',
    '* nodes/log,nodes/metrics,nodes/proxy,nodes/stats',
    '* nodes/configz,nodes/healthz,nodes/pods',
  ],
  'system:monitoring': [
    'get =/flagz,/healthz,/healthz/*,/livez,/livez/*,/metrics,/metrics/slis,/readyz,/readyz/*,/statusz',
    'get nodes/metrics',
  ],
  'system:node': [
    'create tokenreviews@authentication.k8s.io',
    'create localsubjectaccessreviews,subjectaccessreviews@authorization.k8s.io',
    'get,list,watch services',
    'create,get,list,watch nodes',
    'patch,update nodes/status',
    'patch,update nodes',
    'create,patch,update events@,events.k8s.io',
    'get,list,watch pods',
    'create,delete pods',
    'patch,update pods/status',
    'create pods/eviction',
    'get,list,watch configmaps,secrets',
    'get persistentvolumeclaims,persistentvolumes',
    'get endpoints',
    'create,get,list,watch certificatesigningrequests@certificates.k8s.io',
    'create,delete,get,patch,update leases@coordination.k8s.io',
    'get volumeattachments@storage.k8s.io',
    'create serviceaccounts/token',
    'get,patch,update persistentvolumeclaims/status',
    'get,list,watch csidrivers@storage.k8s.io',
    'create,delete,get,patch,update csinodes@storage.k8s.io',
    'get,list,watch runtimeclasses@node.k8s.io',
    'get resourceclaims@resource.k8s.io',
    'deletecollection resourceslices@resource.k8s.io',
    'get serviceaccounts',
  ],
  'system:node-bootstrapper': ['create,get,list,watch certificatesigningrequests@certificates.k8s.io'],
  'system:node-problem-detector': [
    'get nodes',
    'patch nodes/status',
    'create,patch,update events@,events.k8s.io',
  ],
  'system:node-proxier': [
    'list,watch endpoints,services',
    'get,list,watch nodes',
    'create,patch,update events@,events.k8s.io',
    'list,watch servicecidrs@networking.k8s.io',
    'list,watch endpointslices@discovery.k8s.io',
  ],
  'system:persistent-volume-provisioner': [
    'create,delete,get,list,watch persistentvolumes',
    'get,list,update,watch persistentvolumeclaims',
    'get,list,watch storageclasses@storage.k8s.io',
    'watch events',
    'create,patch,update events@,events.k8s.io',
  ],
  'system:public-info-viewer': ['get =/healthz,/livez,/readyz,/version,/version/'],
  'system:service-account-issuer-discovery': [
    'get =/.well-known/openid-configuration,/.well-known/openid-configuration/,/openid/v1/jwks,/openid/v1/jwks/',
  ],
  'system:volume-scheduler': [
    'get,list,patch,update,watch persistentvolumes',
    'get,list,watch storageclasses@storage.k8s.io',
    'get,list,patch,update,watch persistentvolumeclaims',
  ],
};

/** system:controller:NAME, each bound to the service account kube-system/NAME. */
export const CONTROLLER_ROLES: Readonly<Record<string, readonly string[]>> = {
  'attachdetach-controller': [
    'list,watch persistentvolumeclaims,persistentvolumes',
    'get,list,watch nodes',
    'patch,update nodes/status',
    'list,watch pods',
    'create,patch,update events@,events.k8s.io',
    'create,delete,get,list,watch volumeattachments@storage.k8s.io',
    'get,list,watch csidrivers@storage.k8s.io',
    'get,list,watch csinodes@storage.k8s.io',
  ],
  'certificate-controller': [
    'delete,get,list,watch certificatesigningrequests@certificates.k8s.io',
    'update certificatesigningrequests/approval,certificatesigningrequests/status@certificates.k8s.io',
    'approve signers@certificates.k8s.io #kubernetes.io/kube-apiserver-client-kubelet',
    'sign signers@certificates.k8s.io #kubernetes.io/kube-apiserver-client,kubernetes.io/kube-apiserver-client-kubelet,kubernetes.io/kubelet-serving,kubernetes.io/legacy-unknown',
    'create subjectaccessreviews@authorization.k8s.io',
    'create,patch,update events@,events.k8s.io',
  ],
  'clusterrole-aggregation-controller': [
    'escalate,get,list,patch,update,watch clusterroles@rbac.authorization.k8s.io',
  ],
  'cronjob-controller': [
    'get,list,update,watch cronjobs@batch',
    'create,delete,get,list,patch,update,watch jobs@batch',
    'update cronjobs/status@batch',
    'update cronjobs/finalizers@batch',
    'delete,list,watch pods',
    'create,patch,update events@,events.k8s.io',
  ],
  'daemon-set-controller': [
    'get,list,watch daemonsets@apps,extensions',
    'update daemonsets/status@apps,extensions',
    'update daemonsets/finalizers@apps,extensions',
    'list,watch nodes',
    'create,delete,list,patch,watch pods',
    'create pods/binding',
    'create,delete,get,list,patch,update,watch controllerrevisions@apps',
    'create,patch,update events@,events.k8s.io',
  ],
  'deployment-controller': [
    'get,list,update,watch deployments@apps,extensions',
    'update deployments/status@apps,extensions',
    'update deployments/finalizers@apps,extensions',
    'create,delete,get,list,patch,update,watch replicasets@apps,extensions',
    'get,list,update,watch pods',
    'create,patch,update events@,events.k8s.io',
  ],
  'device-taint-eviction-controller': [
    'delete,get,list,watch pods',
    'patch,update pods/status',
    'get,list,watch resourceclaims@resource.k8s.io',
    'get,list,watch resourceslices@resource.k8s.io',
    'get,list,watch deviceclasses@resource.k8s.io',
    'create,patch,update events@,events.k8s.io',
  ],
  'disruption-controller': [
    'get,list,watch deployments@apps,extensions',
    'get,list,watch replicasets@apps,extensions',
    'get,list,watch replicationcontrollers',
    'get,list,watch poddisruptionbudgets@policy',
    'get,list,watch statefulsets@apps',
    'update poddisruptionbudgets/status@policy',
    'patch,update pods/status',
    'get */scale@*',
    'create,patch,update events@,events.k8s.io',
  ],
  'endpoint-controller': [
    'get,list,watch pods,services',
    'create,delete,get,list,update,watch endpoints',
    'create endpoints/restricted',
    'create,patch,update events@,events.k8s.io',
  ],
  'endpointslice-controller': [
    'get,list,watch nodes,pods,services',
    'update services/finalizers',
    'create,delete,get,list,update,watch endpointslices@discovery.k8s.io',
    'create endpointslices/restricted@discovery.k8s.io',
    'create,patch,update events@,events.k8s.io',
  ],
  'endpointslicemirroring-controller': [
    'get,list,watch endpoints,services',
    'update services/finalizers',
    'update endpoints/finalizers',
    'create,delete,get,list,update,watch endpointslices@discovery.k8s.io',
    'create endpointslices/restricted@discovery.k8s.io',
    'create,patch,update events@,events.k8s.io',
  ],
  'ephemeral-volume-controller': [
    'get,list,watch pods',
    'update pods/finalizers',
    'create,get,list,watch persistentvolumeclaims',
    'create,patch,update events@,events.k8s.io',
  ],
  'expand-controller': [
    'get,list,patch,update,watch persistentvolumes',
    'patch,update persistentvolumeclaims/status',
    'get,list,watch persistentvolumeclaims',
    'create,patch,update events@,events.k8s.io',
  ],
  'generic-garbage-collector': [
    'delete,get,list,patch,update,watch *@*',
    'create,patch,update events@,events.k8s.io',
  ],
  'horizontal-pod-autoscaler': [
    'get,list,watch horizontalpodautoscalers@autoscaling',
    'update horizontalpodautoscalers/status@autoscaling',
    'get,update */scale@*',
    'list,watch pods',
    'list,watch pods@metrics.k8s.io',
    'get,list,watch *@custom.metrics.k8s.io',
    'get,list,watch *@external.metrics.k8s.io',
    'create,patch,update events@,events.k8s.io',
  ],
  'job-controller': [
    'get,list,patch,update,watch jobs@batch',
    'update jobs/status@batch',
    'update jobs/finalizers@batch',
    'create,delete,list,patch,watch pods',
    'create,patch,update events@,events.k8s.io',
  ],
  'legacy-service-account-token-cleaner': [
    'get configmaps #kube-apiserver-legacy-service-account-token-tracking',
    'delete,patch secrets',
  ],
  'namespace-controller': [
    'delete,get,list,watch namespaces',
    'update namespaces/finalize,namespaces/status',
    'delete,deletecollection,get,list,watch *@*',
  ],
  'node-controller': [
    'delete,get,list,patch,update,watch nodes',
    'patch,update nodes/status',
    'patch,update pods/status',
    'delete,get,list,watch pods',
    'create,patch,update events@,events.k8s.io',
  ],
  'persistent-volume-binder': [
    'create,delete,get,list,update,watch persistentvolumes',
    'update persistentvolumes/status',
    'get,list,update,watch persistentvolumeclaims',
    'update persistentvolumeclaims/status',
    'create,delete,get,list,watch pods',
    'get,list,watch storageclasses@storage.k8s.io',
    'list,watch nodes',
    'create,patch,update events@,events.k8s.io',
    'watch events',
  ],
  'pod-garbage-collector': ['delete,list,watch pods', 'get,list,watch nodes', 'patch pods/status'],
  'pv-protection-controller': [
    'get,list,update,watch persistentvolumes',
    'create,patch,update events@,events.k8s.io',
  ],
  'pvc-protection-controller': [
    'get,list,update,watch persistentvolumeclaims',
    'update persistentvolumeclaims/status',
    'get,list,watch pods',
    'create,patch,update events@,events.k8s.io',
  ],
  'replicaset-controller': [
    'get,list,update,watch replicasets@apps,extensions',
    'update replicasets/status@apps,extensions',
    'update replicasets/finalizers@apps,extensions',
    'create,delete,list,patch,watch pods',
    'create,patch,update events@,events.k8s.io',
  ],
  'replication-controller': [
    'get,list,update,watch replicationcontrollers',
    'update replicationcontrollers/status',
    'update replicationcontrollers/finalizers',
    'create,delete,list,patch,watch pods',
    'create,patch,update events@,events.k8s.io',
  ],
  'resource-claim-controller': [
    'get,list,watch pods',
    'update pods/finalizers',
    'create,delete,get,list,watch resourceclaims@resource.k8s.io',
    'patch,update resourceclaims,resourceclaims/status@resource.k8s.io',
    'patch,update pods/status',
    'create,patch,update events@,events.k8s.io',
    'patch,update resourceclaims/binding@resource.k8s.io',
  ],
  'resourcequota-controller': [
    'list,watch *@*',
    'update resourcequotas/status',
    'create,patch,update events@,events.k8s.io',
  ],
  'root-ca-cert-publisher': ['create,update configmaps', 'create,patch,update events@,events.k8s.io'],
  'route-controller': ['list,watch nodes', 'patch nodes/status', 'create,patch,update events@,events.k8s.io'],
  'selinux-warning-controller': [
    'create,patch,update events@,events.k8s.io',
    'get,list,watch persistentvolumes',
    'get,list,watch persistentvolumeclaims',
    'get,list,watch pods',
    'get,list,watch csidrivers@storage.k8s.io',
  ],
  'service-account-controller': ['create serviceaccounts', 'create,patch,update events@,events.k8s.io'],
  'service-cidrs-controller': [
    'get,list,patch,update,watch servicecidrs@networking.k8s.io',
    'patch,update servicecidrs/finalizers@networking.k8s.io',
    'patch,update servicecidrs/status@networking.k8s.io',
    'get,list,watch ipaddresses@networking.k8s.io',
    'create,patch,update events@,events.k8s.io',
  ],
  'service-controller': [
    'get,list,watch services',
    'patch,update services/status',
    'list,watch nodes',
    'create,patch,update events@,events.k8s.io',
  ],
  'statefulset-controller': [
    'list,watch pods',
    'get,list,watch statefulsets@apps',
    'update statefulsets/status@apps',
    'update statefulsets/finalizers@apps',
    'create,delete,get,patch,update pods',
    'create,delete,get,list,patch,update,watch controllerrevisions@apps',
    'create,get,list,watch persistentvolumeclaims',
    'delete,update persistentvolumeclaims',
    'update pods/finalizers',
    'create,patch,update events@,events.k8s.io',
  ],
  'ttl-after-finished-controller': [
    'delete,get,list,watch jobs@batch',
    'create,patch,update events@,events.k8s.io',
  ],
  'ttl-controller': ['list,patch,update,watch nodes', 'create,patch,update events@,events.k8s.io'],
  'validatingadmissionpolicy-status-controller': [
    'get,list,watch validatingadmissionpolicies@admissionregistration.k8s.io',
    'get,patch,update validatingadmissionpolicies/status@admissionregistration.k8s.io',
    'create,patch,update events@,events.k8s.io',
  ],
  'volumeattributesclass-protection-controller': [
    'get,list,watch persistentvolumeclaims',
    'get,list,watch persistentvolumes',
    'get,list,update,watch volumeattributesclasses@storage.k8s.io',
    'create,patch,update events@,events.k8s.io',
  ],
};

/** Like CONTROLLER_ROLES, for controllers behind a feature gate: role → gate and rules. */
export const GATED_CONTROLLER_ROLES: Readonly<
  Record<string, { readonly gate: string; readonly rules: readonly string[] }>
> = {
  'podgroup-protection-controller': {
    gate: 'GenericWorkload',
    rules: ['get,list,update,watch podgroups@scheduling.k8s.io', 'get,list,watch pods'],
  },
  'storage-version-migrator-controller': {
    gate: 'StorageVersionMigrator',
    rules: [
      'create,list,patch *@*',
      'get customresourcedefinitions@apiextensions.k8s.io',
      'patch customresourcedefinitions/status@apiextensions.k8s.io',
      'update storageversionmigrations/status@storagemigration.k8s.io',
    ],
  },
};

/** Rules that roles of CLUSTER_ROLES have with a feature gate: gate → role → rules. */
export const GATED_RULES: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  GenericWorkload: {
    'system:aggregate-to-edit': [
      'create,delete,deletecollection,patch,update podgroups,workloads@scheduling.k8s.io',
    ],
    'system:aggregate-to-view': ['get,list,watch podgroups,podgroups/status,workloads@scheduling.k8s.io'],
    'system:kube-scheduler': [
      'get,list,watch podgroups@scheduling.k8s.io',
      'patch,update podgroups/status@scheduling.k8s.io',
    ],
  },
};

export const NAMESPACE_ROLES: readonly {
  readonly namespace: string;
  readonly name: string;
  readonly rules: readonly string[];
}[] = [
  {
    namespace: 'kube-public',
    name: 'system:controller:bootstrap-signer',
    rules: [
      'get,list,watch configmaps',
      'update configmaps #cluster-info',
      'create,patch,update events@,events.k8s.io',
    ],
  },
  {
    namespace: 'kube-system',
    name: 'extension-apiserver-authentication-reader',
    rules: ['get,list,watch configmaps #extension-apiserver-authentication'],
  },
  {
    namespace: 'kube-system',
    name: 'system::leader-locking-kube-controller-manager',
    rules: [
      'create,get,list,update,watch leases@coordination.k8s.io',
      'create,get,list,update,watch leasecandidates@coordination.k8s.io',
    ],
  },
  {
    namespace: 'kube-system',
    name: 'system::leader-locking-kube-scheduler',
    rules: [
      'create,get,list,update,watch leases@coordination.k8s.io',
      'create,get,list,update,watch leasecandidates@coordination.k8s.io',
    ],
  },
  { namespace: 'kube-system', name: 'system:controller:bootstrap-signer', rules: ['get,list,watch secrets'] },
  {
    namespace: 'kube-system',
    name: 'system:controller:cloud-provider',
    rules: ['create,get,list,watch configmaps'],
  },
  {
    namespace: 'kube-system',
    name: 'system:controller:token-cleaner',
    rules: ['delete,get,list,watch secrets', 'create,patch,update events@,events.k8s.io'],
  },
];

export interface SubjectFacts {
  readonly user?: string;
  readonly group?: string;
  readonly serviceAccount?: string;
}

/** Each binds the cluster role of the same name. Service accounts are in kube-system. */
export const CLUSTER_ROLE_BINDINGS: Readonly<Record<string, readonly SubjectFacts[]>> = {
  'cluster-admin': [{ group: 'system:masters' }],
  'system:basic-user': [{ group: 'system:authenticated' }],
  'system:discovery': [{ group: 'system:authenticated' }],
  'system:kube-controller-manager': [{ user: 'system:kube-controller-manager' }],
  'system:kube-dns': [{ serviceAccount: 'kube-dns' }],
  'system:kube-scheduler': [{ user: 'system:kube-scheduler' }],
  'system:monitoring': [{ group: 'system:monitoring' }],
  'system:node': [],
  'system:node-proxier': [{ user: 'system:kube-proxy' }],
  'system:public-info-viewer': [{ group: 'system:authenticated' }, { group: 'system:unauthenticated' }],
  'system:service-account-issuer-discovery': [{ group: 'system:serviceaccounts' }],
  'system:volume-scheduler': [{ user: 'system:kube-scheduler' }],
};

export const NAMESPACE_ROLE_BINDINGS: readonly {
  readonly namespace: string;
  readonly name: string;
  readonly role: string;
  readonly subjects: readonly SubjectFacts[];
}[] = [
  {
    namespace: 'kube-public',
    name: 'system:controller:bootstrap-signer',
    role: 'system:controller:bootstrap-signer',
    subjects: [{ serviceAccount: 'bootstrap-signer' }],
  },
  {
    namespace: 'kube-system',
    name: 'system::extension-apiserver-authentication-reader',
    role: 'extension-apiserver-authentication-reader',
    subjects: [{ user: 'system:kube-controller-manager' }, { user: 'system:kube-scheduler' }],
  },
  {
    namespace: 'kube-system',
    name: 'system::leader-locking-kube-controller-manager',
    role: 'system::leader-locking-kube-controller-manager',
    subjects: [{ user: 'system:kube-controller-manager' }, { serviceAccount: 'kube-controller-manager' }],
  },
  {
    namespace: 'kube-system',
    name: 'system::leader-locking-kube-scheduler',
    role: 'system::leader-locking-kube-scheduler',
    subjects: [{ user: 'system:kube-scheduler' }, { serviceAccount: 'kube-scheduler' }],
  },
  {
    namespace: 'kube-system',
    name: 'system:controller:bootstrap-signer',
    role: 'system:controller:bootstrap-signer',
    subjects: [{ serviceAccount: 'bootstrap-signer' }],
  },
  {
    namespace: 'kube-system',
    name: 'system:controller:cloud-provider',
    role: 'system:controller:cloud-provider',
    subjects: [{ serviceAccount: 'cloud-provider' }],
  },
  {
    namespace: 'kube-system',
    name: 'system:controller:token-cleaner',
    role: 'system:controller:token-cleaner',
    subjects: [{ serviceAccount: 'token-cleaner' }],
  },
];
