/**
 * Imports the services' modules and writes Node's compile cache, in a short-lived process: a process that finds a module there does not load the type
 * stripper, which would occupy 16 MB in each, and starts faster. Runs in parallel with the first phases of init.
 */
import { spawn } from 'node:child_process';
import { flushCompileCache } from 'node:module';
import { capstanCommand } from '#deploy/machine/program.ts';

const MODULES: readonly (() => Promise<unknown>)[] = [
  () => import('../apiserver/run.ts'),
  () => import('#storage/drivers/etcd/etcd-store.ts'),
  () => import('../controller-manager/run.ts'),
  () => import('../scheduler/run.ts'),
  () => import('../node/run.ts'),
  () => import('../proxy/run.ts'),
  () => import('../dns/run.ts'),
  () => import('../balancer/run.ts'),
  () => import('./together.ts'),
  () => import('./supervise.ts'),
  () => import('#supervisor/run.ts'),
];
/** The argument of `capstan together` that requests it. */
export const WARM = '--warm';
/** It only saves time and memory: init does not wait longer than this. */
const LIMIT_MS = 30_000;

export interface Warming {
  /** Resolves when it is done, whether it worked or not. */
  done(): Promise<void>;
}

/** Keeps this process alive only while a caller waits for it. */
export function warmCompileCache(): Warming {
  const [file, ...words] = capstanCommand(['together', WARM]);
  const child = spawn(file, words, { stdio: 'ignore', timeout: LIMIT_MS });
  child.unref();
  const ended = new Promise<void>((resolve) => {
    child.once('error', () => resolve());
    child.once('exit', () => resolve());
  });
  return {
    done() {
      child.ref();
      return ended;
    },
  };
}

/** In the process that ends. */
export async function loadEverything(): Promise<void> {
  for (const load of MODULES) await load();
  flushCompileCache();
}
