/** Runs the reboot command of --reboot-command when the remediation of nodes asks for it: once for a boot. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { nodes } from '#client/refs.ts';
import { REBOOT_REQUESTED } from '#component-helpers/node-remediation.ts';
import type { Component, ComponentContext } from '#runtime/component.ts';
import type { Timer } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';

const LOOK_MS = 10_000;

interface RebootOptions extends Pick<ComponentContext, 'api' | 'clock' | 'log'> {
  readonly nodeName: string;
  /** A line of sh. */
  readonly command: string;
  /** Replaced in tests. Default: the kernel's. */
  readonly bootID?: string;
}

export function createRebootCommand(options: RebootOptions): Component {
  const { api, clock, log, nodeName, command, bootID = bootIDOfKernel() } = options;
  let timer: Timer | undefined;
  let stopped = false;
  let hasRun = false;
  const look = async (): Promise<void> => {
    const { metadata } = await api.get(nodes, { name: nodeName });
    if (hasRun || metadata.annotations?.[REBOOT_REQUESTED] !== bootID) return;
    hasRun = true;
    log.warn('rebooting this machine, as the remediation of its Node asks', { command });
    run(command, (problem) => log.error('the reboot command failed', { command, error: problem }));
  };
  const arm = (delayMs: number): void => {
    if (stopped) return;
    timer = clock.after(delayMs, () => {
      void look()
        .catch((error: unknown) => log.debug('error looking for a reboot', { error: errorMessage(error) }))
        .finally(() => arm(LOOK_MS));
    });
  };
  return {
    name: 'reboot-command',
    start: () => Promise.resolve(arm(LOOK_MS)),
    stop() {
      stopped = true;
      timer?.cancel();
      return Promise.resolve();
    },
  };
}

/** It outlives this program, which the reboot ends. */
function run(command: string, failed: (problem: string) => void): void {
  const child = spawn('/bin/sh', ['-c', command], { stdio: 'ignore', detached: true });
  child.once('error', (error) => failed(errorMessage(error)));
  child.once('exit', (code) => {
    if (code !== 0) failed(`it ended with ${code ?? 'a signal'}`);
  });
  child.unref();
}

function bootIDOfKernel(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}
