/** Checks a service's health endpoint. */
import { request as plain } from 'node:http';
import { request as secure, type RequestOptions } from 'node:https';
import { readFileSync } from 'node:fs';
import type { HealthProbe } from '#deploy/machine/services.ts';
import { errorMessage } from '#stdx/log.ts';

const TIMEOUT_MS = 10_000;

/** Undefined: healthy, or nothing is known about its health. */
export async function probe(health: readonly HealthProbe[]): Promise<string | undefined> {
  for (const one of health) {
    const problem = await ask(one).catch((error: unknown) => errorMessage(error));
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function ask({ url, caFile, certFile, keyFile }: HealthProbe): Promise<string | undefined> {
  const file = (path: string | undefined): string | undefined =>
    path === undefined ? undefined : readFileSync(path, 'utf8');
  const options: RequestOptions = {
    timeout: TIMEOUT_MS,
    agent: false,
    ca: file(caFile),
    cert: file(certFile),
    key: file(keyFile),
    // Loopback of this machine: only root could listen there instead.
    rejectUnauthorized: caFile !== undefined,
  };
  return new Promise((resolve) => {
    const call = (url.startsWith('https:') ? secure : plain)(url, options, (response) => {
      response.resume();
      resolve(response.statusCode === 200 ? undefined : `it answers with HTTP ${response.statusCode}`);
    });
    call.on('timeout', () => call.destroy(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)));
    call.on('error', (error) => resolve(error.message));
    call.end();
  });
}
