/** What compiled Gateways and routes say of themselves, as the conditions of Gateway API. Times are the caller's. Pure. */
import { updateCondition } from '#component-helpers/conditions.ts';
import type { CompiledGateways, CompiledParent } from './compile-gateway.ts';
import { isServing, type CompiledListener } from './compile-listeners.ts';
import {
  GATEWAY_CONTROLLER,
  GATEWAY_GROUP,
  type Condition,
  type Gateway,
  type ListenerStatus,
  type RouteParentStatus,
} from './gateway-api.ts';
import { objectKey, type Stored } from '#machinery/object.ts';
import type { Problem } from './references.ts';

interface Stamp {
  readonly generation: number;
  readonly time: string;
}

/** Those before, with these in their place. */
export function conditionsOf(
  before: readonly Condition[] | undefined,
  {
    wanted,
    stamp,
  }: { readonly wanted: readonly Omit<Condition, 'observedGeneration'>[]; readonly stamp: Stamp },
): Condition[] {
  return wanted.reduce<Condition[]>(
    (conditions, one) =>
      updateCondition(conditions, {
        ...one,
        observedGeneration: stamp.generation,
        lastTransitionTime: stamp.time,
      }),
    [...(before ?? [])],
  );
}

/** True with that reason, or False with the problem's. */
function condition(
  type: string,
  {
    reason,
    problem,
    message = '',
  }: { readonly reason: string; readonly problem?: Problem | undefined; readonly message?: string },
): Omit<Condition, 'observedGeneration'> {
  return problem ? { type, status: 'False', ...problem } : { type, status: 'True', reason, message };
}

export function classConditions(hasParameters: boolean): Omit<Condition, 'observedGeneration'>[] {
  return [
    condition('Accepted', {
      reason: 'Accepted',
      problem: hasParameters
        ? {
            reason: 'InvalidParameters',
            message: 'parametersRef is not supported: this class has no parameters',
          }
        : undefined,
    }),
  ];
}

type Status = NonNullable<Gateway['status']>;

export function gatewayStatus(
  gateway: Stored<Gateway>,
  {
    compiled,
    addresses,
    time,
  }: { readonly compiled: CompiledGateways; readonly addresses: readonly string[]; readonly time: string },
): Status {
  const stamp = { generation: gateway.metadata.generation ?? 0, time };
  const own = compiled.listeners.filter(({ gateway: of }) => objectKey(of) === objectKey(gateway));
  const isAnyWrong = own.some(({ accepted, conflicted }) => accepted ?? conflicted);
  const isAllWrong = own.every(({ accepted, conflicted }) => accepted ?? conflicted);
  const unsupported = unsupportedField(gateway);
  const listenersMessage = isAnyWrong ? 'not all listeners are valid: their conditions say why' : '';
  const accepted: Problem | undefined =
    unsupported ?? (isAllWrong ? { reason: 'ListenersNotValid', message: listenersMessage } : undefined);
  const isServed = own.some(isServing);
  const programmed = accepted
    ? { reason: 'Invalid', message: accepted.message }
    : !isServed
      ? { reason: 'Invalid', message: 'no listener can be served: their conditions say why' }
      : addresses.length === 0
        ? { reason: 'AddressNotAssigned', message: 'no machine runs the gateway' }
        : undefined;
  return {
    addresses: addresses.map((value) => ({
      type: /^[0-9.]+$|:/.test(value) ? 'IPAddress' : 'Hostname',
      value,
    })),
    conditions: conditionsOf(gateway.status?.conditions, {
      stamp,
      wanted: [
        condition('Accepted', {
          reason: isAnyWrong ? 'ListenersNotValid' : 'Accepted',
          problem: accepted,
          message: listenersMessage,
        }),
        condition('Programmed', { reason: 'Programmed', problem: programmed }),
      ],
    }),
    listeners: own.map((one) => listenerStatus(one, { gateway, stamp })),
  };
}

function unsupportedField({ spec }: Gateway): Problem | undefined {
  if (spec.infrastructure?.parametersRef)
    return { reason: 'InvalidParameters', message: 'infrastructure.parametersRef is not supported' };
  return spec.addresses?.length
    ? {
        reason: 'UnsupportedAddress',
        message:
          'spec.addresses is not supported: all Gateways have the addresses of Service kube-system/capstan-gateway',
      }
    : undefined;
}

function listenerStatus(
  listener: CompiledListener & { readonly attachedRoutes: number },
  { gateway, stamp }: { readonly gateway: Stored<Gateway>; readonly stamp: Stamp },
): ListenerStatus {
  const { spec, kinds, accepted, conflicted, resolvedRefs, attachedRoutes } = listener;
  const before = gateway.status?.listeners?.find(({ name }) => name === spec.name)?.conditions;
  return {
    name: spec.name,
    supportedKinds: kinds.map((kind) => ({ group: GATEWAY_GROUP, kind })),
    attachedRoutes,
    conditions: conditionsOf(before, {
      stamp,
      wanted: [
        condition('Accepted', { reason: 'Accepted', problem: accepted ?? conflicted }),
        condition('Programmed', {
          reason: 'Programmed',
          problem: isServing(listener)
            ? undefined
            : {
                reason: 'Invalid',
                message: (accepted ?? conflicted ?? resolvedRefs)?.message ?? 'it cannot be served',
              },
        }),
        condition('ResolvedRefs', { reason: 'ResolvedRefs', problem: resolvedRefs }),
        conflicted
          ? { type: 'Conflicted', status: 'True', ...conflicted }
          : { type: 'Conflicted', status: 'False', reason: 'NoConflicts', message: '' },
      ],
    }),
  };
}

/** A route's status.parents: ours as compiled, those of other controllers as they are. */
export function routeParents(
  before: readonly RouteParentStatus[],
  {
    parents,
    generation,
    time,
  }: { readonly parents: readonly CompiledParent[]; readonly generation: number; readonly time: string },
): RouteParentStatus[] {
  const stamp = { generation, time };
  const key = (ref: object): string => JSON.stringify(Object.entries(ref).toSorted());
  const own = parents.map(({ ref, accepted, resolvedRefs }) => ({
    parentRef: ref,
    controllerName: GATEWAY_CONTROLLER,
    conditions: conditionsOf(
      before.find(
        ({ parentRef, controllerName }) =>
          controllerName === GATEWAY_CONTROLLER && key(parentRef) === key(ref),
      )?.conditions,
      {
        stamp,
        wanted: [
          condition('Accepted', { reason: 'Accepted', problem: accepted }),
          condition('ResolvedRefs', { reason: 'ResolvedRefs', problem: resolvedRefs }),
        ],
      },
    ),
  }));
  return [...before.filter(({ controllerName }) => controllerName !== GATEWAY_CONTROLLER), ...own];
}
