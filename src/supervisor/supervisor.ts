/**
 * Runs the services listed in one machine's record: starts them in order, checks them, applies changes of the record, stops them in reverse order.
 * Containers outlive it.
 */
import { join } from 'node:path';
import type { MachinePaths } from '#deploy/machine/paths.ts';
import type { MachineFile } from '#deploy/machine/record.ts';
import { supervisedServices } from '#deploy/machine/static-pods.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { Child, type ChildStatus } from './child.ts';
import { recordChildren } from './leftovers.ts';
import { programsOf, supervisorFiles, type Part } from './only.ts';
import type { Program } from './programs.ts';

interface SupervisorOptions {
  readonly paths: Pick<MachinePaths, 'logs' | 'run' | 'supervisorLock' | 'supervisorSocket'>;
  readonly machine: Pick<MachineFile, 'read'>;
  /** Runs this part of the record alone. */
  readonly only?: Part | undefined;
  readonly clock: Clock;
  readonly log: Logger;
  /** Called at each change of status(). */
  changed?(status: readonly ChildStatus[]): void;
}

/** Services that must respond before the next ones start. */
export const FIRST: readonly string[] = ['balancer', 'etcd', 'apiserver'];
/** After this time the next ones start anyway: they wait for their dependencies. */
const ORDER_WAIT_MS = 60_000;

export class Supervisor {
  readonly #options: SupervisorOptions;
  #children: Child[] = [];
  /** One change of the set of children at a time. */
  #work: Promise<void> = Promise.resolve();
  #stopping = false;
  #reported = false;

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  status(): readonly ChildStatus[] {
    return this.#children.map((child) => child.status());
  }

  /** Reads the record and starts or stops children accordingly. Resolves once all are started; a damaged record changes nothing and is logged. */
  follow(): Promise<void> {
    this.#work = this.#work.then(() => this.#follow());
    return this.#work;
  }

  /** Resolves when all have ended. */
  async stop(): Promise<void> {
    this.#stopping = true;
    for (const child of this.#children.toReversed()) await child.stop();
    this.#changed();
  }

  async #follow(): Promise<void> {
    if (this.#stopping) return;
    const { machine, log, only } = this.#options;
    let wanted: Program[];
    try {
      wanted = programsOf(supervisedServices(machine.read()), only);
    } catch (error) {
      log.error('error reading the record of this machine, its services are unchanged', {
        error: errorMessage(error),
      });
      return;
    }
    await this.#stopUnwanted(wanted);
    this.#children = wanted.map((program) => this.#childFor(program));
    await this.#startInOrder();
  }

  async #stopUnwanted(wanted: readonly Program[]): Promise<void> {
    for (const child of this.#children.toReversed()) {
      const program = wanted.find(({ name }) => name === child.program.name);
      if (program && (isSame(program, child.program) || child.take(program))) continue;
      this.#options.log.info(program ? 'service changed' : 'service removed', {
        service: child.program.name,
      });
      await child.stop();
      this.#children = this.#children.filter((other) => other !== child);
    }
  }

  #childFor(program: Program): Child {
    const { paths, clock, log } = this.#options;
    return (
      this.#children.find((child) => child.program.name === program.name) ??
      new Child({
        program,
        logFile: join(paths.logs, `${program.name}.log`),
        clock,
        log,
        changed: () => this.#changed(),
      })
    );
  }

  async #startInOrder(): Promise<void> {
    for (const child of this.#children) {
      if (this.#stopping) return;
      const started = child.start();
      if (FIRST.includes(child.program.name)) await this.#waitFor(started);
    }
  }

  /** At most ORDER_WAIT_MS. The timer ends with the wait: it would keep the process alive. */
  async #waitFor(started: Promise<void>): Promise<void> {
    const waited = new AbortController();
    const late = this.#options.clock.sleep(ORDER_WAIT_MS, waited.signal).catch(() => {});
    await Promise.race([started, late]);
    waited.abort();
  }

  /** Changes of one turn are reported once. */
  #changed(): void {
    if (this.#reported) return;
    this.#reported = true;
    queueMicrotask(() => {
      this.#reported = false;
      this.#report();
    });
  }

  #report(): void {
    const { paths, only, log, changed } = this.#options;
    try {
      recordChildren(
        supervisorFiles(paths, only).children,
        this.#children.flatMap(({ pid, program }) =>
          pid === undefined ? [] : [{ name: program.name, pid }],
        ),
      );
    } catch (error) {
      log.error('error writing the list of running services', { error: errorMessage(error) });
    }
    changed?.(this.status());
  }
}

function isSame(a: Program, b: Program): boolean {
  const text = ({ command, env, health }: Program): string => JSON.stringify([command, env, health]);
  return text(a) === text(b);
}
