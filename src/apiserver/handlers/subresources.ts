/** Subresources that take a body of another kind or change one part of an object: binding, eviction, token, finalize, approval. */
import { fieldErrors, fieldErrorsText, statusErrors, type StatusError } from '#machinery/errors.ts';
import { validatePathSegmentName } from '#machinery/names.ts';
import { deepClone } from '#machinery/json.ts';
import { compileLabelSelector } from '#machinery/labels.ts';
import { apiVersionOf, parseApiVersion, type KubeObject, type ObjectMeta } from '#machinery/object.ts';
import { schemaForKind } from '#api/schemas.ts';
import type { Pod } from '#api/types.ts';
import { isPodReady, isPodTerminal } from '#component-helpers/pod-status.ts';
import type { ApiResponse } from '../http/request.ts';
import { rfc3339, type DeleteRequest, type StoredEndpoint } from '../registry/store.ts';
import { ownBody } from '../registry/field-manager.ts';
import { successStatus } from '../http/response.ts';
import { respondEncoded, respondWithObject, viewOptions } from '../registry/transform.ts';
import { managerOf, parseMutationOptions, type MutationOptions } from './options.ts';
import { patch } from './patch.ts';
import {
  checkName,
  NOT_THIS_NAMESPACE,
  optionsObject,
  readKind,
  readObject,
  timeoutOf,
  toStorage,
  update,
  writeContext,
  type WriteCall,
} from './write.ts';

interface Special {
  /** Besides create. */
  readonly verbs?: readonly string[];
  run(endpoint: StoredEndpoint, call: WriteCall): Promise<ApiResponse>;
}

/** By 'group/resource/subresource'. */
export const SUBRESOURCES: Readonly<Record<string, Special>> = {
  '/pods/binding': { run: bindPod },
  '/pods/eviction': { run: evictPod },
  '/serviceaccounts/token': { run: issueToken },
  '/namespaces/finalize': { verbs: ['update'], run: finalizeNamespace },
  'certificates.k8s.io/certificatesigningrequests/approval': { verbs: ['update', 'patch'], run: approve },
};

function created({ context, core }: WriteCall): ApiResponse {
  const status = { ...successStatus(undefined), code: 201 };
  return respondEncoded(status as unknown as KubeObject, {
    status: 201,
    options: viewOptions(context, core.clock.now()),
  });
}

// -------------------------------------------------------------------------------------------------------------- binding

const BINDING = { group: '', version: 'v1', kind: 'Binding' };
interface Condition {
  type: string;
  status: string;
  lastTransitionTime?: string;
  [field: string]: unknown;
}
interface PodParts {
  spec?: { nodeName?: string; schedulingGates?: unknown[] };
  status?: { phase?: string; conditions?: Condition[]; nominatedNodeName?: string };
}

async function bindPod(endpoint: StoredEndpoint, call: WriteCall): Promise<ApiResponse> {
  const { context, target } = call;
  const options = parseMutationOptions(context, 'CreateOptions');
  const binding = await readKind(BINDING, context, { mode: options.fieldValidation });
  demandNamespace(binding, target.namespace);
  if (binding.metadata?.name !== target.name)
    throw statusErrors.badRequest('name in URL does not match name in Binding object');
  return await bind(endpoint, call, { binding, options });
}

/** POST …/bindings with the pod's name in the body: the older form of pods/NAME/binding. */
export async function bindByBody(
  endpoint: StoredEndpoint,
  call: Omit<WriteCall, 'target'>,
): Promise<ApiResponse> {
  const { context } = call,
    { namespace } = context.info;
  const options = parseMutationOptions(context, 'CreateOptions');
  const binding = await readKind(BINDING, context, { mode: options.fieldValidation });
  demandNamespace(binding, namespace);
  return await bind(
    endpoint,
    { ...call, target: { namespace, name: binding.metadata?.name ?? '' } },
    { binding, options },
  );
}

async function bind(
  endpoint: StoredEndpoint,
  call: WriteCall,
  { binding, options }: { readonly binding: KubeObject; readonly options: MutationOptions },
): Promise<ApiResponse> {
  const { context, core, objects, target } = call;
  const node = binding['target'] as { kind?: string; name?: string } | undefined;
  const errors = [];
  if (node?.kind && node.kind !== 'Node')
    errors.push(fieldErrors.notSupported('target.kind', node.kind, ['Node', '<empty>']));
  if (!node?.name) errors.push(fieldErrors.required('target.name'));
  if (errors.length > 0) throw statusErrors.badRequest(fieldErrorsText(errors));
  await admitBody(endpoint, call, { subresource: 'binding', body: binding, options });
  checkNameParameter(target.name);
  const conflict = (why: string): StatusError =>
    statusErrors.conflict({ group: '', resource: 'pods/binding', name: target.name }, why);
  await objects.update(
    endpoint,
    {
      change: (current) => {
        const { spec } = current as PodParts;
        if (current!.metadata?.deletionTimestamp)
          throw conflict(`pod ${target.name} is being deleted, cannot be assigned to a host`);
        if (spec?.nodeName)
          throw conflict(`pod ${target.name} is already assigned to node ${JSON.stringify(spec.nodeName)}`);
        if (spec?.schedulingGates?.length)
          throw conflict(`pod ${target.name} has non-empty .spec.schedulingGates`);
        const next = deepClone(current!) as KubeObject & PodParts;
        next.spec!.nodeName = (binding['target'] as { name: string }).name;
        const meta = next.metadata!;
        if (binding.metadata?.annotations)
          meta.annotations = { ...meta.annotations, ...binding.metadata.annotations };
        if (binding.metadata?.labels) meta.labels = { ...meta.labels, ...binding.metadata.labels };
        takePreconditions(meta, binding.metadata);
        // The hint where it was to go is of no use any more.
        delete next.status?.nominatedNodeName;
        setCondition(
          ((next.status ??= {}).conditions ??= []),
          { type: 'PodScheduled', status: 'True' },
          core.clock.now(),
        );
        return next;
      },
      prepare: () => {},
      // Everything but the node was valid before.
      validate: false,
      applied: true,
    },
    {
      target,
      context: writeContext(context, {
        dryRun: options.dryRun,
        subresource: 'binding',
        options: optionsObject('CreateOptions', options),
        admission: false,
      }),
    },
  );
  return created(call);
}

/** A name that came with a body, where the store makes a key of it. */
function checkNameParameter(name: string): void {
  if (name === '') throw statusErrors.badRequest('Name parameter required.');
  const problems = validatePathSegmentName(name);
  if (problems.length > 0)
    throw statusErrors.badRequest(`Name parameter invalid: ${JSON.stringify(name)}: ${problems.join(';')}`);
}

/** What a body says of where it belongs, it may leave to the URL. */
function demandNamespace({ metadata }: KubeObject, namespace: string): void {
  if (metadata?.namespace && metadata.namespace !== namespace)
    throw statusErrors.badRequest(NOT_THIS_NAMESPACE);
}

/** A uid or resourceVersion in the body binds this write to that version of the object; without one there is no precondition. */
function takePreconditions(meta: ObjectMeta, given: ObjectMeta | undefined): void {
  if (given?.resourceVersion) meta.resourceVersion = given.resourceVersion;
  if (given?.uid) meta.uid = given.uid;
}

function setCondition(conditions: Condition[], condition: Condition, nowMs: number): void {
  const old = conditions.find(({ type }) => type === condition.type);
  if (!old) conditions.push({ lastProbeTime: null, lastTransitionTime: rfc3339(nowMs), ...condition });
  else {
    if (old.status !== condition.status) old.lastTransitionTime = rfc3339(nowMs);
    delete old['reason'];
    delete old['message'];
    Object.assign(old, condition);
  }
}

// ------------------------------------------------------------------------------------------------------------- eviction

const EVICTION = { group: 'policy', version: 'v1', kind: 'Eviction' };
const PDBS = { group: 'policy', resource: 'poddisruptionbudgets' };
const MAX_DISRUPTED_PODS = 2000;
const RETRY_SECONDS = 10;

interface Budget extends KubeObject {
  spec?: { selector?: Parameters<typeof compileLabelSelector>[0]; unhealthyPodEvictionPolicy?: string };
  status?: {
    observedGeneration?: number;
    disruptionsAllowed?: number;
    currentHealthy?: number;
    desiredHealthy?: number;
    disruptedPods?: Record<string, string>;
  };
}

async function evictPod(endpoint: StoredEndpoint, call: WriteCall): Promise<ApiResponse> {
  const { context, objects, target } = call;
  const options = parseMutationOptions(context, 'CreateOptions');
  const eviction = await readKind(EVICTION, context, {
    mode: options.fieldValidation,
    alsoAccepted: [{ ...EVICTION, version: 'v1beta1' }],
  });
  demandNamespace(eviction, target.namespace);
  if (eviction.metadata?.name !== target.name)
    throw statusErrors.badRequest('name in URL does not match name in Eviction object');
  const request = (eviction['deleteOptions'] ?? {}) as DeleteRequest & {
    readonly dryRun?: readonly string[];
  };
  const dryRun = options.dryRun || (request.dryRun?.length ?? 0) > 0;
  await admitBody(endpoint, call, {
    subresource: 'eviction',
    body: eviction,
    options: { ...options, dryRun },
  });
  const entry = endpoint.cache.entries.get(endpoint.cache.key(target));
  if (!entry) throw statusErrors.notFound({ ...endpoint.groupResource, name: target.name });
  const pod = endpoint.cache.parsed.of(entry);
  if (!ignoresBudgets(pod)) await spendBudget(pod, call, dryRun);
  const marked = dryRun ? request : await markEvicted(call, request);
  await objects.delete(endpoint, marked, {
    target,
    context: writeContext(context, {
      dryRun,
      subresource: 'eviction',
      options: { ...request },
      admission: false,
    }),
  });
  return created(call);
}

/** The pod says why it goes, for those who count failures. Preconditions that do not hold are left to the deletion to refuse. */
async function markEvicted({ core, target }: WriteCall, request: DeleteRequest): Promise<DeleteRequest> {
  const { uid, resourceVersion } = request.preconditions ?? {};
  const holds = ({ metadata }: KubeObject): boolean =>
    (uid === undefined || uid === metadata?.uid) &&
    (resourceVersion === undefined || resourceVersion === metadata?.resourceVersion);
  let marked = false;
  const { metadata } = await core.internal.modify(
    { group: '', resource: 'pods' },
    target,
    (object) => {
      marked = holds(object);
      if (!marked) return false;
      const status = ((object as PodParts).status ??= {});
      const before = status.conditions?.find(({ type }) => type === 'DisruptionTarget');
      const condition: Condition & { readonly observedGeneration: number } = {
        type: 'DisruptionTarget',
        status: 'True',
        reason: 'EvictionByEvictionAPI',
        message: 'Eviction API: evicting',
        observedGeneration: object.metadata?.generation ?? 0,
        lastTransitionTime:
          (before?.status === 'True' ? before.lastTransitionTime : undefined) ?? rfc3339(core.clock.now()),
      };
      status.conditions = [...(status.conditions ?? []).filter((other) => other !== before), condition];
      return true;
    },
    { subresource: 'status' },
  );
  return marked && resourceVersion !== undefined
    ? { ...request, preconditions: { ...request.preconditions, resourceVersion: metadata?.resourceVersion } }
    : request;
}

function ignoresBudgets(pod: KubeObject): boolean {
  return (
    isPodTerminal(pod as Pod) ||
    (pod as Pod).status?.phase === 'Pending' ||
    pod.metadata?.deletionTimestamp !== undefined
  );
}

async function spendBudget(pod: KubeObject, { core, target }: WriteCall, dryRun: boolean): Promise<void> {
  const budgets = (core.internal.list(PDBS, { namespace: target.namespace }) as Budget[]).filter(
    (budget) =>
      budget.spec?.selector && compileLabelSelector(budget.spec.selector).matches(pod.metadata?.labels),
  );
  if (budgets.length > 1)
    throw statusErrors.internal(
      'This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.',
    );
  const budget = budgets[0];
  if (!budget) return;
  if (!isPodReady(pod as Pod)) {
    const { currentHealthy = 0, desiredHealthy = 0 } = budget.status ?? {};
    if (
      budget.spec?.unhealthyPodEvictionPolicy === 'AlwaysAllow' ||
      (currentHealthy >= desiredHealthy && desiredHealthy > 0)
    )
      return;
  }
  if (dryRun) return void allowance(budget);
  await core.internal.modify(
    PDBS,
    { name: budget.metadata!.name!, namespace: target.namespace },
    (current) => {
      const { status } = current as Budget;
      const left = allowance(current as Budget);
      status!.disruptionsAllowed = left - 1;
      (status!.disruptedPods ??= {})[target.name] = rfc3339(core.clock.now());
    },
    { subresource: 'status' },
  );
}

function allowance(budget: Budget): number {
  const { metadata, status = {} } = budget;
  const name = metadata?.name ?? '';
  if ((status.observedGeneration ?? 0) < (metadata?.generation ?? 0))
    throw refusedByBudget(
      `The disruption budget ${name} is still being processed by the server.`,
      RETRY_SECONDS,
    );
  const left = status.disruptionsAllowed ?? 0;
  const forbidden = (why: string): StatusError =>
    statusErrors.forbidden({ group: 'policy', resource: 'poddisruptionbudget', name }, why);
  if (left < 0) throw forbidden('pdb disruptions allowed is negative');
  if (Object.keys(status.disruptedPods ?? {}).length > MAX_DISRUPTED_PODS)
    throw forbidden('DisruptedPods map too big - too many evictions not confirmed by PDB controller');
  if (left === 0)
    throw refusedByBudget(
      `The disruption budget ${name} needs ${status.desiredHealthy ?? 0} healthy pods and has ${status.currentHealthy ?? 0} currently`,
    );
  return left;
}

/** Without a time to wait the client decides: kubectl drain tells its user, and asks again. */
function refusedByBudget(why: string, retryAfterSeconds = 0): StatusError {
  const error = statusErrors.tooManyRequests(
    "Cannot evict pod as it would violate the pod's disruption budget.",
    retryAfterSeconds,
  );
  error.status.details = { ...error.status.details, causes: [{ reason: 'DisruptionBudget', message: why }] };
  return error;
}

// ---------------------------------------------------------------------------------------------------------------- token

const TOKEN_REQUEST = { group: 'authentication.k8s.io', version: 'v1', kind: 'TokenRequest' };
const MIN_EXPIRATION_SECONDS = 600;
const MAX_EXPIRATION_SECONDS = 2 ** 32;
const DEFAULT_EXPIRATION_SECONDS = 3600;

interface TokenSpec {
  audiences?: string[];
  expirationSeconds?: number;
  boundObjectRef?: { kind?: string; apiVersion?: string; name?: string; uid?: string };
}

async function issueToken(endpoint: StoredEndpoint, call: WriteCall): Promise<ApiResponse> {
  const { context, core, target } = call;
  const options = parseMutationOptions(context, 'CreateOptions');
  const view = viewOptions(context, core.clock.now());
  const request = await readKind(TOKEN_REQUEST, context, { mode: options.fieldValidation });
  const { name, namespace, uid: wantedUid } = request.metadata ?? {};
  if (namespace && namespace !== target.namespace)
    throw statusErrors.badRequest(
      'the namespace of the provided object does not match the namespace sent on the request',
    );
  const spec = (request['spec'] ??= {}) as TokenSpec;
  spec.expirationSeconds ??= DEFAULT_EXPIRATION_SECONDS;
  ownBody(request, {
    schema: schemaForKind(TOKEN_REQUEST)!,
    apiVersion: apiVersionOf(TOKEN_REQUEST),
    manager: managerOf(context, options.fieldManager),
    subresource: 'token',
    nowMs: core.clock.now(),
  });
  await admitBody(endpoint, call, { subresource: 'token', body: request, options });
  if (!core.tokenIssuer) throw statusErrors.unavailable('this server issues no service account tokens');
  if (name && name !== target.name)
    throw statusErrors.invalid({ ...TOKEN_REQUEST, name: target.name }, [
      fieldErrors.invalid('metadata.name', name, 'must match the service account name if specified'),
    ]);
  const entry = endpoint.cache.entries.get(endpoint.cache.key(target));
  if (!entry) throw statusErrors.notFound({ ...endpoint.groupResource, name: target.name });
  const uid = endpoint.cache.parsed.of(entry).metadata?.uid ?? '';
  if (wantedUid && wantedUid !== uid)
    throw statusErrors.conflict(
      { group: TOKEN_REQUEST.group, resource: TOKEN_REQUEST.kind, name: target.name },
      `the UID in the token request (${wantedUid}) does not match the UID of the service account (${uid})`,
    );
  const expirationSeconds = checkedExpiration(spec);
  const bound = boundObject(spec, call);
  const audiences = spec.audiences?.length ? spec.audiences : [...core.tokenIssuer.defaultAudiences];
  // A dry run too: nothing is stored by it, and whoever asks may have the token.
  const issued = await core.tokenIssuer.issue({
    namespace: target.namespace,
    serviceAccount: { name: target.name, uid },
    audiences,
    expirationSeconds,
    ...bound,
  });
  if (issued.warning) context.warnings.push(issued.warning);
  context.annotate?.('authentication.kubernetes.io/issued-credential-id', issued.credentialId);
  const answer: KubeObject = {
    kind: 'TokenRequest',
    apiVersion: 'authentication.k8s.io/v1',
    metadata: {
      ...request.metadata,
      name: target.name,
      namespace: target.namespace,
      uid,
      creationTimestamp: rfc3339(core.clock.now()),
    },
    spec: {
      ...spec,
      audiences,
      expirationSeconds: issued.expirationSeconds,
      boundObjectRef: spec.boundObjectRef ?? null,
    },
    status: { token: issued.token, expirationTimestamp: issued.expirationTimestamp },
  };
  return respondEncoded(answer, { status: 201, options: view });
}

function checkedExpiration({ expirationSeconds = 0 }: TokenSpec): number {
  const refuse = (detail: string): Error =>
    statusErrors.invalid({ ...TOKEN_REQUEST, name: '' }, [
      fieldErrors.invalid('spec.expirationSeconds', expirationSeconds, detail),
    ]);
  if (expirationSeconds < MIN_EXPIRATION_SECONDS)
    throw refuse('may not specify a duration less than 10 minutes');
  if (expirationSeconds > MAX_EXPIRATION_SECONDS)
    throw refuse('may not specify a duration larger than 2^32 seconds');
  return expirationSeconds;
}

type Bound = Pick<Parameters<NonNullable<WriteCall['core']['tokenIssuer']>['issue']>[0], 'boundTo' | 'node'>;

const BOUND_KINDS: Readonly<Record<string, { readonly resource: string; readonly namespaced: boolean }>> = {
  Pod: { resource: 'pods', namespaced: true },
  Secret: { resource: 'secrets', namespaced: true },
  Node: { resource: 'nodes', namespaced: false },
};

/** The object a token is to end with, which must be there. Its kind is told by group and kind; the version does not matter. */
function boundObject({ boundObjectRef: ref }: TokenSpec, { core, target }: WriteCall): Bound {
  if (!ref) return {};
  const { group, version } = parseApiVersion(ref.apiVersion ?? '');
  const { kind = '', name = '' } = ref;
  const of =
    group === '' && Object.hasOwn(BOUND_KINDS, kind) ? { group: '', ...BOUND_KINDS[kind]! } : undefined;
  if (!of)
    throw statusErrors.badRequest(`cannot bind token to object of type ${group}/${version}, Kind=${kind}`);
  if (name === '') throw statusErrors.badRequest('Name parameter required.');
  const object = core.internal.get(of, { name, namespace: of.namespaced ? target.namespace : '' });
  if (!object) throw statusErrors.notFound({ ...of, name });
  const uid = object.metadata?.uid ?? '';
  const spec = (object as { spec?: { serviceAccountName?: string; nodeName?: string } }).spec;
  if (kind === 'Pod' && spec?.serviceAccountName !== target.name) {
    throw statusErrors.badRequest(
      `cannot bind token for serviceaccount ${JSON.stringify(target.name)} to pod running with different serviceaccount name.`,
    );
  }
  if (ref.uid && ref.uid !== uid)
    throw statusErrors.conflict(
      { group: '', resource: kind, name },
      `the UID in the bound object reference (${ref.uid}) does not match the UID in record. The object might have been deleted and then recreated`,
    );
  const node =
    kind === 'Pod' && spec?.nodeName
      ? core.internal.get({ group: '', resource: 'nodes' }, { name: spec.nodeName })
      : undefined;
  return {
    boundTo: { kind: kind as 'Pod', name, uid },
    ...(kind === 'Pod' && spec?.nodeName
      ? { node: { name: spec.nodeName, ...(node?.metadata?.uid ? { uid: node.metadata.uid } : {}) } }
      : {}),
  };
}

/** Admission of a body that is never stored. */
export async function admitBody(
  endpoint: Pick<StoredEndpoint, 'gvr'>,
  { context, core, target }: Pick<WriteCall, 'context' | 'core' | 'target'>,
  {
    subresource,
    body,
    options,
  }: { readonly subresource: string; readonly body: KubeObject; readonly options: MutationOptions },
): Promise<void> {
  const attributes = {
    operation: 'CREATE' as const,
    gvr: endpoint.gvr,
    gvk: { ...parseApiVersion(body.apiVersion ?? ''), kind: body.kind ?? '' },
    namespace: target.namespace,
    name: target.name,
    subresource,
    object: body,
    oldObject: undefined,
    user: context.user,
    dryRun: options.dryRun,
    options: optionsObject('CreateOptions', options),
    warn: (message: string) => void context.warnings.push(message),
    annotate: context.annotate,
    timeoutMs: timeoutOf(context),
    onAbort: (callback: () => void) => context.request.onAbort(callback),
    internal: core.internal,
  };
  await core.admission.admit(attributes);
  await core.admission.validate(attributes);
}

// ------------------------------------------------------------------------------------------------- finalize and approval

async function finalizeNamespace(endpoint: StoredEndpoint, call: WriteCall): Promise<ApiResponse> {
  const { context, core, objects, target } = call;
  const options = parseMutationOptions(context, 'UpdateOptions');
  const view = viewOptions(context, core.clock.now());
  const given = toStorage(endpoint, await readObject(endpoint, context, options.fieldValidation));
  checkName(given.metadata, { ...target, namespace: '' }, false);
  const written = await objects.update(
    endpoint,
    {
      change: (current) => {
        const next = deepClone(current!);
        const finalizers = (given['spec'] as { finalizers?: string[] } | undefined)?.finalizers ?? [];
        next['spec'] = { ...(next['spec'] as object | undefined), finalizers };
        if (finalizers.length === 0) delete (next['spec'] as { finalizers?: string[] }).finalizers;
        delete next.metadata!.resourceVersion;
        takePreconditions(next.metadata!, given.metadata);
        return next;
      },
      prepare: () => {},
    },
    {
      target,
      context: writeContext(context, {
        dryRun: options.dryRun,
        subresource: 'finalize',
        options: optionsObject('UpdateOptions', options),
      }),
    },
  );
  return respondWithObject(endpoint, written, { status: 200, options: view });
}

/** The conditions change, certificate and request stay: the resource's own hooks tell by the subresource. */
async function approve(endpoint: StoredEndpoint, call: WriteCall): Promise<ApiResponse> {
  return call.context.info.verb === 'patch'
    ? patch(endpoint, call, { subresource: 'approval' })
    : update(endpoint, call, { subresource: 'approval' });
}
