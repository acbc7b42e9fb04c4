/** What the controller and the proxies of the gateway both know: the objects that they follow, and the names of those that they keep. */
import type { EndpointSlice, Ingress, IngressClass, Namespace, Secret, Service } from '#api/types.ts';
import type { Client, Informer } from '#client/client.ts';
import type { KubeObject, Stored } from '#machinery/object.ts';
import { compileGateways, type CompiledGateways } from './compile-gateway.ts';
import type { Transport } from './compile-listeners.ts';
import { compileIngresses, type IngressInput } from './compile-ingress.ts';
import {
  gatewayClasses,
  gateways,
  grpcRoutes,
  httpRoutes,
  referenceGrants,
  tlsRoutes,
  type Gateway,
  type GatewayClass,
  type GRPCRoute,
  type HTTPRoute,
  type ReferenceGrant,
  type TLSRoute,
} from './gateway-api.ts';
import { mergeModels, type GatewayModel } from './model.ts';

export const INGRESS_CLASS = 'capstan';
/** Its EndpointSlices are the proxies that run; its load balancer's address is that of all Ingresses. */
export const GATEWAY_SERVICE = { name: 'capstan-gateway', namespace: 'kube-system' };
export const TLS_SECRETS = { fieldSelector: 'type=kubernetes.io/tls' };
export const BY_SERVICE = 'gateway-service';

export interface GatewayInformers {
  readonly ingresses: Informer<Ingress>;
  readonly classes: Informer<IngressClass>;
  readonly services: Informer<Service>;
  readonly slices: Informer<EndpointSlice>;
  readonly secrets: Informer<Secret>;
  readonly namespaces: Informer<Namespace>;
  readonly api: GatewayApiInformers;
}

/** Of definitions that may not be installed: what has not synced counts as none. */
interface GatewayApiInformers {
  readonly classes: Informer<GatewayClass>;
  readonly gateways: Informer<Gateway>;
  readonly httpRoutes: Informer<HTTPRoute>;
  readonly grpcRoutes: Informer<GRPCRoute>;
  readonly tlsRoutes: Informer<TLSRoute>;
  readonly grants: Informer<ReferenceGrant>;
}

export function gatewayApiInformers(api: Client): GatewayApiInformers {
  return {
    classes: api.informer(gatewayClasses),
    gateways: api.informer(gateways),
    httpRoutes: api.informer(httpRoutes),
    grpcRoutes: api.informer(grpcRoutes),
    tlsRoutes: api.informer(tlsRoutes),
    grants: api.informer(referenceGrants),
  };
}

interface CompiledAll {
  /** Of Ingresses and Gateways. */
  readonly model: GatewayModel;
  readonly ingresses: ReturnType<typeof compileIngresses>;
  readonly gateways: CompiledGateways;
}

/** Where an Ingress and a Gateway want a port for different protocols, the Ingress has it. */
export function compileAll(informers: GatewayInformers): CompiledAll {
  const input = ingressInput(informers);
  const compiled = compileIngresses(input);
  const taken = compiled.model.listeners.map(({ port, certificates }): [number, Transport] => [
    port,
    certificates ? 'https' : 'http',
  ]);
  const { api, namespaces } = informers;
  const found = compileGateways({
    ...input,
    classes: known(api.classes),
    gateways: known(api.gateways),
    httpRoutes: known(api.httpRoutes),
    grpcRoutes: known(api.grpcRoutes),
    tlsRoutes: known(api.tlsRoutes),
    grants: known(api.grants),
    namespace: (name) => namespaces.get(name),
    taken: new Map(taken),
  });
  return { model: mergeModels(compiled.model, found.model), ingresses: compiled, gateways: found };
}

function known<T extends KubeObject>(informer: Informer<T>): Stored<T>[] {
  return informer.hasSynced ? informer.list() : [];
}

function ingressInput({ ingresses, classes, services, slices, secrets }: GatewayInformers): IngressInput {
  return {
    ingresses: ingresses.list(),
    classes: classes.list(),
    service: (key) => services.get(key),
    slices: (key) => slices.byIndex(BY_SERVICE, key),
    secret: (key) => secrets.get(key),
  };
}
