/**
 * The record of an upgrade: ConfigMap kube-system/capstan-upgrade, written after each phase and machine. It says how far `apply` came and what to go back
 * to; what each machine runs is observed. Two `apply` at the same time: the second is refused at its first write.
 */
import type { Client } from '#client/client.ts';
import { configMaps } from '#client/refs.ts';
import { UserError } from '#deploy/data-dir.ts';
import { isStatusError } from '#machinery/errors.ts';
import { formatTime } from '#machinery/time.ts';
import type { Baseline } from './gates.ts';

/** In order. */
export const PHASES = ['backup', 'control-planes', 'soak', 'raise', 'nodes', 'migrate', 'finish'] as const;
export type Phase = (typeof PHASES)[number];

export interface UpgradeState {
  readonly format: 1;
  readonly from: string;
  readonly to: string;
  /** '1.36': what the new program behaves as until the raise. */
  readonly emulated: string;
  readonly phase: Phase | 'rollback' | 'done' | 'rolled-back';
  readonly startedAt: string;
  readonly updatedAt: string;
  /** Name of the backup that was made first. */
  readonly backup?: string | undefined;
  /** Nodes that the upgrade cordoned. */
  readonly cordoned: readonly string[];
  /** What was wrong before, of the gates. */
  readonly baseline?: Baseline | undefined;
  /** True: the raise was begun, so objects may be stored as only the new version knows them. */
  readonly raised?: boolean | undefined;
  /** Storage version hashes before the raise, by group and resource. */
  readonly hashes?: Readonly<Record<string, string>> | undefined;
  /** Why it stopped. */
  readonly problem?: string | undefined;
}

const NAME = { name: 'capstan-upgrade', namespace: 'kube-system' };
const FIELD = 'state';

export class UpgradeRecord {
  readonly #api: Client;
  readonly #now: () => number;
  #resourceVersion: string | undefined;
  #state: UpgradeState | undefined;

  constructor(api: Client, now: () => number) {
    this.#api = api;
    this.#now = now;
  }

  get state(): UpgradeState {
    if (!this.#state) throw new Error('no upgrade was begun');
    return this.#state;
  }

  /** Undefined: there never was an upgrade. */
  async load(): Promise<UpgradeState | undefined> {
    try {
      const { metadata, data } = await this.#api.get(configMaps, NAME);
      this.#resourceVersion = metadata.resourceVersion;
      return (this.#state = parse(data?.[FIELD] ?? ''));
    } catch (error) {
      if (!isStatusError(error, 'NotFound')) throw error;
      return undefined;
    }
  }

  async begin(versions: Pick<UpgradeState, 'from' | 'to' | 'emulated'>): Promise<void> {
    const startedAt = formatTime(this.#now());
    await this.#write({
      format: 1,
      ...versions,
      phase: 'backup',
      startedAt,
      updatedAt: startedAt,
      cordoned: [],
    });
  }

  async update(change: Partial<UpgradeState>): Promise<void> {
    await this.#write({ ...this.state, ...change, updatedAt: formatTime(this.#now()) });
  }

  async #write(state: UpgradeState): Promise<void> {
    const metadata = {
      ...NAME,
      ...(this.#resourceVersion ? { resourceVersion: this.#resourceVersion } : {}),
    };
    const object = { metadata, data: { [FIELD]: `${JSON.stringify(state, undefined, 2)}\n` } };
    try {
      const written =
        this.#resourceVersion === undefined
          ? await this.#api.create(configMaps, object)
          : await this.#api.update(configMaps, object);
      this.#resourceVersion = written.metadata.resourceVersion;
      this.#state = state;
    } catch (error) {
      if (!isStatusError(error, 'Conflict') && !isStatusError(error, 'AlreadyExists')) throw error;
      await this.#requireOwn(state, error);
    }
  }

  /** A write whose answer was lost is there already; any other is of another `apply`. */
  async #requireOwn(state: UpgradeState, cause: unknown): Promise<void> {
    const found = await this.load();
    if (JSON.stringify(found) !== JSON.stringify(state))
      throw new UserError(
        'Another `capstan upgrade` is at work on this cluster: let it end, then run this again.',
        cause,
      );
  }
}

function parse(text: string): UpgradeState {
  try {
    const state = JSON.parse(text) as UpgradeState;
    if (state.format === 1) return state;
  } catch {
    // Said below.
  }
  throw new UserError(
    'ConfigMap kube-system/capstan-upgrade is no record of an upgrade that this program reads: mend it, or delete it to begin anew.',
  );
}
