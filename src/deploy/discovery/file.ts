/**
 * Discovers the cluster by a kubeconfig file, or an https:// URL of one: --discovery-file. The file is trusted. cluster-info, read over its authority where
 * allowed, is newer and takes precedence. After kubeadm's app/discovery/file and /https.
 */
import { readFile } from 'node:fs/promises';
import { createHttpsTransport } from '#client/https.ts';
import { errorMessage } from '#stdx/log.ts';
import { UserError } from '../data-dir.ts';
import { askForClusterInfo } from './cluster-info.ts';
import { parseClusterInfo, parseDiscoveryFile, type DiscoveredCluster } from './discovered-cluster.ts';
import { DISCOVERY_TIMEOUT_MS, type DiscoveryContext } from './token.ts';

const RETRY_MS = 1_000;
const MAX_FILE_BYTES = 4 * 1024 * 1024;

/** UserError for each way it can fail. */
export async function discoverByFile(
  source: string,
  { clock, log, timeoutMs = DISCOVERY_TIMEOUT_MS, signal }: DiscoveryContext,
): Promise<DiscoveredCluster> {
  const file = await parseDiscoveryFile(await textOf(source), source);
  const { server, caPem } = file;
  for (const deadline = clock.monotonic() + timeoutMs; ; await clock.sleep(RETRY_MS, signal)) {
    const answer = await askForClusterInfo({ server, ca: caPem }, { nowMs: () => clock.now() });
    switch (answer.kind) {
      case 'found':
        return { ...parseClusterInfo(answer.info.kubeconfig), user: file.user };
      case 'absent':
        log.info('error reading cluster-info, using the discovery file unchanged', { why: answer.why });
        return file;
      case 'unreachable':
        if (clock.monotonic() < deadline) continue;
        throw new UserError(`The API server ${server} of ${source} cannot be reached (${answer.why}).`);
      default:
        throw new UserError(`${server} of ${source} is not the cluster of that file (${answer.why}).`);
    }
  }
}

async function textOf(source: string): Promise<string> {
  if (source.startsWith('http://'))
    throw new UserError(`--discovery-file ${source}: it should be a file, or an address with https://.`);
  try {
    return source.startsWith('https://') ? await download(new URL(source)) : await readFile(source, 'utf8');
  } catch (error) {
    throw new UserError(`--discovery-file ${source} cannot be read: ${errorMessage(error)}.`, error);
  }
}

/** By the authorities that the system trusts. */
async function download(url: URL): Promise<string> {
  const transport = createHttpsTransport({ server: url.origin });
  try {
    const response = await transport.request({ method: 'GET', path: `${url.pathname}${url.search}` });
    if (response.status !== 200) throw new Error(`HTTP ${response.status}`);
    const held: Buffer[] = [];
    let bytes = 0;
    for await (const piece of response.stream()) {
      bytes += piece.length;
      if (bytes > MAX_FILE_BYTES) throw new Error(`it is longer than ${MAX_FILE_BYTES} bytes`);
      held.push(piece);
    }
    return Buffer.concat(held).toString();
  } finally {
    await transport.close();
  }
}
