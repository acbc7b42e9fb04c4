/** gateway.networking.k8s.io as far as this cluster serves it: the kinds, and what a compiled object's conditions are made of. Fields that are not served are in no type. */
import type { ResourceRef } from '#client/client.ts';
import type { LabelSelectorObject } from '#machinery/labels.ts';
import type { KubeObject } from '#machinery/object.ts';

export const GATEWAY_GROUP = 'gateway.networking.k8s.io';
export const GATEWAY_CONTROLLER = 'gateway.capstan.dev/gateway';
export const GATEWAY_CLASS = 'capstan';

export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration?: number;
  readonly lastTransitionTime?: string;
}

export interface GatewayClass extends KubeObject {
  readonly spec: { readonly controllerName: string; readonly parametersRef?: object };
  readonly status?: { readonly conditions?: readonly Condition[] };
}

export interface Gateway extends KubeObject {
  readonly spec: {
    readonly gatewayClassName: string;
    readonly listeners: readonly GatewayListener[];
    readonly addresses?: readonly object[];
    readonly infrastructure?: { readonly parametersRef?: object };
  };
  readonly status?: {
    readonly addresses?: readonly { readonly type: string; readonly value: string }[];
    readonly conditions?: readonly Condition[];
    readonly listeners?: readonly ListenerStatus[];
  };
}

export interface GatewayListener {
  readonly name: string;
  readonly hostname?: string;
  readonly port: number;
  readonly protocol: string;
  readonly tls?: {
    readonly mode?: 'Terminate' | 'Passthrough';
    readonly certificateRefs?: readonly ObjectReference[];
    readonly options?: Readonly<Record<string, string>>;
  };
  readonly allowedRoutes?: {
    readonly namespaces?: { readonly from?: string; readonly selector?: LabelSelectorObject };
    readonly kinds?: readonly RouteGroupKind[];
  };
}

export interface RouteGroupKind {
  readonly group?: string;
  readonly kind: string;
}

export interface ListenerStatus {
  readonly name: string;
  readonly supportedKinds: readonly RouteGroupKind[];
  readonly attachedRoutes: number;
  readonly conditions: readonly Condition[];
}

export interface ObjectReference {
  readonly group?: string;
  readonly kind?: string;
  readonly name: string;
  readonly namespace?: string;
}

export interface ParentReference extends ObjectReference {
  readonly sectionName?: string;
  readonly port?: number;
}

export interface BackendReference extends ObjectReference {
  readonly port?: number;
  readonly weight?: number;
  readonly filters?: readonly RouteFilter[];
}

export interface RouteParentStatus {
  readonly parentRef: ParentReference;
  readonly controllerName: string;
  readonly conditions: readonly Condition[];
}

interface RouteSpec<Rule> {
  readonly parentRefs?: readonly ParentReference[];
  readonly hostnames?: readonly string[];
  readonly rules?: readonly Rule[];
}

interface RouteObject<Rule> extends KubeObject {
  readonly spec: RouteSpec<Rule>;
  readonly status?: { readonly parents?: readonly RouteParentStatus[] };
}

export interface NamedMatch {
  readonly type?: string;
  readonly name: string;
  readonly value: string;
}

export interface HTTPRouteMatch {
  readonly path?: { readonly type?: string; readonly value?: string };
  readonly headers?: readonly NamedMatch[];
  readonly queryParams?: readonly NamedMatch[];
  readonly method?: string;
}

interface HeaderFilter {
  readonly set?: readonly { readonly name: string; readonly value: string }[];
  readonly add?: readonly { readonly name: string; readonly value: string }[];
  readonly remove?: readonly string[];
}

export interface PathModifier {
  readonly type: string;
  readonly replaceFullPath?: string;
  readonly replacePrefixMatch?: string;
}

export interface RouteFilter {
  readonly type: string;
  readonly requestHeaderModifier?: HeaderFilter;
  readonly responseHeaderModifier?: HeaderFilter;
  readonly requestRedirect?: {
    readonly scheme?: string;
    readonly hostname?: string;
    readonly path?: PathModifier;
    readonly port?: number;
    readonly statusCode?: number;
  };
  readonly urlRewrite?: { readonly hostname?: string; readonly path?: PathModifier };
}

export interface HTTPRouteRule {
  readonly matches?: readonly HTTPRouteMatch[];
  readonly filters?: readonly RouteFilter[];
  readonly backendRefs?: readonly BackendReference[];
  readonly timeouts?: { readonly request?: string; readonly backendRequest?: string };
}

interface GRPCRouteMatch {
  readonly method?: { readonly type?: string; readonly service?: string; readonly method?: string };
  readonly headers?: readonly NamedMatch[];
}

export interface GRPCRouteRule {
  readonly matches?: readonly GRPCRouteMatch[];
  readonly filters?: readonly RouteFilter[];
  readonly backendRefs?: readonly BackendReference[];
}

interface TLSRouteRule {
  readonly backendRefs?: readonly BackendReference[];
}

export type HTTPRoute = RouteObject<HTTPRouteRule>;
export type GRPCRoute = RouteObject<GRPCRouteRule>;
export type TLSRoute = RouteObject<TLSRouteRule>;
export type Route = HTTPRoute | GRPCRoute | TLSRoute;
export type RouteKind = 'HTTPRoute' | 'GRPCRoute' | 'TLSRoute';

export interface ReferenceGrant extends KubeObject {
  readonly spec: {
    readonly from: readonly { readonly group: string; readonly kind: string; readonly namespace: string }[];
    readonly to: readonly { readonly group: string; readonly kind: string; readonly name?: string }[];
  };
}

const V1 = { group: GATEWAY_GROUP, version: 'v1', namespaced: true };

export const gatewayClasses: ResourceRef<GatewayClass> = {
  ...V1,
  plural: 'gatewayclasses',
  kind: 'GatewayClass',
  namespaced: false,
};
export const gateways: ResourceRef<Gateway> = { ...V1, plural: 'gateways', kind: 'Gateway' };
export const httpRoutes: ResourceRef<HTTPRoute> = { ...V1, plural: 'httproutes', kind: 'HTTPRoute' };
export const grpcRoutes: ResourceRef<GRPCRoute> = { ...V1, plural: 'grpcroutes', kind: 'GRPCRoute' };
export const tlsRoutes: ResourceRef<TLSRoute> = { ...V1, plural: 'tlsroutes', kind: 'TLSRoute' };
export const referenceGrants: ResourceRef<ReferenceGrant> = {
  ...V1,
  version: 'v1beta1',
  plural: 'referencegrants',
  kind: 'ReferenceGrant',
};
