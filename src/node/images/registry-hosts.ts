/**
 * How containerd reaches registries: one `hosts.toml` per host in its registry configuration directory, which it reads at every pull
 * (https://github.com/containerd/containerd/blob/main/docs/hosts.md). Names without a file here go by HTTPS.
 */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseReference } from './reference.ts';

export interface RegistryHosts {
  /** As in image names: 'docker.io', '10.0.0.7:5000'; '*' is every host that has no entry of its own. */
  readonly host: string;
  /** Tried in this order: 'http://127.0.0.1:5000', 'https://mirror.example.com/v2/cache'. */
  readonly endpoints: readonly string[];
  /** Does not verify certificates. */
  readonly skipVerify?: boolean;
  /** PEM files of authorities to trust. */
  readonly certificateAuthorities?: readonly string[];
  /** Falls back to the host itself when no endpoint has the image; true by default. */
  readonly fallback?: boolean;
}

const MARK = '# Written by Capstan.';

/** Makes the directory hold these entries and no others of ours. What an administrator has put there (a mirror, say) stays, and may be changed at any time. */
export async function writeRegistryHosts(dir: string, registries: readonly RegistryHosts[]): Promise<void> {
  await mkdir(dir, { recursive: true });
  const wanted = new Set(registries.map(({ host }) => directoryName(host)));
  for (const name of await readdir(dir)) {
    if (!wanted.has(name) && (await isOurs(join(dir, name))))
      await rm(join(dir, name), { recursive: true, force: true });
  }
  for (const registry of registries) await writeHost(dir, registry);
}

/** An empty directory is one whose file was about to be written when the machine stopped. */
async function isOurs(hostDir: string): Promise<boolean> {
  try {
    return (await readFile(join(hostDir, 'hosts.toml'), 'utf8')).startsWith(MARK);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') return false;
    return (await readdir(hostDir)).length === 0;
  }
}

/** Registries on loopback use plain HTTP, as docker and containerd's own client assume; called before a pull. */
export async function allowPlainHttpOnLoopback(dir: string, image: string): Promise<void> {
  const host = parseReference(image)?.domain;
  if (host === undefined || !isLoopback(host)) return;
  try {
    await mkdir(join(dir, directoryName(host)));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return; // configured by the user, or by us before
    throw error;
  }
  await writeHost(dir, { host, endpoints: [`http://${host}`] });
}

function isLoopback(host: string): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/.test(host);
}

function directoryName(host: string): string {
  return host === '*' ? '_default' : host;
}

async function writeHost(dir: string, registry: RegistryHosts): Promise<void> {
  await mkdir(join(dir, directoryName(registry.host)), { recursive: true });
  await writeFile(join(dir, directoryName(registry.host), 'hosts.toml'), renderHosts(registry));
}

export function renderHosts({
  host,
  endpoints,
  skipVerify,
  certificateAuthorities,
  fallback,
}: RegistryHosts): string {
  const server = fallback === false ? endpoints.at(-1) : host === '*' ? undefined : serverOf(host, endpoints);
  const head = server === undefined ? [] : [`server = ${JSON.stringify(server)}`];
  const tables = endpoints.map((endpoint) =>
    [
      `[host.${JSON.stringify(endpoint)}]`,
      '  capabilities = ["pull", "resolve"]',
      ...(skipVerify ? ['  skip_verify = true'] : []),
      ...(certificateAuthorities?.length ? [`  ca = ${JSON.stringify(certificateAuthorities)}`] : []),
    ].join('\n'),
  );
  return `${[MARK, ...head, ...tables].join('\n')}\n`;
}

function serverOf(host: string, endpoints: readonly string[]): string {
  if (host === 'docker.io') return 'https://registry-1.docker.io';
  return endpoints.includes(`http://${host}`) ? `http://${host}` : `https://${host}`;
}
