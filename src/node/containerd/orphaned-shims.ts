/**
 * Shims without a container: containerd loses one when the call that created a pod's sandbox is interrupted at the wrong moment (its caller was killed),
 * and such a shim never ends. They are ended with their processes, and their files removed. A shim is started after its container's record and
 * outlives it for a moment, so only one that is an orphan twice in a row counts.
 */
import { readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from '#stdx/log.ts';
import type { ContainerdLayout } from './layout.ts';
import { findShims, isAlive, readStartTime, shimContainer, type ContainerdProcess } from './process.ts';
import { run } from './run.ts';
import { removeShimSocket, unmountBelow } from './teardown.ts';

const NAMESPACE = 'k8s.io';

interface OrphanedShimsOptions {
  readonly layout: ContainerdLayout;
  readonly log: Logger;
  /** The ids of all containers that containerd has, sandboxes among them. */
  readonly containers: () => Promise<ReadonlySet<string>>;
  readonly runc: string;
}

export class OrphanedShims {
  readonly #options: OrphanedShimsOptions;
  /** Orphans of the last sweep, by pid and start time. */
  #suspects = new Set<string>();

  constructor(options: OrphanedShimsOptions) {
    this.#options = options;
  }

  /** Returns how many were ended. Throws when containerd does not list its containers. */
  async sweep(): Promise<number> {
    const { layout, log, containers } = this.#options;
    const shims = findShims(layout).flatMap(describeShim);
    if (shims.length === 0) return 0;
    const known = await containers();
    const orphans = shims.filter(({ id }) => !known.has(id));
    const condemned = orphans.filter((shim) => this.#suspects.has(keyOf(shim)));
    this.#suspects = new Set(orphans.map(keyOf));
    for (const { process, id } of condemned) {
      log.info('ending a shim that serves no container', { id, pid: process.pid });
      await this.#end(process, id);
    }
    return condemned.length;
  }

  async #end(shim: ContainerdProcess, id: string): Promise<void> {
    const { layout, runc } = this.#options;
    for (const target of [shim, ...descendantsOf(shim.pid)]) kill(target);
    // Its state may exist after its process ended.
    await run([runc, '--root', join(layout.runcRoot, NAMESPACE), 'delete', '--force', id]);
    const bundle = join(layout.state, 'io.containerd.runtime.v2.task', NAMESPACE, id);
    await removeShimSocket(bundle);
    await unmountBelow([bundle]);
    await rm(bundle, { recursive: true, force: true });
  }
}

interface Shim {
  readonly process: ContainerdProcess;
  readonly id: string;
}

function describeShim(pid: number): Shim[] {
  const [startTime, id] = [readStartTime(pid), shimContainer(pid)];
  return startTime === undefined || id === undefined ? [] : [{ process: { pid, startTime }, id }];
}

function keyOf({ process: { pid, startTime } }: Shim): string {
  return `${pid} ${startTime}`;
}

/** The visible descendants of this process. */
function descendantsOf(pid: number): ContainerdProcess[] {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
  } catch {
    return [];
  }
  return text
    .split(' ')
    .filter((word) => word !== '')
    .map(Number)
    .flatMap((child) => {
      const startTime = readStartTime(child);
      return startTime === undefined ? [] : [{ pid: child, startTime }, ...descendantsOf(child)];
    });
}

function kill(target: ContainerdProcess): void {
  if (!isAlive(target)) return;
  try {
    process.kill(target.pid, 'SIGKILL');
  } catch {
    // It ended in the meantime.
  }
}
