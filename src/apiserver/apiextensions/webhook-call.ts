/**
 * One POST of JSON to a webhook over TLS: by URL, or to a Service by its cluster address with the name its certificate is checked for. No retries;
 * a connection is used once. Answers the parsed body; rejects with an Error that says why in one sentence.
 */
import { request as httpsRequest } from 'node:https';
import type { WebhookClientConfig } from '#api/types.ts';
import type { InternalApi } from '../internal.ts';

/** A body longer than this is refused. */
const MAX_RESPONSE_BYTES = 16 * 1024 * 1024;

export interface WebhookCall { readonly internal: InternalApi; readonly body: unknown; readonly timeoutMs: number }

interface Target { readonly host: string; readonly port: number; readonly path: string; readonly serverName: string; readonly shown: string }

export async function callWebhook(config: WebhookClientConfig, { internal, body, timeoutMs }: WebhookCall): Promise<unknown> {
  const target = targetOf(config, internal);
  const bytes = Buffer.from(JSON.stringify(body));
  const text = await post(target, { bytes, timeoutMs, ca: config.caBundle ? Buffer.from(config.caBundle, 'base64').toString() : undefined });
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new Error(`Post ${JSON.stringify(target.shown)}: the answer is no JSON`);
  }
}

function targetOf({ url, service }: WebhookClientConfig, internal: InternalApi): Target {
  if (url) {
    const parsed = new URL(url);
    const host = parsed.hostname.replace(/^\[|\]$/g, '');
    return { host, port: Number(parsed.port || 443), path: parsed.pathname + parsed.search, serverName: host, shown: url };
  }
  if (!service) throw new Error('no webhook is configured');
  const { namespace, name, port = 443, path = '/' } = service;
  const found = internal.get({ group: '', resource: 'services' }, { namespace, name }) as { spec?: { clusterIP?: string; ports?: { port: number }[] } } | undefined;
  if (!found) throw new Error(`service ${JSON.stringify(name)} not found`);
  const { clusterIP, ports = [] } = found.spec ?? {};
  if (!clusterIP || clusterIP === 'None') throw new Error(`service ${JSON.stringify(`${namespace}/${name}`)} has no cluster address`);
  if (!ports.some((candidate) => candidate.port === port)) throw new Error(`no service port ${port} found for service ${JSON.stringify(name)}`);
  const serverName = `${name}.${namespace}.svc`;
  return { host: clusterIP, port, path, serverName, shown: `https://${serverName}:${port}${path}?timeout=30s` };
}

function post({ host, port, path, serverName, shown }: Target, { bytes, timeoutMs, ca }: { readonly bytes: Buffer; readonly timeoutMs: number; readonly ca: string | undefined }): Promise<string> {
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => reject(new Error(`Post ${JSON.stringify(shown)}: ${why}`));
    const request = httpsRequest({
      host, port, path, method: 'POST', agent: false, ...(ca ? { ca } : {}),
      // Addresses have no server name; the certificate is checked for the address then.
      ...(/^[\d.]+$|:/.test(serverName) ? {} : { servername: serverName }),
      headers: { 'content-type': 'application/json', accept: 'application/json', 'content-length': bytes.length, host: `${serverName}:${port}` },
      signal: AbortSignal.timeout(timeoutMs),
    }, (response) => {
      const parts: Buffer[] = [];
      let size = 0;
      response.on('data', (part: Buffer) => {
        size += part.length;
        if (size > MAX_RESPONSE_BYTES) response.destroy(new Error(`the answer is longer than ${MAX_RESPONSE_BYTES} bytes`));
        else parts.push(part);
      });
      response.on('error', (error) => fail(error.message));
      response.on('end', () => {
        const status = response.statusCode ?? 0;
        if (status < 200 || status > 299) fail(`the server answered ${status}`);
        else resolve(Buffer.concat(parts).toString());
      });
    });
    request.on('error', (error) => fail(error.name === 'TimeoutError' || error.name === 'AbortError' ? 'context deadline exceeded' : error.message));
    request.end(bytes);
  });
}
