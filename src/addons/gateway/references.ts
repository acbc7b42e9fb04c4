/** What routes and listeners refer to: whether a ReferenceGrant permits it, and where a backend leads. Pure. */
import type { EndpointSlice, Service } from '#api/types.ts';
import { endpointsOf } from './endpoints.ts';
import { GATEWAY_GROUP, type BackendReference, type ReferenceGrant } from './gateway-api.ts';
import type { Backend } from './model.ts';

export interface Referrer {
  readonly kind: string;
  readonly namespace: string;
}

interface Target {
  readonly group: string;
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

/** A reason and a sentence, for a condition. */
export interface Problem {
  readonly reason: string;
  readonly message: string;
}

export interface BackendInput {
  readonly grants: readonly ReferenceGrant[];
  readonly service: (key: string) => Service | undefined;
  readonly slices: (key: string) => readonly EndpointSlice[];
}

type Resolved = Pick<Backend, 'targets' | 'invalidWeight'> & {
  readonly isH2c: boolean;
  readonly problems: readonly Problem[];
};

/** Within a namespace always; else by a ReferenceGrant in that of the target. */
export function isPermitted(
  grants: readonly ReferenceGrant[],
  { from, to }: { readonly from: Referrer; readonly to: Target },
): boolean {
  return (
    from.namespace === to.namespace ||
    grants.some(
      ({ metadata, spec }) =>
        metadata?.namespace === to.namespace &&
        spec.from.some(
          (one) => one.group === GATEWAY_GROUP && one.kind === from.kind && one.namespace === from.namespace,
        ) &&
        spec.to.some(
          (one) =>
            one.group === to.group &&
            one.kind === to.kind &&
            (one.name === undefined || one.name === '' || one.name === to.name),
        ),
    )
  );
}

/** The backends of a rule: those that lead nowhere keep their share, which is answered with an error. */
export function resolveBackends(
  refs: readonly BackendReference[],
  { input, from }: { readonly input: BackendInput; readonly from: Referrer },
): Resolved {
  const found = refs.map((ref) => ({ weight: ref.weight ?? 1, ...resolveBackend(ref, { input, from }) }));
  const problems = found.flatMap(({ problem }) => problem ?? []);
  const good = found.filter(({ problem }) => problem === undefined);
  const protocols = new Set(good.map(({ isH2c }) => isH2c));
  return {
    targets: good.map(({ weight, endpoints }) => ({ weight, endpoints: endpoints ?? [] })),
    // A rule without backends is answered with an error too.
    invalidWeight:
      refs.length === 0 ? 1 : found.reduce((sum, { weight, problem }) => sum + (problem ? weight : 0), 0),
    isH2c: protocols.has(true),
    problems:
      protocols.size > 1
        ? [
            ...problems,
            {
              reason: 'UnsupportedProtocol',
              message: 'backends of one rule should all have appProtocol kubernetes.io/h2c, or none of them',
            },
          ]
        : problems,
  };
}

function resolveBackend(
  { group = '', kind = 'Service', name, namespace, port }: BackendReference,
  { input, from }: { readonly input: BackendInput; readonly from: Referrer },
): {
  readonly isH2c?: boolean;
  readonly endpoints?: ReturnType<typeof endpointsOf>;
  readonly problem?: Problem;
} {
  const problem = (reason: string, message: string): { problem: Problem } => ({
    problem: { reason, message },
  });
  if (group !== '' || kind !== 'Service')
    return problem('InvalidKind', `backend ${group}/${kind} ${name}: only Services are supported`);
  const target = { group, kind, namespace: namespace ?? from.namespace, name };
  const key = `${target.namespace}/${name}`;
  if (!isPermitted(input.grants, { from, to: target }))
    return problem('RefNotPermitted', `no ReferenceGrant permits the reference to Service ${key}`);
  const service = input.service(key);
  if (!service) return problem('BackendNotFound', `Service ${key} does not exist`);
  const found = service.spec?.ports?.find((one) => one.port === port);
  if (!found) return problem('BackendNotFound', `Service ${key} has no port ${port}`);
  const { appProtocol = '', name: portName = '' } = found;
  if (appProtocol === 'kubernetes.io/wss' || appProtocol === 'https')
    return problem(
      'UnsupportedProtocol',
      `port ${port} of Service ${key}: appProtocol ${appProtocol} is not supported`,
    );
  return {
    isH2c: appProtocol === 'kubernetes.io/h2c',
    endpoints: endpointsOf(input.slices(key), portName),
  };
}
