/** What really happened to the keys of the chaos tests: etcd's own history, by etcdctl and not by any code of ours. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { Truth, type SeenEvent } from '#storage/testing/watch-oracle.ts';
import { PREFIX } from './history.ts';

const DIRECTORY = '/registry/configmaps/default/';
const READ_TIMEOUT_MS = 60_000;

/** etcdctl watch --write-out=json */
interface Answer {
  readonly CompactRevision: number;
  readonly Events: readonly {
    /** 1: a delete. */
    readonly type?: number;
    readonly kv: {
      readonly key: string;
      readonly value?: string;
      readonly mod_revision: number;
      readonly create_revision?: number;
    };
  }[];
}

export class TruthReader {
  readonly #events: SeenEvent[] = [];
  readonly #newest = new Map<string, SeenEvent>();
  #readUpTo: number;

  constructor(after: number) {
    this.#readUpTo = after;
  }

  /** Reads on up to the event of this revision, which is one of the test's keys. command: etcdctl with its connection. */
  async read(command: readonly string[], upTo: number): Promise<Truth> {
    const from = String(this.#readUpTo + 1);
    const watch = ['watch', '--prefix', `${DIRECTORY}${PREFIX}`, '--rev', from, '--write-out=json'];
    const [file = '', ...words] = [...command, ...watch];
    const child = spawn(file, words, {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, ETCDCTL_API: '3' },
      timeout: READ_TIMEOUT_MS,
    });
    try {
      for await (const line of createInterface({ input: child.stdout }))
        if (this.#add(JSON.parse(line) as Answer, upTo)) return new Truth(this.#events);
    } finally {
      child.kill('SIGKILL');
    }
    throw new Error(`etcd's history after ${from} could not be read up to ${upTo}`);
  }

  /** True: all is read. */
  #add({ Events, CompactRevision }: Answer, upTo: number): boolean {
    if (CompactRevision > 0) throw new Error(`etcd was compacted at ${CompactRevision}`);
    for (const { type, kv } of Events) {
      if (kv.mod_revision > upTo) break;
      const key = Buffer.from(kv.key, 'base64').toString().slice(DIRECTORY.length);
      const previous = this.#newest.get(key);
      const event: SeenEvent = {
        type: type === 1 ? 'delete' : 'put',
        key,
        revision: kv.mod_revision,
        value: valueIn(kv.value),
        ...(previous?.type === 'put' && { previous: { revision: previous.revision } }),
      };
      this.#events.push(event);
      this.#newest.set(key, event);
      this.#readUpTo = kv.mod_revision;
    }
    return this.#readUpTo >= upTo;
  }
}

/** Of the object, however it is encoded. */
function valueIn(base64 = ''): string | undefined {
  return /chaos-value-[a-z]+-\d+-\d+/.exec(Buffer.from(base64, 'base64').toString('latin1'))?.[0];
}
