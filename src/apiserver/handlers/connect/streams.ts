/**
 * The subresources served by a node, a pod or a service: pods/{log,exec,attach,portforward,proxy}, nodes/proxy, services/proxy.
 * Called after authentication, authorization and admission (connect.ts).
 */
import { lookup } from 'node:dns/promises';
import { statusErrors } from '#machinery/errors.ts';
import type { ConnectCall, ConnectHandlers } from './connect.ts';
import { BackendAgents } from './backend.ts';
import type { KubeletTls } from './backend.ts';
import { connectCommand, connectPortForward, connectProxy, isUpgrade, requireStream } from './exec.ts';
import { proxyHttp } from './http-proxy.ts';
import type { ProxyTarget } from './http-proxy.ts';
import { nodeProxyTarget, podProxyTarget, requireProxyable, serviceProxyTarget } from './locations.ts';
import { sendLogs } from './log-socket.ts';
import { streamLogs } from './logs.ts';

export type { KubeletTls } from './backend.ts';

interface StreamsOptions {
  /** Read for each new connection; a new object means a new certificate. */
  readonly kubeletTls: () => KubeletTls;
  /** 0 ≤ x < 1: picks a service's endpoint. */
  readonly random?: () => number;
}

export interface Streams extends ConnectHandlers {
  /** Closes idle connections to kubelets. Active streams end with their sockets. */
  close(): void;
}

export function createStreams({ kubeletTls, random = Math.random }: StreamsOptions): Streams {
  const agents = new BackendAgents(kubeletTls);
  return {
    async request(call) {
      const { resource, subresource } = call.info;
      if (subresource === 'log') return streamLogs(call, agents);
      if (subresource === 'proxy')
        return proxyHttp({
          request: call.request,
          target: await requireProxyable(proxyTarget(call, random), resolve),
          rest: proxyRest(call),
          agents,
        });
      if (resource === 'pods') {
        requireStream(call);
        throw statusErrors.badRequest('Upgrade request required');
      }
      throw statusErrors.pathNotFound();
    },
    async upgrade(call, client) {
      if (!isUpgrade(call.request)) throw statusErrors.badRequest('Upgrade request required');
      const context = { call, client, agents };
      switch (call.info.subresource) {
        case 'exec':
        case 'attach':
          return connectCommand(context);
        case 'portforward':
          return connectPortForward(context);
        case 'log':
          return sendLogs(context, () => streamLogs(call, agents));
        case 'proxy':
          return connectProxy({
            ...context,
            target: await requireProxyable(proxyTarget(call, random), resolve),
            rest: proxyRest(call),
          });
        default:
          throw statusErrors.badRequest(`${call.info.resource}/${call.info.subresource} cannot be upgraded`);
      }
    },
    close: () => agents.close(),
  };
}

async function resolve(host: string): Promise<string[]> {
  return (await lookup(host, { all: true })).map(({ address }) => address);
}

function proxyTarget({ info, internal }: ConnectCall, random: () => number): ProxyTarget {
  switch (info.resource) {
    case 'pods':
      return { url: podProxyTarget(internal, { namespace: info.namespace, id: info.name }), kubelet: false };
    case 'services':
      return {
        url: serviceProxyTarget(internal, { namespace: info.namespace, id: info.name, random }),
        kubelet: false,
      };
    case 'nodes':
      return nodeProxyTarget(internal, info.name);
    default:
      throw statusErrors.pathNotFound();
  }
}

/** A slash at the end counts: '/proxy' is redirected, '/proxy/' is the root. */
function proxyRest({ info, request }: ConnectCall): string {
  return info.rest === '' && request.path.endsWith('/') ? '/' : info.rest;
}
