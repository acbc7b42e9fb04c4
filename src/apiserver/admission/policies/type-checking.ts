/**
 * Type-checks a policy's expressions against the kinds it matches and writes warnings into its status. It refuses nothing, since objects may have
 * other types at run time. observedGeneration shows that the policy was checked. After upstream's
 * plugin/policy/validating/typechecking.go and its controller.
 */
import type { JsonObject } from '#machinery/json.ts';
import {
  parseApiVersion,
  type GroupVersionKind,
  type GroupVersionResource,
  type KubeObject,
} from '#machinery/object.ts';
import type { ObjectSchema, ValueSchema } from '#machinery/schema.ts';
import { StatusError } from '#machinery/errors.ts';
import type { Structural } from '#machinery/structural.ts';
import type { Variables } from '#cel/expression.ts';
import {
  POLICY_VARIABLES,
  POLICY_VARIABLES_WITH_PARAMS,
} from '#resources/admissionregistration/expressions.ts';
import type { AdmissionKinds } from '../kinds.ts';
import type { AdmissionStart } from '../plugin.ts';
import { Composition } from '#resources/admissionregistration/composition.ts';
import type { ValidatingPolicySpec } from './policy.ts';

const MAX_KINDS = 10;
const POLICIES = { group: 'admissionregistration.k8s.io', resource: 'validatingadmissionpolicies' };

interface ExpressionWarning {
  readonly fieldRef: string;
  readonly warning: string;
}

/** Updates the status of policies: one at a time, soon after each change. Returns the function that stops it. */
export function followTypes({
  internal,
  kinds,
  log,
}: Pick<AdmissionStart, 'internal' | 'kinds' | 'log'>): () => void {
  const waiting = new Set<string>();
  let running = false,
    stopped = false;
  const isStale = ({ metadata, status }: KubeObject): boolean =>
    (status as { observedGeneration?: number } | undefined)?.observedGeneration !== metadata?.generation;
  const check = async (name: string): Promise<void> => {
    await internal.modify(
      POLICIES,
      { name },
      (policy) => {
        if (!isStale(policy)) return false;
        const expressionWarnings = checkTypes(policy['spec'] as ValidatingPolicySpec, kinds);
        policy['status'] = {
          ...(policy['status'] as JsonObject | undefined),
          observedGeneration: policy.metadata.generation,
          typeChecking: expressionWarnings.length > 0 ? { expressionWarnings } : {},
        };
        return true;
      },
      { subresource: 'status' },
    );
  };
  const work = async (): Promise<void> => {
    running = true;
    for (const name of waiting) {
      waiting.delete(name);
      if (stopped) break;
      try {
        await check(name);
      } catch (error) {
        // A deleted policy needs no status; others are retried with their next change.
        if (!(error instanceof StatusError && error.reason === 'NotFound') && !stopped)
          log.warn('admission policy could not be type-checked', {
            policy: name,
            error: error instanceof Error ? error.message : String(error),
          });
      }
    }
    running = false;
  };
  const changed = (policy: KubeObject): void => {
    if (!isStale(policy)) return;
    waiting.add(policy.metadata!.name!);
    if (!running) setImmediate(() => void (running ? undefined : work()));
  };
  const stop = internal.watch(POLICIES, { added: changed, updated: changed, deleted: () => {} });
  return () => {
    stopped = true;
    stop();
  };
}

/** For each kind that the policy's rules name without wildcards, up to ten. */
function checkTypes(spec: ValidatingPolicySpec, kinds: AdmissionKinds): ExpressionWarning[] {
  const params = paramSchema(spec, kinds);
  const scopes = kindsOf(spec, kinds).map(({ gvk, schema }) => {
    const object = createStructural(schema);
    const base: Variables = {
      ...(spec.paramKind ? POLICY_VARIABLES_WITH_PARAMS : POLICY_VARIABLES),
      object,
      oldObject: object,
      ...(params ? { params } : {}),
    };
    return { gvk, composition: new Composition(spec, base) };
  });
  const check = (expression: string | undefined, fieldRef: string): ExpressionWarning[] => {
    if (!expression?.trim()) return [];
    const found = scopes.flatMap(({ gvk, composition }) => {
      const result = composition.compile(expression);
      return result instanceof Error
        ? [
            `${gvk.group === '' ? '' : `${gvk.group}/`}${gvk.version}, Kind=${gvk.kind}: ${result.message.replace(/^compilation failed: /, '')}`,
          ]
        : [];
    });
    return found.length > 0 ? [{ fieldRef, warning: found.join('\n') }] : [];
  };
  return (spec.validations ?? []).flatMap(({ expression, messageExpression }, i) => [
    ...check(expression, `spec.validations[${i}].expression`),
    ...check(messageExpression, `spec.validations[${i}].messageExpression`),
  ]);
}

interface CheckedKind {
  readonly gvk: GroupVersionKind;
  readonly schema: ObjectSchema;
}

function kindsOf({ matchConstraints }: ValidatingPolicySpec, kinds: AdmissionKinds): CheckedKind[] {
  const found = new Map<string, CheckedKind>();
  for (const { apiGroups = [], apiVersions = [], resources = [] } of matchConstraints?.resourceRules ?? []) {
    if ([...apiGroups, ...apiVersions, ...resources].some((name) => name.includes('*'))) continue;
    for (const group of apiGroups)
      for (const version of apiVersions)
        for (const resource of resources) {
          if (resource.includes('/') || found.size >= MAX_KINDS) continue;
          const gvr: GroupVersionResource = { group, version, resource };
          const gvk = kinds.kindOf(gvr, ''),
            schema = gvk && kinds.schemaOf(gvr, gvk);
          if (gvk && schema) found.set(`${group}/${version}/${gvk.kind}`, { gvk, schema });
        }
  }
  return Array.from(found.values());
}

function paramSchema({ paramKind }: ValidatingPolicySpec, kinds: AdmissionKinds): Structural | undefined {
  if (!paramKind) return undefined;
  const gvk = { ...parseApiVersion(paramKind.apiVersion ?? ''), kind: paramKind.kind ?? '' };
  const resource = kinds.resourceOf(gvk),
    schema = resource && kinds.schemaOf(resource.gvr, gvk);
  return schema && createStructural(schema);
}

// --------------------------------------------------------------------------------------------------------------- schemas

const NONE: ReadonlyMap<string, Structural> = new Map();
const BASE = {
  nullable: false,
  intOrString: false,
  preserves: false,
  embedded: false,
  properties: NONE,
  additional: false,
  items: undefined,
  listType: 'atomic',
  mapKeys: [],
  atomicMap: false,
  default: undefined,
  hasDefaults: false,
  schema: {},
} as const;
/** Anything: what expressions see as it comes. */
const ANY: Structural = { ...BASE, type: '', intOrString: true };
const SCALARS: Readonly<Record<string, string>> = {
  string: 'string',
  int32: 'integer',
  int64: 'integer',
  uint32: 'integer',
  uint64: 'integer',
  bool: 'boolean',
  double: 'number',
};

const known = new WeakMap<ObjectSchema, Structural>();

/** Types that contain themselves end in anything. */
function createStructural(schema: ObjectSchema, inside: ReadonlySet<ObjectSchema> = new Set()): Structural {
  if (inside.has(schema) || schema.open) return ANY;
  let node = known.get(schema);
  if (!node) {
    const within = new Set([...inside, schema]);
    const properties = new Map(schema.fields.map((field) => [field.name, valueOf(field.value, within)]));
    node = properties.size === 0 ? ANY : { ...BASE, type: 'object', properties };
    known.set(schema, node);
  }
  return node;
}

function valueOf(value: ValueSchema, inside: ReadonlySet<ObjectSchema>): Structural {
  switch (value.kind) {
    case 'object':
      return createStructural(value.type(), inside);
    case 'map':
      return { ...BASE, type: 'object', additional: valueOf(value.values, inside) };
    case 'list':
      return { ...BASE, type: 'array', items: valueOf(value.items, inside) };
    default:
      return SCALARS[value.type] ? { ...BASE, type: SCALARS[value.type]! } : ANY;
  }
}
