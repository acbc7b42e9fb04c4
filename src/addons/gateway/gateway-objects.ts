/** What the controller and the proxies of the gateway both know: the objects that they follow, and the names of those that they keep. */
import type { EndpointSlice, Ingress, IngressClass, Secret, Service } from '#api/types.ts';
import type { Informer } from '#client/client.ts';
import type { IngressInput } from './compile-ingress.ts';

export const INGRESS_CLASS = 'capstan';
/** Its EndpointSlices are the proxies that run; its load balancer's address is that of all Ingresses. */
export const GATEWAY_SERVICE = { name: 'capstan-gateway', namespace: 'kube-system' };
export const TLS_SECRETS = { fieldSelector: 'type=kubernetes.io/tls' };
export const SERVICE_NAME = 'kubernetes.io/service-name';
export const BY_SERVICE = 'gateway-service';

export interface GatewayInformers {
  readonly ingresses: Informer<Ingress>;
  readonly classes: Informer<IngressClass>;
  readonly services: Informer<Service>;
  readonly slices: Informer<EndpointSlice>;
  readonly secrets: Informer<Secret>;
}

export function ingressInput({
  ingresses,
  classes,
  services,
  slices,
  secrets,
}: GatewayInformers): IngressInput {
  return {
    ingresses: ingresses.list(),
    classes: classes.list(),
    service: (key) => services.get(key),
    slices: (key) => slices.byIndex(BY_SERVICE, key),
    secret: (key) => secrets.get(key),
  };
}

export function serviceOfSlice({ metadata }: EndpointSlice): string {
  return `${metadata?.namespace}/${metadata?.labels?.[SERVICE_NAME] ?? ''}`;
}
