/** How doctor and upgrade reach the cluster: by a kubeconfig, else as administrator from a control plane, through the machine's balancer. */
import { existsSync } from 'node:fs';
import type { Client } from '#client/client.ts';
import { createClient } from '#client/create.ts';
import { createHttpsTransport, type HttpsOptions } from '#client/https.ts';
import { loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';
import { UserError } from '#deploy/data-dir.ts';
import { COMPONENT_SERVER } from '#deploy/machine/component-services.ts';
import { machinePaths, type MachinePaths } from '#deploy/machine/paths.ts';
import { errorMessage } from '#stdx/log.ts';
import { KUBERNETES_VERSION } from '../version.ts';

export interface ConnectFlags {
  readonly kubeconfig?: string | undefined;
  readonly rootfs?: string | undefined;
}

export interface ClusterConnection {
  readonly api: Client;
  readonly paths: MachinePaths;
  readonly credentials: HttpsOptions;
  /** The client of one API server: HOST:PORT. */
  at(server: string): Client;
  close(): Promise<void>;
}

const RETRIES = 8;
/** Of one API server, which may be stopped at the moment. */
const ANSWER_TIMEOUT_MS = 10_000;

function optionsOf(path: string): HttpsOptions {
  try {
    return resolveContext(loadKubeconfig({ path })).options;
  } catch (error) {
    // Its words name the file and what is wrong with it.
    throw new UserError(`${errorMessage(error)}.`);
  }
}

/** Throws a UserError. */
export function connectCluster({ kubeconfig, rootfs }: ConnectFlags): ClusterConnection {
  const paths = machinePaths({ rootfs });
  const admin = paths.kubeconfig('admin');
  const isMachine = kubeconfig === undefined && existsSync(admin);
  const path = kubeconfig ?? (isMachine ? admin : process.env['KUBECONFIG']);
  if (path === undefined)
    throw new UserError(
      'This machine is no control plane: give --kubeconfig FILE of an administrator, or run it on a control plane.',
    );
  const options = optionsOf(path);
  // The endpoint of the cluster may lead to a machine that is being changed; the balancer knows them all.
  const credentials = isMachine ? { ...options, server: COMPONENT_SERVER } : options;
  const opened: (() => Promise<void>)[] = [];
  const servers = new Map<string, Client>();
  const open = (given: HttpsOptions): Client => {
    const transport = createHttpsTransport(given);
    const client = createClient(transport, {
      userAgent: `capstan/${KUBERNETES_VERSION}`,
      refusedRetries: RETRIES,
    });
    opened.push(async () => {
      await client.close();
      await transport.close();
    });
    return client;
  };
  return {
    api: open(credentials),
    paths,
    credentials,
    at(server) {
      const known = servers.get(server);
      if (known) return known;
      const client = open({ ...credentials, server: `https://${server}`, timeoutMs: ANSWER_TIMEOUT_MS });
      servers.set(server, client);
      return client;
    },
    async close() {
      for (const close of opened) await close();
    },
  };
}
